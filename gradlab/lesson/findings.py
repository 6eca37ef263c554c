"""Sentences of a lesson that state a finding, made from its numbers."""

import math

import numpy as np

from gradlab.judge.statistics import difference
from gradlab.lesson.records import GridPoint, Lesson, SummedLoss, TrainingPass, WorkedExample
from gradlab.lesson.theory import theory_line
from gradlab.lesson.wording import power, rounded, sentence, signed
from gradlab.report.data.records import ROLES, Record
from gradlab.report.text.findings import capitalised, changes, when
from gradlab.report.text.outcomes import outcome

_UNEVEN = 0.5
"""Decades at half of the lags by which a curve bends visibly."""
_NOTHING_TO_COMPARE = "Where a curve is zero or not finite there is nothing to compare."


def findings(lesson: Lesson, record: Record | None = None) -> dict[str, str]:
    """The sentences of a page, by the name of the figure or of the paragraph that they stand in."""
    full = lesson.chosen[lesson.middle]
    means = (f"{lesson.axis.setting(one.value)}: {rounded(one.mean_factor, 3)}" for one in lesson.contrast)
    found = {
        "chosen": sentence(lesson, lesson.chosen[-1]),
        "factors": f"Mean factor of one timestep: {'; '.join(means)}.",
        "compounding": compounding(full),
        "lengths_agree": lengths_agree(lesson.chosen),
    }
    if lesson.example is not None:
        found["example_factors"] = example_factors(lesson.example)
        found["product_error"] = product_error(lesson.example)
    if lesson.ungated is not None:
        gate = lesson.ungated
        found["direct_path"] = (
            f"T = {full.length}: {signed(full.curve.span())} decades through all paths, "
            f"{signed(gate.curve.span())} with the recurrent weights at 0, where only the direct path is left."
        )
        found["recurrent_paths"] = recurrent_paths(full, gate)
    if lesson.summed is not None:
        curves = lesson.summed.total, lesson.summed.direct, lesson.summed.last
        total, direct, last = (signed(curve.span()) for curve in curves)
        found["summed"] = (
            f"From lag 1 to the first state: total {total} decades, direct {direct}, last loss alone {last}."
        )
        found["sum_hides"] = sum_hides(lesson.summed)
    if lesson.underflow is not None:
        found["underflow"] = underflow(lesson.underflow, lesson.place(lesson.underflow.point))
    if record is not None:
        effects = dict.fromkeys(f"{changes([record], role)} {when([record], role)}" for role in ROLES)
        found["training"] = f"Before training, at its worst, and at the end: {'; '.join(effects)}."
        found["outcome"] = outcome([record])
    return found


def product_error(example: WorkedExample) -> str:
    """The largest difference at any lag between the product of Jacobians and the probe, in decades."""
    with np.errstate(divide="ignore"):
        error = np.abs(difference(np.log10(example.norms), example.curve.summarised())).max()
        return power(float(np.log10(error)))


def example_factors(example: WorkedExample) -> str:
    """The factors of the worked example and their product; empty where one is not finite."""
    factors, norms = example.factors, example.norms
    if not np.isfinite(factors).all():
        return ""
    product = " × ".join(f"{value:#.3g}" for value in factors)
    return (
        f"In the chain above they are {product} = {np.prod(factors):.3g}, which is the gradient at the first "
        f"state over that at lag 1: {norms[-1]:.6f} / {norms[0]:.6f}."
    )


def compounding(point: GridPoint) -> str:
    """What the mean factor comes to over all timesteps."""
    mean, lags = point.mean_factor, len(point.curve.lags)
    if lags < 2:
        return "There is one timestep here, and nothing to compound."
    if not math.isfinite(mean):
        return "The gradient is not finite here, or zero already at lag 1, and has no factors to compound."
    if mean == 0:
        return "Some factor is 0, and then every earlier gradient is 0 as well."
    text = (
        f"A factor that looks harmless compounds. For this cell the mean factor is {mean:.4g}, and {mean:.4g} to "
        f"the power of {lags - 1} is {power(point.curve.span())}."
    )
    middle = lags // 2
    halfway, uniform = float(point.relative()[middle - 1]), (middle - 1) * math.log10(mean)
    if abs(halfway - uniform) < _UNEVEN:
        return text
    return (
        f"{text} It is a mean, and the factors differ along the sequence: at lag {middle} the curve stands at "
        f"{signed(halfway)} decades, where equal factors would give {signed(uniform)}."
    )


def recurrent_paths(full: GridPoint, ungated: GridPoint) -> str:
    """Whether the gate alone carries the gradient, or the recurrent weights carry more or take away."""
    everything, gate = full.curve.span(), ungated.curve.span()
    if not np.isfinite([everything, gate]).all():
        return _NOTHING_TO_COMPARE
    if everything > gate + 0.5:
        text = (
            f"The direct path is not all: the paths through the recurrent weights add {everything - gate:.1f} "
            "decades at the first state, little in each timestep, but in every one."
        )
    elif everything < gate - 0.5:
        text = "Here the recurrent weights reduce what the gate alone would carry."
    else:
        text = "Here the direct path carries nearly all of it."
    theory = theory_line(ungated.cell, len(ungated.curve.lags))
    if theory is not None:
        text += f" Theory for the direct path without any input is {signed(float(theory.decades[-1]))} decades;"
        text += " the measured gates see inputs."
    return text


def lengths_agree(row: tuple[GridPoint, ...]) -> str:
    """How far the curves of the shortest and the longest sequence lie apart at the lags that both have."""
    if len(row) < 2:
        return "One length was measured, so there is nothing to compare here."
    short, long = row[0], row[-1]
    count = len(short.curve.lags)
    with np.errstate(invalid="ignore"):
        apart = np.abs(short.relative() - long.relative()[:count])
    if not np.isfinite(apart).all():
        return _NOTHING_TO_COMPARE
    return (
        f"Measured: at the {count} lags that T = {short.length} and T = {long.length} share, the two curves lie "
        f"at most {float(apart.max()):.2f} decades apart, counted from lag 1, although one loss comes "
        f"{long.length - short.length} timesteps later."
    )


def sum_hides(found: SummedLoss) -> str:
    """Whether the total looks healthier at the first state than the gradient of the last loss."""
    total, last = (float(curve.summarised()[-1]) for curve in (found.total, found.last))
    if last == -math.inf and math.isfinite(total):
        return "At the first state the gradient of the last loss alone is exactly zero, and the total is not."
    if not (math.isfinite(total) and math.isfinite(last)):
        return "Where a gradient is zero or not finite at the first state there is nothing to compare."
    if total - last <= 0.3:
        return "At the first state the two are nearly alike: this cell carries the last loss as far as any other."
    return (
        f"At the first state the total is {power(total - last)} times the gradient of the last loss alone. A "
        "total that looks healthy shows that near losses reach the state. Whether the last answer can still be "
        "learned from the first input, only the gradient of the last loss shows."
    )


def underflow(found: TrainingPass, place: str) -> str:
    """From which lag on the training pass reads 0, beside the measured value at the last lag."""
    rms, measured = found.rms[found.leaf], float(found.point.curve.rms(found.leaf)[-1])
    zero, start = np.isneginf(rms), capitalised(place)
    if not zero.any():
        return f"{start}: the training pass reads {power(float(rms[-1]))} at the last lag."
    return (
        f"{start}: the training pass reads exactly 0 from lag {int(np.argmax(zero)) + 1} on, at {int(zero.sum())} "
        f"of {len(zero)} lags; the measured gradient is {power(measured)} at the last."
    )
