"""Commands that a lesson prints: they repeat its probes, train its cells, and write it again."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from gradlab.lesson.axes import UNSET, default_axis, family_of
from gradlab.lesson.records import Lesson
from gradlab.runs.fields import spell
from gradlab.runs.spec import FIELDS, RunSpec

LENGTHS = (25, 50, 100, 200, 400)
COMPARED_LENGTHS = LENGTHS[:-1]
"""Of a comparison, whose longest length is one that trains in minutes."""


def lesson_commands(base: RunSpec, lesson: Lesson) -> dict[str, str]:
    """The commands that repeat more than one probe, and those that train."""
    middle, axis = lesson.lengths[lesson.middle], lesson.axis
    values = ",".join(value for value in axis.values if value != UNSET)
    vary = None if axis == default_axis(base.cell) else f"{axis.option}={values}"
    trained = replace(base, length=middle, steps=RunSpec.steps)
    return {
        "grid": of_several(base, axis.cells, lesson.lengths),
        "lengths": of_several(base, [base.cell], lesson.lengths),
        "ungated": of_several(base, [base.cell, lesson.ungated.cell], [middle]) if lesson.ungated else "",
        "factors": of_several(base, [point.cell for point in lesson.contrast], [middle]),
        "train": trained.command(),
        "then": page_command(base, [base.cell], _given(lesson.lengths, LENGTHS), vary, trained.id),
    }


def comparison_commands(
    base: RunSpec, cells: Mapping[str, str | None], lengths: tuple[int, ...]
) -> dict[str, str]:
    """The same of several cells.

    Args:
        cells: the direct path alone of each, as a variant, None where it has none.
    """
    longest, alone = lengths[-1], [cell for cell in cells.values() if cell]
    trained = [replace(base, cell=cell, length=longest, steps=RunSpec.steps) for cell in cells]
    runs, given = ",".join(spec.id for spec in trained), _given(lengths, COMPARED_LENGTHS)
    torch = [f"{family}:init=torch" for family in dict.fromkeys(map(family_of, cells)) if family]
    return {
        "grid": of_several(base, cells, lengths),
        "longest": of_several(base, cells, [longest]),
        "alone": of_several(base, alone, [longest]) if alone else "",
        "train": of_several(trained[0], cells, [longest]),
        "then": page_command(base, cells, given, None, runs),
        "each": "\n".join(page_command(base, [cell], None, None, None) for cell in cells),
        "torch": page_command(base, torch, given, None, None) if len(torch) > 1 and {*torch} - {*cells} else "",
    }


def _given(lengths: tuple[int, ...], default: tuple[int, ...]) -> str | None:
    return None if lengths == default else ",".join(map(str, lengths))


def of_several(spec: RunSpec, cells: Iterable[str], lengths: Sequence[int]) -> str:
    """The command of a run or a probe for several cells and lengths."""
    words = shlex.split(replace(spec, length=lengths[0]).command())
    words[words.index("--cell") + 1] = ",".join(cells)
    words[words.index("--len") + 1] = ",".join(map(str, lengths))
    return shlex.join(words)


def page_command(
    base: RunSpec, cells: Iterable[str], lengths: str | None, vary: str | None, run: str | None
) -> str:
    """The command that writes a lesson, without options at their default and without what `--run` brings along."""
    words = ["gradlab", "lesson", base.task, "--cell", ",".join(cells)]
    given = {"--len": lengths, "--vary": vary, "--run": run}
    if run is None:
        given |= {
            each.option: spell(getattr(base, name))
            for name, each in FIELDS.items()
            if "lesson" in each.commands and name != "cell" and getattr(base, name) != each.default
        }
    for option, value in given.items():
        words += [option, value] if value else []
    return shlex.join(words)
