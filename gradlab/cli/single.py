"""One run, from the header to the next useful command: it takes all cores and shows what it is doing."""

import shlex
import time
from typing import TYPE_CHECKING, Any

from gradlab.cli.batch import tell_related
from gradlab.cli.console import Progress, Screen, counted
from gradlab.cli.devices import devices_for
from gradlab.cli.interrupts import Interrupts
from gradlab.cli.live import clock
from gradlab.cli.present import as_json, failure_of, headline, record_of, show_run
from gradlab.runs.cache import use_cache
from gradlab.runs.jsonable import dumps
from gradlab.runs.store import Store

if TYPE_CHECKING:
    from gradlab.runs.execute import Observe
    from gradlab.runs.spec import RunSpec
    from gradlab.training.loop import Event


class Single:
    """The run of a command that asks for one."""

    def __init__(
        self, screen: Screen, store: Store, spec: "RunSpec", *, rerun: bool, json: bool, quiet: bool
    ) -> None:
        self.screen, self.store, self.spec = screen, store, spec
        self.rerun, self.json, self.quiet = rerun, json, quiet

    def carry_out(self) -> int:
        """Run it unless it is done, show it, and return the exit code."""
        from gradlab.cli.app import INTERRUPTED
        from gradlab.runs.execute import run, usable_shards

        tell_related(self.screen, self.store.check(self.screen.warn), [self.spec])
        use_cache()
        there = self.store.completed(self.spec.id, self.spec.config())
        if there is not None and self.rerun:
            self.store.reopen(self.spec.id)
        if there is None or self.rerun:
            devices = devices_for(self.spec.batch) if self.spec.steps > 0 else 1
            shards = usable_shards(self.spec, devices)
            if shards < devices and not self.quiet:
                self.screen.note(
                    f"not split over {devices} devices: a part of a batch does not give what the whole gives"
                )
            with self.screen.progress() as progress, Interrupts() as interrupts:
                try:
                    observe = self._begin(progress, interrupts, shards)
                    found = run(self.spec, self.store.root, observe, shards=shards)
                except KeyboardInterrupt:
                    kept = "the stored run stays" if self._stays() else "what was measured so far is kept"
                    self.screen.note(f"interrupted; {kept}")
                    self.screen.note("done 0 of 1; the same command does this run again")
                    self.screen.note(f"this run alone: {self.spec.command()}{folder_option(self.store)}")
                    return INTERRUPTED
            if found.status == "failed" and self._stays():
                return self._show_failure(found.reason or "")
        return self._show(fresh=there is None or self.rerun)

    def _begin(self, progress: Progress, interrupts: Interrupts, shards: int) -> "Observe":
        if self.quiet:
            return lambda event: interrupts.check()
        for line in header(self.spec, shards):
            self.screen.note(line)
        ticker = _Ticker(self.screen, progress, self.spec)

        def hear(event: "Event") -> None:
            interrupts.check()
            ticker.hear(event)

        return hear

    def _stays(self) -> bool:
        """Whether a finished run is stored, which one that did not end well has not replaced."""
        stored = self.store.peek(self.spec.id)
        return stored is not None and stored.finished

    def _show_failure(self, reason: str) -> int:
        """What is said of a run that was done again and failed, and so did not replace the stored one."""
        if self.json:
            record = failure_of(self.spec.id, self.spec.config(), reason)
            self.screen.raw(dumps(as_json([record]), indent=1))
        self.screen.note(f"{self.spec.id}: failed: {reason}; the stored run stays")
        return 1

    def _show(self, *, fresh: bool) -> int:
        run = self.store.find(self.spec.id)
        record = record_of(run)
        if not self.quiet:
            said = f"{headline(record)} ({record['wall_seconds']:.1f} s)"
            said = (
                said if fresh else f"already {record['status']}, read from {record['path']}; --rerun does it again"
            )
            self.screen.note(f"{run.id}: {said}")
        failed = run.status == "failed"
        if self.json:
            self.screen.raw(dumps(as_json([record]), indent=1))
            return int(failed)
        show_run(self.screen, record, run.arrays() if record.get("summary") else None)
        self.screen.line()
        self.screen.line(f"written: {run.path}/ ({', '.join(sorted(path.name for path in run.path.iterdir()))})")
        command = f"gradlab show {run.id}" if failed else "gradlab report"
        self.screen.line(f"next: {command}{folder_option(self.store)}")
        return int(failed)


def folder_option(store: Store) -> str:
    """The option that names the results folder, where it is not the default one."""
    return "" if store.root == Store().root else f" --results {shlex.quote(str(store.root))}"


class _Ticker:
    """Progress of one run: a live line on a terminal, and a plain line for each checkpoint."""

    def __init__(self, screen: Screen, progress: Progress, spec: "RunSpec") -> None:
        self.screen, self.progress, self.spec = screen, progress, spec
        self.chance = spec.build_task().chance(spec.length)
        self.started: float | None = None

    def hear(self, event: "Event") -> None:
        """Show one event of the loop."""
        from gradlab.training.loop import Checkpoint, Chunk

        if isinstance(event, Checkpoint):
            self._checkpoint(event)
        elif isinstance(event, Chunk):
            self.progress.show(self._line(event.step, float(event.rows.loss.mean())))

    def _checkpoint(self, event: Any) -> None:
        if self.started is None:
            self.started = time.perf_counter()
        if not self.spec.steps:
            return
        curve = event.metrics.curves["task"]
        verdict = curve.verdict()
        self.screen.note(
            f"training step {event.step:>6}  loss {event.metrics.loss:.4g}  span {curve.span():.1f} decades  "
            f"{verdict}"
        )

    def _line(self, step: int, loss: float) -> str:
        elapsed = time.perf_counter() - (self.started or time.perf_counter())
        rate = step / elapsed if elapsed > 0 else 0.0
        left = (self.spec.steps - step) / rate if rate else 0.0
        return (
            f"training step {step} of at most {self.spec.steps}  loss {loss:.4g} (chance {self.chance:.4g})  "
            f"{rate:.0f} training steps/s  at most {clock(left)} left"
        )


def header(spec: "RunSpec", shards: int) -> list[str]:
    """Everything that was resolved, in a few lines."""
    from gradlab.runs.environment import execution

    task = spec.build_task()
    where = execution(spec.dtype, shards)
    lines = [
        f"{spec.id}",
        f"  task {spec.task}, length {spec.length} ({task.steps(spec.length)} timesteps), chance "
        f"{task.chance(spec.length):.4g}, solved at {task.solved(spec.length):.4g}",
        f"  cell {spec.cell}, hidden {spec.hidden}, {spec.dtype}, seed {spec.seed}, "
        f"curves on {spec.measure_batch} held-out examples",
    ]
    if spec.params:
        lines.append(f"  weights: final ones of {spec.params}")
    if spec.steps:
        lines.append(
            f"  {spec.optimizer}, learning rate {spec.learning_rate:g}, clip {spec.clip}, batch {spec.batch}, "
            f"at most {spec.steps} training steps, stop {spec.stop}, measure {spec.measure}"
        )
    lines.append(f"  on {where['device']} ({where['cpu']}), {counted(shards, 'shard')}, jaxlib {where['jaxlib']}")
    return lines
