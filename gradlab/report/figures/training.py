"""The figures of training: loss, and gates, against training step."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from gradlab.report.data.records import Record
from gradlab.report.figures.drawing import (
    INK,
    Drawing,
    Floats,
    LineStyle,
    add_legend,
    label_level,
    line_style,
    named_line,
    panels,
    run_choices,
    themed,
    wrapped,
)
from gradlab.report.figures.ticks import PlainLogFormatter
from gradlab.report.text.findings import uncapitalised
from gradlab.report.text.outcomes import at_steps, has_no_solved_level, outcome, unfinished
from gradlab.report.text.terms import tuning_clause

HEADROOM = 10.0
"""The axis of losses goes on for this factor above chance and above what runs that do not diverge reach."""
POINTS = 80
"""Points of a loss line at most; each is the mean of a stretch of training steps."""


@themed()
def loss_figure(name: str, groups: Sequence[Sequence[Record]], names: Sequence[str]) -> Drawing:
    """Loss against training step with the levels of chance and of a solved task."""
    config, losses = groups[0][0].config, groups[0][0].run.done["losses"]
    terms = tuning_clause(groups)
    heading = f"{config['task']}, T = {config['length']}: {_solved(groups)}{terms}"
    figure, (ax,) = panels(1, 1, (7.2, 4.2 + 0.2 * len(groups)), heading)
    notes = draw_losses(ax, groups, names)
    add_legend(ax)
    said = [f"{label}: {uncapitalised(outcome(group))}{terms}" for group, label in zip(groups, names, strict=True)]
    said = said if len(groups) > 1 else []  # that of one setting is the heading
    lines = "Each point is the mean of a stretch of training steps"
    lines += "; lines are medians over seeds, bands their range" if any(len(g) > 1 for g in groups) else ""
    tests = f"Dashed grey: chance {losses['chance']:.4g}"
    tests += f" and the mark of a solved task {losses['solved']:.4g}" if losses["solved"] else ""
    caption = " ".join(f"{text}." for text in (*said, lines, tests, *notes))
    choices = {"Task": str(config["task"]), "Length T": str(config["length"])}
    return Drawing(name, figure, heading, caption, "training", choices)


def draw_losses(ax: Axes, groups: Sequence[Sequence[Record]], names: Sequence[str]) -> list[str]:
    """Draw the losses of several settings with both levels; returns what a caption must say about them."""
    losses = groups[0][0].run.done["losses"]
    stops: list[dict[int, tuple[int, float]]] = []
    for index, (group, label) in enumerate(zip(groups, names, strict=True)):
        stops.append(_loss(ax, group, line_style(index), label))
    levels = [word for word in ("chance", "solved") if losses[word]]  # no error of a forecast counts as solved
    for word in levels:
        ax.axhline(losses[word], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        label_level(ax, losses[word], f"{word}\n{losses[word]:.3g}")
    ax.set_yscale("log")
    for axis in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
        axis(PlainLogFormatter())
    ax.set_xlabel("training step")
    ax.set_ylabel("training loss (log scale)")
    notes = _cut(ax, groups, [float(losses[word]) for word in levels])
    edge = ax.get_ylim()[1] / 1.5
    for index, (stop, group, label) in enumerate(zip(stops, groups, names, strict=True)):
        for step, loss in stop.values():
            ax.plot(step, min(loss, edge), "x", markersize=9, markeredgewidth=2, color=line_style(index).colour)
        if stop:
            notes.append(f"{label}: {_stopped(stop, len(group))}")
    return notes


def _stopped(stop: Mapping[int, tuple[int, float]], seeds: int) -> str:
    """`not finite in 3 of 3 seeds from training steps 26–28`."""
    steps = [step + 1 for step, _ in stop.values()]
    several = f"in {len(stop)} of {seeds} seeds from {at_steps(steps)}" if seeds > 1 else f"at {steps[0]}"
    return f"not finite {several}"


def _loss(ax: Axes, group: Sequence[Record], style: LineStyle, label: str) -> dict[int, tuple[int, float]]:
    """Draw one setting's loss, the median over seeds and their range.

    Returns:
        Training step and value of the last finite loss by seed, of the seeds whose losses end in one that is not.
    """
    losses = [record.arrays()["trace/loss"] for record in group]
    whole = [_finite(loss) for loss in losses]
    stop = {
        record.seed: (max(len(rest), 1), float(rest[-1]) if len(rest) else 1.0)
        for record, loss, rest in zip(group, losses, whole, strict=True)
        if len(rest) < len(loss)
    }
    steps, means = stretches(whole)
    if len(steps):
        label = wrapped(f"{label} ({_stopped(stop, len(group))})" if stop else label, 6.0)
        parts, _ = named_line(ax, steps, np.nanmedian(means, axis=0), style, label, markers=7, linewidth=1.4)
        if len(group) > 1:
            low, high = np.nanmin(means, axis=0), np.nanmax(means, axis=0)
            ax.fill_between(steps, low, high, color=style.colour, alpha=0.15, linewidth=0, gid=f"{parts}-band")
    return stop


def _finite(loss: Floats) -> Floats:
    """The losses before the first that is not finite."""
    finite = np.isfinite(loss)
    return loss if finite.all() else loss[: int(np.argmin(finite))]


def _cut(ax: Axes, groups: Sequence[Sequence[Record]], levels: Sequence[float]) -> list[str]:
    """End the axis where runs that did not diverge end, if others go far beyond and would flatten them."""
    runs = (record for group in groups for record in group if record.run.status != "diverged")
    calm = [loss for record in runs if len(loss := _finite(record.arrays()["trace/loss"]))]
    top = HEADROOM * max([*levels, *(float(loss.max()) for loss in calm)])
    if ax.get_ylim()[1] < HEADROOM * top:
        return []
    ax.set_ylim(min([*levels, *(float(loss.min()) for loss in calm)]) / 1.5, top)
    return [f"The axis ends at a loss of {top:.3g}; a curve that leaves it goes on"]


def stretches(losses: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Training steps (counted from 1) and the means (seed, stretch) of at most `POINTS` stretches of them.

    A seed that ended earlier than the longest is nan from there on.

    Example:
        >>> steps, means = stretches([np.array([4.0, 2.0, 3.0]), np.array([1.0])])
        >>> steps.tolist(), means.tolist()
        ([1.0, 2.0, 3.0], [[4.0, 2.0, 3.0], [1.0, nan, nan]])
    """
    longest = max(len(loss) for loss in losses)
    edges = np.linspace(0, longest, min(POINTS, longest) + 1).round().astype(int)
    pairs = list(itertools.pairwise(edges))
    steps = np.array([(low + 1 + high) / 2 for low, high in pairs], float)
    parts = [[loss[low:high] for low, high in pairs] for loss in losses]
    return steps, np.array([[part.mean() if len(part) else np.nan for part in row] for row in parts], float)


def _solved(groups: Sequence[Sequence[Record]]) -> str:
    """`solved in 3 of 6 runs of 2 settings`; of a single setting when."""
    if len(groups) == 1:
        return uncapitalised(outcome(groups[0]))
    records = [record for group in groups for record in group]
    ended = [record for record in records if record.run.finished]
    if has_no_solved_level(records):
        return f"{len(ended)} runs of {len(groups)} settings"
    solved, diverged = (sum(one.run.status == status for one in ended) for status in ("solved", "diverged"))
    text = f"solved in {solved} of {len(ended)} runs of {len(groups)} settings"
    return ", ".join(filter(None, [text, f"{diverged} diverged" if diverged else "", unfinished(records)]))


@themed()
def gates_figure(name: str, record: Record, label: str) -> Drawing | None:
    """Mean and saturation of every gate against training step; None for a cell without gates."""
    arrays = record.arrays()
    steps, rows = np.unique(arrays["step"], return_index=True)
    gates = {key.removeprefix("gate/"): value[rows] for key, value in arrays.items() if key.startswith("gate/")}
    if not gates:
        return None
    heading = f"{label}, T = {record.config['length']}, seed {record.seed}: {_gates(gates, steps)}"
    figure, axes = panels(1, 2, (4.5, 3.8), heading)
    columns = ("mean value", "share of units within 0.01 of a bound")
    for column, (ax, what) in enumerate(zip(axes, columns, strict=True)):
        for index, (gate, values) in enumerate(gates.items()):
            shown = np.where(np.isfinite(values[:, column]), values[:, column], np.nan)
            named_line(ax, steps, shown, line_style(index), f"gate {gate}")
        ax.set_xscale("symlog", linthresh=1)
        ax.xaxis.set_major_formatter(PlainLogFormatter(linthresh=1))
        ax.set_xlim(-0.1, max(1, steps[-1]) * 1.3)
        ax.set_xlabel("training step (log scale from 1 on)")
        ax.set_ylabel(what)
    top = max(0.1, 1.05 * max(float(np.nanmax(values[:, 1], initial=0.0)) for values in gates.values()))
    axes[1].set_ylim(-0.02 * top, top)
    axes[1].yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    add_legend(figure, columns=len(gates))
    listed = "; ".join(
        f"{gate}: mean {first[0]:.2f} to {last[0]:.2f}, saturated {100 * first[1]:.0f} to {100 * last[1]:.0f} %"
        for gate, (first, *_, last) in ((gate, values[[0, -1]]) for gate, values in gates.items())
    )
    caption = f"{heading}. From the first checkpoint to the last, {listed}."
    return Drawing(name, figure, heading, caption, "runs", run_choices(record, label, "gates"))


def _gates(gates: Mapping[str, Floats], steps: NDArray[np.int64]) -> str:
    """What moves most, and the largest saturation; gates (checkpoints, 2) hold mean and saturation."""
    bad = {
        gate: np.isfinite(values).all(axis=1) for gate, values in gates.items() if not np.isfinite(values).all()
    }
    if bad:
        first = min(int(steps[np.argmin(finite)]) for finite in bad.values())
        return f"gate {', '.join(bad)} not finite at training step {first:,}"
    gate = max(gates, key=lambda name: abs(gates[name][-1, 0] - gates[name][0, 0]))
    first, last = gates[gate][[0, -1], 0]
    top = max(gates, key=lambda name: gates[name][:, 1].max())
    share = gates[top][:, 1]
    where = f"gate {top}, training step {steps[np.argmax(share)]:,}"
    peak = f"saturation peaks at {100 * share.max():.0f} % of units ({where})"
    if share.max() < 0.005:
        peak = "no gate saturates in more than 0.5 % of its units"
    if len(gates) == 1:
        return f"mean {first:.2f} at initialisation, {last:.2f} at the end; {peak}"
    return f"gate {gate} moves most, from a mean of {first:.2f} to {last:.2f}; {peak}"
