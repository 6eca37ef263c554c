"""Sections three and five: the equations of the cell, and lag against timestep, total against direct."""

import math
from typing import Any

import numpy as np

from gradlab.lesson.equations import known
from gradlab.lesson.pictures import behind, decades_chart
from gradlab.lesson.words import noise, power, relative, signed, theory
from gradlab.report.figures.chart import Line
from gradlab.report.page.html import Markup, command_block, section, tag
from gradlab.report.page.mathml import math as mathml
from gradlab.runs.lesson import Lesson, Position, Sum


def cell_section(lesson: Lesson) -> Markup:
    """The equations of the cell and the way of the gradient through them."""
    found = known(lesson.family, lesson.traits)
    if found is None:
        told = (
            f"{lesson.cell} is a cell of your own: its equations stand in its source and are not known here. "
            "Everything "
            "else on this page is measured, and needs no equation."
        )
        return section("cell", "3. Your cell", tag("p", told))
    gates = lesson.chosen[-1].gates
    means = ", ".join(f"{name} {value:.2f}".replace("-", "−") for name, value in gates.items())
    measured = (
        f"Measured here, as means over all timesteps, units and examples: {means}." if len(gates) > 1 else ""
    )
    note = "In the stored parameters w_h and w_x are the transposes of these matrices, because examples are rows."
    return section(
        "cell",
        f"3. The equations of {lesson.family}, and where the gradient flows",
        _equations(found.equations),
        tag("p", measured) if measured else None,
        tag("h3", "The Jacobian of one timestep"),
        _equations(found.jacobian),
        *(tag("p", line) for line in found.flow),
        *_alone(lesson),
        tag("p", note, class_="small muted"),
    )


def _equations(lines: Any) -> Markup:
    rows = (
        tag(
            "li",
            tag("div", mathml(line, block=True), class_="scrolls", tabindex="0", role="group", aria_label=words),
            tag("span", words),
        )
        for line, words in lines
    )
    return tag("ul", *rows, class_="equations")


def _alone(lesson: Lesson) -> list[Markup]:
    """The cell beside itself with its recurrent weights at zero: what the gate carries, and what comes on top."""
    silent = lesson.alone
    if silent is None:
        return []
    full = next(one for one in lesson.chosen if one.length == silent.length)
    beside = theory(lesson, silent)
    lags = full.curve.lags.astype(float)
    lines = [
        Line("measured: the whole cell", lags, relative(full), "l0", noise(full)),
        Line("measured: recurrent weights set to 0", lags, relative(silent), "l3", noise(silent)),
    ]
    if beside is not None:
        lines.append(Line(f"theory: {beside.name}", lags, beside.decades, "theory"))
    with_all, without = full.curve.span(), silent.curve.span()
    said = (
        f"T = {full.length}: {signed(with_all)} decades through all paths; {signed(without)} when the recurrent "
        "weights are "
        "0 and only the direct path is left."
    )
    if not np.isfinite([with_all, without]).all():
        more = "Where a curve is zero or not finite there is nothing to compare."
    elif with_all > without + 0.5:
        more = "The direct path is not all: the recurrent weights carry more of the gradient than the gate."
    elif with_all < without - 0.5:
        more = "Here the recurrent weights take away from what the gate alone would carry."
    else:
        more = "Here the direct path carries nearly all of it."
    by_theory = (
        ""
        if beside is None
        else (
            f" Theory for the direct path with no input at all is {signed(float(beside.decades[-1]))}; the "
            "measured gates see inputs."
        )
    )
    picture = decades_chart("alone-chart", lines, "lag", "gradient, decades from lag 1", said)
    return [
        tag("h3", "How much of it takes the direct path?"),
        tag("p", more + by_theory),
        picture,
        behind(lines, "lag", "decades from lag 1"),
        command_block("alone-command", lesson.commands["alone"], "Both again"),
    ]


def lag_section(lesson: Lesson) -> Markup:
    """The same curves by lag and by timestep; then the loss that hides what the last output needs."""
    row = lesson.chosen
    by_lag = [
        Line(f"T = {one.length}", one.curve.lags.astype(float), one.curve.summarised(), f"l{index}", noise(one))
        for index, one in enumerate(row)
    ]
    by_time = [line._replace(x=len(line.x) - line.x) for line in by_lag]
    words = (
        "The same curves can be drawn against the timestep t of the state. Then every length has its own "
        "picture, because "
        "the loss stands at another place. Against the lag, the distance from the loss, they can be compared."
    )
    return section(
        "lag",
        "5. Lag against timestep, total against direct",
        tag("p", words),
        tag("p", _apart(row)),
        tag(
            "div",
            decades_chart(
                "by-lag",
                by_lag,
                "lag k: timesteps before the loss",
                "log10 gradient",
                "Against lag: distance decides.",
            ),
            decades_chart(
                "by-time",
                by_time,
                "timestep t of the state",
                "log10 gradient",
                "Against timestep: the same numbers, ending at the loss.",
            ),
            class_="pair",
        ),
        behind(by_lag, "lag", "log10 gradient norm"),
        command_block("lag-command", lesson.commands["lengths"], "These curves again"),
        *_sum(lesson),
    )


def _apart(row: tuple[Position, ...]) -> str:
    """How far the curves of two lengths lie apart at the lags that both have."""
    if len(row) < 2:
        return "One length was measured, so there is nothing to compare here."
    short, long = row[0], row[-1]
    count = len(short.curve.lags)
    with np.errstate(invalid="ignore"):
        gap = np.abs(relative(short) - relative(long)[:count])
    if not np.isfinite(gap).all():
        return "Where a curve is zero or not finite there is nothing to compare."
    worst = float(gap.max())
    return (
        f"Measured: at the {count} lags that T = {short.length} and T = {long.length} share, the two curves lie "
        "at most "
        f"{worst:.2f} decades apart, counted from lag 1, although one loss comes {long.length - short.length} "
        "timesteps later."
    )


def _sum(lesson: Lesson) -> list[Markup]:
    found = lesson.sum
    heading = tag("h3", "Many losses: what the sum hides")
    if found is None:
        return [heading, tag("p", f"This cell could not be measured on it: {lesson.missing.get('sum', '')}.")]
    lags = found.total.lags.astype(float)
    lines = [
        Line(name, lags, curve.summarised(), look, curve.is_noise())
        for name, curve, look in (
            ("total: the losses of all outputs", found.total, "l0"),
            ("direct: the next output alone", found.direct, "l2"),
            ("the loss of the last output alone", found.single, "l3"),
        )
    ]
    one_loss = (
        f"The loss of {lesson.task} reads the last output alone. So the direct gradient, which comes from the "
        "output "
        "of the very next timestep, ends at lag 1, and all that is further back came through the chain. "
    )
    words = (
        f"{one_loss if lesson.traits['readout'] == 'last' else ''}In {found.task} every output has a loss of its "
        "own. "
        "Each state gets gradient from the next output (direct) and, through the chain, from all later ones. The "
        "sum "
        "is the total."
    )
    said = _sum_said(found)
    return [
        heading,
        tag("p", words),
        decades_chart("sum-chart", lines, "lag", "log10 gradient", said),
        tag("p", _sum_lesson(found)),
        behind(lines, "lag", "log10 gradient norm"),
        command_block("sum-command", found.command, "The total and the last loss again"),
        command_block(
            "sum-snippet",
            found.snippet,
            "The direct gradient has no command of its own; these lines of Python print it",
        ),
    ]


def _sum_said(found: Sum) -> str:
    spans = [curve.span() for curve in (found.total, found.direct, found.single)]
    total, direct, single = (signed(span) for span in spans)
    return f"From lag 1 to the first state: total {total} decades, direct {direct}, last loss alone {single}."


def _sum_lesson(found: Sum) -> str:
    total, single = (float(curve.summarised()[-1]) for curve in (found.total, found.single))
    if math.isinf(single) and single < 0 and math.isfinite(total):
        return "At the first state the gradient of the last loss alone is exactly zero, and the total is not."
    if not (math.isfinite(total) and math.isfinite(single)):
        return "Where a gradient is zero or not finite at the first state there is nothing to compare."
    gap = total - single
    if gap > 0.3:
        return (
            f"At the first state the total is {power(gap)} times the gradient of the last loss alone. A total "
            "that looks healthy "
            "says that near losses are felt. Whether the last answer can still be taught from the first input, "
            "only the "
            "gradient of the last loss says."
        )
    return "Here the two are nearly alike at the first state: this cell carries the last loss as far as any other."
