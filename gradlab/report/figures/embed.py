"""A figure as a template prints it: SVG, caption, the numbers that the pointer reads, and the tables behind it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from gradlab.report.figures.drawing import Drawing, Floats
from gradlab.report.figures.svg import svg

COLUMNS, ROWS = 9, 16
"""Columns and rows of the table behind a figure at most."""
POINTS = 120
"""Points of a line that the pointer can reach at most."""


class FigureTable(NamedTuple):
    """Some of the numbers of a panel; the first column names the line."""

    caption: str
    columns: list[str]
    rows: list[list[str]]


class EmbeddedFigure(NamedTuple):
    """A figure for a template.

    Attributes:
        name: id of the figure element, and prefix of the ids in `svg`.
        heading, caption: as text. svg: refers to the element `<name>-caption`.
        data: for the script, as JSON. tables: the numbers, for readers who cannot see the figure.
        section, choices: those of the `Drawing`.
    """

    name: str
    heading: str
    caption: str
    svg: Markup
    data: list[dict[str, Any]]
    tables: list[FigureTable]
    section: str
    choices: Mapping[str, str]

    @property
    def file(self) -> str:
        """The stem of the files that the drawing is saved to."""
        return self.name.removeprefix("figure-")


def embedded(drawing: Drawing) -> EmbeddedFigure:
    """Prepare a drawing for a page; the drawing itself is no longer needed then."""
    name = f"figure-{drawing.name}"
    heading = drawing.heading[0].upper() + drawing.heading[1:]
    caption = drawing.caption.removeprefix(drawing.heading).lstrip(". ")
    picture = svg(drawing.figure, name, heading, f"{name}-caption")  # lays the figure out
    data = [panel for ax in drawing.figure.axes if (panel := _panel(drawing.figure, ax))["lines"]]
    tables = list(_tables(drawing.figure))
    return EmbeddedFigure(name, heading, caption, picture, data, tables, drawing.section, drawing.choices)


def _panel(figure: Figure, ax: Axes) -> dict[str, Any]:
    """Box of the axes in units of the SVG, both axes as scale, low and high, and the lines in data coordinates."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    place = ax.get_position()
    box = (place.x0 * width, (1 - place.y1) * height, place.width * width, place.height * height)
    mesh = _mesh(ax)
    x = _axis(ax, "x")
    return {
        "x_name": ax.get_xlabel(),
        "y_name": " ".join((ax.get_ylabel() if mesh is None else "decades from lag 1").split()),
        "box": [round(side, 1) for side in box],
        "x": x if mesh is None else [x[0], x[1] + 0.5, x[2] + 0.5],  # the square of lag 1 lies from 0 to 1
        "y": _axis(ax, "y"),
        "lines": _lines(ax) if mesh is None else _map_rows(ax, mesh),
    }


def _axis(ax: Axes, which: str) -> list[Any]:
    """Scale and ends; a symmetric logarithmic scale is given by the width of its straight part."""
    scale = getattr(ax, f"get_{which}scale")()
    low, high = map(_short, getattr(ax, f"get_{which}lim")())
    if scale == "symlog":
        scale = float(getattr(ax, f"{which}axis").get_transform().linthresh)
    return [scale, low, high]


def _named(ax: Axes) -> Iterator[tuple[str, str, Floats, Floats]]:
    """Label, id, and points of every line that has a name."""
    for line in ax.get_lines():
        label, x = " ".join(str(line.get_label()).split()), np.asarray(line.get_xdata(), np.float64)
        if not label.startswith("_") and len(x):
            prefix = str(line.get_gid() or "").rpartition("-")[0]
            yield label, prefix, x, np.asarray(line.get_ydata(), np.float64)


def _lines(ax: Axes) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "id": prefix,
            "x": [_short(value) for value in x[_some(len(x), POINTS)]],
            "y": [_short(value) for value in y[_some(len(x), POINTS)]],
        }
        for label, prefix, x, y in _named(ax)
    ]


def _mesh(ax: Axes) -> QuadMesh | None:
    """The map in an axes, if there is one."""
    found = [mesh for mesh in ax.collections if isinstance(mesh, QuadMesh) and ax.get_label() != "<colorbar>"]
    return found[0] if found else None


def _map_rows(ax: Axes, mesh: QuadMesh) -> list[dict[str, Any]]:
    """Rows of a map as lines that stand at one height."""
    values = np.ma.asarray(mesh.get_array())
    lags = _some(values.shape[1], POINTS // 2)
    return [
        {
            "label": f"{ax.get_ylabel()} {name}",
            "id": "",
            "height": row + 0.5,
            "x": [lag + 1 for lag in lags],
            "y": [None if values[row, lag] is np.ma.masked else _short(values[row, lag]) for lag in lags],
        }
        for row, name in _rows(ax, len(values))
    ]


def _rows(ax: Axes, count: int) -> list[tuple[int, str]]:
    """Some rows of a map that have a name."""
    names = [text.get_text() for text in ax.get_yticklabels()]
    named = [row for row in range(count) if names[row]]
    return [(named[at], names[named[at]]) for at in _some(len(named), ROWS)]


def _some(count: int, most: int) -> list[int]:
    """Indices of at most `most` points, the first and the last among them."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, most))})


def _short(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.4g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def _tables(figure: Figure) -> Iterator[FigureTable]:
    """Some points of every line, and some squares of every map."""
    for ax in figure.axes:
        mesh, lines = _mesh(ax), list(_named(ax))
        y_name = " ".join(ax.get_ylabel().split())
        if mesh is not None:
            values = np.ma.asarray(mesh.get_array())
            lags = _some(values.shape[1], COLUMNS)
            rows = [
                [name, *("grey" if (v := values[row, lag]) is np.ma.masked else f"{v:.2f}" for lag in lags)]
                for row, name in _rows(ax, len(values))
            ]
            yield FigureTable("decades from lag 1", [y_name, *(f"lag {lag + 1}" for lag in lags)], rows)
        elif lines:
            longest = max((x for _, _, x, _ in lines), key=len)
            at = longest[_some(len(longest), COLUMNS)]
            title = " ".join((ax.get_title(loc="left") or ax.get_title()).split())
            caption = f"{title}: {y_name} at {ax.get_xlabel()}" if title else f"{y_name} at {ax.get_xlabel()}"
            rows = [[label, *(_at(x, y, value) for value in at)] for label, _, x, y in lines]
            yield FigureTable(caption, ["line", *map(_said, at)], rows)


def _at(x: Floats, y: Floats, value: float) -> str:
    """The height of a line at a value of x, "" where it has no point there."""
    found = np.flatnonzero(np.isclose(x, value, rtol=1e-9))
    return _said(float(y[found[0]])) if len(found) else ""


def _said(value: float) -> str:
    if not math.isfinite(value):
        return "none"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e7 else f"{value:.3g}"
