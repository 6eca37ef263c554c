"""What the template of a lesson is given, as plain records."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from gradlab.lesson.figures import grid_ends, lesson_figures, multiple_figure, position, slider_figure
from gradlab.lesson.findings import findings
from gradlab.lesson.questions import Question, questions
from gradlab.lesson.records import Lesson, middle_length
from gradlab.lesson.tables import products, tables
from gradlab.lesson.wording import numbers, sentence, signed
from gradlab.report.data.records import Record
from gradlab.report.figures.embed import EmbeddedFigure, embedded
from gradlab.report.page.context import Table
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
class Multiple:
    """The small figure of one value of the axis."""

    name: str
    finding: str
    svg: Markup
    chosen: bool


@dataclass(frozen=True)
class LessonContext:
    """The variables of `lesson.html.j2`.

    Attributes:
        figures, tables, findings: by name; those of a section that was not measured are not there.
        products: the first products of the chain, as LaTeX. middle: the length of figures of one length.
        gates: means of the gates, as text. sliders: the figure of the sliders, whole and zoomed in.
        accepted: positions of the sliders that answer each question, as JSON.
        record: a trained run. commands: that train it and measure it.
    """

    lesson: Lesson
    figures: Mapping[str, EmbeddedFigure]
    tables: Mapping[str, Table]
    findings: Mapping[str, str]
    products: list[str]
    middle: int
    gates: str
    sliders: tuple[Markup, Markup]
    panels: list[Panel]
    multiples: list[Multiple]
    questions: list[Question]
    accepted: list[str]
    record: Record | None
    commands: Mapping[str, str]


def lesson_context(lesson: Lesson, record: Record | None = None) -> LessonContext:
    """Everything that the page of a lesson shows.

    Args:
        record: a trained run for the section on training.
    """
    ends, said = grid_ends(lesson), findings(lesson, record)
    gates = lesson.chosen[-1].gates
    asked = questions(lesson)
    drawings = lesson_figures(lesson, record, said)
    return LessonContext(
        lesson=lesson,
        figures={drawing.name: embedded(drawing) for drawing in drawings},
        tables=tables(lesson, record),
        findings=said,
        products=products(lesson.example) if lesson.example is not None else [],
        middle=lesson.lengths[middle_length(lesson.lengths)],
        gates=", ".join(f"{name} {mean:.2f}".replace("-", "−") for name, mean in gates.items()),
        sliders=(slider_figure("sliders", lesson, ends), slider_figure("sliders-zoom", lesson, ZOOM)),
        panels=[
            Panel(position(lesson, point), sentence(lesson, point), numbers(point), point.command)
            for point in lesson.points
        ],
        multiples=[_multiple(lesson, row, ends) for row in range(len(lesson.grid))],
        questions=asked,
        accepted=[json.dumps([lesson.options(lesson.grid[i][j]) for i, j in one.accepted]) for one in asked],
        record=record,
        commands={} if record is None else _commands(record),
    )


def _commands(record: Record) -> dict[str, str]:
    asked = record.config
    probe = f"gradlab probe {asked['task']} --params {record.run.id} --len {asked['length']}"
    return {"run": command(record.run.config), "probe": probe}


def _multiple(lesson: Lesson, row: int, ends: tuple[float, float]) -> Multiple:
    axis, last = lesson.axis, lesson.grid[row][-1]
    word = last.curve.verdict().word
    span = "" if word in ("cut", "noise", "non-finite") else f": {signed(last.curve.span())} at T = {last.length}"
    chosen = bool(axis.option) and row == axis.chosen
    return Multiple(axis.setting(last.value), word + span, multiple_figure(lesson, row, ends), chosen)
