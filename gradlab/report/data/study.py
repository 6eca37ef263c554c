"""The report of one sweep: its question, what became of its runs, and the answer in words."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradlab.report.data.by_length import constant, frame, rows, table
from gradlab.report.data.records import Record, grouped, labels
from gradlab.report.data.tables import write_csv
from gradlab.report.figures.drawing import Drawing
from gradlab.report.text.length_limit import relation, sentence
from gradlab.report.text.prediction import briefly, explanation, foretold
from gradlab.report.text.sections import environments
from gradlab.runs.jsonable import number

if TYPE_CHECKING:
    from gradlab.runs.sweeps import StoredSweep

SENTENCES = 24
DIGITS = 5
"""Significant digits of the table that is kept: enough for every figure, and its changes stay readable."""


@dataclass(frozen=True)
class Study:
    """A sweep and what there is of it.

    Attributes:
        sweep: as the results folder keeps it.
        records: its runs that can be read, each with the config that was asked for.
        absent: why a run did not come to an end, by its id, in the order of the sweep.
    """

    sweep: "StoredSweep"
    records: list[Record]
    absent: dict[str, str]

    @property
    def there(self) -> list[Record]:
        """The runs that came to an end."""
        return [record for record in self.records if record.run.finished]

    @property
    def measured(self) -> list[Record]:
        """Those of them that have numbers."""
        return [record for record in self.there if record.marks]


def study_of(sweep: "StoredSweep", records: Sequence[Record]) -> Study:
    """What became of the runs of a sweep.

    Args:
        sweep: what was asked. records: runs of the results folder, at least those of the sweep.
    """
    asked = {run["id"]: run["config"] for run in sweep.runs}
    mine = {one.run.id: one for one in records if asked.get(one.run.id) == one.run.config}
    absent = {
        run_id: mine[run_id].run.status if run_id in mine else "missing"
        for run_id in asked
        if run_id not in mine or not mine[run_id].run.finished
    }
    return Study(sweep, [mine[run_id] for run_id in asked if run_id in mine], absent)


def opening(study: Study) -> str:
    """Title, question, how much of the sweep is there, and the answers."""
    parts = [f"# {_text(study.sweep.title)}", _text(study.sweep.question)]
    if study.sweep.source:
        parts.append(f"After: {_text(study.sweep.source)}")
    return "\n\n".join([*parts, presence(study), answers(study.measured)])


def presence(study: Study) -> str:
    """`48 of 54 runs are there: 40 solved, 8 trained. Not there: 4 missing, 2 failed.`"""
    total, there = len(study.sweep.runs), study.there
    ended = _counted([record.run.status for record in there])
    text = f"{len(there)} of {total} runs are there{f': {ended}' if there else ''}."
    if not study.absent:
        return text
    return f"**{text} Not there: {_counted(list(study.absent.values()))}.** What is said below leaves these out."


def _counted(words: Sequence[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in Counter(words).most_common())


def answers(records: Sequence[Record]) -> str:
    """A sentence for each setting, and what the gradient at initialisation says about solving."""
    lines = []
    for task in sorted({str(record.config["task"]) for record in records}):
        mine = grouped([record for record in records if record.config["task"] == task], without=["length"])
        names = labels(mine, without=["length"])
        lines += [f"- {_text(sentence(group, label))}" for group, label in zip(mine, names, strict=True)]
    more = [f"- {len(lines) - SENTENCES} more settings are in the table below."] if len(lines) > SENTENCES else []
    steps = {int(record.config["steps"]) for record in records if record.trained}
    within = f" Solved means within {max(steps):,} training steps." if len(steps) == 1 else ""
    last = [f"{relation(records)}{within}"] if relation(records) else []
    last += _foretold(records)
    return "\n\n".join(["\n".join([*lines[:SENTENCES], *more]), *last])


def _foretold(records: Sequence[Record]) -> list[str]:
    """For each task, whether the gradient at initialisation foretells what is learned."""
    trained = [record for record in records if record.trained and record.run.finished and record.marks]
    said = []
    for task in sorted({str(record.config["task"]) for record in trained}):
        found = foretold([record for record in trained if record.config["task"] == task])
        if len(found.points) > 1:
            said.append(
                f"On {_text(task)}, could one have known at initialisation? {briefly(found)} {explanation(found)}"
            )
    return said


def missing(study: Study) -> list[str]:
    """The runs that were never started, or whose files cannot be read, as entries of a list."""
    return [f"`{run_id}` is missing" for run_id, why in study.absent.items() if why == "missing"]


def command(study: Study) -> str:
    """The command line that makes the runs which are not there."""
    sweep = study.sweep
    words = ["gradlab", "sweep", sweep.file]
    for override in sweep.overrides:
        words += ["--set", override]
    words += ["--name", sweep.name] if sweep.name != Path(sweep.file).stem else []
    return shlex.join(words)


def by_length_section(study: Study) -> str:
    """The table of settings and lengths, with what all runs share."""
    shared = ", ".join(f"{name} {value}" for name, value in constant(study.measured).items())
    return f"All runs: {_text(shared)}.\n\n{table(rows(study.measured))}"


def keep(study: Study, folder: Path, drawings: Sequence[Drawing], figures: Path) -> list[Path]:
    """Write the small files that are worth committing: a table, the figures against length, and what they say.

    Args:
        study: the sweep. folder: where to, made if need be. drawings: what was drawn against length.
        figures: the folder in which their SVGs are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "lengths.csv", [frame(rows(study.measured))], digits=DIGITS)
    for drawing in drawings:
        (folder / f"{drawing.name}.svg").write_bytes((figures / f"{drawing.name}.svg").read_bytes())
    (folder / "README.md").write_text(_readme(study, drawings), encoding="utf-8")
    names = ["README.md", "lengths.csv", *(f"{drawing.name}.svg" for drawing in drawings)]
    return [folder / name for name in names]


def _readme(study: Study, drawings: Sequence[Drawing]) -> str:
    seconds = sum(number(record.run.done.get("wall_seconds")) for record in study.there)
    commands = f"{command(study)}\ngradlab report --sweep {study.sweep.name}"
    shown = [f"![{_alt(drawing)}]({drawing.name}.svg)" for drawing in drawings]
    parts = [
        opening(study),
        *shown,
        f"Numbers: [lengths.csv](lengths.csv). Made by\n\n```\n{commands}\n```",
        f"The {len(study.there)} runs took {seconds / 60:,.1f} minutes of computing, one after the other. "
        f"Computed with: {environments(study.there)}",
    ]
    return "\n\n".join(parts) + "\n"


def _alt(drawing: Drawing) -> str:
    return drawing.caption.replace("<", "&lt;").replace("[", "(").replace("]", ")")


def _text(text: str) -> str:
    """Names come from users: no HTML in them."""
    return text.replace("<", "&lt;")
