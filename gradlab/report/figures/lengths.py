"""The figures of lengths: to which T the task is solved, and how the gradient depends on T."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from gradlab.report.data.records import Record, grouped, labels
from gradlab.report.figures.drawing import COLOURS, INK, Drawing, look, themed, wrapped
from gradlab.report.figures.length_axes import (
    DECADES,
    HALF_LIFE,
    HORIZON,
    SLOPE,
    SPAN,
    Line,
    draw,
    draw_solved,
)
from gradlab.report.text.findings import seeds_of
from gradlab.report.text.length_limit import briefly, by_length, every, furthest, held, solved
from gradlab.runs.jsonable import number

WIDTH, LETTER = 8.6, 0.058
"""Inches of two panels, and of a letter in the names of their lines, which stand right of each."""
NARROWEST = 10.6
"""Inches that the titles of two panels need."""
NAMED = 4
"""Settings that a title names; with more it counts them."""


def lines_of(records: Sequence[Record], most: int) -> list[Line]:
    """A line for each setting, the fields that tell it from the others in its name.

    Args:
        records: measured runs of one task. most: how many lines at most.
    """
    series = grouped(records, without=["length"])
    names = labels(series, without=["length"])
    pairs = zip(series, names, strict=True)
    return [Line(label, look(index), group) for index, (group, label) in enumerate(pairs)][:most]


def solving_figure(name: str, lines: Sequence[Line]) -> Drawing:
    """To which length each setting solves the task, beside how far its gradient reaches before training.

    Args:
        name: of the file. lines: settings of one task whose runs were trained.
    """
    task = lines[0].group[0].config["task"]
    counts = [solved(line.group) for line in lines]
    lengths = sorted({length for each in counts for length in each})
    with themed():
        table, panel = 0.7 + 0.28 * len(lines), 2.6 + 0.06 * len(lines)
        width = max(6.2, 1.25 * len(lengths)) + 0.4 + LETTER * max(len(line.label) for line in lines)
        figure = Figure(figsize=(width, 2 * panel + table), layout="constrained")
        grid = figure.add_gridspec(3, 1, height_ratios=[panel, panel, table])
        rate = figure.add_subplot(grid[0])
        draw_solved(rate, lines)
        rate.set_xlabel("")
        draw([figure.add_subplot(grid[1], sharex=rate)], HORIZON, lines, ["initial"], filled=True)
        _solve_table(figure.add_subplot(grid[2]), lines, lengths)
        heading = f"{task}: {_solvers(lines)}"
        figure.suptitle(wrapped(heading, figure.get_figwidth()), x=0.01, ha="left", fontsize=9.5)
    said = [
        f"{line.label}: solved {', '.join(f'T = {at} in {each[at]}' for at in each)}"
        for line, each in zip(lines, counts, strict=True)
    ]
    about = (
        "Above: share of seeds, bars are the 95 % interval of the probability (Wilson). Below, on the same axis "
        "of length: horizon at initialisation, the mean over seeds, bars its 95 % interval from 3 seeds on. A "
        "marker is full where every seed solved the task, half where some did, empty where none did; dotted: the "
        f"whole length, over which the gradient then loses at most {DECADES:.0f} decades"
    )
    return Drawing(name, figure, heading, ". ".join([heading, *said, about, *_apart(lines)]) + ".")


def _figure(lines: Sequence[Line], height: float) -> Figure:
    """A figure with room for the names of lines right of its two columns of panels."""
    width = max(NARROWEST, WIDTH + 2 * LETTER * max(len(line.label) for line in lines))
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08))


def _solvers(lines: Sequence[Line]) -> str:
    """`solved in every seed by LSTM up to T = 200, RNN at none`."""
    counts = [(line.label, solved(line.group)) for line in lines if solved(line.group)]
    if not counts:
        return "no run came to an end"
    if len(counts) <= NAMED:
        return f"solved in every seed by {', '.join(briefly(each, label) for label, each in counts)}"
    anything = sum(any(map(every, each.values())) for _, each in counts)
    return f"{anything} of {len(counts)} settings solved some length in every seed"


def lengths_figure(name: str, lines: Sequence[Line]) -> Drawing:
    """Span, slope, half-life and horizon of one task against length, a line for each setting.

    Args:
        name: of the file. lines: settings of one task.
    """
    numbers = (SPAN, SLOPE, HALF_LIFE, HORIZON)
    roles = ["initial", "final"] if any(line.group[0].trained for line in lines) else ["initial"]
    rows = len(numbers) * len(roles) // 2
    with themed():
        figure = _figure(lines, (2.6 + 0.05 * len(lines)) * rows + 0.4)
        axes = list(figure.subplots(rows, 2, sharey="row" if len(roles) == 2 else False).flat)
        for index, each in enumerate(numbers):
            draw(axes[index * len(roles) : (index + 1) * len(roles)], each, lines, roles)
        task = lines[0].group[0].config["task"]
        heading = f"{task}: {_holders(lines, roles[-1])}"
        figure.suptitle(wrapped(heading, figure.get_figwidth()), x=0.01, ha="left", fontsize=9.5)
    about = (
        f"Dotted: a gradient that falls in a straight line and loses {DECADES:.0f} decades over the whole length; "
        "above it, one holds. Bars: 95 % interval of the mean from 3 seeds on. A point is missing where there is "
        "no such number: a half-life only where every seed's curve falls exponentially"
    )
    return Drawing(
        name,
        figure,
        heading,
        ". ".join([heading, *_numbers(lines, roles), about, *_apart(lines), *_odd(lines, roles)]) + ".",
    )


def _holders(lines: Sequence[Line], role: str) -> str:
    """Which settings hold the gradient at the longest length."""
    longest = max(int(record.config["length"]) for line in lines for record in line.group)
    counts = [(line, held(line.group, role)) for line in lines]
    there = [(line.label, found[longest]) for line, found in counts if longest in found]
    holding = [label for label, count in there if every(count)]
    when = "at initialisation" if role == "initial" else "at the end of training"
    if not there:
        return f"gradient against length, {when}"
    if not holding:
        best, reached = max(((line.label, furthest(found)) for line, found in counts), key=lambda pair: pair[1])
        most = f"; {best} does up to T = {reached:,}" if reached else ""
        return f"at T = {longest:,} no setting holds the gradient {when} in every seed{most}"
    who = ", ".join(holding) if len(holding) <= NAMED else f"{len(holding)} of {len(there)} settings"
    rest = len(there) - len(holding)
    others = f", {rest} other{'s do' if rest > 1 else ' does'} not" if rest and len(holding) <= NAMED else ""
    return f"at T = {longest:,} {who} held the gradient {when}{others}"


def _apart(lines: Sequence[Line]) -> list[str]:
    """Which fields make lines of one cell stand apart: a line has only the lengths of its own setting."""
    settings = [line.group[0].setting for line in lines]
    fields = [
        name
        for name in settings[0]
        for cell in {str(setting["cell"]) for setting in settings}
        if name != "length"
        and len({str(one[name]) for one in settings if one["cell"] == cell and name in one}) > 1
    ]
    return (
        [f"Lines of one cell that differ in {', '.join(dict.fromkeys(fields))} are drawn apart"] if fields else []
    )


def _numbers(lines: Sequence[Line], roles: Sequence[str]) -> list[str]:
    """Slopes at the shortest and the longest length in words, for the caption."""
    said = []
    for line in lines:
        for role in roles:
            found = by_length(line.group, role)
            slopes = [
                f"{seeds_of(found[at], role).slope} at T = {at:,}"
                for at in sorted({min(found, default=0), max(found, default=0)} & found.keys())
            ]
            said += [f"{line.label}, slope {role}: {', '.join(slopes)}"] if slopes else []
    return said


def _odd(lines: Sequence[Line], roles: Sequence[str]) -> list[str]:
    """Which seeds the means leave out, because a gradient is zero or not finite."""
    said = []
    for line in lines:
        for role in roles:
            found = {at: seeds_of(runs, role).span for at, runs in by_length(line.group, role).items()}
            odd = [f"{span.left_out} at T = {at:,}" for at, span in found.items() if span.left_out]
            said += [f"{line.label}, {role}, not in the means: {'; '.join(odd)}"] if odd else []
    return said


def _solve_table(ax: Axes, lines: Sequence[Line], lengths: Sequence[int]) -> None:
    """A cell of the table for each setting and length: how many seeds solved the task, and when."""
    wide = max(1.0, 0.02 * len(lengths) * max(len(line.label) for line in lines))
    for row, line in enumerate(lines):
        ax.text(-0.55, row, line.label, ha="right", va="center", fontsize=8)
        counts, found = solved(line.group), by_length(line.group)
        for column, length in enumerate(lengths):
            if length not in counts:
                continue
            steps = [number(one.run.done["solved_at"]) for one in found[length] if one.run.status == "solved"]
            full = counts[length].count == counts[length].of
            colour = COLOURS[0] if full else "#9ecae1" if steps else "#eeeeee"
            ax.add_patch(_box(column, row, colour))
            text = f"{counts[length]}" + (f", step {np.median(steps):,.0f}" if steps else " solved")
            ax.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if full else INK)
    ax.set_xlim(-0.5 - wide, len(lengths) - 0.5)
    ax.set_ylim(len(lines) - 0.5, -0.5)
    ax.set_xticks(range(len(lengths)), [f"T = {length:,}" for length in lengths])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_title("seeds that solved the task, and the median training step at which they did", loc="left")


def _box(column: int, row: int, colour: str) -> Rectangle:
    return Rectangle((column - 0.48, row - 0.44), 0.96, 0.88, facecolor=colour, edgecolor="none")
