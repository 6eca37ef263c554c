"""The state of a cell: the names of its leaves, its float leaves apart, and checks of its shapes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Carry, Cell, Params
from gradlab.cells.base import is_built_in
from gradlab.cells.traced import TraceCache
from gradlab.errors import GradlabError, unknown
from gradlab.gradient.program import x64

_known_steps = TraceCache(256)


def is_float(leaf: Any) -> bool:
    """Whether a leaf has a gradient: real or complex floats, at least one."""
    return bool(jnp.issubdtype(leaf.dtype, jnp.inexact)) and leaf.size > 0


def named_leaves(carry: Carry) -> list[tuple[str, Any]]:
    """Every leaf of a state with its key path, in the order of the tree.

    A state that is a single array is called `s`; `state` is reserved for all leaves together.
    """
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(carry):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "s"
        found.append(("state_" if name == "state" else name, leaf))
    return found


def leaf_names(carry: Carry) -> tuple[list[str], list[str]]:
    """The names of the float leaves of a state, and of the others, empty leaves among them.

    Example:
        >>> import jax.numpy as jnp
        >>> leaf_names({"h": jnp.zeros(3), "c": (jnp.zeros(3), jnp.arange(3))})
        (['c.0', 'h'], ['c.1'])
    """
    named = named_leaves(carry)
    return [name for name, leaf in named if is_float(leaf)], [name for name, leaf in named if not is_float(leaf)]


def split(carry: Carry) -> tuple[list[Array], Callable[[list[Array]], Carry]]:
    """The float leaves of a state, and the function that puts new ones in their place."""
    leaves, treedef = jax.tree.flatten(carry)

    def rebuild(new: list[Array]) -> Carry:
        remaining = iter(new)
        return jax.tree.unflatten(treedef, [next(remaining) if is_float(leaf) else leaf for leaf in leaves])

    return [leaf for leaf in leaves if is_float(leaf)], rebuild


def counted_leaves(cell: Cell, names: Sequence[str]) -> tuple[str, ...]:
    """The leaves of a state that count as memory.

    Those that the cell names as `measured_leaves`, else all but those that it names as `unmeasured_leaves`.

    Raises:
        GradlabError: the cell names one that its state does not have.
    """
    wanted = getattr(cell, "measured_leaves", None)
    if wanted is None:
        return tuple(name for name in names if name not in getattr(cell, "unmeasured_leaves", ()))
    for name in wanted:
        if name not in names:
            raise unknown(f"leaf in {type(cell).__name__}.measured_leaves", name, names)
    return tuple(name for name in names if name in wanted)


def all_finite(value: Array) -> Array:
    """Whether the entries of each example are finite, (B,) from (B, ...)."""
    return jnp.all(jnp.isfinite(value), axis=tuple(range(1, value.ndim)))


def on_host(leaf: Any) -> Any:
    """An array of NumPy, which is cut and cast without compiling; random keys as they are."""
    return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.extended) else np.asarray(leaf)


def as_arrays(tree: Any) -> Any:
    """Python numbers in a tree as arrays; arrays and keys as they are."""
    return jax.tree.map(lambda leaf: leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf), tree)


def check_state(start: Carry, batch_size: int) -> None:
    """Refuse a state without float leaves, with two of one name, or with one that lacks a row for each example."""
    floats, others = leaf_names(start)
    twice = {name for name in floats if floats.count(name) > 1}
    if twice:
        raise GradlabError(f"two leaves of the state are both called `{min(twice)}`: give them other names")
    for name, leaf in zip(floats, split(start)[0], strict=True):
        if leaf.shape[:1] != (batch_size,):
            raise GradlabError(
                f"leaf `{name}` of the state has shape {leaf.shape}: give one row for each of the "
                f"{batch_size} examples of the inputs"
            )
    if not floats:
        raise GradlabError(f"the state has no float leaf to measure: its leaves are {', '.join(others) or 'none'}")


def initial_shapes(cell: Cell, params: Params, batch_size: int) -> Carry:
    """The shapes of the initial state of `batch_size` examples."""
    return jax.eval_shape(lambda params: as_arrays(cell.carry(params, batch_size)), params)


def has_batch_axis(cell: Cell, params: Params, carry: Carry, batch_size: int) -> list[bool]:
    """For each leaf of a state, whether its first axis is the batch, as it is in the cell's own initial state."""
    fits = [leaf.shape[:1] == (batch_size,) for leaf in jax.tree.leaves(carry)]
    if not callable(getattr(cell, "carry", None)):
        return fits
    own, more = (initial_shapes(cell, params, size) for size in (batch_size, batch_size + 1))
    if jax.tree.structure(own) != jax.tree.structure(carry):  # type: ignore[operator]
        return fits
    pairs = zip(fits, jax.tree.leaves(own), jax.tree.leaves(more), strict=True)
    return [fit and one.shape[:1] != other.shape[:1] for fit, one, other in pairs]


def leaves_without_batch(
    cell: Cell, params: Params, batch_size: int, carry: Carry | None = None
) -> dict[str, str]:
    """The float leaves of the state that have no row for each example, by name, each with its error message.

    Args:
        batch_size: B; the state of B + 1 is compared, so that a leaf (H,) with H = B is recognised.
        carry: the state if it is not the cell's own.
    """
    start = initial_shapes(cell, params, batch_size) if carry is None else as_arrays(carry)
    rows = has_batch_axis(cell, params, start, batch_size)
    return {
        name: f"leaf `{name}` of the state has shape {leaf.shape} with a batch of {batch_size}: give one row "
        "for each example (what is the same for all of them is a parameter, or a counter in integers)"
        for (name, leaf), row in zip(named_leaves(start), rows, strict=True)
        if is_float(leaf) and not row
    }


def drifting_leaves(cell: Cell, params: Params, carry: Carry, x_t: Any) -> dict[str, str]:
    """The leaves of the state whose dtype or shape `step` changes, drops or adds, by name, each with its message.

    Args:
        carry, x_t: a state and an input of B examples, or their shapes.
    """
    carry = as_arrays(carry)
    s_t = step_shapes(cell, params, carry, x_t)[0]
    before, after = dict(named_leaves(carry)), dict(named_leaves(s_t))
    if jax.tree.structure(carry) != jax.tree.structure(s_t):  # type: ignore[operator]
        text = (
            f"{step_of(cell)} takes the state {_shapes(carry)} and returns {_shapes(s_t)}, with a batch of "
            f"{x_t.shape[0]}: the next state must look like the one that comes in"
        )
        return dict.fromkeys(before.keys() ^ after.keys() or before, text)
    kinds = {name: [f"{leaf.dtype} {leaf.shape}" for leaf in (before[name], after[name])] for name in before}
    return {
        name: f"leaf `{name}` of the state comes into {step_of(cell)} as {old} and leaves it as "
        f"{new}: keep one dtype and shape, that of the parameters and inputs"
        for name, (old, new) in kinds.items()
        if old != new
    }


def output_shape(cell: Cell, params: Params, carry: Carry, x_t: Any) -> Any:
    """The shape (B, ...) and dtype of the output of a cell.

    Args:
        carry, x_t: a state and an input of B examples, or their shapes.

    Raises:
        GradlabError: `step` does not return a state and an output of floats with a row for each example.
    """
    step, batch_size = step_of(cell), x_t.shape[0]
    y_t = step_shapes(cell, params, carry, x_t)[1]
    if getattr(y_t, "shape", ())[:1] != (batch_size,):
        raise GradlabError(
            f"{step} returns the output {_shapes(y_t)}, with a batch of {batch_size}: it must be (batch, size)"
        )
    if not jnp.issubdtype(y_t.dtype, jnp.inexact):
        raise GradlabError(f"{step} returns an output of {y_t.dtype}: no gradient reaches it, give floats")
    return y_t


def step_shapes(cell: Cell, params: Params, carry: Carry, x_t: Any) -> tuple[Any, Any]:
    """The shapes of the next state and of the output.

    Raises:
        GradlabError: `step` returns something else.
    """
    found = _step_shapes(cell, params, carry, x_t)
    if not isinstance(found, tuple) or len(found) != 2:
        raise GradlabError(f"{step_of(cell)} returns {_shapes(found)}: return the next state and the output")
    return found


def _step_shapes(cell: Cell, *given: Any) -> Any:
    """What `step` returns, in shapes; a built-in cell is asked once, a custom one may have changed since."""
    leaves, treedef = jax.tree.flatten(given)
    if not is_built_in(cell):
        return jax.eval_shape(cell.step, *given)
    key = cell, treedef, x64(), *((leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)) for leaf in leaves)
    return _known_steps.get(key, lambda: jax.eval_shape(cell.step, *given))


def step_of(cell: Cell) -> str:
    """`MyCell.step`, as error messages name it."""
    return f"{getattr(cell, '__name__', type(cell).__name__)}.step"


def _shapes(tree: Any) -> str:
    return str(jax.tree.map(lambda leaf: getattr(leaf, "shape", ()), tree))
