"""The figures of training: loss, and gates, against training step."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from gradlab.report.data.outcomes import at_steps, outcome, unended
from gradlab.report.data.records import Record
from gradlab.report.figures.drawing import INK, Drawing, Floats, Look, darker, look, themed, wrapped

HEADROOM = 10.0
"""The axis of losses goes on for this factor above chance and above what runs that do not diverge reach."""
POINTS = 80
"""Points of a loss line at most; each is the mean of a stretch of training steps."""


def loss_figure(name: str, groups: Sequence[Sequence[Record]], names: Sequence[str]) -> Drawing:
    """Loss against training step with the levels of chance and of a solved task.

    Args:
        name: of the file. groups: runs of each setting of one task and length. names: of the settings.
    """
    config, losses = groups[0][0].config, groups[0][0].run.done["losses"]
    with themed():
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        ax = figure.subplots()
        looks = [look(index) for index in range(len(groups))]
        stops = [_loss(ax, *each) for each in zip(groups, looks, names, strict=True)]
        for word, level in (("chance", losses["chance"]), ("solved", losses["solved"])):
            _level(ax, float(level), f"{word} {level:.3g}")
        ax.set_yscale("log")
        notes = _cut(ax, groups, float(losses["chance"]), float(losses["solved"]))
        for row, (stop, style) in enumerate(
            (stop, style) for stop, style in zip(stops, looks, strict=True) if stop
        ):
            notes.append(_mark_stops(ax, stop, style, row))
        ax.set_xlabel("training step")
        ax.set_ylabel("training loss (log scale)")
        if ax.get_legend_handles_labels()[0]:
            ax.legend()
        said = [f"{label}: {_lower(outcome(group))}" for group, label in zip(groups, names, strict=True)]
        heading = f"{config['task']}, T = {config['length']}: {_solved(groups)}"
        ax.set_title(wrapped(heading, 6.6), loc="left")
    lines = "Each point is the mean of a stretch of training steps"
    lines += "; lines are medians over seeds, bands their range" if any(len(g) > 1 for g in groups) else ""
    tests = f"Dashed grey: chance {losses['chance']:.4g} and the mark of a solved task {losses['solved']:.4g}"
    return Drawing(name, figure, heading, " ".join(f"{text}." for text in (*said, lines, tests, *notes)))


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def _solved(groups: Sequence[Sequence[Record]]) -> str:
    """`solved by LSTM in 3 of 3 runs; not by RNN (0 of 3)`, in numbers alone where there are many settings."""
    records = [record for group in groups for record in group]
    ended = [record for record in records if record.run.finished]
    solved = sum(record.run.status == "solved" for record in ended)
    if len(groups) == 1:
        return _lower(outcome(groups[0]))
    diverged = sum(record.run.status == "diverged" for record in ended)
    text = f"solved in {solved} of {len(ended)} runs of {len(groups)} settings"
    return f"{text}{f', {diverged} diverged' if diverged else ''}{unended(records, ', ')}"


class _Stop(NamedTuple):
    """Where the losses of a setting end in a value that is not finite: training step and last loss by seed."""

    label: str
    seeds: int
    at: dict[int, tuple[int, float]]


def _loss(ax: Axes, group: Sequence[Record], style: Look, label: str) -> _Stop | None:
    """Draw one setting's loss, the median over seeds and their range; returns where losses are not finite."""
    losses = [record.arrays()["trace/loss"] for record in group]
    whole = [_whole(loss) for loss in losses]
    steps, means = stretches(whole)
    if len(steps):
        middle = np.nanmedian(means, axis=0)
        every = max(1, len(steps) // 7)
        drawn: dict[str, Any] = {
            "color": style.colour,
            "linestyle": style.dashes,
            "marker": style.marker,
            "markersize": 4,
        }
        ax.plot(steps, middle, markevery=every, linewidth=1.4, label=label, **drawn)
        low, high = np.nanmin(means, axis=0), np.nanmax(means, axis=0)
        ax.fill_between(steps, low, high, color=style.colour, alpha=0.15, linewidth=0)
    at = {
        record.seed: (max(len(rest), 1), float(rest[-1]) if len(rest) else 1.0)
        for record, loss, rest in zip(group, losses, whole, strict=True)
        if len(rest) < len(loss)
    }
    return _Stop(label, len(group), at) if at else None


def _whole(loss: Floats) -> Floats:
    """The losses before the first that is not finite."""
    finite = np.isfinite(loss)
    return loss if finite.all() else loss[: int(np.argmin(finite))]


def _cut(ax: Axes, groups: Sequence[Sequence[Record]], chance: float, solved: float) -> list[str]:
    """End the axis where runs that did not diverge end, if others go far beyond and would flatten them."""
    calm = [
        _whole(record.arrays()["trace/loss"])
        for group in groups
        for record in group
        if record.run.status != "diverged"
    ]
    top = HEADROOM * max([chance, *(float(loss.max()) for loss in calm if len(loss))])
    if ax.get_ylim()[1] < HEADROOM * top:
        return []
    bottom = min([solved, *(float(loss.min()) for loss in calm if len(loss))])
    ax.set_ylim(bottom / 1.5, top)
    return [f"The axis ends at a loss of {top:.3g}; a curve that leaves it goes on"]


def _mark_stops(ax: Axes, stop: _Stop, style: Look, row: int) -> str:
    """A cross for each seed, inside the axes, and one text for all of them; returns the text."""
    edge = ax.get_ylim()[1] / 1.5
    for step, loss in stop.at.values():
        ax.plot(step, min(loss, edge), marker="x", markersize=9, markeredgewidth=2, color=style.colour)
    first, last = min(stop.at.values()), max(step for step, _ in stop.at.values())
    where = at_steps([step + 1 for step, _ in stop.at.values()])
    text = f"not finite in {len(stop.at)} of {stop.seeds} seeds from {where}"
    ax.annotate(
        text if stop.seeds > 1 else f"not finite at {first[0] + 1}",
        (last, min(first[1], edge)),
        xytext=(8, -4 - 11 * row),
        textcoords="offset points",
        fontsize=8,
        color=darker(style.colour),
    )
    return f"{stop.label}: {text}"


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


def _level(ax: Axes, level: float, text: str) -> None:
    ax.axhline(level, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    place: dict[str, Any] = {
        "xycoords": ("axes fraction", "data"),
        "xytext": (0, 2),
        "textcoords": "offset points",
    }
    ax.annotate(text, (0.99, level), ha="right", va="bottom", fontsize=8, color=INK, **place)


def gates_figure(name: str, record: Record, label: str) -> Drawing | None:
    """Mean and saturation of every gate against training step; None for a cell that has no gates to look at."""
    arrays = record.arrays()
    gates = {key.removeprefix("gate/"): value for key, value in arrays.items() if key.startswith("gate/")}
    if not gates:
        return None
    steps, rows = np.unique(arrays["step"], return_index=True)
    with themed():
        figure = Figure(figsize=(9.0, 3.8), layout="constrained")
        both = figure.subplots(1, 2)
        for index, (gate, values) in enumerate(gates.items()):
            style = look(index)
            drawn: dict[str, Any] = {
                "color": style.colour,
                "linestyle": style.dashes,
                "marker": style.marker,
                "markersize": 4,
            }
            for ax, column in zip(both, (0, 1), strict=True):
                shown = np.where(np.isfinite(values[rows, column]), values[rows, column], np.nan)
                ax.plot(steps, shown, label=gate, **drawn)
        for ax, what in zip(both, ("mean value", "share of units within 0.01 of a bound"), strict=True):
            ax.set_xscale("symlog", linthresh=1)
            ax.set_xlim(-0.1, max(1, steps[-1]) * 1.3)
            ax.set_xlabel("training step (log scale from 1 on)")
            ax.set_ylabel(what)
        highest = max(float(np.nanmax(values[rows, 1], initial=0.0)) for values in gates.values())
        top = max(0.1, 1.05 * highest)
        both[1].set_ylim(-0.02 * top, top)
        both[1].yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        both[0].legend(title="gate")
        said = _gates(gates, rows, steps)
        heading = f"{label}, T = {record.config['length']}, seed {record.seed}: {said}"
        figure.suptitle(wrapped(heading, 8.6), x=0.01, ha="left", fontsize=9.5)
    listed = "; ".join(
        f"{gate}: mean {values[rows[0], 0]:.2f} to {values[rows[-1], 0]:.2f}, saturated "
        f"{100 * values[rows[0], 1]:.0f} to {100 * values[rows[-1], 1]:.0f} %"
        for gate, values in gates.items()
    )
    return Drawing(name, figure, heading, f"{heading}. From the first checkpoint to the last, {listed}.")


def _gates(gates: dict[str, Floats], rows: NDArray[np.int64], steps: NDArray[np.int64]) -> str:
    """What moves most, and the largest saturation."""
    broken = [gate for gate, values in gates.items() if not np.isfinite(values[rows]).all()]
    if broken:
        first = min(int(steps[np.argmin(np.isfinite(gates[gate][rows]).all(axis=1))]) for gate in broken)
        return f"gate {', '.join(broken)} not finite at training step {first:,}"
    gate = max(gates, key=lambda name: abs(gates[name][rows[-1], 0] - gates[name][rows[0], 0]))
    first, last = gates[gate][rows[0], 0], gates[gate][rows[-1], 0]
    top = max(gates, key=lambda name: gates[name][rows, 1].max())
    share = gates[top][rows, 1]
    where = f"gate {top}, training step {steps[np.argmax(share)]:,}"
    peak = f"saturation peaks at {100 * share.max():.0f} % of units ({where})"
    if share.max() < 0.005:
        peak = "no gate saturates in more than 0.5 % of its units"
    if len(gates) == 1:
        return f"mean {first:.2f} at initialisation, {last:.2f} at the end; {peak}"
    return f"gate {gate} moves most, from a mean of {first:.2f} to {last:.2f}; {peak}"
