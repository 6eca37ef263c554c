"""Straight lines through curves: slopes of examples, how much they explain, the error of a median. NumPy only."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FLAT = 1e-3
"""Decades within which a curve is a flat line, whatever the rounding on it."""


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
    deviation = curve - curve.mean()
    total = deviation @ deviation
    lag = lags - lags.mean()
    return float((lag @ deviation) ** 2 / (lag @ lag) / total)


def median_error(ranked: Floats) -> float:
    """Half the distance of the order statistics one standard error of rank from the median."""
    count = len(ranked)
    spread = np.sqrt(count) / 2
    low, high = int(np.floor(count / 2 - spread)), int(np.ceil(count / 2 + spread))
    if low < 0 or high >= count or np.isneginf(ranked[low]):
        return np.nan
    return float(ranked[high] - ranked[low]) / 2
