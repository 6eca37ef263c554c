"""Figures of one run that look closer: each leaf of the state apart, the total gradient beside the task's."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlab.report.data.records import Record, lags_of, leaves_of, noise_lags, row_of, summarised
from gradlab.report.figures.drawing import LAG, Drawing, Floats, draw_line, look, mark_floors, themed, wrapped
from gradlab.report.text.findings import change, changes, when

KINDS = {
    "task": "single timestep that needs the memory",
    "total": "total (all outputs)",
    "direct": "direct (first term alone)",
}
"""The gradients that a run may have stored, in words."""


def leaves_figure(name: str, record: Record, label: str) -> Drawing | None:
    """Each leaf of the state against lag, before and after training; None where the state has one leaf.

    Levels are kept: 0 is the norm of the whole state at lag 1, so that leaves can be compared.
    """
    arrays = record.arrays()
    leaves = leaves_of(arrays, "task")[:-1]
    if len(leaves) < 2:
        return None
    said = _larger(arrays, row_of(arrays, record.step("initial")), leaves)
    heading = f"{label}, T = {record.config['length']}, seed {record.seed}: {said} at initialisation"
    lines = {leaf: ("task", leaf) for leaf in leaves}
    figure = _draw(record, arrays, lines, "task", heading, "gradient norm, decades from the state's at lag 1")
    roles = _roles(record)
    parts = [
        f"{leaf} {when([record], role)}: {change(record.summary(role, 'task', leaf), record.findings(role))}"
        for role in roles
        for leaf in leaves
    ]
    about = "Gradient with respect to one leaf of the state, the other leaves of the same timestep held fixed"
    return Drawing(name, figure, heading, f"{about}. {'; '.join(parts)}.")


def kinds_figure(name: str, record: Record, label: str) -> Drawing | None:
    """The gradient of the whole loss beside that of the timestep that needs memory; None where they are one."""
    arrays = record.arrays()
    kinds = {kind: words for kind, words in KINDS.items() if f"{kind}/state/typical" in arrays}
    if len(kinds) < 2:
        return None
    said = [f"{words.partition(' (')[0]} {_over(record, kind)}" for kind, words in kinds.items()]
    heading = f"{label}, T = {record.config['length']}, seed {record.seed}, at initialisation: {'; '.join(said)}"
    lines = {words: (kind, "state") for kind, words in kinds.items()}
    figure = _draw(record, arrays, lines, "total", heading, "gradient norm, decades from the total's at lag 1")
    about = (
        "The total gradient of a loss that is read at many timesteps looks healthy even where no credit crosses "
        "time; the gradient of the timestep that needs the memory does not"
    )
    return Drawing(name, figure, heading, f"{heading}. {about}.")


def _over(record: Record, kind: str) -> str:
    return changes([record], "initial", kind)


def _roles(record: Record) -> list[str]:
    return ["initial", "final"] if record.step("initial") != record.step("final") else ["initial"]


def _draw(
    record: Record,
    arrays: Mapping[str, np.ndarray],
    lines: Mapping[str, tuple[str, str]],
    zero: str,
    heading: str,
    name: str,
) -> Figure:
    """A panel before and one after training.

    Args:
        lines: curve and leaf of each line, by its label.
        zero: the curve whose value for the whole state at lag 1 is 0.
        name: of the vertical axis.
    """
    roles, bases = _roles(record), []
    with themed():
        figure = Figure(figsize=(4.6 * len(roles) + 0.4, 3.7), layout="constrained")
        axes = list(figure.subplots(1, len(roles), squeeze=False, sharey=True).flat)
        for ax, role in zip(axes, roles, strict=True):
            row = row_of(arrays, record.step(role))
            base = _base(summarised(arrays, row, zero))
            for index, (label, (curve, leaf)) in enumerate(lines.items()):
                lags, line = _line(arrays, row, curve, leaf, base)
                noise = noise_lags(arrays, row, curve, leaf)[: len(line)]
                draw_line(ax, lags, line, look(index), label=label, noise=noise)
            bases.append(base)
        _finish(axes, record, roles, bases, name)
        figure.suptitle(wrapped(heading, figure.get_figwidth()), x=0.01, ha="left", fontsize=9.5)
    return figure


def _base(line: Floats) -> float:
    return float(line[0]) if math.isfinite(line[0]) else 0.0


def _line(
    arrays: Mapping[str, np.ndarray], row: int, curve: str, leaf: str, base: float
) -> tuple[NDArray[np.int64], Floats]:
    line = summarised(arrays, row, curve, leaf)[: lags_of(arrays, row, curve)] - base
    return np.arange(1, len(line) + 1, dtype=np.int64), line


def _finish(axes: Sequence[Axes], record: Record, roles: Sequence[str], bases: Sequence[float], name: str) -> None:
    """Titles and floors, once all lines are there: the panels share their range."""
    for ax, role, base in zip(axes, roles, bases, strict=True):
        mark_floors(ax, [base])
        ax.set_xlabel(LAG)
        ax.set_ylabel(name)
        ax.set_title(when([record], role), loc="left")
    axes[0].legend()


def _larger(arrays: Mapping[str, np.ndarray], row: int, leaves: Sequence[str]) -> str:
    """`the gradient is largest in c at lag 1 and in h at lag 200`, or what it is there instead."""
    lines = {leaf: summarised(arrays, row, "task", leaf)[: lags_of(arrays, row)] for leaf in leaves}
    noise = {leaf: noise_lags(arrays, row, "task", leaf)[: len(lines[leaf])] for leaf in leaves}
    lags = len(lines[leaves[0]])
    first, last = (_largest({leaf: lines[leaf][at] for leaf in leaves if not noise[leaf][at]}) for at in (0, -1))
    if first == last and first in leaves:
        return f"the gradient is largest in {first}, at lag 1 and at lag {lags}"
    told = [f"largest in {what}" if what in leaves else what for what in (first, last)]
    return f"the gradient is {told[0]} at lag 1 and {told[1]} at lag {lags}"


def _largest(values: Mapping[str, float]) -> str:
    """The leaf of the largest value, or what they are where there is none."""
    if not values:
        return "rounding noise"
    if any(math.isnan(value) or value == math.inf for value in values.values()):
        return "not finite"
    best = max(values, key=lambda leaf: values[leaf])
    return "zero in every leaf" if values[best] == -math.inf else best
