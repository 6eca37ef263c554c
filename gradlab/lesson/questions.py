"""Questions that are answered by moving a slider; their answers are looked up in what was measured."""

from typing import NamedTuple

import numpy as np

from gradlab.lesson.records import Floats, Lesson, middle_length
from gradlab.lesson.theory import theory_line
from gradlab.lesson.wording import sentence

ALIKE = 0.3
"""Decades within which two settings let as much gradient through."""


class Question(NamedTuple):
    """A question, the points (row of the axis, column of the lengths) that answer it, and the answer in words."""

    text: str
    accepted: tuple[tuple[int, int], ...]
    answer: str


def questions(lesson: Lesson) -> list[Question]:
    """The questions whose answer the measurements hold."""
    of_lengths = [_length_that_fails, _leaves_float32]
    of_axis = [_first_that_holds, _half_life, _first_that_explodes, _gate_alone, _most]
    makers = [*of_lengths, *(of_axis if lesson.axis.option else ())]
    return [question for make in makers if (question := make(lesson)) is not None]


def _spans(lesson: Lesson, column: int) -> Floats:
    return np.array([row[column].curve.span() for row in lesson.grid])


def _verdicts(lesson: Lesson, column: int) -> list[str]:
    return [row[column].curve.verdict().word for row in lesson.grid]


def _said(lesson: Lesson, row: int, column: int) -> str:
    return sentence(lesson, lesson.grid[row][column])


def _set(lesson: Lesson, row: int) -> str:
    """The instruction to set the axis; empty where there is none."""
    return f"Set {lesson.axis.setting(lesson.axis.values[row])}. " if lesson.axis.option else ""


def _first_that_holds(lesson: Lesson) -> Question | None:
    column = len(lesson.lengths) - 1
    words = _verdicts(lesson, column)
    if "held" not in words or set(words) == {"held"}:
        return None
    row = words.index("held")
    text = (
        f"Set T = {lesson.lengths[column]}. Raise the {lesson.axis.label} from its lowest setting: which is the "
        "first at which the gradient holds, that is, never gets 3 decades away from lag 1?"
    )
    before = f" One setting lower: {_said(lesson, row - 1, column)}" if row else ""
    return Question(text, ((row, column),), _said(lesson, row, column) + before)


def _length_that_fails(lesson: Lesson) -> Question | None:
    """Of the cell that was asked for, or else of the first setting that holds at some lengths only."""
    for row in (lesson.axis.chosen, *range(len(lesson.grid))):
        held = [point.curve.verdict().word == "held" for point in lesson.grid[row]]
        column = held.index(False) if False in held else 0
        if column and not any(held[column:]):
            text = f"{_set(lesson, row)}Raise the length: at which length does the gradient no longer hold?"
            shorter = f" One length shorter: {_said(lesson, row, column - 1)}"
            return Question(text, ((row, column),), _said(lesson, row, column) + shorter)
    return None


def _half_life(lesson: Lesson) -> Question | None:
    """The setting with a given half-life, if no other has nearly the same."""
    column = middle_length(lesson.lengths)
    lives = np.array([row[column].curve.half_life().value for row in lesson.grid])
    rows = [int(row) for row in np.flatnonzero(np.isfinite(lives)) if row != lesson.axis.chosen]
    apart = [row for row in rows if not np.any(np.isclose(np.delete(lives, row), lives[row], rtol=0.1))]
    if len(rows) < 2 or not apart:
        return None
    row = max(apart, key=lambda row: lives[row])
    life = lesson.grid[row][column].curve.half_life()
    text = (
        f"Set T = {lesson.lengths[column]}. At which {lesson.axis.label} does the gradient halve every {life} "
        "timesteps?"
    )
    return Question(text, ((row, column),), _said(lesson, row, column))


def _first_that_explodes(lesson: Lesson) -> Question | None:
    column = len(lesson.lengths) - 1
    words = _verdicts(lesson, column)
    if "exploding" not in words:
        return None
    row, length = words.index("exploding"), lesson.lengths[column]
    text = f"Set T = {length}. Which is the first {lesson.axis.label} at which the gradient explodes?"
    return Question(text, ((row, column),), _said(lesson, row, column))


def _gate_alone(lesson: Lesson) -> Question | None:
    """Where the measured loss is what theory says of one factor alone at the setting that was asked for."""
    column = middle_length(lesson.lengths)
    chosen, spans = lesson.chosen[column], _spans(lesson, column)
    theory = theory_line(chosen.cell, len(chosen.curve.lags))
    if theory is None or lesson.family == "rnn" or not np.isfinite(spans).all():
        return None
    alone = float(theory.decades[-1])
    row = int(np.argmin(np.abs(spans - alone)))
    if row == lesson.axis.chosen or abs(spans[row] - alone) > 0.25 * abs(alone):
        return None
    setting = lesson.axis.setting(chosen.value)
    text = (
        f"Set T = {chosen.length}. With {setting}, the {theory.name} would {_lose(alone)}. At which "
        f"{lesson.axis.label} does the whole network come nearest to that?"
    )
    measured = (
        f" With {setting} the whole network was measured to {_lose(chosen.curve.span())}: the paths through the "
        "recurrent weights make the difference."
    )
    return Question(text, ((row, column),), _said(lesson, row, column) + measured)


def _most(lesson: Lesson) -> Question | None:
    """Whether the highest setting is the one with the most gradient at the first state."""
    column = len(lesson.lengths) - 1
    spans = _spans(lesson, column)
    if not np.isfinite(spans).all():
        return None
    row, rows = int(spans.argmax()), [int(row) for row in np.flatnonzero(spans > spans.max() - ALIKE)]
    text = (
        f"Set T = {lesson.lengths[column]}. At which {lesson.axis.label} does most gradient reach the first "
        "state? Guess first."
    )
    tail = f" It is {'' if row == len(spans) - 1 else 'not '}the highest setting."
    if len(rows) > 1:
        names = ", ".join(lesson.axis.values[one].replace("-", "−") for one in rows)
        tail = f" The settings {names} lie within {ALIKE} decades of one another: each is an answer."
    return Question(text, tuple((one, column) for one in rows), _said(lesson, row, column) + tail)


def _lose(decades: float) -> str:
    return f"{'lose' if decades < 0 else 'gain'} {abs(decades):.1f} decades"


def _leaves_float32(lesson: Lesson) -> Question | None:
    """The shortest length at which the lowest setting leaves float32."""
    for row, points in enumerate(lesson.grid):
        horizons = [point.curve.float32_horizon() for point in points]
        unseen = [column for column, one in enumerate(horizons) if not one.reached]
        if unseen and unseen[0] > 0:
            column = unseen[0]
            text = f"{_set(lesson, row)}From which length on does the curve leave what plain float32 can hold?"
            seen = f" Plain float32 sees {horizons[column].lag} lags of it."
            return Question(text, ((row, column),), _said(lesson, row, column) + seen)
    return None
