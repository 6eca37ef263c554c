"""A cell over time, made for training.

Of a gated cell, which states its linear and its elementwise part (`cells/base.py`):

    forward   preₜ = join(xₜ Wₓ + b, hₜ₋₁ Wₕ + b_r),   sₜ = gates(preₜ, sₜ₋₁)
    backward  δₜ = ∂gatesᵀ λₜ,   λₜ₋₁ = ∂gatesᵀ λₜ + joinᵀδₜ Wₕᵀ
    weights   ∂Wₕ = Σₜ hₜ₋₁ᵀ joinᵀδₜ, one matrix product for many timesteps at a time

Where the saved activations of all timesteps would exceed a memory budget, segments are recomputed on the way back
(`gradient/segments.py`). Any other cell goes through a plain scan.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from gradlab.cells import Carry, Cell, GatedCell, Params
from gradlab.gradient.adjoint import MEMORY_BUDGET
from gradlab.training.fast_path import takes_fast_path
from gradlab.training.recompute import cut, join, segment_length
from gradlab.training.state_grad_norms import Sinks, sink, state_statistics

STRETCH_BYTES = 2**20
"""Of δ in the timesteps whose weight gradients are one matrix product: it is then still in the cache."""
SAVED_PER_STATE = 8
"""Saved numbers per unit and timestep of the heaviest built-in cell, for the memory estimate."""
SMALL_INPUT = 4
"""Inputs of at most this size are multiplied inside the gate kernel instead of by a matrix product."""


def unroll(
    cell: Cell,
    params: Params,
    inputs: Array,
    *,
    last: bool = False,
    budget: int = MEMORY_BUDGET,
    sinks: Sinks | None = None,
) -> Array:
    """The outputs (T, B, Y) of a cell for inputs (T, B, I), or the last of them (1, B, Y).

    Args:
        cell: on the fast path or not, the values are the same.
        params: the parameters of the cell.
        inputs: (T, B, I).
        last: return the last output alone.
        budget: bytes of saved activations above which the backward pass recomputes segments.
        sinks: `state_grad_norms.zero_sinks`, whose gradient are the norms of the backward pass; None for no norms.
    """
    start = cell.carry(params, inputs.shape[1])
    return unroll_from(start, cell, params, inputs, last=last, budget=budget, sinks=sinks)[1]


def unroll_from(
    start: Carry,
    cell: Cell,
    params: Params,
    inputs: Array,
    *,
    last: bool = False,
    budget: int = MEMORY_BUDGET,
    sinks: Sinks | None = None,
    window: int = 0,
) -> tuple[Carry, Array]:
    """The state at the end, and the outputs as of `unroll`, from the state `start`.

    Args:
        window: no gradient goes from one window of that many timesteps to the one before; the last one ends with
            the sequence; 0 for none.
    """
    if 0 < window < len(inputs):
        return _truncated(start, cell, params, inputs, last, budget, sinks, window)
    if not takes_fast_path(cell, params, inputs):
        return _scan(cell, params, inputs, start, last, sinks)
    step_bytes = SAVED_PER_STATE * start["h"].size * start["h"].dtype.itemsize
    path = _Options(cell, last, segment_length(len(inputs), step_bytes, budget), sinks is not None)
    final, outputs = _unroll(path, params, inputs, start, sinks)
    return final, final["h"][None] if outputs is None else outputs


def _truncated(
    start: Carry,
    cell: Cell,
    params: Params,
    inputs: Array,
    last: bool,
    budget: int,
    sinks: Sinks | None,
    window: int,
) -> tuple[Carry, Array]:
    def run(state: Carry, given: tuple[Array, Sinks | None]) -> tuple[Carry, Array]:
        xs, own = given
        return unroll_from(state, cell, params, xs, last=last, budget=budget, sinks=own)

    head, windows = cut((inputs, sinks), window)
    middle, first = run(start, head)
    final, others = lax.scan(lambda state, given: run(lax.stop_gradient(state), given), middle, windows)
    return final, others[-1] if last else join(first, others)


def _scan(
    cell: Cell, params: Params, inputs: Array, start: Carry, last: bool, sinks: Sinks | None
) -> tuple[Carry, Array]:
    def timestep(s_tm1: Carry, given: tuple[Array, Sinks | None]) -> tuple[Carry, Array]:
        x_t, sinks_t = given
        return cell.step(params, s_tm1 if sinks_t is None else sink(s_tm1, sinks_t), x_t)

    final, outputs = lax.scan(timestep, start, (inputs, sinks))
    return final, outputs[-1:] if last else outputs


class _Options(NamedTuple):
    """The constants of a pass: `last` output alone, `segment` timesteps recomputed at a time, `norms` kept."""

    cell: GatedCell
    last: bool
    segment: int
    norms: bool


class _Residuals(NamedTuple):
    """What a segment leaves for its backward pass: hₜ₋₁ (T, B, H) and the pullback of `gates`, stacked."""

    h_tm1: Array
    pullbacks: Any


@partial(jax.tree_util.register_dataclass, data_fields=("rest",), meta_fields=("places", "structure"))
@dataclass(frozen=True)
class _Slim:
    """A pullback without hₜ₋₁ and hₜ, which are stacked anyway; each further array costs every timestep a copy.

    Attributes:
        rest: its other arrays.
        places: for each of all its arrays, 0 if it is hₜ₋₁, 1 if it is hₜ, None if it is in `rest`.
        structure: of the pullback.
    """

    rest: list[Array]
    places: tuple[int | None, ...]
    structure: Any

    @classmethod
    def of(cls, pullback: Any, h_tm1: Array, h_t: Array) -> "_Slim":
        arrays, structure = jax.tree.flatten(pullback)
        places = tuple(0 if one is h_tm1 else 1 if one is h_t else None for one in arrays)
        rest = [one for one, place in zip(arrays, places, strict=True) if place is None]
        return cls(rest, places, structure)

    def whole(self, h_tm1: Array, h_t: Array) -> Any:
        rest = iter(self.rest)
        return self.structure.unflatten(
            [next(rest) if place is None else (h_tm1, h_t)[place] for place in self.places]
        )


class _Gradients(NamedTuple):
    """With respect to the arguments of `_unroll`; of the sinks, the statistics of `state_grad_norms.py`."""

    params: Any
    inputs: Array
    start: Carry
    sinks: Sinks | None


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _unroll(
    path: _Options, params: Params, inputs: Array, start: Carry, sinks: Sinks | None
) -> tuple[Carry, Array | None]:
    """The final state and the outputs of all timesteps (None where only the last is wanted)."""
    timestep = _forward_step(path.cell, params)

    def body(s_tm1: Carry, x_t: Array) -> tuple[Carry, Array | None]:
        s_t = path.cell.gates(timestep(s_tm1, x_t), s_tm1)
        return s_t, None if path.last else s_t["h"]

    return lax.scan(body, start, inputs)


def _unroll_forward(
    path: _Options, params: Params, inputs: Array, start: Carry, sinks: Sinks | None
) -> tuple[Any, Any]:
    if path.segment == len(inputs):
        final, outputs, residuals = _segment_forward(path, params, inputs, start)
        return (final, outputs), (params, inputs, start, residuals)
    head, segments = cut(inputs, path.segment)

    def run(s_tm1: Carry, xs: Array) -> tuple[Carry, Any]:
        s_t, outputs = _unroll(path, params, xs, s_tm1, None)
        return s_t, (s_tm1, outputs)

    middle, (_, first) = run(start, head)
    final, (starts, rest) = lax.scan(run, middle, segments)
    outputs = None if path.last else join(first, rest)
    return (final, outputs), (params, inputs, start, starts)


def _unroll_backward(path: _Options, saved: Any, cotangents: tuple[Carry, Array | None]) -> tuple[Any, ...]:
    d_final, d_outputs = cotangents
    params, inputs, start, kept = saved
    if path.segment == len(inputs):
        return tuple(_segment_backward(path, params, inputs, kept, d_outputs, d_final))
    (head, d_head), (segments, d_segments) = cut((inputs, d_outputs), path.segment)

    def recomputed(s_tm1: Carry, xs: Array, d_ys: Array | None, d_s: Carry) -> _Gradients:
        *_, residuals = _segment_forward(path, params, xs, s_tm1)
        return _segment_backward(path, params, xs, residuals, d_ys, d_s)

    def body(carried: tuple[Any, Carry], segment: Any) -> tuple[tuple[Any, Carry], tuple[Array, Sinks | None]]:
        d_params, d_s = carried
        s_tm1, xs, d_ys = segment
        more = recomputed(s_tm1, xs, d_ys, d_s)
        return (jax.tree.map(jnp.add, d_params, more.params), more.start), (more.inputs, more.sinks)

    zeros = jax.tree.map(jnp.zeros_like, params)
    (d_params, d_s), rest = lax.scan(body, (zeros, d_final), (kept, segments, d_segments), reverse=True)
    first = recomputed(start, head, d_head, d_s)
    d_inputs, sinks = join((first.inputs, first.sinks), rest)
    return jax.tree.map(jnp.add, d_params, first.params), d_inputs, first.start, sinks


_unroll.defvjp(_unroll_forward, _unroll_backward)


def _forward_step(cell: GatedCell, params: Params) -> Callable[[Carry, Array], Array]:
    """The linear part of a timestep, (sₜ₋₁, xₜ) -> preₜ."""
    w_x, w_h, b = params["w_x"], params["w_h"], params["b"]
    b_r = cell.recurrent_bias(params)

    def timestep(s_tm1: Carry, x_t: Array) -> Array:
        z_t = _project(x_t, w_x) + b
        r_t = s_tm1["h"] @ w_h
        return cell.join(z_t, r_t if b_r is None else r_t + b_r)

    return timestep


def _project(x_t: Array, w_x: Array) -> Array:
    """xₜ Wₓ; a small input as multiply-adds, which fuse with the gates."""
    if x_t.shape[-1] > SMALL_INPUT:
        return x_t @ w_x
    terms = [x_t[:, i : i + 1] * w_x[i] for i in range(x_t.shape[-1])]
    return sum(terms[1:], start=terms[0])


def _segment_forward(path: _Options, params: Params, inputs: Array, start: Carry) -> tuple[Carry, Any, _Residuals]:
    """The final state, the outputs, and what the backward pass needs."""
    cell = path.cell
    linear = _forward_step(cell, params)
    # Saving the squashed values alone and redoing the products of them is faster than saving every factor.
    gates = jax.checkpoint(cell.gates, policy=_saves_squashed, prevent_cse=False)

    def body(s_tm1: Carry, x_t: Array) -> tuple[Carry, Any]:
        s_t, pullback = jax.vjp(gates, linear(s_tm1, x_t), s_tm1)
        return s_t, (s_tm1["h"], _Slim.of(pullback, s_tm1["h"], s_t["h"]))

    final, (h_tm1, slim) = lax.scan(body, start, inputs)
    h_t = jnp.concatenate([h_tm1[1:], final["h"][None]])
    return final, None if path.last else h_t, _Residuals(h_tm1, slim.whole(h_tm1, h_t))


def _saves_squashed(primitive: Any, *_: Any, **__: Any) -> bool:
    # A block that a product needs is saved by itself: else the whole that it is cut from would be.
    return primitive.name in ("tanh", "logistic", "slice", "split")


def _segment_backward(
    path: _Options, params: Params, inputs: Array, residuals: _Residuals, d_outputs: Array | None, d_final: Carry
) -> _Gradients:
    cell, w_h_t = path.cell, params["w_h"].T  # transposed once: a product over the other axis is far slower
    pre_shape = jax.eval_shape(_forward_step(cell, params), d_final, inputs[0])
    blocks = jax.ShapeDtypeStruct((inputs.shape[1], w_h_t.shape[0]), pre_shape.dtype)
    split = jax.linear_transpose(cell.join, blocks, blocks)

    def timestep(d_s: Carry, saved: tuple[Any, Array | None]) -> tuple[Carry, tuple[Array, Sinks | None]]:
        pullback, d_y = saved
        d_s = d_s if d_y is None else d_s | {"h": d_s["h"] + d_y}
        d_pre, d_s = pullback(d_s)
        d_s = d_s | {"h": d_s["h"] + split(d_pre)[1] @ w_h_t}
        return d_s, (d_pre, state_statistics(d_s) if path.norms else None)

    def stretch(carried: tuple[Carry, Any], saved: Any) -> tuple[tuple[Carry, Any], tuple[Array, Sinks | None]]:
        d_s, d_params = carried
        xs, (h_tm1, pullbacks), d_ys = saved
        d_s, (d_pre, norms) = lax.scan(timestep, d_s, (pullbacks, d_ys), reverse=True)
        d_z, d_r = jax.vmap(split)(d_pre)
        more = _weight_gradients(cell, params, xs, h_tm1, d_z, d_r)
        return (d_s, jax.tree.map(jnp.add, d_params, more)), (d_z @ params["w_x"].T, norms)

    # A GPU's time goes into launches, so there all weight gradients are one product at the end.
    most = STRETCH_BYTES if jax.default_backend() == "cpu" else sys.maxsize
    length = max(1, most // (pre_shape.size * pre_shape.dtype.itemsize))
    head, stretches = cut((inputs, residuals, d_outputs), min(length, len(inputs)))
    carried = (d_final, jax.tree.map(jnp.zeros_like, params))
    carried, rest = lax.scan(stretch, carried, stretches, reverse=True)
    (d_start, d_params), first = stretch(carried, head)
    d_inputs, sinks = join(first, rest)
    return _Gradients(d_params, d_inputs, d_start, sinks)


def _weight_gradients(cell: GatedCell, params: Params, inputs: Array, h_tm1: Array, d_z: Array, d_r: Array) -> Any:
    """Σ over timesteps and examples, as one matrix product for each weight."""
    rows = len(inputs) * inputs.shape[1]
    d_z, d_r = d_z.reshape(rows, -1), d_r.reshape(rows, -1)
    if cell.recurrent_bias(params) is None:
        d_params = jax.tree.map(jnp.zeros_like, params)
    else:
        (d_params,) = jax.vjp(cell.recurrent_bias, params)[1](d_r.sum(axis=0))
    return d_params | {
        "w_h": h_tm1.reshape(rows, -1).T @ d_r,
        "w_x": inputs.reshape(rows, -1).T @ d_z,
        "b": d_z.sum(axis=0),
    }
