"""Panels of one number against length, a line for each setting."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from gradlab.gradient.summary import THRESHOLD
from gradlab.report.data.by_length import rows
from gradlab.report.data.records import Record
from gradlab.report.figures.drawing import INK, LineStyle, named_line, wrapped

WIDE, MANY_DECADES = 30.0, 1e4
"""Values whose sizes differ by these factors get a logarithmic axis, and powers of ten alone as ticks."""


@dataclass(frozen=True)
class LengthLine:
    """The runs of one setting at every length, and how they are drawn."""

    label: str
    style: LineStyle
    group: Sequence[Record]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Their rows of `lengths.csv`, which every panel draws some numbers of."""
        return rows(self.group)


class LengthAxis(NamedTuple):
    """A number of a checkpoint that is drawn against length.

    Attributes:
        column: of `by_length.rows`, after the checkpoint. unit: of the axis.
        guide: its value where the gradient falls in a straight line and loses `THRESHOLD` over the length T.
        log: whether the axis is logarithmic whatever the values are. lowest: where smaller values are drawn.
    """

    column: str
    unit: str
    guide: Callable[[float], float]
    log: bool = False
    lowest: float = -math.inf

    @property
    def name(self) -> str:
        """The number in words."""
        return self.column.replace("_life", "-life")


SPAN = LengthAxis("span", "decades", lambda length: -THRESHOLD)
SLOPE = LengthAxis("slope", "decades per timestep", lambda length: -THRESHOLD / length)
HALF_LIFE = LengthAxis("half_life", "timesteps", lambda length: length * math.log10(2) / THRESHOLD, log=True)
HORIZON = LengthAxis("horizon", "timesteps to −3 decades", lambda length: length, log=True, lowest=0.8)


def draw_numbers(
    axes: Sequence[Axes],
    number: LengthAxis,
    lines: Sequence[LengthLine],
    roles: Sequence[str],
    filled: bool = False,
) -> None:
    """Draw one number for every setting, on axes that share their range.

    Args:
        axes: one for each checkpoint. roles: the checkpoints.
        filled: whether markers show how many seeds solved the task: full, half or empty.
    """
    found = [row for line in lines for row in line.rows]
    lengths = sorted({row["length"] for row in found})
    values = [abs(row.get(f"{role}_{number.column}", math.nan)) for role in roles for row in found]
    sizes = [value for value in values if 0 < value < math.inf]
    for ax, role in zip(axes, roles, strict=True):
        _scale(ax, number, sizes, lengths[-1])
        grid = np.geomspace(lengths[0], lengths[-1], 50)
        ax.plot(grid, [number.guide(at) for at in grid], color=INK, linestyle=(0, (1, 2)), linewidth=1, zorder=1)
        _draw_lines(ax, lines, f"{role}_{number.column}", filled, number.lowest)
        ax.set_title(f"{number.name} {'at initialisation' if role == 'initial' else 'at the end of training'}")
        ax.set_ylabel(f"{number.name} ({number.unit})")
        length_axis(ax, lengths)


def draw_solved(ax: Axes, lines: Sequence[LengthLine]) -> None:
    """Share of the seeds that solved the task, with its binomial interval, against length."""
    _draw_lines(ax, lines, "solve_rate", True, beside=3.0)
    ax.set_title("share of seeds that solved the task")
    ax.set_ylabel("solved (share of seeds)")
    ax.set_ylim(-0.06, 1.06)
    ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    length_axis(ax, sorted({row["length"] for line in lines for row in line.rows if "solved" in row}))


def _draw_lines(
    ax: Axes,
    lines: Sequence[LengthLine],
    column: str,
    filled: bool,
    lowest: float = -math.inf,
    beside: float = 1.0,
) -> None:
    """A line for each setting with bars, so many points of paper `beside` the next that none hides another.

    Markers are full where every seed solved the task, half where some did, empty where none did, if `filled`.
    """
    for index, line in enumerate(lines):
        style, kept = line.style, [row for row in line.rows if math.isfinite(row.get(column, math.nan))]
        x = np.array([row["length"] for row in kept])
        means, low, high = (
            np.maximum([row[column + end] for row in kept], lowest) for end in ("", "_low", "_high")
        )
        size: dict[str, Any] = {"markersize": 5.5, "markeredgewidth": 1.2}
        parts, drawn = named_line(ax, x, means, style, wrapped(line.label, 5.0), linewidth=1.5, **size)
        known = np.isfinite(low) & np.isfinite(high)
        bars = ax.vlines(x[known], low[known], high[known], colors=style.colour, linewidth=1, gid=f"{parts}-bars")
        shown: list[Artist] = [drawn, bars]
        rates = np.array([row.get("solve_rate", 1.0) if filled else 1.0 for row in kept])
        for name, some, face in (
            ("empty", rates == 0, "white"),
            ("half", (rates > 0) & (rates < 1), style.colour),
        ):
            faces = {"fillstyle": "full" if name == "empty" else "bottom", "markerfacecolor": face}
            marked = size | faces | {"color": style.colour, "marker": style.marker, "markerfacecoloralt": "white"}
            if some.any():
                shown += ax.plot(x[some], means[some], linestyle="none", gid=f"{parts}-{name}", **marked)
        shift = ScaledTranslation(beside * (index - (len(lines) - 1) / 2) / 72, 0, ax.figure.dpi_scale_trans)
        for artist in shown:  # only now, so that limits are those of the numbers
            artist.set_transform(ax.transData + shift)


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
    pairs = zip(lengths, [0, *lengths[:-1]], strict=True)
    kept = [at for at, before in pairs if not before or math.log(at / before) > room]
    ax.set_xticks(kept, [f"{length:,}" for length in kept])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("length T (log scale)")
