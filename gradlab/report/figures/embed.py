"""A figure as a template prints it: SVG, caption, the numbers that the pointer reads, and the tables behind it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from gradlab.report.figures.drawing import Drawing
from gradlab.report.figures.svg import svg

COLUMNS, ROWS = 9, 16
"""Columns and rows of the table behind a figure at most."""
POINTS = 80
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
    return EmbeddedFigure(
        name, heading, caption, picture, data, [*map(_table, data)], drawing.section, drawing.choices
    )


def _panel(figure: Figure, ax: Axes) -> dict[str, Any]:
    """Box of the axes in units of the SVG, both axes as scale, low and high, and the lines in data coordinates."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    place = ax.get_position()
    box = (place.x0 * width, (1 - place.y1) * height, place.width * width, place.height * height)
    meshes = [mesh for mesh in ax.collections if isinstance(mesh, QuadMesh) and ax.get_label() != "<colorbar>"]
    x, title = _axis(ax, "x"), ax.get_title(loc="left") or ax.get_title()
    return {
        "title": " ".join(title.split()),
        "x_name": ax.get_xlabel(),
        "y_name": "decades from lag 1" if meshes else " ".join(ax.get_ylabel().split()),
        "box": [round(side, 1) for side in box],
        "x": [x[0], x[1] + 0.5, x[2] + 0.5] if meshes else x,  # the square of lag 1 lies from 0 to 1
        "y": _axis(ax, "y"),
        "lines": list(_map_rows(ax, meshes[0]) if meshes else _lines(ax)),
    }


def _axis(ax: Axes, which: str) -> list[Any]:
    """Scale and ends; a symmetric logarithmic scale is given by the width of its straight part."""
    scale = getattr(ax, f"get_{which}scale")()
    low, high = map(_short, getattr(ax, f"get_{which}lim")())
    if scale == "symlog":
        scale = float(getattr(ax, f"{which}axis").get_transform().linthresh)
    return [scale, low, high]


def _lines(ax: Axes) -> Iterator[dict[str, Any]]:
    """Every line that has a name."""
    for line in ax.get_lines():
        label, x = " ".join(str(line.get_label()).split()), np.asarray(line.get_xdata(), np.float64)
        if label.startswith("_") or not len(x):
            continue
        some, y = _some(len(x), POINTS), np.asarray(line.get_ydata(), np.float64)
        prefix = str(line.get_gid() or "").rpartition("-")[0]
        yield {"label": label, "id": prefix, "x": [*map(_short, x[some])], "y": [*map(_short, y[some])]}


def _map_rows(ax: Axes, mesh: QuadMesh) -> Iterator[dict[str, Any]]:
    """Rows of a map as lines that stand at one height; masked values are None."""
    values: Any = np.ma.filled(np.ma.asarray(mesh.get_array()), np.nan)
    names = [text.get_text() for text in ax.get_yticklabels()]
    named, lags = [row for row, name in enumerate(names) if name], _some(values.shape[1], POINTS // 2)
    for row in (named[at] for at in _some(len(named), ROWS)):
        line = {"label": f"{ax.get_ylabel()} {names[row]}", "id": "", "height": row + 0.5}
        yield line | {"x": [lag + 1 for lag in lags], "y": [_short(values[row, lag]) for lag in lags]}


def _some(count: int, most: int) -> list[int]:
    """Indices of at most `most` points, the first and the last among them."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, most))})


def _short(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.4g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def _table(panel: Mapping[str, Any]) -> FigureTable:
    """Some points of every line of a panel."""
    longest = max((line["x"] for line in panel["lines"]), key=len)
    at = [longest[index] for index in _some(len(longest), COLUMNS)]
    found = [(line["label"], dict(zip(line["x"], line["y"], strict=True))) for line in panel["lines"]]
    rows = [[label, *(_text(points[x]) if x in points else "" for x in at)] for label, points in found]
    title = f"{panel['title']}: " if panel["title"] else ""
    return FigureTable(f"{title}{panel['y_name']} at {panel['x_name']}", ["line", *map(_text, at)], rows)


def _text(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e7 else f"{value:.3g}"
