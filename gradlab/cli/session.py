"""The runs of one command: carried out by the engine, shown while they go on, and how they ended."""

import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

from gradlab.cli.console import Progress, Screen
from gradlab.cli.interrupts import interrupts
from gradlab.cli.live import Forecast, checkpoint_line, clock, header, running_lines, training_line
from gradlab.cli.present import Record, failure_of, headline, record_of
from gradlab.runs.cache import tidy_cache
from gradlab.runs.jobs import Finished, RunProgress, Settings
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store, StoredRun

REDRAW_SECONDS = 0.1


class Session:
    """Runs and how they are carried out; the listener of the engine.

    Args:
        specs: all runs of the command, each once.
        settings: of the engine; with `all_cores` there is one run, which is shown in detail.
        quiet: show no progress; a log file gets it all the same.
        each: report each run that is already done; otherwise they are counted in one line.
    """

    def __init__(
        self,
        screen: Screen,
        store: Store,
        specs: Sequence[RunSpec],
        settings: Settings,
        *,
        quiet: bool,
        each: bool = True,
    ) -> None:
        self.screen, self.store, self.specs, self.settings = screen, store, specs, settings
        self.quiet, self.each, self.detailed = quiet, each, settings.all_cores
        self._unheard = quiet and not screen.logs
        self.outcomes: list[Finished] = []
        self._progress = Progress(screen)
        self._forecast = Forecast(specs)
        self._running: dict[str, tuple[RunSpec, float, int]] = {}
        self._skipped = 0
        self._drawn = 0.0
        self._acknowledged = False

    def carry_out(self) -> None:
        """Do every run that is not done, with progress on stderr; raises what the engine raises."""
        from gradlab.runs.engine import run_all

        note_related(self.screen, self.store.check(self.screen.warn), self.specs)
        tidy_cache()
        with self._progress, interrupts.counting():
            run_all(self.specs, self.store, self.settings, self)
            self._report_skipped()

    @property
    def failed(self) -> list[Finished]:
        """The runs that failed."""
        return [end for end in self.outcomes if end.status == "failed"]

    def records(self) -> list[Record]:
        """Every run as stored, or what is known of one that failed and was not stored: a full disk, or a rerun."""
        reasons = {end.spec.id: end.reason for end in self.failed}
        found: list[Record] = []
        for spec in self.specs:
            run = self.store.peek(spec.id)
            lost = run is None or (spec.id in reasons and run.status != "failed")
            found.append(failure_of(spec, reasons.get(spec.id)) if run is None or lost else record_of(run))
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
            return "the stored run stays" if self.detailed else "stored runs stay until others are done"
        return "what was measured so far is kept" if any(run.log() for run in runs) else "nothing was measured yet"

    def begun(self, spec: RunSpec, execution: Mapping[str, Any], devices: int) -> None:
        """A run begins."""
        self._report_skipped()
        self._running[spec.id] = (spec, time.monotonic(), 0)
        if self.detailed and not self._unheard:
            for line in header(spec, execution):
                self.tell(line)
            if execution["shards"] < devices:
                self.tell(
                    f"not split over {devices} devices: a part of a batch does not give what the whole gives"
                )
            self._progress.show("compiling …")
        self._draw(now=True)

    def reached(self, spec: RunSpec, progress: RunProgress) -> None:
        """A run is at a training step."""
        _, started, _ = self._running[spec.id]
        # Compilation, which ends with the first message, is no part of the training rate.
        self._running[spec.id] = (spec, started if progress.step and started else time.monotonic(), progress.step)
        if self.detailed and not self._unheard:
            self._show_progress(spec, progress)
        self._draw()

    def ended(self, finished: Finished) -> None:
        """A run ended, or was stored already."""
        self.outcomes.append(finished)
        self._running.pop(finished.spec.id, None)
        self._forecast.take(finished)
        self._skipped += not finished.fresh
        if not self._unheard and (finished.fresh or self.each):
            self._report(finished)
        self._draw(now=True)

    def tick(self) -> None:
        """Called regularly while workers compute."""
        self._draw()

    def tell(self, text: str, style: str = "") -> None:
        """A line of progress."""
        self.screen.note(text, style, quiet=self.quiet)

    def warn(self, text: str) -> None:
        """A warning for the user."""
        self.screen.warn(text)

    def presses(self) -> int:
        """How often Ctrl-C was pressed; the first press is acknowledged."""
        if interrupts.presses and not self._acknowledged:
            self._acknowledged = True
            self.screen.note(
                "stopping: runs under way end what they are computing, at most 10 s; Ctrl-C again does not wait"
            )
        return interrupts.presses

    def _report(self, finished: Finished) -> None:
        """The line of a run that ended; of several runs a terminal shows those of failures alone."""
        run_id, path = finished.spec.id, self.store.runs / finished.spec.id
        place = run_id if self.detailed else f"[{len(self.outcomes)}/{len(self.specs)}] {run_id}"
        if finished.status == "failed":
            style = "bold red" if self.screen.live else ""
            stored = self.store.peek(run_id)
            stays = stored is not None and stored.finished
            where = "; the stored run stays" if stays else f" ({path}/)"
            self.tell(f"{place} failed: {finished.reason}{where}", style)
        elif not finished.fresh:
            again = "; --rerun does it again" if self.detailed else ""
            self.tell(f"{place}: already {finished.status}, read from {path}{again}")
        elif self.detailed or not self.screen.live or self.screen.logs:
            text = headline(record_of(self.store.find(run_id)))
            unseen = self.quiet or (self.screen.live and not self.detailed)
            self.screen.note(f"{place}: {text} ({finished.seconds:.1f} s)", quiet=unseen)

    def _report_skipped(self) -> None:
        """Report once how many runs are already done; what another command finishes later is reported singly."""
        if self._skipped and not self.each:
            self.tell(f"{self._skipped} of {len(self.specs)} runs are done already")
        self._skipped, self.each = 0, True

    def _show_progress(self, spec: RunSpec, progress: RunProgress) -> None:
        """A plain line for a checkpoint, the live line for training steps."""
        if progress.verdict and spec.steps:
            self.tell(checkpoint_line(spec, progress))
        elif not (progress.verdict or self.quiet):
            self._progress.show(training_line(spec, progress, time.monotonic() - self._running[spec.id][1]))

    def _draw(self, *, now: bool = False) -> None:
        """Counts, the time left and the slowest run, then a line per running run."""
        recent = not now and time.monotonic() < self._drawn + REDRAW_SECONDS
        if self.quiet or self.detailed or recent or not self.screen.live:
            return
        self._drawn = time.monotonic()
        left = self._forecast.seconds_left({name: run[1] for name, run in self._running.items()})
        words = [
            f"{len(self.outcomes)} of {len(self.specs)} done",
            f"{len(self._running)} running",
            f"{len(self.failed)} failed",
            "estimating time left" if left is None else f"about {clock(left)} left",
        ]
        if fresh := [(end.seconds, end.spec.id) for end in self.outcomes if end.fresh]:
            seconds, run_id = max(fresh)
            words.append(f"slowest {run_id} {clock(seconds)}")
        self._progress.show("\n".join([" · ".join(words), *running_lines([*self._running.values()])]))


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
