"""Where a curve has no number to draw, and why, in words. NumPy only."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


NOISE_ROOM = 30.0
"""Decades that axes extend beyond the values for noise, or as far again as the values extend."""


def view(values: Floats, noise: Floats) -> tuple[float, float]:
    """The range of an axis: that of the finite values, and at most `NOISE_ROOM` more for rounding noise.

    Noise may lie anywhere and must not flatten values; but most of a chaotic trajectory may be noise.

    Example:
        >>> view(np.array([0.0, -10.0, np.nan]), np.array([-12.0, 300.0]))
        (-12.0, 30.0)
    """
    sure, unsure = values[np.isfinite(values)], noise[np.isfinite(noise)]
    if not len(sure):
        sure, unsure = unsure, sure
    if not len(sure):
        return 0.0, 0.0
    low, high = float(sure.min()), float(sure.max())
    room = max(NOISE_ROOM, high - low)
    lowest, highest = float(unsure.min(initial=low)), float(unsure.max(initial=high))
    return max(low - room, lowest), min(high + room, highest)


def gap(values: Floats, lags: NDArray[np.int64]) -> str:
    """Where a curve (K,) of log10 norms is zero, and where it is not finite; "" if neither.

    Example:
        >>> lags = np.arange(1, 5)
        >>> gap(np.array([0.0, -1.0, -np.inf, -np.inf]), lags), gap(np.array([0.0, np.nan, 1.0, 2.0]), lags)
        ('zero from lag 3', 'not finite at lag 2')
        >>> gap(np.full(4, -np.inf), lags)
        'exactly zero at every lag'
    """
    zero = np.isneginf(values)
    parts = [where(zero, lags, "exactly zero" if zero.all() else "zero")]
    parts.append(where(~np.isfinite(values) & ~zero, lags, "not finite"))
    return ", ".join(filter(None, parts))


def noise_words(noise: Flags, lags: NDArray[np.int64]) -> str:
    """Where the values of a curve are rounding noise; "" where none is."""
    return where(noise, lags, "rounding noise")


def where(flags: Flags, lags: NDArray[np.int64], what: str) -> str:
    """`zero from lag 12`, `zero at lag 5` or `zero at 3 of 12 lags, the first 5`; "" where no flag is set."""
    if not flags.any():
        return ""
    first, count = int(np.argmax(flags)), int(flags.sum())
    if flags.all():
        return f"{what} at every lag"
    if flags[first:].all():
        return f"{what} from lag {lags[first]}"
    several = f"at {count} of {len(lags)} lags, the first {lags[first]}"
    return f"{what} at lag {lags[first]}" if count == 1 else f"{what} {several}"
