"""What the template of a lesson is given, as plain records."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from gradlab.lesson.figures import grid_ends, lesson_figures, multiple_figure, position, slider_figure
from gradlab.lesson.findings import findings
from gradlab.lesson.questions import Question, questions
from gradlab.lesson.records import Lesson
from gradlab.lesson.wording import numbers, sentence
from gradlab.report.data.records import Record
from gradlab.report.figures.embed import EmbeddedFigure, embedded
from gradlab.runs.commands import command

ZOOM = (-6.0, 6.0)
"""Decades from lag 1 that the figure of the sliders shows when it is zoomed in."""


@dataclass(frozen=True)
class Panel:
    """What stands beside the figure of the sliders at one point; `position` are its attributes."""

    position: Markup
    finding: str
    numbers: list[tuple[str, str]]
    command: str


@dataclass(frozen=True)
class LessonContext:
    """The variables of `lesson.html.j2`.

    Attributes:
        figures, findings: by name; those of a section that was not measured are not there.
        sliders: the figure of the sliders, whole and zoomed in.
        multiples: the small figure of each value of the axis.
        accepted: positions of the sliders that answer each question, as JSON.
        record: a trained run. commands: that train it and measure it.
    """

    lesson: Lesson
    figures: Mapping[str, EmbeddedFigure]
    findings: Mapping[str, str]
    sliders: tuple[Markup, Markup]
    panels: list[Panel]
    multiples: list[Markup]
    questions: list[Question]
    accepted: list[str]
    record: Record | None
    commands: Mapping[str, str]


def lesson_context(lesson: Lesson, record: Record | None = None) -> LessonContext:
    """Everything that the page of a lesson shows.

    Args:
        record: a trained run for the section on training.
    """
    ends, captions, asked = grid_ends(lesson), findings(lesson, record), questions(lesson)
    points, commands = lesson.points, {}
    if record is not None:
        probe = f"gradlab probe {record.config['task']} --params {record.run.id} --len {record.config['length']}"
        commands = {"run": command(record.run.config), "probe": probe}
    return LessonContext(
        lesson=lesson,
        figures={drawing.name: embedded(drawing) for drawing in lesson_figures(lesson, record, captions)},
        findings=captions,
        sliders=(slider_figure("sliders", lesson, ends), slider_figure("sliders-zoom", lesson, ZOOM)),
        panels=[Panel(position(lesson, it), sentence(lesson, it), numbers(it), it.command) for it in points],
        multiples=[multiple_figure(lesson, row, ends) for row in range(len(lesson.grid))],
        questions=asked,
        accepted=[json.dumps([lesson.options(lesson.grid[i][j]) for i, j in one.accepted]) for one in asked],
        record=record,
        commands=commands,
    )
