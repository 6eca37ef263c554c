"""The gradient of a loss at every state of a recurrent cell, without a floor.

The state sₜ₋₁ enters timestep t, and sₜ, yₜ = step(params, sₜ₋₁, xₜ). With gₜ = dL/dyₜ the adjoint is

    λₜ₋₁ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ + (∂sₜ/∂sₜ₋₁)ᵀ λₜ,   λ_T = 0

and |λ_{T-k}| is the gradient at lag k. The first term alone is the direct gradient. λ is kept with power-of-two
exponents (`scaled.py`), so that no entry underflows beside a larger one of any leaf (`pullback.py`).

It needs `step` only. Memory holds the outputs and, up to a budget, the states of the forward pass; of a longer
sequence, segments are recomputed on the way back (`segments.py`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from gradlab.cells import Carry, Cell, Params
from gradlab.gradient.pullback import ONE_GROUP, Method, silenced
from gradlab.gradient.scaled import Scaled
from gradlab.gradient.segments import MEMORY_BUDGET, cut, join, segment_length
from gradlab.gradient.state import check_state, leaf_names, split

Kind = Literal["total", "direct"]
Loss = Callable[[Array], Array]


class Reverse(NamedTuple):
    """A backward pass.

    Attributes:
        norms: for each float leaf of the state, the scaled norm at lags 1..T (row i is lag i + 1).
        lossy: (T, B), where the arithmetic may have lost an entry; never by `BY_MAGNITUDE`.
    """

    norms: dict[str, Scaled]
    lossy: Array


class Adjoint(NamedTuple):
    """A forward and a backward pass.

    Attributes:
        norms, lossy: as in `Reverse`.
        last_read: (B,), the last timestep whose output the loss of each example reads; `at` where that is given, T
            where it reads none.
        loss: (B,), the loss of each example.
        finite_states: for each float leaf, whether it is finite where it leaves timestep t = 1..T, (T, B).
        finite_outputs: likewise for the outputs.
        g: dL_b/dyₜ of the outputs that the adjoint starts from, (T, O, B), or (1, O, B) where that is one output.
    """

    norms: dict[str, Scaled]
    lossy: Array
    last_read: Array
    loss: Array
    finite_states: dict[str, Array]
    finite_outputs: Array
    g: Array


def adjoint(
    cell: Cell,
    params: Params,
    inputs: Array,
    loss: Loss,
    carry: Carry | None = None,
    *,
    kind: Kind = "total",
    at: int | None = None,
    last: bool = False,
    budget: int = MEMORY_BUDGET,
    method: Method = ONE_GROUP,
) -> Adjoint:
    """The scaled norm of dL_b/dsₜ at every lag, for each leaf and example; pure JAX, may be jitted.

    Args:
        cell, params, inputs, loss, carry, kind, at: as in `gradient_curve`.
        last: the loss reads the last output alone and is given that, (1, B, O): no other is kept.
        budget: bytes of states above which segments are recomputed.
        method: how entries of different magnitude are pulled back.

    Raises:
        GradlabError: the state has no float leaf, two of one name, or one without a row for each example.
    """
    path, start = _begin(cell, params, inputs, carry, kind, budget)
    with jax.default_matmul_precision("highest"):
        forward = _forward(path, inputs, start, last)
        losses, output_gradients = jax.vjp(loss, forward.outputs)
        (g,) = output_gradients(jnp.ones_like(losses))
        last_read = _last_read(g, len(inputs), at, last)
        g = g if last or at is None else g[at - 1 : at]
        kept = forward.kept if at is None or at == len(inputs) else None
        norms, lossy = _reverse(path, inputs, start, kept, g, len(inputs) if last else at, method)
    finite = forward.finite_states, forward.finite_outputs
    return Adjoint(norms, lossy, last_read, losses, *finite, jnp.moveaxis(g, 1, -1))


def reverse(
    cell: Cell,
    params: Params,
    inputs: Array,
    g: Array,
    carry: Carry | None = None,
    *,
    kind: Kind = "total",
    at: int | None = None,
) -> Reverse:
    """The adjoint from given gradients of the outputs.

    Args:
        g: as in `Adjoint`.
        at: the timestep of the one output that it is of; None where it is of all.
        cell, params, inputs, carry, kind: as in `adjoint`.
    """
    path, start = _begin(cell, params, inputs, carry, kind, MEMORY_BUDGET)
    with jax.default_matmul_precision("highest"):
        return _reverse(path, inputs, start, None, jnp.moveaxis(g, -1, 1), at, ONE_GROUP)


class _PassConstants(NamedTuple):
    """The constants of a pass; `carried` for the total gradient, `segment` timesteps are recomputed at a time."""

    cell: Cell
    params: Params
    carried: bool
    segment: int


class _Forward(NamedTuple):
    """Outputs and flags by timestep, and what the backward pass needs.

    `kept` is the state that enters each timestep or, where segments are recomputed, each segment but the first.
    """

    outputs: Array
    finite_states: dict[str, Array]
    finite_outputs: Array
    kept: Carry


def _begin(
    cell: Cell, params: Params, inputs: Array, carry: Carry | None, kind: Kind, budget: int
) -> tuple[_PassConstants, Carry]:
    start = jax.tree.map(jnp.asarray, cell.carry(params, inputs.shape[1]) if carry is None else carry)
    check_state(start, inputs.shape[1])
    step_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(start))
    return _PassConstants(cell, params, kind == "total", segment_length(len(inputs), step_bytes, budget)), start


def _forward(path: _PassConstants, inputs: Array, start: Carry, last: bool) -> _Forward:
    names, _ = leaf_names(start)

    # The scan carries the state and, where no other output is kept, the output.
    def timestep(before: tuple[Carry, Any], x_t: Array) -> tuple[tuple[Carry, Any], tuple[Any, ...]]:
        s_t, y_t = path.cell.step(path.params, before[0], x_t)
        finite = {name: _all_finite(leaf) for name, leaf in zip(names, split(s_t)[0], strict=True)}
        return (s_t, y_t if last else None), (None if last else y_t, finite, _all_finite(y_t))

    def keeping(before: tuple[Carry, Any], x_t: Array) -> tuple[tuple[Carry, Any], tuple[Carry, Any]]:
        after, row = timestep(before, x_t)
        return after, (before[0], row)

    def segment(before: tuple[Carry, Any], xs: Array) -> tuple[tuple[Carry, Any], tuple[Carry, Any]]:
        after, rows = lax.scan(timestep, before, xs)
        return after, (before[0], rows)

    shape = jax.eval_shape(lambda: path.cell.step(path.params, start, inputs[0])[1])
    begin = (start, jnp.zeros(shape.shape, shape.dtype) if last else None)
    if path.segment == len(inputs):
        final, (kept, rows) = lax.scan(keeping, begin, inputs)
    else:
        head, segments = cut(inputs, path.segment)
        middle, (_, first) = segment(begin, head)
        final, (kept, rest) = lax.scan(segment, middle, segments)
        rows = join(first, rest)
    outputs, finite_states, finite_outputs = rows
    _, y_last = final
    return _Forward(outputs if y_last is None else y_last[None], finite_states, finite_outputs, kept)


def _last_read(g: Array, timesteps: int, at: int | None, last: bool) -> Array:
    """The last timestep t of each example with gₜ ≠ 0, (B,)."""
    if at is not None or last:
        return jnp.full(g.shape[1], timesteps if at is None else at)
    read = jnp.any(g != 0, axis=tuple(range(2, g.ndim)))
    return jnp.where(jnp.any(read, axis=0), timesteps - jnp.argmax(read[::-1], axis=0), timesteps)


def _reverse(
    path: _PassConstants, inputs: Array, start: Carry, kept: Carry | None, g: Array, at: int | None, method: Method
) -> Reverse:
    """The backward pass from g (T, B, O), or (1, B, O) of timestep `at`; without `kept`, runs forward first."""
    if at is not None and at < len(inputs):
        # Timesteps after the source have no part in it: a NaN of theirs must not either.
        inputs, path = inputs[:at], path._replace(segment=min(path.segment, at))
    kept = _forward(path, inputs, start, last=True).kept if kept is None else kept
    source = jax.vmap(method.source)(g) if at is None else method.source(g[0])
    back = partial(_timestep, path, method, source, at)
    times = jnp.arange(1, len(inputs) + 1)
    given = (inputs, times, source if at is None else None)
    zero = method.zero(split(start)[0])

    def states(s_tm1: Carry, xs: Array) -> Carry:
        return lax.scan(lambda s, x_t: (path.cell.step(path.params, s, x_t)[0], s), s_tm1, xs)[1]

    def segment(adjoint_t: Any, rows: Any) -> tuple[Any, Any]:
        s_tm1, given = rows
        return lax.scan(back, adjoint_t, (states(s_tm1, given[0]), *given), reverse=True)

    if path.segment == len(inputs):
        _, rows = lax.scan(back, zero, (kept, *given), reverse=True)
    else:
        head, segments = cut(given, path.segment)
        middle, rest = lax.scan(segment, zero, (kept, segments), reverse=True)
        _, first = segment(middle, (start, head))
        rows = join(first, rest)
    norms, lossy = jax.tree.map(lambda row: row[::-1], rows)
    return Reverse(dict(zip(leaf_names(start)[0], norms, strict=True)), lossy)


def _timestep(
    path: _PassConstants,
    method: Method,
    source: Any,
    at: int | None,
    adjoint_t: Any,
    row: tuple[Carry, Array, Array, Any],
) -> tuple[Any, tuple[list[Scaled], Array]]:
    """λₜ₋₁ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ + (∂sₜ/∂sₜ₋₁)ᵀ λₜ, the norm of each of its leaves, and whether it may be lossy.

    gₜ comes with the row, or is `source` at timestep `at` and zero at any other.
    """
    s_tm1, x_t, t, g_t = row
    if at is not None:
        g_t = silenced(source, jnp.equal(t, at))
    floats, rebuild = split(s_tm1)

    def floats_step(floats: list[Array]) -> tuple[list[Array], Array]:
        s_t, y_t = path.cell.step(path.params, rebuild(floats), x_t)
        return split(s_t)[0], y_t

    _, pullback = jax.vjp(floats_step, floats)
    step = method.step(pullback, adjoint_t if path.carried else None, g_t, floats)
    return step.adjoint, (step.norms, step.lossy)


def _all_finite(value: Array) -> Array:
    """(B,) from (B, ...)."""
    return jnp.all(jnp.isfinite(value), axis=tuple(range(1, value.ndim)))
