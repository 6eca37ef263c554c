"""A line chart written as SVG by hand: small, the page's own colours, and simple enough for a script to redraw."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.report.page.html import Markup, join, tag

Floats = NDArray[np.float64]
NOISE = "rounding noise"


class Line(NamedTuple):
    """A line: its name, its points, its look, which is a class of the style sheet, and which points are noise."""

    name: str
    x: Floats
    y: Floats
    look: str
    noise: NDArray[np.bool_] | None = None


class Level(NamedTuple):
    """A horizontal line with its name above it."""

    y: float
    name: str


class Frame(NamedTuple):
    """Size of a chart in its own units, and the values at its edges.

    Attributes:
        x, y: the values at both ends. x_name, y_name: of the axes, empty for none.
        margin: left, top, right and bottom. ticks: at most so many on x and y.
        x_ticks: values to mark on x instead.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    x_name: str = ""
    y_name: str = ""
    width: float = 640
    height: float = 360
    margin: tuple[float, float, float, float] = (68, 12, 16, 48)
    ticks: tuple[int, int] = (6, 6)
    x_ticks: tuple[float, ...] = ()

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom edge of the plot."""
        left, top, right, bottom = self.margin
        return left, top, self.width - right, self.height - bottom

    def at_x(self, value: float) -> float:
        """Where a value stands from left to right."""
        left, _, right, _ = self.box
        return left + (value - self.x[0]) / (self.x[1] - self.x[0]) * (right - left)

    def at_y(self, value: float) -> float:
        """Where a value stands from top to bottom."""
        _, top, _, bottom = self.box
        return bottom - (value - self.y[0]) / (self.y[1] - self.y[0]) * (bottom - top)


def parted(lines: Sequence[Line]) -> list[Line]:
    """The lines, and of those with rounding noise that part on its own, from the last value before it on."""
    found = []
    for line in lines:
        if line.noise is None or not line.noise.any():
            found.append(line)
            continue
        reached = line.noise | np.append(line.noise[1:], False)
        found.append(line._replace(y=np.where(line.noise, np.nan, line.y)))
        found.append(line._replace(name=NOISE, y=np.where(reached, line.y, np.nan), look="noise"))
    return found


def chart(
    name: str,
    frame: Frame,
    lines: Sequence[Line],
    label: str,
    *,
    levels: Sequence[Level] = (),
    **attributes: object,
) -> Markup:
    """A figure as SVG; values that are not finite leave a gap, those outside the frame are cut off.

    Args:
        name: part of the ids in it, unlike that of any other chart of the page.
        label: what a reader hears who cannot see it. levels: horizontal lines. attributes: of the svg element.
    """
    left, top, right, bottom = frame.box
    clip = tag(
        "clipPath",
        tag("rect", x=_n(left), y=_n(top - 2), width=_n(right - left + 4), height=_n(bottom - top + 4)),
        id=f"{name}-clip",
    )
    drawn = join(tag("path", d=path(frame, one.x, one.y), class_=f"line {one.look}") for one in parted(lines))
    return tag(
        "svg",
        tag("defs", clip),
        axes(frame),
        *(_level(frame, level) for level in levels if frame.y[0] < level.y < frame.y[1]),
        tag("g", drawn, clip_path=f"url(#{name}-clip)"),
        viewBox=f"0 0 {_n(frame.width)} {_n(frame.height)}",
        role="img",
        aria_label=label,
        id=name,
        **({"class_": "chart"} | attributes),
    )


def path(frame: Frame, x: Floats, y: Floats) -> str:
    """The points of a line as the `d` of a path; a gap where y is not finite.

    Example:
        >>> path(Frame((0, 10), (0, 1), margin=(0, 0, 0, 0), width=10, height=10), np.arange(2.0), np.zeros(2))
        'M0 10L1 10'
    """
    parts, pen = [], "M"
    for here, value in zip(x, y, strict=True):
        if not math.isfinite(value):
            pen = "M"
            continue
        # Far outside the frame a point only has to stay outside, and short numbers make a small page.
        height = min(max(frame.at_y(value), -9 * frame.height), 10 * frame.height)
        parts.append(f"{pen}{_n(frame.at_x(here))} {_n(height)}")
        pen = "L"
    return "".join(parts)


def axes(frame: Frame, **attributes: object) -> Markup:
    """Grid, tick labels and names of the axes."""
    left, top, right, bottom = frame.box
    parts = []
    for value in ticks(*frame.y, frame.ticks[1]):
        height = frame.at_y(value)
        parts.append(tag("line", x1=_n(left), x2=_n(right), y1=_n(height), y2=_n(height), class_="grid"))
        parts.append(tag("text", said(value), x=_n(left - 7), y=_n(height + 4), class_="tick end"))
    for value in frame.x_ticks or ticks(*frame.x, frame.ticks[0]):
        place = frame.at_x(value)
        parts.append(tag("line", x1=_n(place), x2=_n(place), y1=_n(bottom), y2=_n(bottom + 4), class_="edge"))
        parts.append(tag("text", said(value), x=_n(place), y=_n(bottom + 18), class_="tick middle"))
    parts.append(tag("line", x1=_n(left), x2=_n(right), y1=_n(bottom), y2=_n(bottom), class_="edge"))
    if frame.x_name:
        middle = _n((left + right) / 2)
        parts.append(tag("text", frame.x_name, x=middle, y=_n(frame.height - 6), class_="name middle"))
    if frame.y_name:
        turned = f"translate(13 {_n((top + bottom) / 2)}) rotate(-90)"
        parts.append(tag("text", frame.y_name, transform=turned, class_="name middle"))
    return tag("g", *parts, **attributes)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round values between two ends.

    Example:
        >>> ticks(-61, 3, 6)
        [-60.0, -40.0, -20.0, 0.0]
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * by for by in (1, 2, 5, 10) if power * by >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(at * step, 10) + 0.0 for at in range(first, last + 1)]


def said(value: float) -> str:
    """A number as people read it, with a true minus.

    Example:
        >>> said(-60.0), said(0.25)
        ('−60', '0.25')
    """
    return f"{value:.6g}".replace("-", "−")


def legend(lines: Sequence[tuple[str, str]]) -> Markup:
    """Names of lines with a sample of each, outside the picture so that it wraps where the page is narrow.

    Args:
        lines: name and look of each.
    """
    items = [
        tag(
            "li",
            tag("svg", tag("path", d="M0 6L30 6", class_=f"line {look}"), viewBox="0 0 30 12", aria_hidden="true"),
            name,
        )
        for name, look in lines
    ]
    return tag("ul", *items, class_="legend")


def _level(frame: Frame, level: Level) -> Markup:
    left, _, right, _ = frame.box
    height = frame.at_y(level.y)
    line = tag("line", x1=_n(left), x2=_n(right), y1=_n(height), y2=_n(height), class_="level")
    return join(
        (
            line,
            tag("text", level.name, x=_n(right - 2), y=_n(height - 5), class_="tick end"),
        )
    )


def _n(value: float) -> str:
    text = f"{value:.1f}"
    return "0" if text in ("-0.0", "0.0") else text.removesuffix(".0")
