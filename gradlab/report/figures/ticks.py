"""Ticks and texts of figures."""

import re
import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatterSciNotation, MaxNLocator

LAG = "lag (timesteps before the loss)"
RAISED = str.maketrans("-−0123456789.", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹·")
MOST_LINES = 12
"""Lines of a title or of a name in a legend."""


def wrapped(text: str, inches: float) -> str:
    """A title broken into lines that fit a width; a very long one is cut."""
    fit: dict[str, Any] = {"break_on_hyphens": False, "max_lines": MOST_LINES, "placeholder": " …"}
    return "\n".join(textwrap.wrap(text, max(24, int(inches * 13.5)), **fit))


class PlainLogFormatter(LogFormatterSciNotation):
    """Ticks of a logarithmic axis without mathtext: `10⁻²`, `3×10⁻²`."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of one tick."""
        text = re.sub(r"\^\{(.*?)\}", lambda power: power[1].translate(RAISED), super().__call__(x, pos))
        return re.sub(r"\$|\\mathdefault|[{}]", "", text.replace(r"\times", "×"))


class LagLocator(MaxNLocator):
    """Ticks of an axis of lags, which begin at 1."""

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """The ticks between two ends."""
        return [1.0, *(tick for tick in super().tick_values(vmin, vmax) if tick > 1)]


def lag_axis(ax: Axes) -> None:
    """The horizontal axis of a curve."""
    ax.set_xlabel(LAG)
    ax.xaxis.set_major_locator(LagLocator(nbins="auto", integer=True, steps=[1, 2, 2.5, 5, 10]))
