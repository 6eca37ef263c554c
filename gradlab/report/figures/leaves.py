"""Figures of one run that look closer: each leaf of the state apart, the total gradient beside the task's."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from gradlab.report.data.records import Record, lags_of, leaves_of, noise_lags, row_of, summarised
from gradlab.report.figures.curves import CurveLine, draw_panels
from gradlab.report.figures.drawing import Drawing, line_style, run_choices, themed
from gradlab.report.text.findings import beginning, change, changes, when

KINDS = {
    "task": "single timestep that needs the memory",
    "total": "total (all outputs)",
    "direct": "direct (first term alone)",
}
"""The gradients that a run may have stored, in words."""


@themed()
def leaves_figure(name: str, record: Record, label: str) -> Drawing | None:
    """Each leaf of the state against lag, before and after training; None if the state has one leaf.

    Levels are kept: 0 is the norm of the whole state at lag 1, so that leaves can be compared.
    """
    leaves = leaves_of(record.arrays(), "task")[:-1]
    if len(leaves) < 2:
        return None
    start = f"{label}, T = {record.config['length']}, seed {record.seed}"
    heading = f"{start}: {_largest_leaf(record, leaves)} {beginning([record])}"
    lines = {leaf: ("task", leaf) for leaf in leaves}
    figure = _draw(record, lines, "task", heading, "gradient norm relative to\nthe state's at lag 1 (decades)")
    parts = [
        f"{leaf} {when([record], role)}: {change(record.summary(role, 'task', leaf), record.findings(role))}"
        for role in _roles(record)
        for leaf in leaves
    ]
    about = "Gradient with respect to one leaf of the state, the other leaves of the same timestep held fixed"
    choices = run_choices(record, label, "leaves of the state")
    return Drawing(name, figure, heading, f"{about}. {'; '.join(parts)}.", "runs", choices)


@themed()
def kinds_figure(name: str, record: Record, label: str) -> Drawing | None:
    """The gradient of the whole loss beside that of the timestep that needs memory; None if they are one."""
    arrays = record.arrays()
    kinds = {kind: words for kind, words in KINDS.items() if f"{kind}/state/typical" in arrays}
    if len(kinds) < 2:
        return None
    said = [f"{words.partition(' (')[0]} {changes([record], 'initial', kind)}" for kind, words in kinds.items()]
    start = f"{label}, T = {record.config['length']}, seed {record.seed}"
    heading = f"{start}, {beginning([record])}: {'; '.join(said)}"
    lines = {words: (kind, "state") for kind, words in kinds.items()}
    figure = _draw(record, lines, "total", heading, "gradient norm relative to\nthe total's at lag 1 (decades)")
    about = (
        "The total gradient of a loss that is read at many timesteps looks healthy even where no credit crosses "
        "time; the gradient of the timestep that needs the memory does not"
    )
    choices = run_choices(record, label, "total and task gradient")
    return Drawing(name, figure, heading, f"{heading}. {about}.", "runs", choices)


def _roles(record: Record) -> list[str]:
    return ["initial", "final"] if record.step("initial") != record.step("final") else ["initial"]


def _draw(record: Record, lines: Mapping[str, tuple[str, str]], zero: str, heading: str, y_name: str) -> Figure:
    """A panel before and one after training.

    Args:
        lines: curve and leaf of each line, by its label.
        zero: the curve whose value for the whole state at lag 1 is 0.
    """
    shown = {
        when([record], role): [
            CurveLine([record], role, label, line_style(index), *place, zero)
            for index, (label, place) in enumerate(lines.items())
        ]
        for role in _roles(record)
    }
    return draw_panels(heading, shown, len(shown), y_name)[0]


def _largest_leaf(record: Record, leaves: Sequence[str]) -> str:
    """`the gradient is largest in c at lag 1 and in h at lag 200`, or what it is there instead."""
    arrays, row = record.arrays(), row_of(record.arrays(), record.step("initial"))
    lags = lags_of(arrays, row)
    lines = {leaf: summarised(arrays, row, "task", leaf)[:lags] for leaf in leaves}
    noise = {leaf: noise_lags(arrays, row, "task", leaf)[:lags] for leaf in leaves}
    first, last = (_largest({leaf: lines[leaf][at] for leaf in leaves if not noise[leaf][at]}) for at in (0, -1))
    if first == last and first in leaves:
        return f"the gradient is largest in {first}, at lag 1 and at lag {lags}"
    words = [f"largest in {what}" if what in leaves else what for what in (first, last)]
    return f"the gradient is {words[0]} at lag 1 and {words[1]} at lag {lags}"


def _largest(values: Mapping[str, float]) -> str:
    """The leaf of the largest value, or what they all are instead."""
    if not values:
        return "rounding noise"
    if any(math.isnan(value) or value == math.inf for value in values.values()):
        return "not finite"
    best = max(values, key=lambda leaf: values[leaf])
    return "zero in every leaf" if values[best] == -math.inf else best
