"""Panels of one number against length, a line for each setting with its name at its end."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from gradlab.judge.over_seeds import Interval
from gradlab.judge.statistics import Share
from gradlab.report.data.records import Record
from gradlab.report.figures.drawing import INK, Look, darker
from gradlab.report.text.findings import seeds_of
from gradlab.report.text.length_limit import by_length, solved

DECADES = 3.0
"""A gradient that loses this much over the whole length is where the dotted guides lie."""
LABEL_SIZE = 7.5
LOWEST = 0.8
"""Where a horizon of 0 is drawn on a log axis."""
WIDE = 30.0
"""Values whose sizes differ by more than this factor are drawn on a logarithmic axis."""

MANY_DECADES = 1e4
"""Where values differ by more, only powers of ten are ticks."""

Around = tuple[float, float, float]
"""A mean and the ends of its interval; the ends are nan where there is none."""


class Line(NamedTuple):
    """The runs of one setting at every length, and how they are drawn."""

    label: str
    look: Look
    group: Sequence[Record]


class Number(NamedTuple):
    """A number of a checkpoint that is drawn against length.

    Attributes:
        name: in titles. axis: its name with its unit.
        of: its mean over seeds and the interval, from the runs of one setting and length.
        guide: its value where the gradient falls in a straight line and loses `DECADES` over the length T.
        log: whether the axis is logarithmic whatever the values are.
    """

    name: str
    axis: str
    of: Callable[[Sequence[Record], str], Around]
    guide: Callable[[float], float]
    log: bool = False


class _Drawn(NamedTuple):
    """A line as it is drawn: lengths, how many points beside these it stands, and the numbers there."""

    line: Line
    lengths: list[int]
    shift: float
    points: list[Around]

    @property
    def end(self) -> list[tuple[Line, float, float]]:
        """The last point, if there is one."""
        return [(self.line, self.lengths[-1], self.points[-1][0])] if self.lengths else []


def draw(
    axes: Sequence[Axes], number: Number, lines: Sequence[Line], roles: Sequence[str], *, filled: bool = False
) -> None:
    """Draw one number for every setting, on axes that share their range.

    Args:
        axes: one for each checkpoint. number: what. lines: the settings. roles: the checkpoints.
        filled: whether markers show how many seeds solved the task: full, half or empty.
    """
    found = [[_drawn(number, line, role, index, len(lines)) for index, line in enumerate(lines)] for role in roles]
    lengths = sorted({at for line in lines for role in roles for at in by_length(line.group, role)})
    sizes = [abs(around[0]) for each in found for drawn in each for around in drawn.points if around[0]]
    for ax, role, drawn in zip(axes, roles, found, strict=True):
        _scale(ax, number, sizes, lengths[-1])
        grid = np.geomspace(lengths[0], lengths[-1], 50)
        ax.plot(grid, [number.guide(at) for at in grid], color=INK, linestyle=(0, (1, 2)), linewidth=1, zorder=1)
        for each in drawn:
            _line(ax, each, solved(each.line.group) if filled else {})
        when = "at initialisation" if role == "initial" else "at the end of training"
        key = "full: solved; dotted" if filled else "dotted"
        ax.set_title(f"{number.name} {when} ({key}: {DECADES:.0f} decades lost over T)", loc="left")
        ax.set_ylabel(number.axis)
        length_axis(ax, lengths)
    for ax, drawn in zip(axes, found, strict=True):
        label_ends(ax, [end for each in drawn for end in each.end])


def _drawn(number: Number, line: Line, role: str, index: int, count: int) -> _Drawn:
    every = {at: number.of(runs, role) for at, runs in by_length(line.group, role).items()}
    finite = {at: around for at, around in every.items() if math.isfinite(around[0])}
    return _Drawn(line, list(finite), _beside(index, count, 1.0), list(finite.values()))


def draw_solved(ax: Axes, lines: Sequence[Line]) -> None:
    """Share of the seeds that solved the task, with its binomial interval, against length."""
    found = []
    for index, line in enumerate(lines):
        counts = solved(line.group)
        points = [(each.rate, each.low, each.high) for each in counts.values()]
        found.append(_Drawn(line, list(counts), _beside(index, len(lines), 3.0), points))
        _line(ax, found[-1], counts)
    ax.set_title("share of seeds that solved the task", loc="left")
    ax.set_ylabel("solved (share of seeds)")
    ax.set_ylim(-0.06, 1.06)
    ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    length_axis(ax, sorted({at for each in found for at in each.lengths}))
    label_ends(ax, [end for each in found for end in each.end])


def _beside(index: int, count: int, step: float) -> float:
    """Lines stand some points beside each other, so that none hides another."""
    return step * (index - (count - 1) / 2)


def _line(ax: Axes, drawn: _Drawn, counts: Mapping[int, Share]) -> None:
    """A line with its bars and markers: full where every seed solved the task, half where some did, or empty."""
    style, x = drawn.line.look, np.array(drawn.lengths)
    place = ax.transData + ScaledTranslation(drawn.shift / 72, 0, ax.figure.dpi_scale_trans)
    means = np.array([around[0] for around in drawn.points])
    line: dict[str, Any] = {
        "color": style.colour,
        "linestyle": style.dashes,
        "linewidth": 1.5,
        "label": drawn.line.label,
    }
    shown: list[Artist] = [*ax.plot(x, means, **line)]
    ends = np.array([around[1:] for around in drawn.points]).reshape(-1, 2)
    known = np.isfinite(ends).all(axis=1)
    bars = np.abs(ends - means[:, None])[known].T
    errors = ax.errorbar(x[known], means[known], bars, fmt="none", ecolor=style.colour, elinewidth=1)
    shown += errors.get_children()
    rates = np.array([counts[at].rate if at in counts else 1.0 for at in drawn.lengths])
    for some, fill, face in (
        (rates == 1, "full", style.colour),
        (rates == 0, "full", "white"),
        ((rates > 0) & (rates < 1), "bottom", style.colour),
    ):
        if some.any():
            shown += ax.plot(
                x[some],
                means[some],
                marker=style.marker,
                markersize=5.5,
                color=style.colour,
                markeredgewidth=1.2,
                fillstyle=fill,
                markerfacecolor=face,
                markerfacecoloralt="white",
                linestyle="none",
            )
    for artist in shown:  # only now, so that limits are those of the numbers
        artist.set_transform(place)


def _scale(ax: Axes, number: Number, sizes: Sequence[float], longest: int) -> None:
    """A logarithmic axis where values differ by much; where they have signs, straight around zero."""
    straight = abs(number.guide(longest))
    if number.log:
        ax.set_yscale("log")
        wide = bool(sizes) and max(sizes) > MANY_DECADES * min(sizes)
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=9))
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        ax.axhline(0, color=INK, linewidth=0.8)
        if not sizes or max(sizes) < WIDE * max(min(sizes), straight / 10):
            return
        ax.set_yscale("symlog", linthresh=straight, linscale=0.7)
    least = 0.0 if number.log else straight
    ax.yaxis.set_major_formatter(
        lambda value, _: f"{value:,.10g}".replace("-", "−") if value == 0 or abs(value) >= least else ""
    )


def length_axis(ax: Axes, lengths: Sequence[int]) -> None:
    """The axis of T: logarithmic, the lengths that were run as ticks."""
    ax.set_xscale("log")
    kept = [length for index, length in enumerate(lengths) if _apart(lengths, index)]
    ax.set_xticks(kept, [f"{length:,}" for length in kept])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("length T (log scale)")


def _apart(lengths: Sequence[int], index: int) -> bool:
    """Whether a tick has room: all but those that nearly touch the one before."""
    return index == 0 or math.log(lengths[index] / lengths[index - 1]) > 0.035 * math.log(lengths[-1] / lengths[0])


def label_ends(ax: Axes, ends: Sequence[tuple[Line, float, float]]) -> None:
    """The name of each line right of the axes, none over another; to be called when the axes have their limits.

    Args:
        ax: where. ends: each line and the point at which it ends, in data.
    """
    ax.autoscale_view()
    ax.set_ylim(ax.get_ylim())
    ax.set_xlim(ax.get_xlim())
    to_axes = ax.transData + ax.transAxes.inverted()
    places = [to_axes.transform((x, y)) for _, x, y in ends]
    room = ax.get_position().height * ax.figure.get_figheight()  # type: ignore[union-attr]
    gap = 1.25 * LABEL_SIZE / 72 / room
    heights = spread([float(place[1]) for place in places], gap)
    for (line, x, y), place, height in zip(ends, places, heights, strict=True):
        ax.annotate(
            line.label,
            (x, y),
            xytext=(1.035, height),
            textcoords="axes fraction",
            annotation_clip=False,
            va="center",
            fontsize=LABEL_SIZE,
            color=darker(line.look.colour),
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),
                "color": line.look.colour,
                "linewidth": 0.6,
                # A line that ends early is named at the edge too, by a leader that stays in the background.
                "alpha": 1.0 if place[0] > 0.85 else 0.4,
                "shrinkA": 0,
                "shrinkB": 4,
            },
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights between 0 and 1 moved as little as it takes for neighbours to be `gap` apart.

    Example:
        >>> [round(height, 2) for height in spread([0.5, 0.5, 1.0, 0.98], 0.1)]
        [0.45, 0.55, 1.0, 0.9]
    """
    order = sorted(range(len(heights)), key=lambda index: (heights[index], index))
    # Least squares under that order: neighbours that are too near are moved together (Barlow et al. 1972).
    blocks: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        blocks.append((heights[index] - rank * gap, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (last, many), (before, few) = blocks.pop(), blocks.pop()
            blocks.append(((last * many + before * few) / (many + few), many + few))
    highest = max(0.0, 1 - (len(heights) - 1) * gap)
    levels = [min(max(level, 0.0), highest) for level, count in blocks for _ in range(count)]
    return [levels[order.index(index)] + order.index(index) * gap for index in range(len(heights))]


def _around(interval: Interval) -> Around:
    return interval.mean, interval.low, interval.high


def _span(group: Sequence[Record], role: str) -> Around:
    return _around(seeds_of(group, role).span)


def _slope(group: Sequence[Record], role: str) -> Around:
    return _around(seeds_of(group, role).slope)


def _half_life(group: Sequence[Record], role: str) -> Around:
    """From the slope over seeds; nothing where the curve of a seed is not exponential."""
    read = seeds_of(group, role).half_life
    return (math.nan, math.nan, math.nan) if read is None else (read.value, read.low, read.high)


def _horizon(group: Sequence[Record], role: str) -> Around:
    return _around(seeds_of(group, role).mean(lambda one: max(one.horizon.lag, LOWEST)))


SPAN = Number("span", "span (decades)", _span, lambda length: -DECADES)
SLOPE = Number("slope", "slope (decades per timestep)", _slope, lambda length: -DECADES / length)
HALF_LIFE = Number(
    "half-life", "half-life (timesteps)", _half_life, lambda length: length * math.log10(2) / DECADES, log=True
)
HORIZON = Number("horizon", "horizon (timesteps to −3 decades)", _horizon, lambda length: length, log=True)
