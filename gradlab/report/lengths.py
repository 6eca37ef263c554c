"""The figure of lengths: how slope, horizon and solving depend on T."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gradlab.judge.statistics import over_seeds
from gradlab.report.figures import COLOURS, INK, Drawing, look, themed, wrapped
from gradlab.report.records import Record, grouped, labels
from gradlab.runs.jsonable import number

LOWEST = 0.8
"""Where a horizon of 0 is drawn on a log axis."""


def lengths_figure(name: str, records: Sequence[Record]) -> Drawing:
    """Slope, horizon and solve status of one task against length, a line for each setting.

    Args:
        name: of the file. records: measured runs of one task.
    """
    series = grouped(records, without=["length"])
    names = labels(series, without=["length"])
    trained = [group for group in series if group[0].trained]
    roles = ["initial", "final"] if trained else ["initial"]
    lengths = sorted({record.config["length"] for record in records})
    odd: list[str] = []
    with themed():
        table = 0.8 + 0.3 * len(trained) if trained else 0.0
        figure = Figure(figsize=(4.6 * len(roles) + 1.0, 7.2 + table + 0.1 * len(series)), layout="constrained")
        heights = [3.4, 3.4, table] if trained else [3.4, 3.4]
        grid = figure.add_gridspec(len(heights), len(roles), height_ratios=heights)
        for column, role in enumerate(roles):
            shown = [_by_length(group, role) for group in series]
            pair = [figure.add_subplot(grid[row, column]) for row in (0, 1)]
            _against_length(pair, shown, names, lengths, role, odd)
        handles, said = pair[1].get_legend_handles_labels()
        figure.legend(handles, said, loc="outside lower center", ncols=2)
        if trained:
            bottom = figure.add_subplot(grid[2, :])
            _solve_table(bottom, trained, [names[series.index(group)] for group in trained], lengths)
        task = records[0].config["task"]
        heading = f"{task}: {_longest(series, names, roles[-1])}"
        figure.suptitle(wrapped(heading, 4.6 * len(roles)), x=0.01, ha="left", fontsize=9.5)
    bars = "Bars: 95 % interval of the mean from 3 seeds on. A horizon on the dotted line is the whole length"
    return Drawing(name, figure, heading, ". ".join([heading, *_numbers(series, names, roles), bars, *odd]) + ".")


def _by_length(group: Sequence[Record], role: str) -> dict[int, list[Record]]:
    """The runs of a setting by length; for the end only those that were trained."""
    found: dict[int, list[Record]] = {}
    for record in group:
        if role == "initial" or record.trained:
            found.setdefault(record.config["length"], []).append(record)
    return found


def _against_length(
    pair: Sequence[Axes],
    shown: Sequence[dict[int, list[Record]]],
    names: Sequence[str],
    lengths: Sequence[int],
    role: str,
    odd: list[str],
) -> None:
    """Slope and horizon of every setting at one checkpoint."""
    pair[1].plot(lengths, lengths, color=INK, linestyle=(0, (1, 2)), linewidth=1, label="the whole length")
    for index, (by_length, label) in enumerate(zip(shown, names, strict=True)):
        style = look(index)
        shift = 1.012 ** (index - (len(names) - 1) / 2)
        for ax, of in zip(pair, (_slope, _horizon), strict=True):
            points = [(at, over_seeds(of(record, role) for record in by_length[at])) for at in sorted(by_length)]
            finite = [(at, mean) for at, mean in points if math.isfinite(mean.mean)]
            odd += [
                f"{label}, T = {at}: no finite slope" for at, mean in points if of is _slope and mean.not_finite
            ]
            x = [at * shift for at, _ in finite]
            least = LOWEST if of is _horizon else -math.inf
            means = [max(mean.mean, least) for _, mean in finite]
            half = [0.0 if math.isnan(mean.low) else mean.mean - mean.low for _, mean in finite]
            drawn = ax.errorbar(x, means, half, color=style.colour, marker=style.marker, markersize=5, label=label)
            drawn[0].set_linestyle(style.dashes)
    when = "at initialisation" if role == "initial" else "at the end of training"
    pair[0].set_ylabel("slope (decades per timestep)")
    pair[0].set_title(f"slope {when}", loc="left")
    pair[0].axhline(0, color=INK, linewidth=0.8)
    pair[1].set_yscale("log")
    pair[1].set_ylim(LOWEST, 1.4 * max(lengths))
    pair[1].set_ylabel("horizon (timesteps to −3 decades)")
    pair[1].set_title(f"horizon {when}", loc="left")
    for ax in pair:
        ax.set_xscale("log")
        ax.set_xticks(lengths, [f"{length}" for length in lengths])
        ax.set_xticks([], minor=True)
        ax.set_xlabel("length T (log scale)")


def _slope(record: Record, role: str) -> float:
    return math.nan if record.findings(role) else record.summary(role).slope.value


def _horizon(record: Record, role: str) -> float:
    return math.nan if record.findings(role) else float(record.summary(role).horizon.lag)


def _solve_table(
    ax: Axes, groups: Sequence[Sequence[Record]], names: Sequence[str], lengths: Sequence[int]
) -> None:
    """A cell of the table for each setting and length: how many seeds solved the task, and when."""
    wide = max(1.0, 0.35 * len(lengths))
    for row, group in enumerate(groups):
        ax.text(-0.55, row, names[row], ha="right", va="center", fontsize=8)
        for column, length in enumerate(lengths):
            runs = [record for record in group if record.config["length"] == length]
            solved = [number(record.run.done["solved_at"]) for record in runs if record.run.status == "solved"]
            if not runs:
                continue
            full = len(solved) == len(runs)
            colour = COLOURS[0] if full else "#9ecae1" if solved else "#eeeeee"
            ax.add_patch(_box(column, row, colour))
            text = f"{len(solved)} of {len(runs)}"
            text += f", step {np.median(solved):,.0f}" if solved else " solved"
            ax.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if full else INK)
    ax.set_xlim(-0.5 - wide, len(lengths) - 0.5)
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.set_xticks(range(len(lengths)), [f"T = {length}" for length in lengths])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_title("seeds that solved the task, and the median training step at which they did", loc="left")


def _box(column: int, row: int, colour: str) -> Rectangle:
    return Rectangle((column - 0.48, row - 0.44), 0.96, 0.88, facecolor=colour, edgecolor="none")


def _longest(series: Sequence[Sequence[Record]], names: Sequence[str], role: str) -> str:
    """What holds the gradient at the longest length."""
    longest = max(record.config["length"] for group in series for record in group)
    held: list[str] = []
    lost: list[str] = []
    for group, label in zip(series, names, strict=True):
        runs = _by_length(group, role).get(longest, [])
        if runs:
            holds = all(r.summary(role).verdict.word == "held" and not r.findings(role) for r in runs)
            (held if holds else lost).append(label)
    when = "at initialisation" if role == "initial" else "at the end of training"
    if not held and not lost:
        return f"slope, horizon and solve status against length, {when}"
    if not held:
        return f"at T = {longest} no setting holds the gradient {when}"
    others = f", {len(lost)} other{'s do' if len(lost) > 1 else ' does'} not" if lost else ""
    return f"at T = {longest} {', '.join(held)} held the gradient {when}{others}"


def _numbers(series: Sequence[Sequence[Record]], names: Sequence[str], roles: Sequence[str]) -> list[str]:
    """Slopes by length in words, for the caption."""
    said = []
    for group, label in zip(series, names, strict=True):
        for role in roles:
            by_length = _by_length(group, role)
            slopes = [
                f"{over_seeds(_slope(r, role) for r in by_length[at])} at T = {at}" for at in sorted(by_length)
            ]
            said += [f"{label}, slope {role}: {', '.join(slopes)}"] if slopes else []
    return said
