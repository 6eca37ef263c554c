"""Through which path of a gated cell the gradient goes back: the carried state, or the recurrent input of a gate.

With sₜ = gates(join(zₜ, rₜ), sₜ₋₁) and rₜ = W_h hₜ₋₁, the Jacobian of a timestep is a sum of paths: the
elementwise one with rₜ held fixed (c of an LSTM, zₜ ⊙ hₜ₋₁ of a GRU), and one for each gate:

    Jₜ = ∂sₜ/∂sₜ₋₁ |_r + Σ_p (∂sₜ/∂rₜ)|_p W_h|_p,    λₜ₋₁ = Σ_p J_pᵀ μₜ,    μₜ = λₜ + (gₜ to h)

so that the shares ⟨J_pᵀ μₜ, λₜ₋₁⟩ / |λₜ₋₁|² add up to 1. λᵖₜ₋₁ = J_pᵀ (λᵖₜ + gₜ to h) is the gradient where p
alone is open at every timestep; what is left of the whole changed its path on the way.

Source: the paths are those of Hochreiter & Schmidhuber (1997), appendix A.1, which truncates all but the first.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.cells import Carry, Params
from gradlab.cells.base import GatedCell, is_gated
from gradlab.errors import GradlabError
from gradlab.gradient import scaled
from gradlab.gradient.adjoint import Loss
from gradlab.gradient.losses import with_gradient
from gradlab.gradient.plain import prepared, states_and_outputs
from gradlab.gradient.reductions import Floats
from gradlab.gradient.scaled import Scaled, log10, times_power_of_two

CARRIED = "carried"
"""The elementwise path from state to state."""


@dataclass(frozen=True)
class PathCredit:
    """The gradient at lag k = 1..T by path, of B examples.

    Attributes:
        log10_norm: log10 |λ| of the whole gradient, (T, B).
        alone: for `carried` and each gate, log10 |λᵖ| where that path alone is open, (T, B).
        share: the part of the gradient that took this path in its last step back; they add up to 1, (T, B). A
            negative one works against the others.
        alone_share: ⟨λᵖ, λ⟩ / |λ|², the part that took this path in every step, (T, B).
    """

    log10_norm: Floats
    alone: dict[str, Floats]
    share: dict[str, Floats]
    alone_share: dict[str, Floats]


def path_credit(cell: Any, params: Params, inputs: Any, loss: Loss, carry: Carry | None = None) -> PathCredit:
    """The gradient curve of a gated cell by path, in float64, without a floor.

    λₜ₋₁ = Σ_p J_pᵀ μₜ over the paths p of a timestep.

    Args:
        cell: with `join`, `gates` and `gate_bounds`, as every cell of gradlab that states its gates.
        params, inputs, loss, carry: as in `gradient_curve`.

    Raises:
        GradlabError: the cell does not state its gates, its `step` does more than they, or the gradient is not
            finite.

    Example:
        >>> import jax
        >>> from gradlab.cells import lstm
        >>> cell = lstm()
        >>> params, inputs = cell.init(jax.random.key(0), 1, 8), jax.random.normal(jax.random.key(1), (30, 2, 1))
        >>> credit = path_credit(cell, params, inputs, lambda outputs: outputs[-1].sum(axis=-1))
        >>> list(credit.alone), bool(np.allclose(sum(credit.share.values()), 1))
        (['carried', 'i', 'f', 'g', 'o'], True)
    """
    cell, params, inputs, start = prepared(cell, params, inputs, carry)
    names = _paths(cell, params)
    with jax.enable_x64(True):
        _check_step(cell, params, inputs, start)
        states, outputs = states_and_outputs(cell, params, inputs, start)
        g = with_gradient(loss)(outputs)[1]
        rows = jax.jit(partial(_back, cell, len(names) - 1))(params, states, inputs, g)
    rows = jax.tree.map(lambda leaf: np.asarray(leaf)[::-1], rows)
    if not np.isfinite(rows.whole.mantissa).all():
        raise GradlabError("the gradient is not finite: it has no paths")
    alone = {name: log10(Scaled(*(part[:, path] for part in rows.alone))) for path, name in enumerate(names)}
    share, alone_share = (
        dict(zip(names, np.moveaxis(part, 1, 0), strict=True)) for part in (rows.share, rows.alone_share)
    )
    return PathCredit(log10(rows.whole), alone, share, alone_share)


class _PathRow(NamedTuple):
    """Of one timestep: norms (B,), and of each path (P, B)."""

    whole: Scaled
    alone: Scaled
    share: Array
    alone_share: Array


def _paths(cell: Any, params: Params) -> tuple[str, ...]:
    if not (is_gated(cell) and hasattr(cell, "gate_bounds")):
        raise GradlabError(
            f"{type(cell).__name__} does not state its gates, so its paths are not known: give a cell with join, "
            "gates and gate_bounds, such as lstm or gru"
        )
    gates = tuple(cell.gate_bounds())
    shape: tuple[int, ...] = getattr(params.get("w_h") if isinstance(params, dict) else None, "shape", ())
    if len(shape) != 2:
        raise GradlabError(f"{type(cell).__name__} has no recurrent matrix `w_h`, so its paths are not known")
    hidden, blocks = shape
    if blocks != hidden * len(gates):
        raise GradlabError(
            f"{type(cell).__name__} names {len(gates)} gates, and its recurrent weights have {blocks / hidden:g} "
            "blocks: name one for each"
        )
    return (CARRIED, *gates)


def _check_step(cell: GatedCell, params: Params, inputs: Array, start: Carry) -> None:
    draws = np.random.RandomState(0)
    state = jax.tree.map(lambda leaf: leaf + 0.1 * draws.standard_normal(leaf.shape), start)
    by_parts = _by_parts(cell, params, inputs[0], state, state["h"] @ params["w_h"])
    whole = cell.step(params, state, inputs[0])[0]
    if any(not np.allclose(by_parts[name], whole[name], rtol=1e-9, atol=1e-12) for name in whole):
        raise GradlabError(f"{type(cell).__name__}.step does more than its gates, so its paths are not known")


def _by_parts(cell: GatedCell, params: Params, x_t: Array, s_tm1: Carry, r_t: Array) -> Carry:
    """sₜ from sₜ₋₁ and the recurrent product rₜ, as if these two did not hang together."""
    b_r = cell.recurrent_bias(params)
    pre_t = cell.join(x_t @ params["w_x"] + params["b"], r_t if b_r is None else r_t + b_r)
    return cell.gates(pre_t, s_tm1)


def _back(cell: GatedCell, gates: int, params: Params, states: Carry, inputs: Array, g: Array) -> _PathRow:
    """Rows by timestep, from the last one back."""
    first, unravel = _flat(jax.tree.map(lambda rows: rows[0], states))

    def timestep(loop: tuple[Scaled, list[Scaled]], given: tuple[Carry, Array, Array]) -> Any:
        s_tm1, x_t, g_t = given
        _, pullback = jax.vjp(partial(_by_parts, cell, params, x_t), s_tm1, s_tm1["h"] @ params["w_h"])
        to_h = jax.tree.map(jnp.zeros_like, s_tm1) | {"h": g_t}  # the output of a gated cell is its h
        source = _scaled(_flat(to_h)[0], 0)

        def back(adjoint_t: Scaled) -> list[Scaled]:
            """J_pᵀ (λₜ + gₜ to h) of each path."""
            incoming = _sum([adjoint_t, source])
            through_state, through_r = pullback(unravel(incoming.mantissa))
            blocks = jnp.split(through_r, gates, axis=1)
            weights = jnp.split(params["w_h"], gates, axis=1)
            nothing = jax.tree.map(jnp.zeros_like, s_tm1)
            parts = [
                through_state,
                *(nothing | {"h": one @ two.T} for one, two in zip(blocks, weights, strict=True)),
            ]
            return [_scaled(_flat(part)[0], incoming.exponent) for part in parts]

        parts = back(loop[0])
        whole = _sum(parts)
        alone = [back(adjoint)[path] for path, adjoint in enumerate(loop[1])]
        row = _PathRow(
            _norm(whole),
            Scaled(*(jnp.stack(part) for part in zip(*map(_norm, alone), strict=True))),
            jnp.stack([_ratio(part, whole) for part in parts]),
            jnp.stack([_ratio(part, whole) for part in alone]),
        )
        return (whole, alone), row

    zero = _scaled(jnp.zeros_like(first), 0)
    rows: _PathRow = lax.scan(timestep, (zero, [zero] * (gates + 1)), (states, inputs, g), reverse=True)[1]
    return rows


def _flat(state: Carry) -> tuple[Array, Any]:
    """All leaves of a state side by side, (B, N), and what takes them apart."""
    names = sorted(state)
    ends = np.cumsum([state[name].shape[1] for name in names])[:-1]
    flat = jnp.concatenate([state[name] for name in names], axis=1)
    return flat, lambda flat: dict(zip(names, jnp.split(flat, ends, axis=1), strict=True))


def _scaled(value: Array, exponent: Array | int) -> Scaled:
    """Value · 2^exponent with the largest entry of each example about 1."""
    own = scaled.sizes([value]).top
    zero = own == scaled.ZERO_EXPONENT
    moved = times_power_of_two(value, jnp.where(zero, 0, -own))
    return Scaled(moved, jnp.where(zero, scaled.ZERO_EXPONENT, exponent + own))


def _sum(terms: list[Scaled]) -> Scaled:
    top = jnp.max(jnp.stack([term.exponent for term in terms]), axis=0)
    total = sum(times_power_of_two(term.mantissa, term.exponent - top) for term in terms)
    return _scaled(jnp.asarray(total), top)


def _norm(value: Scaled) -> Scaled:
    return Scaled(scaled.norm(value.mantissa), value.exponent)


def _ratio(part: Scaled, whole: Scaled) -> Array:
    """⟨part, whole⟩ / |whole|² of each example."""
    inner = jnp.sum(part.mantissa * whole.mantissa, axis=1) / jnp.sum(whole.mantissa**2, axis=1)
    return times_power_of_two(inner, part.exponent - whole.exponent)
