"""The runs of one command that asks for several: from a look at the store to a table of what failed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradlab.cli.console import Screen
from gradlab.cli.interrupts import Interrupts
from gradlab.cli.live import Live
from gradlab.runs.cache import use_cache
from gradlab.runs.store import Store, StoredRun

if TYPE_CHECKING:
    from gradlab.runs.jobs import Finished, Settings
    from gradlab.runs.spec import RunSpec


class Batch:
    """Several runs and how they are carried out."""

    def __init__(
        self, screen: Screen, store: Store, specs: Sequence["RunSpec"], settings: "Settings", *, quiet: bool
    ) -> None:
        self.screen, self.store, self.specs, self.settings = screen, store, specs, settings
        self.quiet = quiet
        self.outcomes: list[Finished] = []

    def carry_out(self, *, each: bool) -> None:
        """Run everything that is not done, and tell of it on stderr; `outcomes` has what ended.

        Args:
            each: tell of each run that is there already, not only of their number.

        Raises:
            GradlabError: the results folder cannot be written, or no workers could be had.
            KeyboardInterrupt: Ctrl-C.
        """
        from gradlab.runs.engine import run_all

        tell_related(self.screen, self.store.check(self.screen.warn), self.specs)
        use_cache()
        with self.screen.progress() as progress, Interrupts(raising=self.settings.local) as interrupts:
            live = Live(self.screen, progress, interrupts, self.store, self.specs, quiet=self.quiet, each=each)
            self.outcomes = live.outcomes
            run_all(self.specs, self.store, self.settings, live)
            live.tell_skipped()

    @property
    def failed(self) -> list["Finished"]:
        """What failed."""
        return [finished for finished in self.outcomes if finished.status == "failed"]

    def show_failures(self) -> None:
        """The table of what failed, with why and where."""
        rows = [[end.spec.id, end.reason or "", f"{self.store.runs / end.spec.id}/"] for end in self.failed]
        if rows:
            self.screen.heading(f"{len(rows)} of {len(self.specs)} runs failed")
            self.screen.table(("run", "why", "folder"), rows, fold=("why", "folder"))


def tell_related(screen: Screen, runs: Sequence[StoredRun], specs: Sequence["RunSpec"]) -> None:
    """Say of new runs that only the number of training steps sets them apart from earlier ones."""

    def apart(config: Mapping[str, Any]) -> str:
        return str(sorted((name, value) for name, value in config.items() if name != "steps"))

    there = {run.id for run in runs if run.finished}
    trained = {apart(run.config): run for run in runs if run.status == "trained"}
    found = [(spec, trained.get(apart(spec.config()))) for spec in specs if spec.steps and spec.id not in there]
    related = [(spec, run) for spec, run in found if run is not None]
    if not related:
        return
    spec, run = related[0]
    more = f", and so for {len(related) - 1} more" if len(related) > 1 else ""
    screen.note(
        f"{run.id} ended `trained` at training step {run.done.get('training_steps')}; {spec.id} is a new run from "
        f"the start, of at most {spec.steps}: nothing is extended{more}"
    )
