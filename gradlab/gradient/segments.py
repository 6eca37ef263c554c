"""Forward and backward passes over a segment of a sequence: compiled once for a cell, whatever the length.

A sequence is walked in segments of `capacity` timesteps, the last of which may be shorter: how many timesteps a
segment has is an argument of the compiled program. Of a sequence too long to keep, only the state at the start of
each segment is kept, and the segment is recomputed on the way back (Chen et al. 2016, "Training deep nets with
sublinear memory cost", section 4, https://arxiv.org/abs/1604.06174).
"""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from gradlab.cells import Carry, Cell, Params
from gradlab.cells.base import is_built_in
from gradlab.cells.traced import TraceCache, traced, with_pullback
from gradlab.gradient.program import Program
from gradlab.gradient.pullback import Method
from gradlab.gradient.scaled import Scaled
from gradlab.gradient.state import all_finite, check_state, has_batch_axis, leaf_names, split

LONGEST_SEGMENT = 256
"""Timesteps of a segment, at most."""
SEGMENT_BYTES = 32 * 2**20
"""Bytes of the states of a segment, at most."""
_shared, _digests = TraceCache(16), TraceCache(256)


class Rows(NamedTuple):
    """What a forward pass says of each timestep; first axis: timesteps of the segment.

    Attributes:
        states: that enter each timestep, (L, B, ...).
        outputs: (L, B, O).
        finite_states: for each float leaf, whether it is finite where it leaves the timestep, (L, B).
        finite_outputs: (L, B).
    """

    states: Carry
    outputs: Array
    finite_states: dict[str, Array]
    finite_outputs: Array


class NormRows(NamedTuple):
    """What a backward pass says of each timestep: the norm (L, B) of each float leaf, and where it was lossy."""

    norms: list[Scaled]
    lossy: Array


class Split(NamedTuple):
    """What spreads examples over devices; axes are a tree of the axis of the examples, None where there is none.

    Attributes:
        spread: (function, axes of its arguments, axes of its results) -> the function over several devices.
        shardings: axes -> where such arrays lie.
    """

    spread: Callable[[Callable[..., Any], Any, Any], Callable[..., Any]]
    shardings: Callable[[Any], Any]


class Segments:
    """The compiled passes of a cell.

    Args:
        cell: with a `step`.
        split: spreads the examples of a function over devices; None for one device.
    """

    def __init__(self, cell: Cell, split: Split | None = None) -> None:
        self.cell = cell
        self._split = split
        self._made: dict[Hashable, Program] = {}
        self.forward = self._program("forward", partial(forward, cell), self._forward_axes)

    def reverse(self, method: Method, carried: bool) -> Program:
        """The backward pass by a method; `carried` for the total gradient, else the direct one."""
        return self._program(
            (id(method), carried), partial(reverse, self.cell, method, carried), self._reverse_axes
        )

    def more(self, name: str, function: Callable[..., tuple[Carry, Any]]) -> Program:
        """Another pass forward.

        Args:
            function: (cell, params, state, inputs, count) -> the state after the segment, and arrays (B, ...).
        """
        return self._program(name, partial(function, self.cell), self._more_axes)

    @property
    def programs(self) -> list[Program]:
        """All of them that were asked for."""
        return list(self._made.values())

    def _program(self, key: Hashable, function: Callable[..., Any], axes: Callable[..., Any]) -> Program:
        def over_devices(*arguments: Any) -> Any:
            assert self._split is not None
            return self._split.spread(function, *axes(*arguments))(*arguments)

        def shardings(*arguments: Any) -> Any:
            assert self._split is not None
            return self._split.shardings(axes(*arguments)[0])

        if key not in self._made:
            alone = self._split is None
            self._made[key] = Program(function) if alone else Program(over_devices, shardings)
        return self._made[key]

    def _forward_axes(self, params: Params, state: Carry, inputs: Any, count: Any) -> tuple[Any, Any]:
        per_state = _example_axes(self.cell, params, state, inputs.shape[1])
        rows = Rows(_moved(per_state), 1, 1, 1)  # type: ignore[arg-type]
        return (None, per_state, 1, None), (per_state, rows)

    def _more_axes(self, params: Params, state: Carry, inputs: Any, count: Any) -> tuple[Any, Any]:
        per_state = _example_axes(self.cell, params, state, inputs.shape[1])
        return (None, per_state, 1, None), (per_state, 0)

    def _reverse_axes(self, params: Params, states: Carry, inputs: Any, *rest: Any) -> tuple[Any, Any]:
        state = jax.tree.map(lambda rows: jax.ShapeDtypeStruct(rows.shape[1:], rows.dtype), states)
        per_state = _example_axes(self.cell, params, state, inputs.shape[1])
        return (None, _moved(per_state), 1, 1, None, 0), (0, 1)


def segments_of(
    cell: Cell, params: Params, carry: Carry, inputs: Any, split: Split | None = None, where: Hashable = None
) -> Segments:
    """The passes of a cell, shared by all calls for cells that compute the same.

    Args:
        params, carry, inputs: parameters, state, and inputs (T, B, I), or their shapes.
        split, where: what spreads the examples over devices, and its name; None for one device.

    Raises:
        GradlabError: the state has no float leaf, two of one name, or one without a row for each example.
    """
    check_state(carry, inputs.shape[1])
    x_t = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (params, carry, x_t))

    def content() -> str:
        return traced(with_pullback(cell.step), *shapes)

    if is_built_in(cell):
        leaves, treedef = jax.tree.flatten(shapes)
        known = _digests.get((cell, treedef, *((leaf.shape, leaf.dtype) for leaf in leaves)), content)
    else:
        # A custom cell may be equal to another one, or to itself, and compute something else than it did.
        known = content()
    found: Segments = _shared.get((known, where), lambda: Segments(cell, split))
    return found


def capacity(step_bytes: int) -> int:
    """Timesteps of a segment, from the bytes of the state of all examples.

    Example:
        >>> capacity(1000), capacity(2**20), capacity(2**40)
        (256, 32, 1)
    """
    return max(1, min(LONGEST_SEGMENT, SEGMENT_BYTES // max(step_bytes, 1)))


# ---------------------------------------------------------------- what is compiled


def forward(cell: Cell, params: Params, state: Carry, inputs: Array, count: Array) -> tuple[Carry, Rows]:
    """The state after `count` timesteps, and what is kept of each; rows after them say nothing.

    Args:
        state: that enters the first timestep. inputs: (L, B, I), of which the first `count` count.
    """
    names, _ = leaf_names(state)

    def timestep(s_tm1: Carry, x_t: Array) -> tuple[Carry, Rows]:
        s_t, y_t = cell.step(params, s_tm1, x_t)
        finite = {name: all_finite(leaf) for name, leaf in zip(names, split(s_t)[0], strict=True)}
        return s_t, Rows(s_tm1, y_t, finite, all_finite(y_t))

    def body(t: Array, loop: tuple[Carry, Rows]) -> tuple[Carry, Rows]:
        s_t, row = timestep(loop[0], _at(inputs, t))
        return s_t, _put(loop[1], row, t)

    with jax.default_matmul_precision("highest"):
        # Zeros cannot hold random keys, which a state may.
        states = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(inputs), *leaf.shape)), state)
        rows = _empty(len(inputs), lambda *at: (None, timestep(*at)[1]._replace(states=None)), state, inputs[0])
        rows = rows._replace(states=states)
        found: tuple[Carry, Rows] = lax.fori_loop(0, count, body, (state, rows))
        return found


def reverse(
    cell: Cell,
    method: Method,
    carried: bool,
    params: Params,
    states: Carry,
    inputs: Array,
    g: Array,
    count: Array,
    adjoint: Any,
) -> tuple[Any, NormRows]:
    """λₜ₋₁ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ + (∂sₜ/∂sₜ₋₁)ᵀ λₜ from timestep `count` to the first one of a segment.

    Args:
        carried: whether the second term counts.
        states: of `Rows`. g: dL_b/dyₜ, (L, B, O). adjoint: λ after the segment, as the method keeps it.

    Returns:
        λ before the segment, and the norm of each of its leaves at every timestep.
    """

    def timestep(adjoint_t: Any, s_tm1: Carry, x_t: Array, g_t: Array) -> tuple[Any, NormRows]:
        floats, rebuild = split(s_tm1)

        def floats_step(floats: list[Array]) -> tuple[list[Array], Array]:
            s_t, y_t = cell.step(params, rebuild(floats), x_t)
            return split(s_t)[0], y_t

        _, pullback = jax.vjp(floats_step, floats)
        step = method.step(pullback, adjoint_t if carried else None, method.source(g_t), floats)
        return step.adjoint, NormRows(step.norms, step.lossy)

    def body(i: Array, loop: tuple[Any, NormRows]) -> tuple[Any, NormRows]:
        t = count - 1 - i
        adjoint_tm1, row = timestep(loop[0], *(jax.tree.map(lambda rows: _at(rows, t), (states, inputs, g))))
        return adjoint_tm1, _put(loop[1], row, t)

    with jax.default_matmul_precision("highest"):
        first = jax.tree.map(lambda rows: rows[0], (states, inputs, g))
        rows = _empty(len(inputs), timestep, adjoint, *first)
        found: tuple[Any, NormRows] = lax.fori_loop(0, count, body, (adjoint, rows))
        return found


def _empty(timesteps: int, timestep: Callable[..., Any], *arguments: Any) -> Any:
    """Rows to be filled by what a timestep returns second."""
    _, row = jax.eval_shape(timestep, *arguments)
    return jax.tree.map(lambda leaf: jnp.zeros((timesteps, *leaf.shape), leaf.dtype), row)


def _at(rows: Array, t: Array) -> Array:
    return lax.dynamic_index_in_dim(rows, t, 0, keepdims=False)


def _put(rows: Any, row: Any, t: Array) -> Any:
    return jax.tree.map(lambda rows, leaf: lax.dynamic_update_index_in_dim(rows, leaf, t, 0), rows, row)


# ---------------------------------------------------------------- where the examples are


def _example_axes(cell: Cell, params: Params, state: Carry, examples: int) -> Any:
    """For each leaf of a state 0, or None where it has no row for each example."""
    rows = has_batch_axis(cell, params, state, examples)
    return jax.tree.unflatten(jax.tree.structure(state), [0 if row else None for row in rows])


def _moved(axes: Any) -> Any:
    """The same with the timesteps before them."""
    return jax.tree.map(lambda axis: axis + 1, axes)
