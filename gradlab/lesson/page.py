"""`gradlab lesson`: one page that teaches backpropagation through time with numbers measured now."""

from typing import Any

from gradlab.lesson.context import lesson_context
from gradlab.lesson.figures import position
from gradlab.lesson.records import Lesson
from gradlab.lesson.wording import half_life, horizon, numbers, rounded, sentence, signed, slope
from gradlab.report.data.records import Record
from gradlab.report.page.render import render

_FUNCTIONS = (half_life, horizon, numbers, position, rounded, sentence, signed, slope)
"""What the template calls."""


def lesson_page(lesson: Lesson, record: Record | None = None) -> str:
    """The page, the same bytes from the same numbers.

    Args:
        record: a trained run for the section on training.
    """
    context = lesson_context(lesson, record)
    return render(
        "lesson.html.j2",
        vars(context) | {each.__name__: each for each in _FUNCTIONS},
        package="gradlab.lesson",
        styles=("page.css", "figures.css", "lesson.css"),
        scripts=("page.js", "figures.js", "lesson.js"),
        data={"figure-data": {figure.name: figure.data for figure in context.figures.values()}},
    )


def lesson_numbers(lesson: Lesson) -> dict[str, Any]:
    """What was measured, for `--json`: the numbers of every point, and the command that measures it."""
    positions = [point._asdict() | {"numbers": point.curve.summary().as_dict()} for point in lesson.points]
    for each in positions:
        del each["curve"]
    return {"task": lesson.task, "cell": lesson.cell, "positions": positions}
