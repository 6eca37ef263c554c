"""The numbers that a figure shows, read off the figure itself: for the table behind it and for the pointer."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from gradlab.report.figures.drawing import COLOURS, Floats
from gradlab.report.page.html import Markup, join, table

COLUMNS = 9
"""Points of a line that the table behind a figure has."""
ROWS = 16
POINTS = 120
"""Points of a line that the pointer can reach; of more, every so many-th and the last."""


class Series(NamedTuple):
    """A line as it is drawn: its name, which colour of the palette it has, and its points."""

    label: str
    colour: int
    x: Floats
    y: Floats


class Panel(NamedTuple):
    """One axes with named lines.

    Attributes:
        title, x_name, y_name: as they are written.
        box: left, top, width and height in points of the figure.
        x, y: the scale of each axis (`linear`, `log`, or the width of the straight part of `symlog`) and its ends.
        series: its lines.
    """

    title: str
    x_name: str
    y_name: str
    box: tuple[float, float, float, float]
    x: tuple[str | float, float, float]
    y: tuple[str | float, float, float]
    series: list[Series]


def panels_of(figure: Figure) -> list[Panel]:
    """Every axes of a laid out figure that has lines with names."""
    panels = [_panel(figure, ax) for ax in figure.axes]
    return [panel for panel in panels if panel.series]


def _panel(figure: Figure, ax: Axes) -> Panel:
    width, height = (72 * inches for inches in figure.get_size_inches())
    place = ax.get_position()
    box = (place.x0 * width, (1 - place.y1) * height, place.width * width, place.height * height)
    series = [
        Series(str(line.get_label()), _palette(line.get_color()), *_data(line))
        for line in ax.get_lines()
        if not str(line.get_label()).startswith("_")
    ]
    title = " ".join((ax.get_title(loc="left") or ax.get_title()).split())
    ends = (_axis(ax, "x"), _axis(ax, "y"))
    return Panel(title, ax.get_xlabel(), ax.get_ylabel(), box, *ends, [one for one in series if len(one.x)])


def _data(line: Any) -> tuple[Floats, Floats]:
    return np.asarray(line.get_xdata(), np.float64), np.asarray(line.get_ydata(), np.float64)


def _palette(colour: Any) -> int:
    """Which colour of the palette it is; -1 where it is none of them."""
    found = to_hex(colour)
    return COLOURS.index(found) if found in COLOURS else -1


def _axis(ax: Axes, which: str) -> tuple[str | float, float, float]:
    scale = getattr(ax, f"get_{which}scale")()
    low, high = getattr(ax, f"get_{which}lim")()
    if scale != "symlog":
        return scale, float(low), float(high)
    transform = getattr(ax, f"{which}axis").get_transform()
    return float(transform.linthresh), float(low), float(high)


def pointed(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """What the pointer reads, as JSON: every line with at most `POINTS` points, 4 significant digits."""
    return [
        {
            "x_name": panel.x_name,
            "y_name": panel.y_name,
            "box": [round(side, 1) for side in panel.box],
            "x": [panel.x[0], *(_short(end) for end in panel.x[1:])],
            "y": [panel.y[0], *(_short(end) for end in panel.y[1:])],
            "series": [
                {
                    "label": one.label,
                    "colour": one.colour,
                    "x": [_short(value) for value in one.x[_some(len(one.x), POINTS)]],
                    "y": [_short(value) for value in one.y[_some(len(one.x), POINTS)]],
                }
                for one in panel.series
            ],
        }
        for panel in panels
    ]


def _some(count: int, most: int) -> list[int]:
    """Indices of at most `most` points, the first and the last among them."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, most))})


def _short(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.4g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def tables_of(figure: Figure, panels: Sequence[Panel]) -> Markup:
    """The table of each panel and map of a figure."""
    lines = [_lines_table(panel) for panel in panels]
    return join([*lines, *_map_tables(figure)])


def _lines_table(panel: Panel) -> Markup:
    longest = max(panel.series, key=lambda one: len(one.x)).x
    at = longest[_some(len(longest), COLUMNS)]
    columns = ["line", *(_said(value) for value in at)]
    rows = [[one.label, *(_at(one, value) for value in at)] for one in panel.series]
    what = f"{panel.title}: " if panel.title else ""
    return table(columns, rows, caption=f"{what}{panel.y_name} at {panel.x_name}", right=columns[1:])


def _at(one: Series, x: float) -> str:
    """The value of a line at x, nothing where it has no point there."""
    found = np.flatnonzero(np.isclose(one.x, x, rtol=1e-9))
    return _said(float(one.y[found[0]])) if len(found) else ""


def _said(value: float) -> str:
    if not math.isfinite(value):
        return "none"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e7 else f"{value:.3g}"


def _map_tables(figure: Figure) -> Iterator[Markup]:
    """Of every heat map some rows and columns."""
    for ax in figure.axes:
        for mesh in ax.collections:
            values = np.ma.asarray(mesh.get_array()) if isinstance(mesh, QuadMesh) else np.empty(0)
            if values.ndim != 2 or ax.get_label() == "<colorbar>":
                continue
            names = [text.get_text() for text in ax.get_yticklabels()]
            rows, lags = _some(len(values), ROWS), _some(values.shape[1], COLUMNS)
            cells = [
                [names[row] or f"row {row + 1}", *(_masked(values[row, lag]) for lag in lags)] for row in rows
            ]
            columns = [ax.get_ylabel(), *(f"lag {lag + 1}" for lag in lags)]
            yield table(columns, cells, caption="decades from lag 1", right=columns[1:])


def _masked(value: Any) -> str:
    return "grey" if value is np.ma.masked else f"{float(value):.2f}"
