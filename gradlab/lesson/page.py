"""`gradlab lesson`: one page that teaches backpropagation through time with numbers measured now."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gradlab.lesson import explanation
from gradlab.lesson.comparison import CellComparison, ComparedCell
from gradlab.lesson.context import lesson_context
from gradlab.lesson.figures import lines_figure, position, relative_curve
from gradlab.lesson.records import GridPoint, Lesson
from gradlab.lesson.wording import half_life, horizon, numbers, power, rounded, sentence, signed, slope
from gradlab.report.data.records import Record, labelled
from gradlab.report.figures.curves import checkpoint_figure
from gradlab.report.figures.embed import EmbeddedFigure, embedded
from gradlab.report.page.render import render
from gradlab.report.text.findings import statement
from gradlab.runs.labels import cell_label

_FUNCTIONS = (cell_label, half_life, horizon, numbers, position, rounded, sentence, signed, slope)
"""What the template of one cell calls."""
NARROW_SIZE = (4.4, 3.0)
"""Inches of a figure whose letters can be read on a telephone."""


def lesson_page(lesson: Lesson, record: Record | None = None) -> str:
    """The page, the same bytes from the same numbers.

    Args:
        record: a trained run for the section on training.
    """
    context = lesson_context(lesson, record)
    functions = {each.__name__: each for each in _FUNCTIONS}
    return _page("lesson.html.j2", vars(context) | functions, context.figures.values())


def comparison_page(found: CellComparison, records: Sequence[Record] = ()) -> str:
    """The page on several cells.

    Args:
        records: trained runs of them for the section on training, of one length.
    """
    drawn = [_curves(found, column) for column in range(len(found.lengths))]
    groups = labelled(records)
    lags, training = len(found.cells[0].longest.curve.lags), None
    if records:
        names, runs = zip(*groups, strict=True)
        training = embedded(checkpoint_figure("training", runs, names, ("initial", "final")))
    context = {
        "found": found,
        "figures": drawn,
        "headlines": [explanation.headline(found.cells, column) for column in range(len(found.lengths))],
        "explained": [explanation.explained(each) for each in found.cells],
        "contrast": explanation.contrast(found.cells),
        "estimated": explanation.estimated,
        "lags": lags,
        "left": {factor: power((lags - 1) * math.log10(factor)) for factor in (0.99, 0.9)},
        "training": training,
        "after": explanation.after_training(groups),
        "statements": [statement(group, label) for label, group in groups],
        "gates": [row for label, group in groups for row in explanation.gates_moved(label, group[0])],
    }
    functions = {each.__name__: each for each in (half_life, horizon, explanation.lost, rounded, signed)}
    return _page("cells.html.j2", context | functions, [*drawn, *([training] if training else [])])


def _curves(found: CellComparison, column: int) -> EmbeddedFigure:
    """The curve of every cell at one length."""
    length = found.lengths[column]
    curves = [relative_curve(each.label, each.points[column]) for each in found.cells]
    caption = (
        f"Typical over {found.examples} examples: the geometric mean, or the median where some are zero. Lag 1 of "
        "each curve is 0."
    )
    heading = f"Gradient norm by lag, T = {length}"
    return embedded(lines_figure(f"cells-{length}", heading, caption, curves, size=NARROW_SIZE))


def _page(template: str, context: Mapping[str, Any], figures: Any) -> str:
    return render(
        template,
        context,
        package="gradlab.lesson",
        styles=("page.css", "figures.css", "lesson.css"),
        scripts=("page.js", "figures.js", "lesson.js"),
        data={"figure-data": {figure.name: figure.data for figure in figures}},
    )


def lesson_numbers(lesson: Lesson) -> dict[str, Any]:
    """What was measured, for `--json`: the numbers of every point, and the command that measures it."""
    return {"task": lesson.task, "cell": lesson.cell, "positions": _positions(lesson.points)}


def comparison_numbers(found: CellComparison) -> dict[str, Any]:
    """The same of several cells, and the factors of one timestep where they are known."""
    points = [point for each in found.cells for point in each.points]
    return {
        "task": found.task,
        "cells": [each.cell for each in found.cells],
        "positions": _positions(points),
        "factors": {each.cell: _factors(each) for each in found.cells},
    }


def _factors(each: ComparedCell) -> dict[str, Any] | None:
    return each.factors and each.factors._asdict() | {"write": each.factors.write}


def _positions(points: Sequence[GridPoint]) -> list[dict[str, Any]]:
    positions = [point._asdict() | {"numbers": point.curve.summary().as_dict()} for point in points]
    for each in positions:
        del each["curve"]
    return positions
