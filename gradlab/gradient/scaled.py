"""Numbers without a floor: mantissas beside integer powers of two.

A float32 gradient reads 0 below 1e-38, and its naive norm below 1e-19. Here an array is held as m · 2ᵉ, with one
exponent e for each example or one for each entry. Multiplying by a power of two only moves exponent bits, so
rescaling is exact, and e is an int32, so 2ᵉ reaches beyond 1e±300,000,000.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.gradient.reductions import Floats

ZERO_EXPONENT = -(2**30)
"""The exponent of a zero: so small that a zero never sets the exponent of a sum."""
_LOG10_2 = np.log10(2.0)


class Scaled(NamedTuple):
    """m · 2ᵉ: `mantissa` (B, ...) and `exponent`, int32, (B,) for each example or (B, ...) for each entry."""

    mantissa: Array
    exponent: Array


def log10(norm: Scaled) -> Floats:
    """log10 (mantissa · 2^exponent), in NumPy and float64.

    Example:
        >>> log10(Scaled(jnp.array([0.5, 0.0]), jnp.array([-9_999, ZERO_EXPONENT]))).round(4).tolist()
        [-3010.3, -inf]
    """
    with np.errstate(divide="ignore"):
        values = np.log10(np.asarray(norm.mantissa), dtype=np.float64)
    values += np.asarray(norm.exponent) * _LOG10_2
    return values


class Sizes(NamedTuple):
    """Exponents e with 2^(e-1) <= |entry| < 2^e, over the entries of each example, (B,).

    Attributes:
        top: of the largest entry; `ZERO_EXPONENT` where all are zero, 0 where one is not finite.
        bottom: of the smallest entry that is not zero, likewise.
        some_zero: whether an entry is exactly zero.
    """

    top: Array
    bottom: Array
    some_zero: Array


def group_width(dtype: jnp.dtype) -> int:
    """Binades that the entries of one group may span, so that no product with a Jacobian can be flushed to 0.

    The entries of a group lie between 1 and 2^width. Their product with an entry of a Jacobian, itself a normal
    number, then underflows only where that Jacobian would have been 0 in this dtype.

    Example:
        >>> group_width(jnp.dtype("float32")), group_width(jnp.dtype("float64"))
        (60, 508)
    """
    return int(jnp.finfo(dtype).maxexp) // 2 - 4


def sizes(values: Sequence[Array]) -> Sizes:
    """The sizes of the entries of arrays (B, ...) taken together; of a complex entry, its larger part."""
    top, bottom, some_zero = [], [], []
    for value in values:
        part, axes = magnitude(value), tuple(range(1, value.ndim))
        top.append(jnp.max(part, axis=axes, initial=0.0))
        bottom.append(jnp.min(jnp.where(part == 0, jnp.inf, part), axis=axes, initial=jnp.inf))
        some_zero.append(jnp.min(part, axis=axes, initial=jnp.inf) == 0)
    largest = jnp.max(jnp.stack(top), axis=0)
    smallest = jnp.min(jnp.stack(bottom), axis=0)
    return Sizes(
        exponents(largest),
        jnp.where(jnp.isinf(smallest), ZERO_EXPONENT, exponents(smallest)),
        jnp.any(jnp.stack(some_zero), axis=0),
    )


def magnitude(value: Array) -> Array:
    """|entry|, or the larger of real and imaginary part; NaN where one is."""
    return jnp.maximum(jnp.abs(value.real), jnp.abs(value.imag)) if jnp.iscomplexobj(value) else jnp.abs(value)


def exponents(part: Array) -> Array:
    """E with 2^(e-1) <= part < 2^e, read off the exponent bits; `ZERO_EXPONENT` for 0, 0 for NaN and infinity."""
    bits, word, bias = _layout(part.dtype)
    field = lax.bitcast_convert_type(part.astype(word), bits) >> jnp.finfo(word).nmant
    found = jnp.where(jnp.isfinite(part), (field - (bias - 1)).astype(jnp.int32), 0)
    return jnp.where(part == 0, ZERO_EXPONENT, found)


def times_power_of_two(value: Array, power: Array) -> Array:
    """Value · 2^power, a power for each example or entry; exact while the result is normal, else 0 or infinity."""
    limit = 3 * (int(jnp.finfo(value.dtype).maxexp) - 2)
    power = beside(jnp.clip(power, -limit, limit), value)
    # Three factors, because a smaller number of them leaves the float range before their product does.
    third = power // 3
    factor = _power_of_two(third, value.dtype)
    return value * factor * factor * _power_of_two(power - 2 * third, value.dtype)


def times_near_power(value: Array, power: Array) -> Array:
    """The same by one factor, where the power is at most that of a normal number; below the smallest, 0."""
    limit = int(jnp.finfo(value.dtype).maxexp) - 2
    power = beside(power, value)
    factor = _power_of_two(jnp.clip(power, -limit, limit), value.dtype)
    return value * jnp.where(power < -limit, 0, factor)


def normalise(values: Sequence[Array], top: Array) -> tuple[list[Array], Array]:
    """Arrays scaled by 2^-top for each example, and the power that was taken out; nothing is lost.

    Args:
        values: each (B, ...).
        top: (B,), the exponent of the largest entry of all of them.
    """
    limit = min(int(jnp.finfo(value.dtype).maxexp) for value in values) - 2
    power = jnp.clip(jnp.where(top == ZERO_EXPONENT, 0, top), -limit, limit)
    return [times_near_power(value, -power) for value in values], power


def by_entry(value: Array, exponent: Array | int = 0) -> Scaled:
    """Value · 2^exponent with every entry in ±[0.5, 1) and its own exponent; exact.

    Args:
        value: (B, ...), real or complex. NaN and infinity are kept as they are.
        exponent: (B,) or (B, ...), int32.
    """
    own = exponents(magnitude(value))
    zero = own == ZERO_EXPONENT
    own = jnp.where(zero, 0, own)
    total = own + (exponent if isinstance(exponent, int) else beside(exponent, value))
    return Scaled(times_power_of_two(value, -own), jnp.where(zero, ZERO_EXPONENT, total))


def add(a: Scaled, b: Scaled) -> Scaled:
    """The sum of two arrays with an exponent for each entry: exponents are aligned to the larger of the two."""
    top = jnp.maximum(a.exponent, b.exponent)
    aligned = [times_power_of_two(term.mantissa, term.exponent - top) for term in (a, b)]
    return by_entry(aligned[0] + aligned[1], top)


def norm(value: Array) -> Array:
    """Euclidean norm of each example, (B,), for entries of at most about 1; 16 bits are summed in 32."""
    square = jnp.real(value) ** 2 + jnp.imag(value) ** 2 if jnp.iscomplexobj(value) else value**2
    wide = jnp.promote_types(square.dtype, jnp.float32)
    return jnp.sqrt(jnp.sum(square.astype(wide), axis=tuple(range(1, value.ndim))))


def beside(per_example: Array, entries: Array) -> Array:
    """(B,) as (B, 1, ...), to broadcast with an array of entries; one for each entry as it is."""
    return per_example.reshape(per_example.shape + (1,) * (entries.ndim - per_example.ndim))


def _power_of_two(power: Array, dtype: jnp.dtype) -> Array:
    """2^power as a normal number of the real dtype, written into the exponent bits."""
    bits, word, bias = _layout(dtype)
    field = (power.astype(bits) + bias) << jnp.finfo(word).nmant
    return lax.bitcast_convert_type(field, word).astype(jnp.finfo(dtype).dtype)


def _layout(dtype: jnp.dtype) -> tuple[jnp.dtype, jnp.dtype, int]:
    """The integer and float word whose bits are used for a dtype, and that word's exponent bias."""
    wide = jnp.finfo(dtype).dtype == jnp.float64
    word = jnp.dtype(jnp.float64 if wide else jnp.float32)
    bits = jnp.dtype(jnp.int64 if wide else jnp.int32)
    return bits, word, jnp.finfo(word).maxexp - 1
