"""A sweep and what became of its runs."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from gradlab.report.data.records import Record
from gradlab.runs.sweeps import StoredSweep


@dataclass(frozen=True)
class Study:
    """A sweep and what there is of it.

    Attributes:
        sweep: as the results folder keeps it.
        records: its runs that can be read, each with the config that was asked for.
        absent: why a run did not come to an end, by its id, in the order of the sweep.
    """

    sweep: StoredSweep
    records: list[Record]
    absent: dict[str, str]

    @cached_property
    def finished(self) -> list[Record]:
        """The runs that came to an end."""
        return [record for record in self.records if record.run.finished]

    @property
    def command(self) -> str:
        """The command line that makes the runs that are missing."""
        words = ["gradlab", "sweep", self.sweep.file]
        for override in self.sweep.overrides:
            words += ["--set", override]
        words += ["--name", self.sweep.name] if self.sweep.name != Path(self.sweep.file).stem else []
        return shlex.join(words)


def study_of(sweep: StoredSweep, records: Sequence[Record]) -> Study:
    """What became of the runs of a sweep; `records` are at least those of it that can be read."""
    asked = {run["id"]: run["config"] for run in sweep.runs}
    mine = {one.run.id: one for one in records if asked.get(one.run.id) == one.run.config}
    absent = {
        run_id: mine[run_id].run.status if run_id in mine else "missing"
        for run_id in asked
        if run_id not in mine or not mine[run_id].run.finished
    }
    sizes = {run["id"]: run.get("max_params") for run in sweep.runs}
    found = [
        replace(mine[run_id], tuned=sweep.tuned, max_params=sizes[run_id]) for run_id in asked if run_id in mine
    ]
    return Study(sweep, found, absent)
