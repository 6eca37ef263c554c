"""What a state and an output look like, asked of a cell without computing anything."""

from typing import Any

import jax
import jax.numpy as jnp

from gradlab.cells import Carry, Cell, Params
from gradlab.errors import GradlabError
from gradlab.gradient.adjoint import leaf_names


def leaves_without_batch(
    cell: Cell, params: Params, batch_size: int, carry: Carry | None = None
) -> dict[str, str]:
    """The float leaves of the state that have no row for each example, by name, each with what to do.

    Args:
        batch_size: B; the state of B + 1 is compared, so that a leaf (H,) with H = B is none of examples.
        carry: the state if it is not the cell's own.
    """
    start = shapes_of(cell, params, batch_size) if carry is None else arrays(carry)
    found = {}
    rows = batched(cell, params, start, batch_size)
    for (name, leaf), flag in zip(_named(start), rows, strict=True):
        if is_float(leaf) and not flag:
            found[name] = (
                f"leaf `{name}` of the state has shape {leaf.shape} with a batch of {batch_size}: give one row "
                "for each example (what is the same for all of them is a parameter, or a counter in integers)"
            )
    return found


def drifting_leaves(cell: Cell, params: Params, carry: Carry, x_t: Any) -> dict[str, str]:
    """The leaves of the state that `step` gives another dtype or shape, drops or adds, by name, with a line.

    Args:
        carry, x_t: a state and an input of B examples, or their shapes.
    """
    carry = arrays(carry)
    s_t = stepped(cell, params, carry, x_t)[0]
    before, after = dict(_named(carry)), dict(_named(s_t))
    if jax.tree.structure(carry) != jax.tree.structure(s_t):  # type: ignore[operator]
        text = (
            f"{step_of(cell)} takes the state {_shapes(carry)} and returns {_shapes(s_t)}, with a batch of "
            f"{x_t.shape[0]}: the next state must look like the one that comes in"
        )
        return dict.fromkeys(before.keys() ^ after.keys() or before, text)
    return {
        name: f"leaf `{name}` of the state comes into {step_of(cell)} as {_kind(leaf)} and leaves it as "
        f"{_kind(after[name])}: keep one dtype and shape, that of the parameters and inputs"
        for name, leaf in before.items()
        if _kind(leaf) != _kind(after[name])
    }


def output_shape(cell: Cell, params: Params, carry: Carry, x_t: Any) -> tuple[int, ...]:
    """The shape (B, ...) of the output of a cell.

    Args:
        carry, x_t: a state and an input of B examples, or their shapes.

    Raises:
        GradlabError: `step` does not return a state and an output of floats with a row for each example.
    """
    step, batch_size = step_of(cell), x_t.shape[0]
    y_t = stepped(cell, params, carry, x_t)[1]
    if getattr(y_t, "shape", ())[:1] != (batch_size,):
        raise GradlabError(
            f"{step} returns the output {_shapes(y_t)}, with a batch of {batch_size}: it must be (batch, size)"
        )
    if not jnp.issubdtype(y_t.dtype, jnp.inexact):
        raise GradlabError(f"{step} returns an output of {y_t.dtype}: no gradient reaches it, give floats")
    return tuple(y_t.shape)


def stepped(cell: Cell, params: Params, carry: Carry, x_t: Any) -> tuple[Any, Any]:
    """The next state and the output as shapes.

    Raises:
        GradlabError: `step` returns something else.
    """
    found = jax.eval_shape(cell.step, params, carry, x_t)
    if not isinstance(found, tuple) or len(found) != 2:
        raise GradlabError(f"{step_of(cell)} returns {_shapes(found)}: return the next state and the output")
    return found


def step_of(cell: Cell) -> str:
    """`MyCell.step`, as an error names it."""
    return f"{type(cell).__name__}.step"


def is_float(leaf: Any) -> bool:
    """Whether a leaf of the state has a gradient, as the adjoint sees it."""
    return bool(leaf_names([leaf])[0])


def arrays(carry: Carry) -> Carry:
    """Python numbers in a state as arrays."""
    return jax.tree.map(lambda leaf: leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf), carry)


def batched(cell: Cell, params: Params, carry: Carry, batch_size: int) -> list[bool]:
    """For each leaf of a state, whether its first axis is the batch: where the cell tells, whether it grows."""
    leaves = jax.tree.leaves(carry)
    fits = [leaf.shape[:1] == (batch_size,) for leaf in leaves]
    if not callable(getattr(cell, "carry", None)):
        return fits
    own, more = (shapes_of(cell, params, size) for size in (batch_size, batch_size + 1))
    if jax.tree.structure(own) != jax.tree.structure(carry):  # type: ignore[operator]
        return fits
    pairs = zip(jax.tree.leaves(own), jax.tree.leaves(more), strict=True)
    grows = [one.shape[:1] != other.shape[:1] for one, other in pairs]
    return [fit and grow for fit, grow in zip(fits, grows, strict=True)]


def shapes_of(cell: Cell, params: Params, batch_size: int) -> Carry:
    """The state that a cell begins with, as shapes."""
    return jax.eval_shape(lambda params: arrays(cell.carry(params, batch_size)), params)


def _named(carry: Carry) -> list[tuple[str, Any]]:
    """Every leaf with its name, in the order of the tree."""
    floats, others = map(iter, leaf_names(carry))
    return [(next(floats if is_float(leaf) else others), leaf) for leaf in jax.tree.leaves(carry)]


def _shapes(tree: Any) -> str:
    return str(jax.tree.map(lambda leaf: getattr(leaf, "shape", ()), tree))


def _kind(leaf: Any) -> str:
    return f"{leaf.dtype} {leaf.shape}"
