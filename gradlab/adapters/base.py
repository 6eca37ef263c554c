"""A cell of another library as gradlab's three functions.

The weights are a dict of arrays under the library's own names. The state is a dict whose leaves are called `h` and
`c` by what they are: flax carries (c, h), equinox (h, c), Keras [h, c], and numbers would mix them up in a report.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.adapters.recognise import FORMS, kind_of, library_of
from gradlab.cells import Carry, Params
from gradlab.errors import GradlabError, described

_FIELDS = {"hidden": "h", "cell": "c"}


class LibraryCell(NamedTuple):
    """A cell for inputs of one size, in the terms of its library.

    Attributes:
        init: key -> weights, a pytree of arrays. carry: (weights, batch_size) -> state.
        step: (weights, state, x (B, I)) -> (state, y (B, O)).
        pair: the names of a state of two arrays, in the library's order; None where two arrays are two layers.
    """

    init: Callable[[Array], Any]
    carry: Callable[[Any, int], Any]
    step: Callable[[Any, Any, Array], tuple[Any, Array]]
    pair: tuple[str, str] | None


def initial_state(cell: Any, *arguments: Any) -> Any:
    """What `cell.initialize_carry` of flax gives; GradlabError for a layer that has no state."""
    if not hasattr(cell, "initialize_carry"):
        raise GradlabError(
            f"{type(cell).__name__} of flax has no initialize_carry: a layer without a state cannot be measured"
        )
    return cell.initialize_carry(*arguments)


class LibraryParams(dict[str, Array]):
    """Weights by name, and the sizes (I, H) that the cell was made with; a pytree."""

    sizes: tuple[int, int]

    def __or__(self, other: Any) -> "LibraryParams":  # type: ignore[override]
        """With other arrays under some of the names."""
        return library_params(tuple(self), (dict(self) | other).values(), self.sizes)


def library_params(names: tuple[str, ...], leaves: Any, sizes: tuple[int, int]) -> LibraryParams:
    """The weights of these names."""
    params = LibraryParams(zip(names, leaves, strict=True))
    params.sizes = sizes
    return params


def _flattened(params: LibraryParams) -> tuple[Any, Any]:
    keyed = [(jax.tree_util.DictKey(name), leaf) for name, leaf in params.items()]
    return keyed, (tuple(params), params.sizes)


jax.tree_util.register_pytree_with_keys(
    LibraryParams, _flattened, lambda static, leaves: library_params(static[0], leaves, static[1])
)


class Layout(NamedTuple):
    """A network with the names of its weights and of the leaves of its state."""

    network: LibraryCell
    names: tuple[str, ...]
    structure: Any
    state_names: tuple[str, ...]
    state_structure: Any


@dataclass(frozen=True, eq=False)
class AdaptedCell:
    """A cell of another library with init, carry and step. Made by `as_cell`.

    Attributes:
        source: the class, function or object; two adapted cells of the same source and options are equal.
        is_object: whether `source` is made already; has_weights: whether it has weights too, which `init` returns.
        build: (input_size, hidden_size) -> the network.
    """

    source: Any
    options: tuple[tuple[str, Any], ...]
    is_object: bool
    has_weights: bool
    build: Callable[[int, int], LibraryCell]
    _layouts: dict[tuple[int, int], Layout] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AdaptedCell):
            return False
        return self.source is other.source and self.options == other.options

    def __hash__(self) -> int:
        return hash((id(self.source), self.options))

    @property
    def __name__(self) -> str:
        """The name of the class."""
        return str(getattr(self.source, "__name__", type(self.source).__name__))

    @property
    def measured_leaves(self) -> tuple[str, ...] | None:
        """The leaves that count as memory, where the cell names them by the names they have here."""
        return getattr(self.source, "measured_leaves", None)

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """The weights as the library draws them, or those of the object.

        Raises:
            GradlabError: the cell cannot be made or called, or the object's state has another size.
        """
        layout = self._layout(input_size, hidden_size)
        params = self._named(layout, layout.network.init(key), (input_size, hidden_size))
        # Some libraries make float32 weights in a float64 run too.
        params = jax.tree.map(lambda leaf: leaf.astype(float) if leaf.dtype == jnp.float32 else leaf, params)
        size = self._state_size(params)
        if self.is_object and hidden_size and size != hidden_size:
            raise GradlabError(
                f"hidden is {hidden_size}, but this {self.__name__} was made with {size}: give {size}"
            )
        return params

    def own_size(self, input_size: int) -> int | None:
        """The size of the state of an object that has its weights; None of anything else."""
        if not self.has_weights:
            return None
        return self._state_size(self.init(jax.random.key(0), input_size, 0))

    def _state_size(self, params: Params) -> int:
        leaf = next(iter(jax.eval_shape(lambda params: self.carry(params, 1), params).values()))
        return int(leaf.shape[-1]) if leaf.ndim else 0

    def carry(self, params: Params, batch_size: int) -> Carry:
        """The library's own initial state, in the dtype of the weights."""
        layout = self._layout(*params.sizes)
        dtype = jnp.result_type(*(leaf for leaf in params.values() if jnp.issubdtype(leaf.dtype, jnp.floating)))
        state = layout.network.carry(jax.tree.unflatten(layout.structure, params.values()), batch_size)
        return jax.tree.map(lambda leaf: _in_dtype(leaf, dtype), self.state(params, state))

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, yₜ)."""
        layout = self._layout(*params.sizes)
        state = jax.tree.unflatten(layout.state_structure, [carry[name] for name in layout.state_names])
        weights = jax.tree.unflatten(layout.structure, params.values())
        state, y_t = layout.network.step(weights, state, x_t)
        return self.state(params, state), y_t

    def params(self, weights: Any, input_size: int) -> Params:
        """Weights in the library's own form as `step` takes them; those of the object where None.

        Raises:
            GradlabError: they are not those of this cell, or there are none.
        """
        if isinstance(weights, LibraryParams):
            return weights
        if weights is None and self.has_weights:
            return self.init(jax.random.key(0), input_size, 0)
        if weights is None or not self.is_object:
            raise GradlabError(f"no params for {self.__name__}: give those of `as_cell(...).init(key, I, H)`")
        return self._named(self._layout(input_size, 0), weights, (input_size, 0))

    def state(self, params: Params, native: Any) -> Carry:
        """A state in the library's own form as the dict that `step` takes."""
        layout = self._layout(*params.sizes)
        if isinstance(native, dict) and set(native) == set(layout.state_names):
            return native
        return dict(zip(layout.state_names, jax.tree.leaves(native), strict=True))

    def _named(self, layout: Layout, weights: Any, sizes: tuple[int, int]) -> Params:
        names = weight_names(weights)
        if names != layout.names:
            raise GradlabError(
                f"params have the leaves {', '.join(names)}, and {self.__name__} has {', '.join(layout.names)}: "
                "give the weights of this cell"
            )
        return library_params(names, jax.tree.leaves(weights), sizes)

    def _layout(self, input_size: int, hidden_size: int) -> Layout:
        """The network of these sizes, made and traced once."""
        sizes = input_size, hidden_size
        if sizes not in self._layouts:
            try:
                # Outside of any trace, or the first program that is traced would differ from the next one.
                with jax.ensure_compile_time_eval():
                    self._layouts[sizes] = layout_of(self.build(*sizes), input_size)
            except GradlabError:
                raise
            except Exception as error:  # code of a library or of the user
                made = "" if self.is_object else f" with a hidden size of {hidden_size}"
                form = FORMS.get(str(library_of(self.source)), "what the function makes")
                raise GradlabError(
                    f"{kind_of(self.source)}, is no cell for inputs of size {input_size}{made}: "
                    f"{described(error)}; gradlab uses {form}"
                ) from error
        return self._layouts[sizes]


def layout_of(network: LibraryCell, input_size: int) -> Layout:
    """Names and structures of weights and state, from one traced timestep."""
    states: list[Any] = []

    def timestep(weights: Any, x_t: Array) -> Any:
        start = network.carry(weights, 1)
        state, y_t = network.step(weights, start, x_t)
        states[:] = [start, state]
        return state, y_t

    weights = jax.eval_shape(network.init, jax.random.key(0))
    x_t = jax.ShapeDtypeStruct((1, input_size), jnp.result_type(float))
    *leaves, y_t = jax.make_jaxpr(timestep)(weights, x_t).jaxpr.outvars
    before, after = (jax.tree.structure(state) for state in states)
    if before != after:  # type: ignore[operator]
        raise GradlabError(f"the initial state is {before} and the next {after}")
    names = state_names(states[1], [leaf is y_t for leaf in leaves], network.pair)
    return Layout(network, weight_names(weights), jax.tree.structure(weights), tuple(names), after)


def weight_names(weights: Any) -> tuple[str, ...]:
    """The key path of each array.

    Example:
        >>> weight_names({"ih": {"kernel": 0.0}, "bias": 1.0})
        ('bias', 'ih.kernel')
    """
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(weights)]
    # flax nnx keeps each array as the `value` of a variable.
    return tuple(jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value") for path in paths)


def state_names(state: Any, are_output: list[bool], pair: tuple[str, str] | None) -> list[str]:
    """A name for each array of a state: `h` and `c` where it has no names, with the layer where there are several.

    Of two arrays that which is the output is `h`; else they are in the order of `pair`.

    Args:
        are_output: for each array, whether it is the output too.

    Example:
        >>> state_names((1.0, 2.0), [False, True], ("h", "c")), state_names((1.0, 2.0), [False, False], ("h", "c"))
        (['c', 'h'], ['h', 'c'])
        >>> state_names(((1.0, 2.0), 3.0), [False, False, True], ("h", "c"))
        ['layer0.h', 'layer0.c', 'layer1.h']
    """
    leaves = jax.tree.leaves(state)
    flat = len(leaves) == 2 and isinstance(state, tuple | list) and len(state) == 2
    if flat and pair is not None and sum(are_output) == 1:
        return ["h" if is_output else "c" for is_output in are_output]
    names = jax.tree.leaves(_names(state, "", pair))
    return names if len(set(names)) == len(leaves) else list(weight_names(state))


def _names(state: Any, prefix: str, pair: tuple[str, str] | None) -> Any:
    """The names of the arrays of a state, nested as they are."""
    if isinstance(state, dict):
        return {key: _named_part(value, prefix + str(key), pair) for key, value in state.items()}
    if hasattr(state, "_fields"):
        parts = zip(state._fields, state, strict=True)
        return [_named_part(value, prefix + _FIELDS.get(name, name), pair) for name, value in parts]
    if not isinstance(state, tuple | list):
        return f"{prefix}h"
    if len(state) == 1:
        return [_names(state[0], prefix, pair)]
    nested = any(isinstance(part, tuple | list | dict) for part in state)
    if pair is not None and len(state) == 2 and not nested:
        return [prefix + name for name in pair]
    return [_names(part, f"{prefix}layer{index}.", pair) for index, part in enumerate(state)]


def _named_part(value: Any, name: str, pair: tuple[str, str] | None) -> Any:
    return _names(value, f"{name}.", pair) if isinstance(value, tuple | list | dict) else name


def _in_dtype(leaf: Any, dtype: Any) -> Any:
    return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
