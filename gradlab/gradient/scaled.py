"""Numbers without a floor: a mantissa and an integer power of two per example.

A float32 gradient reads 0 below 1e-38, and its naive norm below 1e-19. Here each example's array is held as
m · 2ᵉ with the largest entry of m in [0.5, 1). Multiplying by a power of two only moves exponent bits, so
rescaling is exact, and e is an int32, so 2ᵉ reaches beyond 1e±300,000,000.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

ZERO_EXPONENT = -(2**30)
"""The exponent of an all-zero mantissa: so small that a zero never sets the exponent of a sum."""


class Scaled(NamedTuple):
    """m · 2ᵉ for each example: `mantissa` (B, ...) and `exponent` (B,) int32."""

    mantissa: Array
    exponent: Array


def normalise(value: Array, exponent: Array | int = 0) -> Scaled:
    """Value · 2^exponent as a `Scaled` with its largest entry in [0.5, 1); exact.

    Args:
        value: (B, ...), real or complex. NaN and infinity are kept as they are.
        exponent: (B,) int32.
    """
    peak = _peak(value)
    shift = jnp.where(jnp.isfinite(peak) & (peak > 0), _exponent_of(peak), 0)
    exponent = jnp.where(peak == 0, ZERO_EXPONENT, exponent + shift)
    return Scaled(times_power_of_two(value, -shift), exponent)


def add(terms: Sequence[Scaled]) -> Scaled:
    """The sum of scaled terms: exponents are aligned to the largest first, so no term can overflow."""
    top = jnp.max(jnp.stack([term.exponent for term in terms]), axis=0)
    aligned = [times_power_of_two(term.mantissa, term.exponent - top) for term in terms]
    return normalise(sum(aligned[1:], start=aligned[0]), top)


def times_power_of_two(value: Array, power: Array) -> Array:
    """Value (B, ...) · 2^power (B,), exact while the result is a normal number, else 0 or infinity."""
    limit = 3 * (jnp.finfo(value.dtype).maxexp - 2)
    power = jnp.clip(power, -limit, limit).reshape(power.shape + (1,) * (value.ndim - 1))
    # Three factors, because a smaller number of them leaves the float range before their product does.
    third = power // 3
    factor = _power_of_two(third, value.dtype)
    return value * factor * factor * _power_of_two(power - 2 * third, value.dtype)


def _peak(value: Array) -> Array:
    """The largest absolute real or imaginary part of each example, (B,); NaN where there is one."""
    parts = (value.real, value.imag) if jnp.iscomplexobj(value) else (value,)
    axes = tuple(range(1, value.ndim))
    return jnp.max(jnp.stack([jnp.max(jnp.abs(part), axis=axes) for part in parts]), axis=0)


def _exponent_of(positive: Array) -> Array:
    """E with 2^(e-1) <= positive < 2^e, read off the exponent bits."""
    bits, word, bias = _layout(positive.dtype)
    field = lax.bitcast_convert_type(positive.astype(word), bits) >> jnp.finfo(word).nmant
    return (field - (bias - 1)).astype(jnp.int32)


def _power_of_two(power: Array, dtype: jnp.dtype) -> Array:
    """2^power as a normal number of the real dtype, written into the exponent bits."""
    bits, word, bias = _layout(dtype)
    field = (power.astype(bits) + bias) << jnp.finfo(word).nmant
    return lax.bitcast_convert_type(field, word).astype(jnp.finfo(dtype).dtype)


def _layout(dtype: jnp.dtype) -> tuple[jnp.dtype, jnp.dtype, int]:
    """The integer and float word whose bits are used for a dtype, and that word's exponent bias."""
    wide = jnp.finfo(dtype).bits == 64
    word = jnp.dtype(jnp.float64 if wide else jnp.float32)
    bits = jnp.dtype(jnp.int64 if wide else jnp.int32)
    return bits, word, jnp.finfo(word).maxexp - 1
