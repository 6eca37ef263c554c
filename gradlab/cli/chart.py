"""A plot for the terminal: curves of log10 norm against lag."""

import math
from collections.abc import Mapping

import numpy as np

from gradlab.report.data.gaps import gap, noise_words, view

MARKS = "o+*x#@"
NOISE = "."
"""Marks a value that is rounding noise, whatever its curve."""


def chart(
    series: Mapping[str, np.ndarray],
    *,
    width: int = 78,
    height: int = 14,
    floors: Mapping[str, float] | None = None,
    noise: Mapping[str, np.ndarray] | None = None,
) -> list[str]:
    r"""Lines of text that draw curves (T,) against lag 1..T, in decades relative to their lag 1.

    Values that are zero or not finite are left out, and the legend says where.

    Args:
        series: for each name the log10 norms at lags 1..T.
        width: of a line. height: of the plot area, in lines.
        floors: labels of log10 norms to mark if they are in view, relative to the median of all lag 1.
        noise: for names of `series` whether the value at each lag is rounding noise; drawn as dots.

    Example:
        >>> import numpy as np
        >>> print("\n".join(chart({"initial": np.linspace(0, -4, 9)}, width=40, height=5)))
          0 |ooooooo
            |       oooo
         -2 |           oooooooooooo
            |                       oooo
         -4 |                           ooooooo
             lag 1                        lag 9
        o initial
    """
    relative = {name: _relative(np.asarray(curve, float)) for name, curve in series.items()}
    noisy = {name: np.zeros(len(curve), bool) for name, curve in relative.items()} | dict(noise or {})
    legend = [
        f"{mark} {name}{_omitted(np.asarray(curve, float), noisy[name])}"
        for mark, (name, curve) in zip(MARKS, series.items(), strict=False)
    ]
    if not any(np.isfinite(curve).any() for curve in relative.values()):
        return ["(nothing to draw)", *legend]
    sure, unsure = (
        np.concatenate([curve[noisy[name] == wanted] for name, curve in relative.items()])
        for wanted in (False, True)
    )
    lowest, highest = view(sure, unsure)
    low, high = math.floor(lowest), math.ceil(highest)
    low -= low == high
    marked = {index: _label(high - (high - low) * index / (height - 1)) for index in (0, height // 2, height - 1)}
    label_width = max(2, *map(len, marked.values())) + 1
    columns = max(10, width - label_width - 3)
    rows = [[" "] * columns for _ in range(height)]
    for mark, (name, curve) in zip(MARKS, relative.items(), strict=False):
        lags = np.round(np.linspace(0, len(curve) - 1, columns)).astype(int)
        for column, (value, unsure) in enumerate(zip(curve[lags], noisy[name][lags], strict=True)):
            if math.isfinite(value) and low <= value <= high:
                row = round((high - value) / (high - low) * (height - 1))
                rows[row][column] = NOISE if unsure else mark
    levels = [float(curve[0]) for curve in series.values() if math.isfinite(curve[0])]
    for words, floor in (floors or {}).items() if levels else ():
        place = round((high - floor + float(np.median(levels))) / (high - low) * (height - 1))
        if 0 < place < height - 1:
            rows[place] = _marked(rows[place], words)
    lines = [f"{marked.get(at, ''):>{label_width}} |{''.join(row)}".rstrip() for at, row in enumerate(rows)]
    end = f"lag {max(map(len, relative.values()))}"
    lines.append(" " * (label_width + 2) + "lag 1" + end.rjust(columns - 5))
    return [*lines, *legend, *([f"{NOISE} rounding noise"] if any(map(np.any, noisy.values())) else [])]


def _marked(row: list[str], words: str) -> list[str]:
    """A row with a line where nothing was drawn, labelled as far right as there is room."""
    line = "".join("-" if cell == " " else cell for cell in row)
    room = "-" * (len(words) + 2)
    at = line.rfind(room)
    return list(line if at < 0 else f"{line[:at]}- {words}{line[at + len(room) :]}")


def _relative(curve: np.ndarray) -> np.ndarray:
    return curve - curve[0] if np.isfinite(curve[0]) else np.full_like(curve, np.nan)


def _label(value: float) -> str:
    return f"{value:.0f}" if abs(value - round(value)) < 0.05 or abs(value) >= 100 else f"{value:.1f}"


def _omitted(curve: np.ndarray, noise: np.ndarray) -> str:
    """Where a curve has no value to draw, and where its values are noise, in parentheses."""
    lags = np.arange(1, len(curve) + 1)
    words = [gap(np.where(noise, 0.0, curve), lags), noise_words(noise, lags)]
    if not np.isfinite(curve[0]) and np.isfinite(curve).any():
        words.append("so nothing to compare with")
    text = ", ".join(filter(None, words))
    return f" ({text})" if text else ""
