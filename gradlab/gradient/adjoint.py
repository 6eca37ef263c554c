"""The gradient of a loss at every state of a recurrent cell, without a floor.

The state sₜ₋₁ enters timestep t, and sₜ, yₜ = step(params, sₜ₋₁, xₜ). With gₜ = dL/dyₜ the adjoint is

    λₜ₋₁ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ + (∂sₜ/∂sₜ₋₁)ᵀ λₜ,   λ_T = 0

and |λ_{T-k}| is the gradient at lag k. The first term alone is the direct gradient. λ is kept with power-of-two
exponents (`scaled.py`), so that no entry underflows beside a larger one of any leaf (`pullback.py`).

It needs `step` only, and three passes: forward through the cell, the gradient of the loss with respect to the
outputs, and back through the cell. The first and the last walk over compiled segments (`segments.py`), and the
loss is a function of its own, so that neither another loss nor another length compiles the cell again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Carry, Cell, Params
from gradlab.gradient.program import Program
from gradlab.gradient.pullback import BY_MAGNITUDE, ONE_GROUP, Method
from gradlab.gradient.reductions import Floats
from gradlab.gradient.scaled import Scaled, log10
from gradlab.gradient.segments import LONGEST_SEGMENT, Rows, Segments, capacity, forward
from gradlab.gradient.state import leaf_names, split

Kind = Literal["total", "direct"]
KINDS: tuple[Kind, ...] = ("total", "direct")
Loss = Callable[[Array], Array]
Source = Callable[[Array], tuple[Array, Array]]
"""Outputs (T, B, O), or (1, B, O) -> the loss (B,) of each example, and its gradient with respect to them."""
Curves = Mapping[str, tuple[Kind, int | None]]
"""By name of a curve, the kind of its adjoint, and the timestep of a single-step gradient."""

MEMORY_BUDGET = 256 * 2**20
"""Bytes of the states that are kept for the way back; beyond it segments are recomputed."""
SAMPLE_BUDGET = 64 * 2**20
"""Likewise of the few examples whose way back is measured again beside the curves of all."""


class Reverse(NamedTuple):
    """A backward pass, in NumPy.

    Attributes:
        norms: for each float leaf of the state, the log10 norm at lags 1..T (row i is lag i + 1).
        lossy: (T, B), where the arithmetic may have lost an entry; never by `BY_MAGNITUDE`.
        dtype: the coarsest arithmetic of a leaf.
    """

    norms: dict[str, Floats]
    lossy: np.ndarray
    dtype: str


class Adjoint(NamedTuple):
    """A forward and a backward pass, in NumPy.

    Attributes:
        norms, lossy, dtype: as in `Reverse`.
        last_read: (B,), the last timestep whose output the loss of each example reads; `at` where that is given, T
            where it reads none.
        loss: (B,), the loss of each example.
        finite_states: for each float leaf, whether it is finite where it leaves timestep t = 1..T, (T, B).
        finite_outputs: likewise for the outputs.
        g: dL_b/dyₜ of the outputs that the adjoint starts from, (T, O, B), or (1, O, B) where that is one output.
    """

    norms: dict[str, Floats]
    lossy: np.ndarray
    dtype: str
    last_read: np.ndarray
    loss: np.ndarray
    finite_states: dict[str, np.ndarray]
    finite_outputs: np.ndarray
    g: np.ndarray


def adjoints(
    segments: Segments,
    params: Params,
    inputs: Any,
    start: Carry,
    source: Source,
    curves: Curves,
    *,
    last: bool = False,
    budget: int = MEMORY_BUDGET,
    method: Method | None = None,
) -> dict[str, Adjoint]:
    """The log10 norm of dL_b/dsₜ at every lag, for each leaf and example, of every curve.

    Args:
        segments: the compiled passes of the cell. params, inputs, start: its parameters, (T, B, I), and s₀.
        source: the loss and its gradient.
        last: the loss reads the last output alone and is given that, (1, B, O): no other is kept.
        budget: bytes of states above which segments are recomputed.
        method: how entries of different magnitude are pulled back; the cheaper one that loses nothing where None.
    """
    line = _Walk(segments, params, inputs, start, budget)
    seen = line.forward(last)
    losses, g = map(np.asarray, source(jnp.asarray(seen.outputs)))

    def backward(method: Method) -> dict[str, Reverse]:
        return {
            name: line.reverse(_Gradient(g, line.timesteps if last else None).only(at), kind, seen.states, method)
            for name, (kind, at) in curves.items()
        }

    found = backward(method or ONE_GROUP)
    if method is None and any(each.lossy.any() for each in found.values()):
        found = backward(BY_MAGNITUDE)
    return {
        name: Adjoint(
            *found[name],
            last_read(g, line.timesteps, at, last),
            losses,
            seen.finite_states,
            seen.finite_outputs,
            np.moveaxis(g if last or at is None else g[at - 1 : at], 1, -1),
        )
        for name, (_, at) in curves.items()
    }


def reverse(
    segments: Segments,
    params: Params,
    inputs: Any,
    start: Carry,
    g: np.ndarray,
    *,
    kind: Kind = "total",
    at: int | None = None,
) -> Reverse:
    """The adjoint from given gradients of the outputs, in one group of magnitude.

    Args:
        g: as in `Adjoint`.
        at: the timestep of the one output that it is of; None where it is of all.
        segments, params, inputs, start, kind: as in `adjoints`.
    """
    line = _Walk(segments, params, inputs, start, SAMPLE_BUDGET)
    states = line.forward(last=True).states
    return line.reverse(_Gradient(np.moveaxis(np.asarray(g), -1, 1), at), kind, states, ONE_GROUP)


def walk(program: Program, params: Params, inputs: Any, start: Carry) -> list[Any]:
    """What a pass of `Segments.more` gives for each segment."""
    line, state, found = _Walk(None, params, inputs, start, MEMORY_BUDGET), start, []
    for first, count in line.parts(line.timesteps):
        state, result = program(params, state, line.inputs_of(first, count), np.int32(count))
        found.append(result)
    return found


def compilations(
    segments: Segments, params: Params, inputs: Any, start: Carry, kinds: Sequence[Kind]
) -> list[Callable[[], Any]]:
    """What compiles a pass forward, and one back for each kind."""
    given = segment_arguments(params, inputs, start)
    rows = jax.eval_shape(partial(forward, segments.cell), *given)[1]
    *_, x, count = given
    back = params, rows.states, x, rows.outputs, count, ONE_GROUP.zero(split(start)[0])
    backs = [partial(segments.reverse(ONE_GROUP, kind == "total").compiled, *back) for kind in kinds]
    return [partial(segments.forward.compiled, *given), *backs]


def segment_arguments(params: Params, inputs: Any, start: Carry) -> tuple[Params, Carry, Any, Any]:
    """The arguments of a forward pass over a segment: parameters, state, the shape of its inputs, a count."""
    size = capacity(_bytes(start))
    return params, start, jax.ShapeDtypeStruct((size, *inputs.shape[1:]), inputs.dtype), np.int32(0)


def outputs_of(cell: Cell, params: Params, start: Carry, inputs: Any, count: int) -> Any:
    """The shape of `count` outputs."""
    x_t = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
    y_t = jax.eval_shape(cell.step, params, start, x_t)[1]
    return jax.ShapeDtypeStruct((count, *y_t.shape), y_t.dtype)


class _Gradient(NamedTuple):
    """Gradients of all outputs (T, B, O), or (1, B, O) of the one at timestep `at`."""

    g: np.ndarray
    at: int | None

    def only(self, at: int | None) -> "_Gradient":
        """The part of one timestep; all of it where None."""
        return self if at is None or self.at is not None else _Gradient(self.g[at - 1 : at], at)

    def of(self, first: int, count: int, size: int) -> np.ndarray:
        """The `count` rows after `first` timesteps, filled up with zeros to `size`."""
        if self.at is None and count == size:
            return self.g[first : first + count]
        rows = np.zeros((size, *self.g.shape[1:]), self.g.dtype)
        if self.at is None:
            rows[:count] = self.g[first : first + count]
        elif first < self.at <= first + count:
            rows[self.at - 1 - first] = self.g[0]
        return rows


class _States(NamedTuple):
    """The state that enters each segment and, where they are kept, each of its timesteps."""

    entering: list[Carry]
    kept: list[Carry | None]


class _Forward(NamedTuple):
    """Outputs (T, B, O), or (1, B, O) of the last timestep, flags by timestep, and states for the way back."""

    outputs: np.ndarray
    finite_states: dict[str, np.ndarray]
    finite_outputs: np.ndarray
    states: _States


class _Sequence:
    """Rows by timestep or by lag, in NumPy, put together from those of segments.

    Attributes:
        rows: a tree of arrays (T, ...); None before the first segment.
    """

    def __init__(self, timesteps: int) -> None:
        self.timesteps = timesteps
        self.rows: Any = None

    def put(self, rows: Any, first: int, count: int) -> None:
        """The first `count` rows of a segment; waited for, so that there is no second one in memory."""

        def empty(leaf: Any) -> np.ndarray:
            return np.empty((self.timesteps, *leaf.shape[1:]), leaf.dtype)

        def put(whole: np.ndarray, leaf: Any) -> None:
            whole[first : first + count] = np.asarray(leaf)[:count]

        if self.rows is None:
            self.rows = jax.tree.map(empty, rows)
        jax.tree.map(put, self.rows, rows)


class _Walk:
    """A sequence, walked in segments."""

    def __init__(self, segments: Any, params: Params, inputs: Any, start: Carry, budget: int) -> None:
        self.segments, self.params, self.start = segments, params, start
        self.inputs = inputs if jnp.issubdtype(inputs.dtype, jax.dtypes.extended) else np.asarray(inputs)
        self.timesteps = len(inputs)
        self.size = capacity(_bytes(start))
        self.keeps = self.timesteps * _bytes(start) <= budget

    def forward(self, last: bool) -> _Forward:
        """Forward through all segments; with `last` no output but the last is kept."""
        state, entering, kept, whole = self.start, [], [], _Sequence(self.timesteps)
        for first, count in self.parts(self.timesteps):
            entering.append(state)
            state, rows = self._forward(state, first, count)
            kept.append(rows.states if self.keeps else None)
            whole.put((None if last else rows.outputs, *rows[2:]), first, count)
        outputs, finite_states, finite_outputs = whole.rows
        if last:
            outputs = np.asarray(rows.outputs)[count - 1 : count]
        return _Forward(outputs, finite_states, finite_outputs, _States(entering, kept))

    def reverse(self, gradient: _Gradient, kind: Kind, states: _States, method: Method) -> Reverse:
        """Back through the segments up to the last output that has a gradient."""
        # Timesteps after the source have no part in it: a NaN of theirs must not either.
        end = self.timesteps if gradient.at is None else gradient.at
        program = self.segments.reverse(method, kind == "total")
        adjoint, whole = method.zero(split(self.start)[0]), _Sequence(end)
        for i, (first, count) in reversed(list(enumerate(self.parts(end)))):
            kept = states.kept[i]
            entering = self._forward(states.entering[i], first, count)[1].states if kept is None else kept
            g = gradient.of(first, count, self.size)
            adjoint, rows = program(
                self.params, entering, self.inputs_of(first, count), g, np.int32(count), adjoint
            )
            # In logarithms and in the order of lags at once: a long sequence is not to be copied.
            norms, lossy = jax.tree.map(lambda leaf, count=count: np.asarray(leaf)[:count][::-1], rows)
            whole.put(([log10(norm) for norm in norms], lossy), end - first - count, count)
        by_leaf = dict(zip(leaf_names(self.start)[0], whole.rows[0], strict=True))
        return Reverse(by_leaf, whole.rows[1], coarsest(norms))

    def _forward(self, state: Carry, first: int, count: int) -> tuple[Carry, Rows]:
        found: tuple[Carry, Rows] = self.segments.forward(
            self.params, state, self.inputs_of(first, count), np.int32(count)
        )
        return found

    def parts(self, end: int) -> Iterator[tuple[int, int]]:
        """The first timestep of each segment, counted from 0, and how many it has."""
        return ((first, min(self.size, end - first)) for first in range(0, end, self.size))

    def inputs_of(self, first: int, count: int) -> Any:
        """The inputs of a segment, filled up to its size; a program runs over the first `count` alone."""
        if count == self.size:
            return self.inputs[first : first + count]
        return self.inputs[np.minimum(np.arange(first, first + self.size), first + count - 1)]


def _bytes(state: Carry) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def coarsest(norms: Iterable[Scaled]) -> str:
    """The dtype of the arithmetic that has the fewest bits."""
    dtypes: list[Any] = [norm.mantissa.dtype for norm in norms]
    return str(min(dtypes, key=lambda dtype: dtype.itemsize))


def last_read(g: np.ndarray, timesteps: int, at: int | None, last: bool) -> np.ndarray:
    """The last timestep t of each example with gₜ ≠ 0, (B,)."""
    if at is not None or last:
        return np.full(g.shape[1], timesteps if at is None else at)
    found = np.zeros(g.shape[1], int)
    for end in range(timesteps, 0, -LONGEST_SEGMENT):  # most losses read an output near the end
        first = max(0, end - LONGEST_SEGMENT)
        read = np.any(g[first:end] != 0, axis=tuple(range(2, g.ndim)))
        latest = np.where(np.any(read, axis=0), end - np.argmax(read[::-1], axis=0), 0)
        found = np.maximum(found, latest)
        if found.all():
            break
    return np.where(found, found, timesteps)
