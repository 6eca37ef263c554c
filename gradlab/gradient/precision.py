"""What an arithmetic does to a gradient curve: carried beside exponents, and by plain automatic differentiation.

Weights, inputs and states are rounded to a dtype, in which both passes are computed; the curve of float64 stands
beside. Carried as in `adjoint.py` it is off by rounding alone; plain, entries underflow and overflow too. A factor
on the loss prevents that while all of them fit between the ends of the dtype (Micikevicius et al. 2018, "Mixed
precision training", section 3.2, https://arxiv.org/abs/1710.03740).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.cells import Carry, Cell, Params
from gradlab.errors import unknown
from gradlab.gradient import scaled
from gradlab.gradient.adjoint import Adjoint, Loss, adjoints
from gradlab.gradient.convert import to_curve
from gradlab.gradient.losses import with_gradient
from gradlab.gradient.mixed import MixedPrecision
from gradlab.gradient.plain import prepared, states_and_outputs
from gradlab.gradient.reductions import Floats
from gradlab.gradient.scaled import Scaled, log10
from gradlab.gradient.segments import segments_of
from gradlab.gradient.state import split
from gradlab.gradient.verified import in_dtype

DTYPES = ("bfloat16", "float16", "float32", "mixed")
"""Arithmetics; `mixed` as of `MixedPrecision`."""
OFF = 0.1
"""Decades by which a curve has left that of float64."""


@dataclass(frozen=True)
class DtypeCurves:
    """A curve in one arithmetic.

    Attributes:
        dtype: its name.
        carried: log10 norm of the state's gradient with exponents beside it, (T, B).
        plain: the same by plain automatic differentiation; -inf where every entry was flushed to zero.
        exact: in float64, of the weights as they were given.
    """

    dtype: str
    carried: Floats
    plain: Floats
    exact: Floats

    def leaves_at(self, which: str) -> int | None:
        """The first lag at which the typical `carried` or `plain` curve is off by 0.1 decades or more."""
        found = getattr(self, which)
        with np.errstate(invalid="ignore"):
            off = np.where(found == self.exact, 0.0, found - self.exact)  # two zeros are the same
        off[np.isnan(found) & ~np.isnan(self.exact)] = np.inf
        has = ~np.isnan(self.exact)  # a lag that an example does not have says nothing of it
        total = np.abs(np.sum(np.where(has, off, 0.0), axis=1)) / np.maximum(has.sum(axis=1), 1)
        far = np.flatnonzero(total > OFF)
        return int(far[0]) + 1 if len(far) else None

    def zero_from(self) -> int | None:
        """The first lag at which the plain gradient of some example is zero, if any."""
        zero = np.flatnonzero(np.isneginf(self.plain).any(axis=1))
        return int(zero[0]) + 1 if len(zero) else None

    def loss_scale(self) -> int | None:
        """The power of two nearest to 2^0 on the loss that makes every norm a normal number, None if none does.

        Example:
            >>> fits, wide = (np.array([[0.0], [low]]) for low in (-8.0, -20.0))
            >>> DtypeCurves("float16", fits, fits, fits).loss_scale()
            13
            >>> DtypeCurves("float16", fits, fits, fits + 10).loss_scale()
            -18
            >>> DtypeCurves("float16", wide, wide, wide).loss_scale() is None
            True
        """
        info = jnp.finfo(_held_in(self.dtype))
        finite = self.exact[np.isfinite(self.exact)]
        if not len(finite):
            return 0
        low, high = (float(value) / math.log10(2) for value in (finite.min(), finite.max()))
        least, most = math.ceil(int(info.minexp) - low), math.ceil(int(info.maxexp) - high) - 1
        return min(max(0, least), most) if least <= most else None


def precision_curves(
    cell: Any,
    params: Params,
    inputs: Any,
    loss: Loss,
    carry: Carry | None = None,
    *,
    dtypes: Sequence[str] = DTYPES,
) -> list[DtypeCurves]:
    """The gradient curve in several arithmetics, beside that of float64.

    |λ_{T-k}| with λₜ₋₁ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ + (∂sₜ/∂sₜ₋₁)ᵀ λₜ, all of it in a dtype.

    Args:
        cell, params, inputs, loss, carry: as in `gradient_curve`; the loss is taken in the dtype of the outputs.
        dtypes: bfloat16, float16, float32; `mixed` for all in float32, but for operands of products in bfloat16.

    Raises:
        GradlabError: an unknown dtype, inputs of another shape, or a cell without a state.

    Example:
        >>> import jax
        >>> from gradlab.cells import rnn
        >>> cell = rnn(gain=0.5)  # three decades every ten timesteps
        >>> params, inputs = cell.init(jax.random.key(0), 1, 8), jnp.zeros((60, 2, 1))
        >>> found = precision_curves(cell, params, inputs, lambda outputs: outputs[-1].sum(axis=-1))
        >>> {one.dtype: one.zero_from() for one in found}
        {'bfloat16': None, 'float16': 26, 'float32': None, 'mixed': None}
    """
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise unknown("dtype", dtype, DTYPES)
    cell, *given = prepared(cell, params, inputs, carry)
    with jax.enable_x64(True):
        exact = _state(_adjoint(cell, given, loss))
    found = []
    for dtype in dtypes:
        with jax.enable_x64(False):
            rounded = in_dtype(tuple(given), jnp.dtype(_held_in(dtype)))
            computing = MixedPrecision(cell) if dtype == "mixed" else cell
            carried = _adjoint(computing, rounded, loss)
            # Its lags begin where those of the other do.
            plain = carried._replace(norms={"plain": log10(_plain(computing, rounded, loss))})
        found.append(DtypeCurves(dtype, _state(carried), _state(plain), exact))
    return found


def _held_in(dtype: str) -> str:
    """The dtype of weights, states and gradients."""
    return "float32" if dtype == "mixed" else dtype


def _adjoint(cell: Cell, given: Sequence[Any], loss: Loss) -> Adjoint:
    params, inputs, start = given
    segments = segments_of(cell, params, start, inputs)
    return adjoints(segments, params, inputs, start, with_gradient(loss), {"curve": ("total", None)})["curve"]


def _state(found: Adjoint) -> Floats:
    return to_curve(found).log10_norm["state"]


def _plain(cell: Cell, given: Sequence[Any], loss: Loss) -> Scaled:
    """Norms by lag."""
    params, inputs, start = given
    states, outputs = states_and_outputs(cell, params, inputs, start)
    _, g = with_gradient(loss)(outputs)
    norms = jax.jit(partial(_reverse, cell))(params, states, inputs, g)
    return jax.tree.map(lambda part: np.asarray(part)[::-1], norms)


def _reverse(cell: Cell, params: Params, states: Carry, inputs: Array, g: Array) -> Scaled:
    """Norms by timestep, from entries as the dtype holds them."""

    def timestep(adjoint_t: list[Array], given: tuple[Carry, Array, Array]) -> tuple[list[Array], Scaled]:
        s_tm1, x_t, g_t = given
        floats, rebuild = split(s_tm1)

        def step(floats: list[Array]) -> tuple[list[Array], Array]:
            s_t, y_t = cell.step(params, rebuild(floats), x_t)
            return split(s_t)[0], y_t

        (adjoint_tm1,) = jax.vjp(step, floats)[1]((adjoint_t, g_t))
        flat = jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in adjoint_tm1], axis=1)
        (mantissa,), power = scaled.normalise([flat], scaled.sizes([flat]).top)
        return adjoint_tm1, Scaled(scaled.norm(mantissa), power)

    start = [jnp.zeros_like(leaf[0]) for leaf in split(states)[0]]
    rows: Scaled = lax.scan(timestep, start, (states, inputs, g), reverse=True)[1]
    return rows
