"""Fewer points of long curves, for the sake of small figures; numbers are never read from them."""

import itertools

import numpy as np
from numpy.typing import NDArray

LAGS = 240
"""Points of a line at most."""


def sampled(values: NDArray[np.float64], noise: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices of at most `LAGS` points: ends, extremes of every stretch, first and last of noise and of gaps."""
    count = len(values)
    if count <= LAGS:
        return np.arange(count)
    kind = np.where(noise, 1, np.where(np.isfinite(values), 0, 2))
    changes = np.flatnonzero(np.diff(kind))
    kept = {0, count - 1, *(int(at) + step for at in (*changes[:1], *changes[-1:]) for step in (0, 1))}
    edges = np.linspace(0, count, LAGS // 2 - 2).round().astype(int)
    for first, last in itertools.pairwise(edges):
        part = values[first:last]
        kept.add(int(first + np.argmin(np.where(np.isfinite(part), part, np.inf))))
        kept.add(int(first + np.argmax(np.where(np.isfinite(part), part, -np.inf))))
    return np.array(sorted(kept))
