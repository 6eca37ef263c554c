"""Sentences on several cells: what each gradient does, and which factors of one timestep account for it."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradlab.lesson.axes import GATED
from gradlab.lesson.comparison import ORTHOGONAL, ComparedCell, StepFactors
from gradlab.lesson.records import GridPoint
from gradlab.lesson.wording import power, rounded, signed
from gradlab.report.data.records import Labelled, Record
from gradlab.report.text.findings import change, changes
from gradlab.runs.variants import get_cell

DIRECT = {"lstm": ("forget gate f", "memory c"), "gru": ("update gate z", "state h")}
"""The gate of the direct path, and what it keeps."""
ROUTE = {"lstm": "c → h → g → c", "gru": "h → n → h"}
"""The path through the recurrent weights of the candidate."""
ALIKE_DECADES = 0.5
"""Decades within which two cells lose as much."""


class Explained(NamedTuple):
    """The paragraphs on a cell.

    Attributes:
        equations: family, activation of an rnn, and whether an lstm has a forget gate; no family if not known.
    """

    label: str
    sentences: list[str]
    equations: tuple[str, str, bool] = ("", "", False)


def does(point: GridPoint) -> str:
    """`4.1 decades lost`, and what else is to be said of one curve."""
    curve = point.curve
    return change(curve.summary(), [str(finding) for finding in curve.non_finite], curve.notes())


def lost(decades: float) -> str:
    """Decades lost, from the decades that a curve has moved: `4.1`; what is gained has a minus."""
    return signed(0.0 - decades).removeprefix("+")


def headline(cells: Sequence[ComparedCell], column: int = -1) -> str:
    """`At T = 200, before training: LSTM 3.2 decades lost; ...`, the curve that stays nearest to lag 1 first."""
    ordered = sorted(cells, key=lambda each: each.points[column].curve.verdict().severity)
    said = "; ".join(f"{each.label} {does(each.points[column])}" for each in ordered)
    return f"At T = {cells[0].points[column].length}, before training: {said}."


def contrast(cells: Sequence[ComparedCell]) -> list[str]:
    """Whether gated cells lose less than plain ones, as textbooks say; if not, what the weights start as."""
    finite = [each for each in cells if math.isfinite(each.longest.curve.span())]
    pairs = [(one, two) for one in finite for two in finite if one.family == "rnn" and two.family in GATED]
    if not pairs:
        return []
    one, two = max(pairs, key=lambda pair: _span(pair[0]) - _span(pair[1]))
    if _span(one) - _span(two) <= ALIKE_DECADES:
        alike = all(abs(_span(one) - _span(two)) <= ALIKE_DECADES for one, two in pairs)
        words = "as much as" if alike else "no more than"
        return [f"Here every gated cell loses {words} every plain RNN."]
    found = [
        "Textbooks say that gates keep a gradient which a plain RNN loses. Before training, the measurement says "
        f"the reverse of {one.label} and {two.label}: {lost(_span(one))} decades lost against "
        f"{lost(_span(two))}. Both follow from how the weights start."
    ]
    if one.factors and one.factors.scale is not None:
        found.append(
            f"{one.label}: its recurrent weights {_weights(one.factors)}. {_slope_alone(one.factors)}".strip()
        )
    if two.factors and two.factors.together < 1:
        (gate, kept), factors = DIRECT[two.family], two.factors
        found.append(
            f"{two.label}: its {gate} starts at {factors.keep:.2f}, so the direct path keeps that share of the "
            f"{kept} at each timestep. With the path through the recurrent weights added, a timestep multiplies "
            f"by {rounded(factors.together, 3)}. Training can move the gate."
        )
    return found


def _span(each: ComparedCell) -> float:
    """Decades from lag 1 to the last lag; below 0 where the gradient shrinks."""
    return each.longest.curve.span()


def explained(each: ComparedCell) -> Explained:
    """What one timestep does to the gradient of a cell, from what was measured of it."""
    point, factors = each.longest, each.factors
    if not each.family:
        gates = ", ".join(f"{name} {mean:.2f}".replace("-", "−") for name, mean in point.gates.items())
        known = [f"Means of its gates: {gates}."] if gates else []
        unknown = "Its equations are not known here, so the factor is not taken apart."
        return Explained(each.label, [_measured(point), " ".join([*known, unknown])])
    if factors is None:
        return Explained(each.label, [_measured(point), "A state is not finite, so its factors are not known."])
    parts = [_rnn(factors)] if each.family == "rnn" else [_direct(each, factors), _candidate(each, factors)]
    built: Any = get_cell(each.cell)
    equations = each.family, getattr(built, "activation", ""), bool(getattr(built, "forget_gate", False))
    return Explained(each.label, [*parts, _accounts(point, factors)], equations)


def _rnn(factors: StepFactors) -> str:
    ((name, slope),) = factors.through.items()
    return (
        f"Each timestep multiplies by the recurrent weights and by the slope of the units, {name}: "
        f"{rounded(slope, 3)} as a root mean square. The weights {_weights(factors)}. {_slope_alone(factors)}"
    ).strip()


def _slope_alone(factors: StepFactors) -> str:
    """What is left to shrink the gradient of an rnn whose weights keep its norm."""
    keeps = factors.scale is not None and abs(factors.scale - 1) < ORTHOGONAL
    return (
        f"Only the slope of the units, {rounded(factors.write, 3)}, shrinks it."
        if keeps and factors.write < 1
        else ""
    )


def _weights(factors: StepFactors) -> str:
    """The end of a sentence on recurrent weights."""
    low, high = factors.singular
    if factors.scale is None:
        return (
            f"have singular values from {rounded(low, 2)} to {rounded(high, 3)}: they shrink or stretch the "
            "gradient, depending on its direction, and a long product is governed by their largest eigenvalue"
        )
    if abs(factors.scale - 1) < ORTHOGONAL:
        return (
            "are orthogonal (every singular value is 1): however often they are multiplied, they turn the "
            "gradient and keep its norm"
        )
    return f"are {rounded(factors.scale, 3)} times an orthogonal matrix: they multiply every norm by that"


def _direct(each: ComparedCell, factors: StepFactors) -> str:
    """The path that passes no weights."""
    gate, kept = DIRECT[each.family]
    built: Any = get_cell(each.cell)
    start = _start(each.family, built)
    text = f"The {gate} keeps {factors.keep:.2f} of the {kept} at each timestep, in the mean{start}."
    if each.family == "lstm" and not built.forget_gate:
        text = f"There is no forget gate: the direct path keeps all of the {kept}."
    if each.alone is None or not math.isfinite(each.alone.curve.span()):
        return text
    return f"{text} With the recurrent weights at 0 only this direct path is left: {does(each.alone)}."


def _start(family: str, built: Any) -> str:
    """Where the gate starts, if every unit starts alike."""
    if built.scheme.is_library or built.scheme.t_max is not None:
        return ""
    bias = built.forget_bias if family == "lstm" else 0.0
    text = f" (its bias starts at {bias:g}, and σ({bias:g}) = {1 / (1 + math.exp(-bias)):.2f})"
    return text.replace("-", "−")


def _candidate(each: ComparedCell, factors: StepFactors) -> str:
    """The path through the candidate, and both paths together."""
    product = " · ".join(f"({name})" if " " in name else name for name in factors.through)
    values = " · ".join(f"{value:.2f}" for value in factors.through.values())
    return (
        f"A second path, {ROUTE[each.family]}, multiplies by {product} = {values} = {factors.write:.2f} and by "
        f"recurrent weights. These {_weights(factors)}. In the direction in which the two paths add up best, a "
        f"timestep multiplies by {rounded(factors.together, 3)}."
    )


def _accounts(point: GridPoint, factors: StepFactors) -> str:
    """Whether the factors give the curve that was measured."""
    lags, span = len(point.curve.lags), point.curve.span()
    if lags < 2 or not math.isfinite(span):
        return f"{_measured(point)} There is no measured factor to set beside it."
    estimate = estimated(point, factors)
    text = (
        f"{rounded(factors.together, 3)} to the power of {lags - 1} is {power(estimate)}. Measured: "
        f"{power(span)}, a factor of {rounded(point.mean_factor, 3)} per timestep"
    )
    gap = abs(estimate - span)
    if gap <= max(ALIKE_DECADES / 2, 0.2 * abs(span)):
        rest = f", but for {gap:.1f} decades" if gap >= 0.05 else ""
        return f"{text}. So these factors account for the curve{rest}."
    return (
        f"{text}. The {gap:.1f} decades between the two are what this leaves out: paths through the weights of "
        "gates, and factors that differ from unit to unit and from timestep to timestep."
    )


def estimated(point: GridPoint, factors: StepFactors) -> float:
    """Decades at the last lag if every timestep multiplied by `together`."""
    with np.errstate(divide="ignore"):
        return float((len(point.curve.lags) - 1) * np.log10(factors.together))


def after_training(groups: Labelled) -> str:
    """`At the end of training: GRU 0.6 decades lost; RNN 5.5 decades lost.`, the nearest to lag 1 first."""

    def furthest(group: Sequence[Record]) -> tuple[bool, float]:
        return max(record.summary("final").verdict.severity for record in group)

    ordered = sorted(groups, key=lambda each: furthest(each[1]))
    said = "; ".join(f"{label} {changes(group, 'final')}" for label, group in ordered)
    return f"At the end of training: {said}."


def gates_moved(label: str, record: Record) -> list[tuple[str, str, float, float]]:
    """Of each gate of a trained run: cell, gate, its mean at the beginning and at the end."""
    first, last = (record.log[record.marks[role]].get("gates", {}) for role in ("initial", "final"))
    return [(label, name, float(first[name]["mean"]), float(last[name]["mean"])) for name in first if name in last]


def _measured(point: GridPoint) -> str:
    """`Measured: 4.1 decades lost, a factor of 0.953 per timestep.`"""
    factor = point.mean_factor
    more = f", a factor of {rounded(factor, 3)} per timestep" if math.isfinite(factor) else ""
    return f"Measured: {does(point)}{more}."
