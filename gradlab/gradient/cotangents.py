"""Random gradients to pull back, and the comparison of what comes back; all in numpy."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Cotangent = list[np.ndarray]
"""A gradient for each of several arrays; of dtype float0 where an array has none."""


def gaussian(rng: np.random.RandomState, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Gaussian numbers of size 1; where there is no gradient, zeros as jax wants them."""
    if not jnp.issubdtype(dtype, jnp.inexact):
        return np.zeros(shape, jax.dtypes.float0)
    values = rng.standard_normal(shape)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        values = values + 1j * rng.standard_normal(shape)
    return np.asarray(values).astype(dtype)


def wide(leaf: Any) -> np.ndarray:
    """An array in float64 or complex128."""
    return np.asarray(leaf).astype(np.complex128 if jnp.iscomplexobj(leaf) else np.float64)


def halves(examples: int) -> list[np.ndarray]:
    """Parts of the examples, as flags, such that of any two one part has the first and not the second.

    Example:
        >>> [[int(flag) for flag in part] for part in halves(3)]
        [[0, 1, 0], [1, 0, 1], [0, 0, 1], [1, 1, 0]]
    """
    numbers, digits = np.arange(examples), range((examples - 1).bit_length())
    ones = [(numbers >> digit) % 2 == 1 for digit in digits]
    return [part for digit in ones for part in (digit, ~digit)]


def masked(leaf: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Zero for every example that is no member."""
    kept = leaf.copy()
    kept[~members] = np.zeros((), leaf.dtype)
    return kept


def times(gradients: Cotangent, factor: Any) -> Cotangent:
    """Gradients times a factor, rounded to their own dtypes."""
    with np.errstate(over="ignore", invalid="ignore"):
        return [
            leaf if leaf.dtype == jax.dtypes.float0 else (wide(leaf) * factor).astype(leaf.dtype)
            for leaf in gradients
        ]


def nudged(gradients: Cotangent, rng: np.random.RandomState, eps: float) -> Cotangent:
    """Gradients moved by what rounding would move them."""
    return [times([leaf], 1 + eps * rng.standard_normal(leaf.shape))[0] for leaf in gradients]


def plus(one: Cotangent, other: Cotangent) -> Cotangent:
    """The sum of two gradients."""
    return [a if a.dtype == jax.dtypes.float0 else a + b for a, b in zip(one, other, strict=True)]


def reached(gradient: np.ndarray) -> bool:
    """Whether any entry is finite and not zero."""
    # Zero times infinity is NaN, which says nothing of where a gradient comes from.
    return bool(np.any(np.isfinite(gradient) & (gradient != 0)))


def peak(values: np.ndarray) -> float:
    """The largest finite modulus."""
    modulus = np.abs(values)
    return float(np.max(modulus, initial=0.0, where=np.isfinite(modulus)))


def differ(one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    """Whether two arrays differ, where the first is finite, by more than a share of its largest entry."""
    known = np.isfinite(one)
    with np.errstate(invalid="ignore"):
        apart = ~(np.abs(one - other) <= tolerance * peak(one))
    return bool(np.any(apart & known))


def unlike(
    expected: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    tolerance: float,
    floors: Mapping[str, float],
) -> str:
    """The first leaf where finite entries differ by more than a share of the largest and a floor, or nothing."""
    for name, leaf in expected.items():
        with np.errstate(invalid="ignore"):
            difference = peak(found[name] - leaf)
        if difference > tolerance * peak(leaf) + floors.get(name, 0.0):
            return name
    return ""
