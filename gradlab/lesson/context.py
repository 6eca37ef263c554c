"""What the template of a lesson is given, as plain records."""

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from gradlab.lesson.figures import grid_ends, lesson_figures, multiple_figures, slider_figure
from gradlab.lesson.findings import findings
from gradlab.lesson.questions import Question, questions
from gradlab.lesson.records import Lesson
from gradlab.report.data.records import Record
from gradlab.report.figures.embed import EmbeddedFigure, embedded
from gradlab.runs.spec import command

ZOOM = (-6.0, 6.0)
"""Decades from lag 1 that the figure of the sliders shows when it is zoomed in."""


@dataclass(frozen=True)
class LessonContext:
    """The variables of `lesson.html.j2`.

    Attributes:
        figures, findings: by name; those of a section that was not measured are not there.
        sliders: the figure of the sliders, whole and zoomed in.
        multiples: the small figure of each value of the axis.
        record: a trained run. commands: that train it and measure it.
    """

    lesson: Lesson
    figures: Mapping[str, EmbeddedFigure]
    findings: Mapping[str, str]
    sliders: tuple[Markup, Markup]
    multiples: list[Markup]
    questions: list[Question]
    record: Record | None
    commands: Mapping[str, str]


def lesson_context(lesson: Lesson, record: Record | None = None) -> LessonContext:
    """Everything that the page of a lesson shows.

    Args:
        record: a trained run for the section on training.
    """
    ends, captions = grid_ends(lesson), findings(lesson, record)
    commands = {}
    if record is not None:
        probe = f"gradlab probe {record.config['task']} --params {record.run.id} --len {record.config['length']}"
        commands = {"run": command(record.run.config), "probe": probe}
    return LessonContext(
        lesson=lesson,
        figures={drawing.name: embedded(drawing) for drawing in lesson_figures(lesson, record, captions)},
        findings=captions,
        sliders=(slider_figure("sliders", lesson, ends), slider_figure("sliders-zoom", lesson, ZOOM)),
        multiples=multiple_figures(lesson, ends),
        questions=questions(lesson),
        record=record,
        commands=commands,
    )
