"""Questions that are answered by moving a slider; their answers are looked up in what was measured."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradlab.lesson.equations import knob_words, setting
from gradlab.lesson.words import half_life, sentence, theory
from gradlab.report.page.html import Markup, join, section, tag
from gradlab.runs.lesson import Lesson, middle_length

ALIKE = 0.3
"""Decades within which two settings let as much gradient through."""


class Question(NamedTuple):
    """A question, the positions (value, length) that answer it, and the answer in words."""

    text: str
    accepted: tuple[tuple[int, int], ...]
    answer: str


def questions(lesson: Lesson) -> list[Question]:
    """What can be asked of these numbers; none whose answer they do not hold."""
    made = (
        _smallest_that_holds,
        _shortest_that_fails,
        _halving,
        _smallest_that_explodes,
        _gate_alone,
        _most,
        _float32,
    )
    return [question for make in made for question in make(lesson)]


def _spans(lesson: Lesson, at: int) -> np.ndarray:
    return np.array([row[at].curve.span() for row in lesson.positions])


def _words(lesson: Lesson, at: int) -> list[str]:
    return [row[at].curve.verdict().word for row in lesson.positions]


def _name(lesson: Lesson) -> str:
    return knob_words(lesson.knob.option)[0]


def _all(lesson: Lesson, row: int, at: int) -> str:
    return sentence(lesson, lesson.positions[row][at])


def _smallest_that_holds(lesson: Lesson) -> Iterator[Question]:
    at = len(lesson.lengths) - 1
    words = _words(lesson, at)
    held = [row for row, word in enumerate(words) if word == "held"]
    if not lesson.knob.option or not held or len(held) == len(words):
        return
    row = held[0]
    text = (
        f"Set T = {lesson.lengths[at]}. Turn the {_name(lesson)} up from its lowest setting: which is the first "
        "at "
        "which the gradient holds, that is, never gets 3 decades away from lag 1?"
    )
    before = f" One setting lower: {_all(lesson, row - 1, at)}" if row else ""
    yield Question(text, ((row, at),), f"{_all(lesson, row, at)}{before}")


def _shortest_that_fails(lesson: Lesson) -> Iterator[Question]:
    """Of the cell that was asked for, or else of the first setting that holds at some lengths only."""
    order = [lesson.knob.chosen, *range(len(lesson.positions))]
    for row in order:
        words = [one.curve.verdict().word for one in lesson.positions[row]]
        failing = [at for at, word in enumerate(words) if word != "held"]
        if failing and failing[0] > 0 and all(word != "held" for word in words[failing[0] :]):
            at, where = failing[0], setting(lesson.knob.option, lesson.knob.values[row])
            first = f"Set {where}. " if lesson.knob.option else ""
            text = f"{first}Make the sequences longer: at which length does the gradient no longer hold?"
            yield Question(
                text, ((row, at),), f"{_all(lesson, row, at)} One length shorter: {_all(lesson, row, at - 1)}"
            )
            return


def _halving(lesson: Lesson) -> Iterator[Question]:
    """The setting with a given half-life, where no other has nearly the same."""
    at = middle_length(lesson.lengths)
    lives = np.array([row[at].curve.half_life().value for row in lesson.positions])
    rows = [row for row in np.flatnonzero(np.isfinite(lives)) if row != lesson.knob.chosen]
    apart = [row for row in rows if not np.any(np.isclose(np.delete(lives, row), lives[row], rtol=0.1))]
    if not lesson.knob.option or len(rows) < 2 or not apart:
        return
    row = int(max(apart, key=lambda row: lives[row]))
    life = half_life(lesson.positions[row][at].curve.half_life())
    text = f"Set T = {lesson.lengths[at]}. At which {_name(lesson)} does the gradient halve every {life}?"
    yield Question(text, ((row, at),), _all(lesson, row, at))


def _smallest_that_explodes(lesson: Lesson) -> Iterator[Question]:
    at = len(lesson.lengths) - 1
    exploding = [row for row, word in enumerate(_words(lesson, at)) if word == "exploding"]
    if not lesson.knob.option or not exploding:
        return
    row = exploding[0]
    text = f"Set T = {lesson.lengths[at]}. Which is the first {_name(lesson)} at which the gradient explodes?"
    yield Question(text, ((row, at),), _all(lesson, row, at))


def _gate_alone(lesson: Lesson) -> Iterator[Question]:
    """Where the measured loss is what theory says of one factor alone at the setting that was asked for."""
    at = middle_length(lesson.lengths)
    chosen = lesson.chosen[at]
    beside = theory(lesson, chosen)
    if beside is None or lesson.family == "rnn" or not lesson.knob.option:
        return
    alone, spans = float(beside.decades[-1]), _spans(lesson, at)
    if not np.isfinite(spans).all():
        return
    row = int(np.argmin(np.abs(spans - alone)))
    if row == lesson.knob.chosen or abs(spans[row] - alone) > 0.25 * abs(alone):
        return
    where = setting(lesson.knob.option, chosen.value)
    text = (
        f"Set T = {chosen.length}. With {where}, the {beside.name} would {_lose(alone)}. "
        f"At which {_name(lesson)} does the whole network come nearest to that?"
    )
    extra = (
        f" With {where} the whole network was measured to {_lose(chosen.curve.span())}: the paths through the "
        "recurrent weights make the difference."
    )
    yield Question(text, ((row, at),), _all(lesson, row, at) + extra)


def _most(lesson: Lesson) -> Iterator[Question]:
    """Whether the highest setting is the one with the most gradient at the first state."""
    at = len(lesson.lengths) - 1
    spans = _spans(lesson, at)
    if not lesson.knob.option or not np.isfinite(spans).all():
        return
    best = float(spans.max())
    rows = [int(row) for row in np.flatnonzero(spans > best - ALIKE)]
    row = int(np.argmax(spans))
    most = f"At which {_name(lesson)} does most gradient reach the first state? Guess first."
    text = f"Set T = {lesson.lengths[at]}. {most}"
    tail = " It is the highest setting." if row == len(spans) - 1 else " It is not the highest setting."
    if len(rows) > 1:
        names = ", ".join(lesson.knob.values[one].replace("-", "−") for one in rows)
        tail = f" The settings {names} lie within {ALIKE} decades of one another: each is an answer."
    yield Question(text, tuple((one, at) for one in rows), _all(lesson, row, at) + tail)


def _lose(decades: float) -> str:
    return f"{'lose' if decades < 0 else 'gain'} {abs(decades):.1f} decades"


def _float32(lesson: Lesson) -> Iterator[Question]:
    """The shortest length at which the lowest setting leaves float32."""
    for row, positions in enumerate(lesson.positions):
        unseen = [at for at, one in enumerate(positions) if not one.curve.float32_horizon().reached]
        if unseen and unseen[0] > 0:
            at = unseen[0]
            where = setting(lesson.knob.option, lesson.knob.values[row])
            first = f"Set {where}. " if lesson.knob.option else ""
            text = f"{first}From which length on does the curve leave what plain float32 can hold?"
            lag = positions[at].curve.float32_horizon().lag
            yield Question(text, ((row, at),), f"{_all(lesson, row, at)} Plain float32 sees {lag} lags of it.")
            return


def question_data(asked: Sequence[Question]) -> list[dict[str, Any]]:
    """What the script needs to check an answer."""
    return [{"accepted": [list(position) for position in one.accepted]} for one in asked]


def question_section(lesson: Lesson, number: int) -> Markup:
    """The questions, each with a button that checks the sliders and an answer that can be opened."""
    asked = questions(lesson)
    items = [_item(one, index) for index, one in enumerate(asked)]
    told = (
        "Move the sliders of section 4 to answer, then check. Every answer is looked up in the measurements."
        if asked
        else "These measurements hold no question: nothing changes from one position to the next."
    )
    return section("questions", f"{number}. Questions", tag("p", told), tag("ol", *items, class_="questions"))


def _item(one: Question, index: int) -> Markup:
    said = tag("p", "", id=f"verdict-{index}", class_="verdict", role="status")
    buttons = join(
        (
            tag("a", "Go to the sliders", href="#lab", class_="js", hidden=True),
            tag(
                "button",
                "Check where the sliders stand",
                type="button",
                class_="js",
                data_check=str(index),
                hidden=True,
            ),
        ),
        " ",
    )
    answer = tag("details", tag("summary", "Answer"), tag("p", one.answer))
    return tag("li", tag("p", one.text), tag("p", buttons, class_="checks"), said, answer)
