"""The figures of a lesson."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from numpy.typing import NDArray

from gradlab.gradient.curve import FLOAT32_FLOOR, NAIVE_FLOOR, STATE, GradientCurve
from gradlab.lesson.records import Floats, GridPoint, Lesson
from gradlab.lesson.theory import theory_line
from gradlab.report.data.gaps import view
from gradlab.report.data.records import Record
from gradlab.report.figures import drawing
from gradlab.report.figures.curves import lag_figure
from gradlab.report.figures.drawing import (
    Drawing,
    LineStyle,
    add_legend,
    draw_line,
    line_style,
    panels,
    themed,
    wrapped,
)
from gradlab.report.figures.save import discard_drawing
from gradlab.report.figures.svg import svg
from gradlab.report.figures.ticks import LAG, lag_axis

DEEPEST = -60.0
"""Decades below lag 1 where the figure of the sliders ends at the latest; the numbers stand beside it."""
LEVEL = "log10 gradient norm"
SIZE = (5.6, 3.2)
GREY_DASHED = LineStyle("#888888", (0, (5, 4)), "")


class Curve(NamedTuple):
    """A line of a figure: values over lag or timestep, and which of them are rounding noise."""

    name: str
    x: NDArray[np.int64]
    values: Floats
    noise: NDArray[np.bool_] | None = None


def lesson_figures(lesson: Lesson, record: Record | None, captions: Mapping[str, str]) -> list[Drawing]:
    """The figures of a page; the caption of each is the finding with its name."""

    def lines(name: str, heading: str, curves: Sequence[Curve], y_name: str = LEVEL, **options: Any) -> Drawing:
        return lines_figure(name, heading, captions.get(name, ""), curves, y_name, **options)

    by_lag = [_curve(f"T = {point.length}", point.curve) for point in lesson.chosen]
    by_timestep = [curve._replace(x=len(curve.x) - curve.x) for curve in by_lag]
    found = [
        _factors(lesson, captions["factors"]),
        lines("by_lag", "Gradient norm by lag", by_lag),
        lines("by_timestep", "Gradient norm by timestep", by_timestep, x_name="timestep t of the state"),
    ]
    if lesson.ungated is not None:
        curves = _direct_path(lesson, lesson.ungated)
        found.append(lines("direct_path", "The whole cell and its direct path", curves, drawing.RELATIVE))
    if (summed := lesson.summed) is not None:
        named = {"total: the losses of all outputs": summed.total, "direct: the next output alone": summed.direct}
        named["the loss of the last output alone"] = summed.last
        curves = [_curve(name, curve) for name, curve in named.items()]
        found.append(lines("summed", "Total, direct and last loss", curves))
    if (step := lesson.underflow) is not None:
        curve, leaf = step.point.curve, step.leaf
        measured = Curve("measured by gradlab", curve.lags, curve.rms(leaf), curve.is_noise(leaf))
        computed = Curve("one training step in float32", curve.lags, step.rms[leaf])
        levels = [(FLOAT32_FLOOR, "entries\nread 0\nbelow"), (NAIVE_FLOOR, "squared\nnorms read\n0 below")]
        found.append(lines("underflow", "Underflow in float32", [measured, computed], levels=levels))
    if record is not None:
        found.append(lag_figure("training", [[record]], ["This run"]))
    return found


def _curve(name: str, curve: GradientCurve, values: Floats | None = None) -> Curve:
    return Curve(name, curve.lags, curve.summarised() if values is None else values, curve.is_noise())


def relative_curve(name: str, point: GridPoint) -> Curve:
    """The curve of a probe in decades from lag 1."""
    return _curve(name, point.curve, point.relative())


def _direct_path(lesson: Lesson, ungated: GridPoint) -> list[Curve]:
    """The whole cell, the cell whose recurrent weights are zero, and theory."""
    full = lesson.chosen[lesson.middle]
    curves = [
        relative_curve("measured: the whole cell", full),
        relative_curve("measured: recurrent weights set to 0", ungated),
    ]
    theory = theory_line(ungated.cell, len(full.curve.lags))
    return curves + ([Curve(f"theory: {theory.name}", full.curve.lags, theory.decades)] if theory else [])


def lines_figure(
    name: str,
    heading: str,
    caption: str,
    curves: Sequence[Curve],
    y_name: str = drawing.RELATIVE,
    *,
    x_name: str = LAG,
    levels: Sequence[tuple[float, str]] = (),
    size: tuple[float, float] = SIZE,
) -> Drawing:
    """Lines with a legend, and horizontal levels with their names where they are in view."""
    with themed():
        figure, (ax,) = panels(1, 1, size, heading)
        for index, curve in enumerate(curves):
            style = GREY_DASHED if curve.name.startswith("theory") else line_style(index)
            draw_line(ax, curve.x, curve.values, style, label=wrapped(curve.name, 4.0), noise=curve.noise)
        low, high = _ends(curves)
        if x_name == LAG:
            lag_axis(ax)
        ax.set(xlabel=x_name, ylabel=y_name, ylim=(low, high))
        for level, label in levels:
            if low < level < high:
                ax.axhline(level, color=drawing.INK, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
                drawing.label_level(ax, level, label)
        add_legend(ax)
    return Drawing(name, figure, heading, caption, "lesson")


def _ends(curves: Sequence[Curve]) -> tuple[float, float]:
    """Of the vertical axis: noise may not flatten what is a value."""
    flags = [np.zeros(len(curve.x), bool) if curve.noise is None else curve.noise for curve in curves]
    values = np.concatenate([np.zeros(1), *(curve.values for curve in curves)])
    noise = np.concatenate([[False], *flags])
    low, high = view(values[~noise], values[noise])
    room = 0.05 * max(high - low, 1.0)
    return low - room, high + room


def _factors(lesson: Lesson, caption: str) -> Drawing:
    """The factor of every timestep by lag."""
    curves = [Curve(lesson.axis.setting(one.value), one.curve.lags[1:], one.factors) for one in lesson.contrast]
    curves = [curve for curve in curves if len(curve.x)]
    levels = [(1.0, "1: neither\nshrinks\nnor grows")]
    y_name = "factor of one timestep"
    found = lines_figure("factors", "Factor of each timestep", caption, curves, y_name, levels=levels)
    factors = np.concatenate([np.ones(1), *(curve.values[np.isfinite(curve.values)] for curve in curves)])
    found.figure.axes[0].set_ylim(0, min(2.0, max(1.1, float(np.quantile(factors, 0.995)) * 1.05)))
    return found


def grid_ends(lesson: Lesson) -> tuple[float, float]:
    """The vertical axis that shows every point of the grid, down to `DEEPEST`."""
    low, high = _ends([relative_curve("", point) for point in lesson.points])
    return max(DEEPEST, min(low, -1.0)), max(high, 1.0)


def slider_figure(name: str, lesson: Lesson, ends: tuple[float, float]) -> Markup:
    """The lines of every point of the grid, of which the page shows those at the position of its sliders."""
    with themed():
        figure, (ax,) = panels(1, 1, (5.8, 4.0), "")
        longest = max(2, *(len(point.curve.lags) for point in lesson.points))
        lag_axis(ax)
        ax.set(xlim=(0, longest), ylim=ends, ylabel=drawing.RELATIVE)
        for index, point in enumerate(lesson.points):
            _draw_point(ax, point, f"a0-s{index}")
        add_legend(ax, columns=2)

    def mark(found: re.Match[str]) -> str:
        return f"{found[0]} {position(lesson, lesson.points[int(found[1])])}"

    drawn = str(svg(figure, f"figure-{name}", "Gradient by lag at the position of the sliders"))
    drawn = re.sub(r' id="[\w-]+-(?:key|name)"', "", drawn)  # an entry of the legend belongs to every point
    return Markup(re.sub(r'id="[\w-]+-a0-s(\d+)-\w+"', mark, drawn))


def position(lesson: Lesson, point: GridPoint) -> Markup:
    """The attributes of an element that belongs to one point: by them the script shows it or not."""
    shown = Markup("" if point is lesson.chosen[-1] else ' class="unchosen"')
    return Markup('data-options="{}"{}').format(json.dumps(lesson.options(point)), shown)


def _draw_point(ax: Axes, point: GridPoint, prefix: str) -> None:
    """Theory below, then the state and its leaves, and where plain float32 reads 0."""
    curve, leaves = point.curve, point.curve.leaves[:-1]

    def draw(x: Any, values: Floats, style: LineStyle, part: str, label: str) -> None:
        finite = np.where(np.isfinite(values), values, np.nan)
        ax.plot(x, finite, color=style.colour, linestyle=style.dashes, gid=f"{prefix}-{part}", label=label)

    if (theory := theory_line(point.cell, len(curve.lags))) is not None:
        draw(curve.lags, theory.decades, GREY_DASHED, "theory", f"theory: {theory.name}")
    for index, leaf in enumerate([STATE, *(leaves if len(leaves) > 1 else [])]):
        values, noise = point.relative(leaf), curve.is_noise(leaf)
        label = "measured: whole state" if leaf == STATE else f"measured: {leaf} alone"
        draw(curve.lags, np.where(noise, np.nan, values), line_style(index), f"line{index}", label)
        if noise.any():
            reached = np.where(noise | np.append(noise[1:], False), values, np.nan)
            draw(
                curve.lags,
                reached,
                LineStyle(drawing.NOISE_COLOUR, drawing.NOISE_DASHES, ""),
                f"noise{index}",
                "rounding noise",
            )
    level, floor = float(curve.summarised()[0]), LineStyle(drawing.INK, (0, (2, 2)), "")
    if np.isfinite(level):
        ends = np.array([0, ax.get_xlim()[1]])
        draw(ends, np.full(2, FLOAT32_FLOOR - level), floor, "floor", "plain float32 reads 0 below")


def multiple_figures(lesson: Lesson, ends: tuple[float, float]) -> list[Markup]:
    """For each value of the axis the curves of all lengths; a dot ends each. They differ in their lines alone."""
    longest = max(2, *(len(point.curve.lags) for point in lesson.points))
    found = []
    with themed():
        figure, (ax,) = panels(1, 1, (2.2, 1.5), "")
        ax.set(xlim=(0, longest * 1.04), ylim=ends, xticks=sorted({1, longest // 2, longest}))
        for row, (value, points) in enumerate(zip(lesson.axis.values, lesson.grid, strict=True)):
            for line in [*ax.lines]:
                line.remove()
            for point in points:
                values = np.where(point.curve.is_noise(), np.nan, point.relative())
                finite = np.where(np.isfinite(values), values, np.nan)
                style: Any = {"color": drawing.COLOURS[0], "marker": "o", "markersize": 4, "markevery": [-1]}
                ax.plot(point.curve.lags, finite, scalex=False, scaley=False, **style)
            label = f"{lesson.axis.setting(value)}: gradient by lag, for every length"
            discard_drawing(figure)
            found.append(svg(figure, f"figure-multiple-{row}", label))
    return found
