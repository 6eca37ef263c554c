"""Questions that are answered by moving a slider; their answers are looked up in what was measured."""

from typing import NamedTuple

import numpy as np

from gradlab.lesson.records import Floats, Lesson
from gradlab.lesson.theory import theory_line
from gradlab.lesson.wording import sentence

ALIKE_DECADES = 0.3
"""Decades within which two settings let as much gradient through."""


class Question(NamedTuple):
    """A question, the points (row of the axis, column of the lengths) that answer it, and the answer in words."""

    text: str
    accepted: tuple[tuple[int, int], ...]
    answer: str


def questions(lesson: Lesson) -> list[Question]:
    """The questions whose answer the measurements hold."""
    of_axis = [_first_that_holds, _half_life, _first_that_explodes, _gate_alone, _most]
    makers = [_length_that_fails, _exceeds_float32, *(of_axis if lesson.axis.option else ())]
    return [question for make in makers if (question := make(lesson)) is not None]


def _question(lesson: Lesson, row: int, column: int, text: str, more: str = "") -> Question:
    """A question with one answer: the sentence on that point, and more."""
    return Question(text, ((row, column),), sentence(lesson, lesson.grid[row][column]) + more)


def _verdicts(lesson: Lesson, column: int) -> list[str]:
    return [row[column].curve.verdict().word for row in lesson.grid]


def _spans(lesson: Lesson, column: int) -> Floats:
    return np.array([row[column].curve.span() for row in lesson.grid])


def _setting(lesson: Lesson, row: int) -> str:
    """The instruction to set the axis; empty where there is none."""
    return f"Set {lesson.axis.setting(lesson.axis.values[row])}. " if lesson.axis.option else ""


def _length_that_fails(lesson: Lesson) -> Question | None:
    """Of the cell that was asked for, or else of the first setting that holds at some lengths only."""
    for row in (lesson.axis.chosen, *range(len(lesson.grid))):
        held = [point.curve.verdict().word == "held" for point in lesson.grid[row]]
        column = held.index(False) if False in held else 0
        if column and not any(held[column:]):
            text = f"{_setting(lesson, row)}Raise the length: at which length does the gradient no longer hold?"
            shorter = f" One length shorter: {sentence(lesson, lesson.grid[row][column - 1])}"
            return _question(lesson, row, column, text, shorter)
    return None


def _exceeds_float32(lesson: Lesson) -> Question | None:
    """The shortest length at which the lowest setting leaves float32."""
    for row, points in enumerate(lesson.grid):
        horizons = [point.curve.float32_horizon() for point in points]
        unseen = [column for column, one in enumerate(horizons) if not one.reached]
        if unseen and unseen[0] > 0:
            text = f"{_setting(lesson, row)}From which length on does the curve leave the range of plain float32?"
            seen = f" Plain float32 sees {horizons[unseen[0]].lag} lags of it."
            return _question(lesson, row, unseen[0], text, seen)
    return None


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
    lower = f" One setting lower: {sentence(lesson, lesson.grid[row - 1][column])}" if row else ""
    return _question(lesson, row, column, text, lower)


def _half_life(lesson: Lesson) -> Question | None:
    """The setting with a given half-life that the curve is long enough to show, if no other is nearly the same."""
    lives = np.array([row[lesson.middle].curve.half_life().value for row in lesson.grid])
    shown = np.flatnonzero(np.isfinite(lives) & (lives < lesson.lengths[lesson.middle]))
    rows = [int(row) for row in shown if row != lesson.axis.chosen]
    apart = [row for row in rows if not np.any(np.isclose(np.delete(lives, row), lives[row], rtol=0.1))]
    if len(rows) < 2 or not apart:
        return None
    row = max(apart, key=lambda row: lives[row])
    point = lesson.grid[row][lesson.middle]
    life = point.curve.half_life()
    which = f"At which {lesson.axis.label} does the gradient halve every {life} timesteps?"
    return _question(lesson, row, lesson.middle, f"Set T = {point.length}. {which}", f" Its half-life is {life}.")


def _first_that_explodes(lesson: Lesson) -> Question | None:
    column = len(lesson.lengths) - 1
    words = _verdicts(lesson, column)
    if "exploding" not in words:
        return None
    which = f"Which is the first {lesson.axis.label} at which the gradient explodes?"
    return _question(lesson, words.index("exploding"), column, f"Set T = {lesson.lengths[column]}. {which}")


def _gate_alone(lesson: Lesson) -> Question | None:
    """Where the measured loss is what theory says of one factor alone at the setting that was asked for."""
    chosen, spans = lesson.chosen[lesson.middle], _spans(lesson, lesson.middle)
    theory = theory_line(chosen.cell, len(chosen.curve.lags))
    if theory is None or lesson.family == "rnn" or not np.isfinite(spans).all():
        return None
    alone, setting = float(theory.decades[-1]), lesson.axis.setting(chosen.value)
    row = int(np.argmin(np.abs(spans - alone)))
    if row == lesson.axis.chosen or abs(spans[row] - alone) > 0.25 * abs(alone):
        return None
    text = (
        f"Set T = {chosen.length}. With {setting}, the {theory.name} would {_lose(alone)}. At which "
        f"{lesson.axis.label} does the whole network come nearest to that?"
    )
    measured = (
        f" With {setting} the whole network was measured to {_lose(chosen.curve.span())}: the paths through the "
        "recurrent weights make the difference."
    )
    return _question(lesson, row, lesson.middle, text, measured)


def _lose(decades: float) -> str:
    return f"{'lose' if decades < 0 else 'gain'} {abs(decades):.1f} decades"


def _most(lesson: Lesson) -> Question | None:
    """Whether the highest setting is the one with the most gradient at the first state."""
    column = len(lesson.lengths) - 1
    spans = _spans(lesson, column)
    if not np.isfinite(spans).all():
        return None
    row, rows = int(spans.argmax()), [int(row) for row in np.flatnonzero(spans > spans.max() - ALIKE_DECADES)]
    which = f"At which {lesson.axis.label} does most gradient reach the first state? Guess first."
    more = f" It is {'' if row == len(spans) - 1 else 'not '}the highest setting."
    if len(rows) > 1:
        names = ", ".join(lesson.axis.values[one].replace("-", "−") for one in rows)
        more = f" The settings {names} lie within {ALIKE_DECADES} decades of one another: each is an answer."
    question = _question(lesson, row, column, f"Set T = {lesson.lengths[column]}. {which}", more)
    return question._replace(accepted=tuple((one, column) for one in rows))
