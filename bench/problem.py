"""What a worker is given, and whether what it computed is right."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.case import Case, Weights

TOLERANCE = 1e-4
"""Of loss and gradients: the largest difference, relative to the largest entry."""
NORM_TOLERANCE = 1e-3
"""Of norms: relative, at every timestep whose norm is above `NORM_FLOOR`."""
NORM_FLOOR = 1e-12


@dataclass(frozen=True)
class Problem:
    """One case with its weights, one batch, and the float64 truth about them (`reference.py`)."""

    case: Case
    weights: Weights
    inputs: np.ndarray
    targets: np.ndarray
    truth: dict[str, np.ndarray]

    @classmethod
    def load(cls, case: Case, path: Path | str) -> "Problem":
        """From the file that `bench.reference` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)

        def part(folder: str) -> dict[str, np.ndarray]:
            return {name.removeprefix(folder): array for name, array in arrays.items() if name.startswith(folder)}

        return cls(case, part("weights/"), arrays["inputs"], arrays["targets"], part("truth/"))


def errors(truth: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> dict[str, float]:
    """By name, how far each quantity that was found is from the truth; inf where its shape is another."""
    return {name: _error(name, truth[name], np.asarray(value, np.float64)) for name, value in found.items()}


def wrong(differences: Mapping[str, float]) -> list[str]:
    """The quantities that are not within tolerance; loss and recurrent weights are required."""
    missing = [name for name in ("loss", "w_h") if name not in differences]
    return missing + [name for name, error in differences.items() if not error <= _tolerance(name)]


def _tolerance(name: str) -> float:
    return NORM_TOLERANCE if name.startswith("norm_") else TOLERANCE


def _error(name: str, true: np.ndarray, found: np.ndarray) -> float:
    if true.shape != found.shape:
        return float("inf")
    difference = np.abs(found - true)
    if not name.startswith("norm_"):
        return float(difference.max() / np.abs(true).max())
    seen = true > NORM_FLOOR
    return float((difference[seen] / true[seen]).max()) if seen.any() else 0.0
