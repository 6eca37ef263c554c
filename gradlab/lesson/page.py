"""`gradlab lesson`: one page that teaches backpropagation through time with numbers measured now."""

from typing import Any

from gradlab.lesson.context import lesson_context
from gradlab.lesson.records import Lesson
from gradlab.report.data.records import Record
from gradlab.report.page.render import render


def lesson_page(lesson: Lesson, record: Record | None = None) -> str:
    """The page, the same bytes from the same numbers.

    Args:
        record: a trained run for the section on training.
    """
    context = lesson_context(lesson, record)
    return render(
        "lesson.html.j2",
        vars(context),
        package="gradlab.lesson",
        styles=("page.css", "figures.css", "lesson.css"),
        scripts=("page.js", "figures.js", "lesson.js"),
        data={"figure-data": {figure.name: figure.data for figure in context.figures.values()}},
    )


def lesson_numbers(lesson: Lesson) -> dict[str, Any]:
    """What was measured, for `--json`: the numbers of every point, and the command that measures it."""
    positions = [
        {
            "value": one.value,
            "cell": one.cell,
            "length": one.length,
            "command": one.command,
            "numbers": one.curve.summary().as_dict(),
            "gates": dict(one.gates),
        }
        for one in lesson.points
    ]
    return {"task": lesson.task, "cell": lesson.cell, "positions": positions}
