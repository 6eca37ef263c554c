"""`gradlab lesson`: one page that teaches backpropagation through time with numbers measured now."""

from pathlib import Path
from typing import Any

from gradlab.errors import GradlabError
from gradlab.gradient.curve import STATE
from gradlab.lesson.chain import chain_section, factor_section
from gradlab.lesson.equations import knob_words
from gradlab.lesson.questions import question_data, question_section, questions
from gradlab.lesson.sections import cell_section, lag_section
from gradlab.lesson.slider import slider_data, slider_section
from gradlab.lesson.training import floor_section, training_section
from gradlab.report.data.records import Record
from gradlab.report.page.html import Markup, command_block, document, join, tag
from gradlab.runs.lesson import Lesson

_CONTENTS = (
    ("chain", "The chain"),
    ("factors", "One factor per timestep"),
    ("cell", "The cell"),
    ("slider", "The sliders"),
    ("lag", "Lag, timestep, total, direct"),
    ("training", "Training"),
    ("floor", "The floor of float32"),
    ("questions", "Questions"),
)


def lesson_page(lesson: Lesson, record: Record | None = None) -> str:
    """The page, the same bytes from the same numbers.

    Args:
        lesson: what was measured. record: a trained run for the section on training.
    """
    title = f"Backpropagation through time, measured: {lesson.cell} on {lesson.task}"
    sections = (
        chain_section(lesson),
        factor_section(lesson),
        cell_section(lesson),
        slider_section(lesson),
        lag_section(lesson),
        training_section(lesson, record),
        floor_section(lesson),
        question_section(lesson, 8),
    )
    theme = tag("button", "Dark", type="button", class_="js", data_theme=True, aria_pressed="false", hidden=True)
    links = (tag("li", tag("a", words, href=f"#{name}")) for name, words in _CONTENTS)
    header = tag(
        "header",
        tag("div", tag("p", "gradlab lesson", class_="eyebrow"), theme, class_="top"),
        tag("h1", title),
        tag("p", _opening(lesson), class_="lead"),
        tag("nav", tag("ol", *links, class_="contents"), aria_label="Contents"),
    )
    body = join(
        (
            tag("a", "Skip to the lesson", href="#main", class_="skip"),
            tag("div", header, tag("main", *sections, id="main"), _footer(lesson), class_="page"),
        )
    )
    data = {"lesson-data": slider_data(lesson) | {"questions": question_data(questions(lesson))}}
    return document(title, body, styles=("page.css", "lesson.css"), scripts=("page.js", "lesson.js"), data=data)


def _opening(lesson: Lesson) -> str:
    """The lead of the page: what was measured, in one or two sentences."""
    last = lesson.chosen[-1]
    name, _ = knob_words(lesson.knob.option)
    turned = f"for {len(lesson.knob.values)} settings of the {name} and " if lesson.knob.option else "for "
    return (
        f"How does a network learn from something that it read {last.length} timesteps ago? By a gradient that "
        "has to travel back "
        f"through every one of them. This page follows it, with numbers measured {turned}{len(lesson.lengths)} "
        "lengths."
    )


def _footer(lesson: Lesson) -> Markup:
    return tag(
        "footer",
        command_block(
            "lesson-command",
            lesson.commands["lesson"],
            "This page is one file and asks nothing of a network. It was written by",
        ),
        class_="small",
    )


def write_lesson(path: Path, page: str) -> None:
    """Write the page, whole or not at all.

    Raises:
        GradlabError: the file cannot be written.
    """
    half = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(page, encoding="utf-8")
        half.replace(path)
    except OSError as error:
        raise GradlabError(f"the lesson cannot be written to {path}: {error.strerror}") from error


def lesson_numbers(lesson: Lesson) -> dict[str, Any]:
    """What was measured, for `--json`: the numbers of every position, and the command that measures it."""
    return {
        "task": lesson.task,
        "cell": lesson.cell,
        "positions": [
            {
                "value": one.value,
                "cell": one.cell,
                "length": one.length,
                "command": one.command,
                "numbers": one.curve.summary(STATE).as_dict(),
                "gates": dict(one.gates),
            }
            for row in lesson.positions
            for one in row
        ],
    }
