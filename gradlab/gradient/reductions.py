"""Reductions of curves: the norm over parts, slopes of lines and how much they explain. NumPy only."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FLAT = 1e-3
"""Decades within which a curve is a flat line, whatever the rounding on it."""


_ROWS = 4096
"""Of a long curve that are worked on at a time: what is between would else take more room than the curve."""


def log10_of_all(parts: list[Floats]) -> Floats:
    """log10 √(Σ norm²) of parts given as log10 norms; exact at any size, -inf where all are zero."""
    total = np.empty_like(parts[0])
    for rows in blocks(0, len(total)):
        total[rows] = _log10_of_all([part[rows] for part in parts])
    return total


def blocks(start: int, end: int) -> Iterator[slice]:
    """The rows start..end of a long curve, some thousand at a time."""
    return (slice(first, min(first + _ROWS, end)) for first in range(start, end, _ROWS))


def _log10_of_all(parts: list[Floats]) -> Floats:
    shift = parts[0].copy()
    for part in parts[1:]:
        np.maximum(shift, part, out=shift)
    shift[~np.isfinite(shift)] = 0.0
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        total = sum(10.0 ** (2 * (part - shift)) for part in parts)
        return shift + 0.5 * np.log10(total)


def relative_to_first(curve: Floats) -> Floats:
    """The curve in decades from lag 1; all -inf where lag 1 itself is zero."""
    if np.isneginf(curve[0]):
        return np.full_like(curve, -np.inf)
    with np.errstate(invalid="ignore"):  # infinity minus infinity is NaN, which is the finding
        return curve - curve[0]


def zero_from(zero: NDArray[np.bool_]) -> int:
    """The lag from which a curve is zero to its end."""
    return len(zero) - int(np.argmin(zero[::-1])) + 1 if not zero.all() else 1


def least_squares(values: Floats, lags: NDArray[np.int64]) -> Floats:
    """Slope over lag of each example (T, B) -> (B,); nan where an example is not finite throughout."""
    lag = lags - lags.mean()
    with np.errstate(invalid="ignore"):
        slopes = lag @ (values - values.mean(axis=0)) / (lag @ lag)
    return np.where(np.isfinite(values).all(axis=0), slopes, np.nan)


def explained(curve: Floats, lags: NDArray[np.int64]) -> float:
    """R² of the least-squares line; 1 for a curve that is flat to a thousandth of a decade."""
    if not np.isfinite(curve).all():
        return np.nan
    if np.ptp(curve) < FLAT:
        return 1.0
    deviation, lag = curve - curve.mean(), lags - lags.mean()
    return float((lag @ deviation) ** 2 / (lag @ lag) / (deviation @ deviation))


def median_error(ranked: Floats) -> float:
    """Half the distance of the order statistics one standard error of rank from the median."""
    count = len(ranked)
    spread = np.sqrt(count) / 2
    low, high = int(np.floor(count / 2 - spread)), int(np.ceil(count / 2 + spread))
    if low < 0 or high >= count or np.isneginf(ranked[low]):
        return np.nan
    return float(ranked[high] - ranked[low]) / 2
