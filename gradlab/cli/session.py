"""The runs of one command, from a first look at the store to how each of them ended."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradlab.cli.console import Screen
from gradlab.cli.interrupts import Interrupts
from gradlab.cli.live import RunsView
from gradlab.cli.present import Record, failure_of, record_of
from gradlab.runs.cache import use_cache
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store, StoredRun

if TYPE_CHECKING:
    from gradlab.runs.jobs import Finished, Settings


@dataclass
class Session:
    """Runs and how they are carried out.

    Attributes:
        specs: all runs of the command, each once.
        settings: of the engine.
        quiet: show no progress.
        each: report each run that is already done; otherwise they are counted in one line.
        outcomes: the runs that ended.
    """

    screen: Screen
    store: Store
    specs: Sequence[RunSpec]
    settings: "Settings"
    quiet: bool = False
    each: bool = True
    outcomes: list["Finished"] = field(default_factory=list)

    def carry_out(self) -> None:
        """Do every run that is not done, with progress on stderr.

        Raises:
            GradlabError: the results folder cannot be written, or no workers could be had.
            KeyboardInterrupt: Ctrl-C.
        """
        from gradlab.runs.engine import run_all

        screen, settings = self.screen, self.settings
        note_related(screen, self.store.check(screen.warn), self.specs)
        use_cache()
        with screen.progress() as progress, Interrupts(raising=settings.local) as interrupts:
            view = RunsView(
                screen,
                progress,
                interrupts,
                self.store,
                self.specs,
                quiet=self.quiet,
                shards=settings.shards,
                each=self.each,
            )
            self.outcomes = view.outcomes
            run_all(self.specs, self.store, settings, view)
            view.report_skipped()

    @property
    def failed(self) -> list["Finished"]:
        """The runs that failed."""
        return [end for end in self.outcomes if end.status == "failed"]

    def records(self) -> list[Record]:
        """Every run as stored, or what is known of one that failed and was not stored: a full disk, or a rerun."""
        reasons = {end.spec.id: end.reason for end in self.failed}
        found: list[Record] = []
        for spec in self.specs:
            run, reason = self.store.peek(spec.id), reasons.get(spec.id)
            if run is None or (reason is not None and run.status != "failed"):
                found.append(failure_of(spec.id, spec.config(), reason))
            else:
                found.append(record_of(run))
        return found

    def show_failures(self) -> None:
        """The table of failed runs and their reasons."""
        rows = [[end.spec.id, end.reason or ""] for end in self.failed]
        if rows:
            self.screen.heading(f"{len(rows)} of {len(self.specs)} runs failed")
            self.screen.table(("run", "reason"), rows, fold=("reason", "run"))

    def kept(self) -> str:
        """What is left of interrupted runs."""
        runs = [run for spec in self.specs if (run := self.store.peek(spec.id)) is not None]
        if self.settings.rerun == "all" and any(run.finished for run in runs):
            return "the stored run stays" if len(self.specs) == 1 else "stored runs stay until others are done"
        return "what was measured so far is kept" if any(run.log() for run in runs) else "nothing was measured yet"


def folder_option(store: Store) -> str:
    """The option that names the results folder, if it is not the default one."""
    return "" if store.root == Store().root else f" --results {shlex.quote(str(store.root))}"


def note_related(screen: Screen, runs: Sequence[StoredRun], specs: Sequence[RunSpec]) -> None:
    """Say of new runs that only the number of training steps sets them apart from earlier ones."""

    def but_steps(config: Mapping[str, Any]) -> str:
        return str(sorted((name, value) for name, value in config.items() if name != "steps"))

    done = {run.id for run in runs if run.finished}
    trained = {but_steps(run.config): run for run in runs if run.status == "trained"}
    found = [(spec, trained.get(but_steps(spec.config()))) for spec in specs if spec.steps and spec.id not in done]
    related = [(spec, run) for spec, run in found if run is not None]
    if not related:
        return
    spec, run = related[0]
    more = f", and so for {len(related) - 1} more" if len(related) > 1 else ""
    screen.note(
        f"{run.id} ended `trained` at training step {run.done.get('training_steps')}; {spec.id} is a new run from "
        f"the start, of at most {spec.steps}: nothing is extended{more}"
    )
