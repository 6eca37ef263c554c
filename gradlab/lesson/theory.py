"""What theory says of rnn, lstm and gru: the product of one factor of the Jacobian, if it were the only one."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.lesson.axes import FAMILIES
from gradlab.runs.variants import get_cell

Floats = NDArray[np.float64]


class TheoryLine(NamedTuple):
    """A line that theory draws beside a measured curve: its name, and decades from lag 1 by lag."""

    name: str
    decades: Floats


def theory_line(cell: str, lags: int) -> TheoryLine | None:
    """What one factor of the Jacobian would do if it were the only one; None where it is not known.

    Args:
        cell: a variant. lags: T.
    """
    family = cell.split(":")[0]
    if family not in FAMILIES:
        return None
    built: Any = get_cell(cell)
    scheme, k = built.scheme, np.arange(lags, dtype=float)
    if family == "rnn":
        bound = abs(scheme.gain) * (0.25 if built.activation == "sigmoid" else 1.0)
        known = bound > 0 and scheme.init in ("orthogonal", "identity")
        return TheoryLine("upper bound", k * math.log10(bound)) if known else None
    if scheme.is_library:
        return None  # its biases are drawn, or differ by gate
    if family == "lstm" and not built.forget_gate:
        return TheoryLine("memory path alone", 0 * k)
    name = "forget gate alone" if family == "lstm" else "update gate alone"
    if scheme.t_max is not None:
        return TheoryLine(name, _chrono(scheme.t_max, lags))
    bias = built.forget_bias if family == "lstm" else 0.0
    return TheoryLine(name, k * -math.log10(1 + math.exp(-bias)))


def _chrono(t_max: int, lags: int) -> Floats:
    """log10 √(mean over u of (u / (1 + u))²ᵏ), u spread evenly over 1..t_max - 1: every unit has its own gate."""
    u = 1 + (np.arange(512) + 0.5) / 512 * (t_max - 2)
    powers = 2 * np.arange(lags)[:, None] * np.log10(u / (1 + u))
    top = powers.max(axis=1)
    return np.asarray(0.5 * (top + np.log10(np.mean(10 ** (powers - top[:, None]), axis=1))))
