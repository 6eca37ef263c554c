"""Panels of one number against length, a line for each setting."""

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
from gradlab.report.data.counts import by_length, seeds_of, solved
from gradlab.report.data.records import Record
from gradlab.report.figures.drawing import INK, LineStyle, series

DECADES = 3.0
"""A gradient that loses this much over the whole length is where the dotted guides lie."""
LOWEST = 0.8
"""Where a horizon of 0 is drawn on a log axis."""
WIDE = 30.0
"""Values whose sizes differ by more than this factor are drawn on a logarithmic axis."""
MANY_DECADES = 1e4
"""Where values differ by more, only powers of ten are ticks."""

MeanAndEnds = tuple[float, float, float]
"""A mean and the ends of its interval; the ends are nan if there is none."""


class LengthLine(NamedTuple):
    """The runs of one setting at every length, and how they are drawn."""

    label: str
    style: LineStyle
    group: Sequence[Record]


class LengthAxis(NamedTuple):
    """A number of a checkpoint that is drawn against length.

    Attributes:
        name: in titles. axis: its name with its unit.
        of: its mean over seeds and the interval, from the runs of one setting and length.
        guide: its value where the gradient falls in a straight line and loses `DECADES` over the length T.
        log: whether the axis is logarithmic whatever the values are.
    """

    name: str
    axis: str
    of: Callable[[Sequence[Record], str], MeanAndEnds]
    guide: Callable[[float], float]
    log: bool = False


def draw_numbers(
    axes: Sequence[Axes],
    number: LengthAxis,
    lines: Sequence[LengthLine],
    roles: Sequence[str],
    *,
    filled: bool = False,
) -> None:
    """Draw one number for every setting, on axes that share their range.

    Args:
        axes: one for each checkpoint. roles: the checkpoints.
        filled: whether markers show how many seeds solved the task: full, half or empty.
    """
    found = [[_points(number, line, role) for line in lines] for role in roles]
    lengths = sorted({at for line in lines for role in roles for at in by_length(line.group, role)})
    sizes = [abs(point[0]) for each in found for points in each for point in points.values() if point[0]]
    for ax, role, each in zip(axes, roles, found, strict=True):
        _scale(ax, number, sizes, lengths[-1])
        grid = np.geomspace(lengths[0], lengths[-1], 50)
        ax.plot(grid, [number.guide(at) for at in grid], color=INK, linestyle=(0, (1, 2)), linewidth=1, zorder=1)
        for index, (line, points) in enumerate(zip(lines, each, strict=True)):
            shift = index - (len(lines) - 1) / 2
            _draw(ax, line, points, shift, solved(line.group) if filled else {})
        ax.set_title(f"{number.name} {'at initialisation' if role == 'initial' else 'at the end of training'}")
        ax.set_ylabel(number.axis)
        length_axis(ax, lengths)


def _points(number: LengthAxis, line: LengthLine, role: str) -> dict[int, MeanAndEnds]:
    every = {at: number.of(runs, role) for at, runs in by_length(line.group, role).items()}
    return {at: point for at, point in every.items() if math.isfinite(point[0])}


def draw_solved(ax: Axes, lines: Sequence[LengthLine]) -> None:
    """Share of the seeds that solved the task, with its binomial interval, against length."""
    counts = [solved(line.group) for line in lines]
    for index, (line, each) in enumerate(zip(lines, counts, strict=True)):
        points = {at: (share.rate, share.low, share.high) for at, share in each.items()}
        _draw(ax, line, points, 3.0 * (index - (len(lines) - 1) / 2), each)
    ax.set_title("share of seeds that solved the task")
    ax.set_ylabel("solved (share of seeds)")
    ax.set_ylim(-0.06, 1.06)
    ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    length_axis(ax, sorted({at for each in counts for at in each}))


def _draw(
    ax: Axes, line: LengthLine, points: Mapping[int, MeanAndEnds], shift: float, counts: Mapping[int, Share]
) -> None:
    """A line with its bars and markers: full where every seed solved the task, half where some did, or empty.

    Args:
        shift: points of paper that the line stands beside its lengths, so that none hides another.
    """
    style, x = line.style, np.array(list(points))
    means, low, high = np.array(list(points.values())).reshape(-1, 3).T
    parts = series(ax)
    marked: dict[str, Any] = {
        "color": style.colour,
        "marker": style.marker,
        "markersize": 5.5,
        "markeredgewidth": 1.2,
    }
    styled = marked | {"linestyle": style.dashes, "linewidth": 1.5}
    shown: list[Artist] = [*ax.plot(x, means, label=line.label, gid=f"{parts}-line", **styled)]
    known = np.isfinite(low) & np.isfinite(high)
    shown.append(
        ax.vlines(x[known], low[known], high[known], colors=style.colour, linewidth=1, gid=f"{parts}-bars")
    )
    rates = np.array([counts[at].rate if at in counts else 1.0 for at in points])
    for name, some, face in (("empty", rates == 0, "white"), ("half", (rates > 0) & (rates < 1), style.colour)):
        if some.any():
            faces = {
                "fillstyle": "bottom",
                "markerfacecolor": face,
                "markerfacecoloralt": "white",
                "linestyle": "none",
            }
            shown += ax.plot(x[some], means[some], gid=f"{parts}-{name}", **marked, **faces)
    place = ax.transData + ScaledTranslation(shift / 72, 0, ax.figure.dpi_scale_trans)
    for artist in shown:  # only now, so that limits are those of the numbers
        artist.set_transform(place)


def _scale(ax: Axes, number: LengthAxis, sizes: Sequence[float], longest: int) -> None:
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
    """The axis of T: logarithmic, the lengths that were run as ticks, but for those that nearly touch."""
    ax.set_xscale("log")
    room = 0.035 * math.log(lengths[-1] / lengths[0])
    pairs = zip(lengths, [0.0, *lengths[:-1]], strict=True)
    kept = [at for at, before in pairs if not before or math.log(at / before) > room]
    ax.set_xticks(kept, [f"{length:,}" for length in kept])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("length T (log scale)")


def _ends(interval: Interval) -> MeanAndEnds:
    return interval.mean, interval.low, interval.high


def _half_life(group: Sequence[Record], role: str) -> MeanAndEnds:
    """From the slope over seeds; nan if the curve of a seed is not exponential."""
    read = seeds_of(group, role).half_life
    return (math.nan, math.nan, math.nan) if read is None else (read.value, read.low, read.high)


def _horizon(group: Sequence[Record], role: str) -> MeanAndEnds:
    return _ends(seeds_of(group, role).mean(lambda one: max(one.horizon.lag, LOWEST)))


SPAN = LengthAxis(
    "span", "span (decades)", lambda group, role: _ends(seeds_of(group, role).span), lambda length: -DECADES
)
SLOPE = LengthAxis(
    "slope",
    "slope (decades per timestep)",
    lambda group, role: _ends(seeds_of(group, role).slope),
    lambda length: -DECADES / length,
)
HALF_LIFE = LengthAxis(
    "half-life", "half-life (timesteps)", _half_life, lambda length: length * math.log10(2) / DECADES, log=True
)
HORIZON = LengthAxis("horizon", "horizon (timesteps to −3 decades)", _horizon, lambda length: length, log=True)
