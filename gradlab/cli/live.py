"""Progress of runs: lines redrawn on a terminal, and one line per checkpoint or run elsewhere."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradlab.cli.console import Progress, Screen, counted
from gradlab.cli.interrupts import Interrupts
from gradlab.cli.present import headline, record_of
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store

if TYPE_CHECKING:
    from gradlab.runs.jobs import Finished
    from gradlab.training.loop import Checkpoint, Chunk, Event

REDRAW_SECONDS = 0.1
_SHOWN = 16
"""Most running runs with a line of their own; more are counted."""


class RunsView:
    """The listener of the engine that shows how far runs are.

    Args:
        progress: the lines that are redrawn.
        interrupts: the presses of Ctrl-C.
        specs: all runs of the command.
        quiet: show nothing.
        shards: of the only run, which is then shown in detail; None for several.
        each: report each run that is already done; otherwise they are counted in one line.
    """

    def __init__(
        self,
        screen: Screen,
        progress: Progress,
        interrupts: Interrupts,
        store: Store,
        specs: Sequence[RunSpec],
        *,
        quiet: bool,
        shards: int | None,
        each: bool,
    ) -> None:
        self.screen, self.progress, self.interrupts, self.store = screen, progress, interrupts, store
        self.quiet, self.shards, self.each = quiet, shards, each
        self.detailed, self.total = shards is not None, len(specs)
        self.outcomes: list[Finished] = []
        self.forecast = Forecast(specs)
        self.running: dict[str, tuple[RunSpec, float, int]] = {}
        self.failed = self.skipped = 0
        self.slowest: tuple[float, str] | None = None
        self._drawn = 0.0
        self._acknowledged = False

    def presses(self) -> int:
        """How often Ctrl-C was pressed; the first press is acknowledged."""
        if self.interrupts.presses and not self._acknowledged:
            self._acknowledged = True
            self.screen.note(
                "stopping: runs under way end what they are computing, some seconds; Ctrl-C again does not wait"
            )
        return self.interrupts.presses

    def begun(self, spec: RunSpec) -> None:
        """A run begins."""
        self.report_skipped()
        self.running[spec.id] = (spec, time.monotonic(), 0)
        if self.shards is None:
            self._draw(now=True)
        elif not self.quiet:
            for line in _header(spec, self.shards):
                self.screen.note(line)

    def reached(self, spec: RunSpec, event: "Event | int") -> None:
        """A run is at a training step."""
        self.interrupts.check()
        step = event if isinstance(event, int) else event.step
        _, started, _ = self.running.get(spec.id, (spec, time.monotonic(), 0))
        self.running[spec.id] = (spec, started, step)
        if self.detailed and not isinstance(event, int):
            self._show_event(spec, event)
        else:
            self._draw()

    def tick(self) -> None:
        """Called regularly while other processes work."""
        self._draw()

    def ended(self, finished: "Finished") -> None:
        """A run ended, or was already done."""
        self.outcomes.append(finished)
        self.running.pop(finished.spec.id, None)
        self.failed += finished.status == "failed"
        self.forecast.take(finished)
        if finished.fresh:
            self.slowest = max(self.slowest or (0.0, ""), (finished.seconds, finished.spec.id))
        else:
            self.skipped += 1
        if not self.quiet and (finished.fresh or self.each):
            self._report(finished)
        self._draw(now=True)

    def warn(self, text: str) -> None:
        """Show a warning."""
        self.screen.warn(text)

    def report_skipped(self) -> None:
        """Report once how many runs are already done."""
        if self.skipped and not self.each and not self.quiet:
            self.screen.note(f"{self.skipped} of {self.total} runs are done already")
        self.skipped, self.each = 0, True  # runs that another command finishes meanwhile are reported one by one

    def _report(self, finished: "Finished") -> None:
        """The line of a run that ended; on a terminal with several runs only failures have one."""
        run_id, path = finished.spec.id, self.store.runs / finished.spec.id
        place = run_id if self.detailed else f"[{len(self.outcomes)}/{self.total}] {run_id}"
        if finished.status == "failed":
            style = "bold red" if self.screen.live else ""
            self.screen.note(f"{place} failed: {finished.reason} ({path}/)", style)
        elif not finished.fresh:
            again = "; --rerun does it again" if self.detailed else ""
            self.screen.note(f"{place}: already {finished.status}, read from {path}{again}")
        elif self.detailed or not self.screen.live:
            text = headline(record_of(self.store.find(run_id)))
            self.screen.note(f"{place}: {text} ({finished.seconds:.1f} s)")

    def _show_event(self, spec: RunSpec, event: "Event") -> None:
        """A plain line for a checkpoint, the live line for a chunk of training steps."""
        from gradlab.training.loop import Checkpoint, Chunk

        if isinstance(event, Checkpoint) and not event.step:  # compilation is no part of the training rate
            self.running[spec.id] = (spec, time.monotonic(), 0)
        if self.quiet:
            return
        if isinstance(event, Checkpoint) and spec.steps:
            self.screen.note(_checkpoint_line(event))
        elif isinstance(event, Chunk):
            self.progress.show(_chunk_line(spec, event, time.monotonic() - self.running[spec.id][1]))

    def _draw(self, *, now: bool = False) -> None:
        if self.quiet or not self.screen.live or (not now and time.monotonic() < self._drawn + REDRAW_SECONDS):
            return
        self._drawn = time.monotonic()
        self.progress.show("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """Counts, the time left and the slowest run, then a line per running run."""
        left = self.forecast.seconds_left({name: run[1] for name, run in self.running.items()})
        words = [
            f"{len(self.outcomes)} of {self.total} done",
            f"{len(self.running)} running",
            f"{self.failed} failed",
            "estimating time left" if left is None else f"about {clock(left)} left",
        ]
        if self.slowest:
            words.append(f"slowest {self.slowest[1]} {clock(self.slowest[0])}")
        rows = list(self.running.values())
        width = max((len(spec.id) for spec, _, _ in rows), default=0)
        shown = []
        for spec, started, step in rows[:_SHOWN]:
            at = f"training step {step:>6} of at most {spec.steps}" if spec.steps else "measuring"
            shown.append(f"  {spec.id:<{width}}  {at}  {clock(time.monotonic() - started)}")
        more = [f"  and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
        return [" · ".join(words), *shown, *more]


def _header(spec: RunSpec, shards: int) -> list[str]:
    """All resolved settings of a run, in a few lines."""
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


def _checkpoint_line(event: "Checkpoint") -> str:
    curve, loss = event.observation.curves["task"], event.observation.loss
    return f"training step {event.step:>6}  loss {loss:.4g}  span {curve.span():.1f} decades  {curve.verdict()}"


def _chunk_line(spec: RunSpec, event: "Chunk", elapsed: float) -> str:
    chance = spec.build_task().chance(spec.length)
    rate = event.step / elapsed if elapsed > 0 else 0.0
    left = (spec.steps - event.step) / rate if rate else 0.0
    return (
        f"training step {event.step} of at most {spec.steps}  loss {float(event.rows.loss.mean()):.4g} "
        f"(chance {chance:.4g})  {rate:.0f} training steps/s  at most {clock(left)} left"
    )


class Forecast:
    """Estimates the time left by the mean time per timestep of the runs that ended, of their cell or of all."""

    def __init__(self, specs: Sequence[RunSpec]) -> None:
        self._left = {spec.id: spec for spec in specs}
        self._seen: dict[str, tuple[float, float]] = {}

    def take(self, finished: "Finished") -> None:
        """Account for a run that ended."""
        from gradlab.runs.engine import cost

        spec = self._left.pop(finished.spec.id, finished.spec)
        if finished.fresh and finished.status != "failed":
            for name in (spec.cell, ""):
                seconds, work = self._seen.get(name, (0.0, 0.0))
                self._seen[name] = (seconds + finished.seconds, work + cost(spec))

    def seconds_left(self, running: dict[str, float]) -> float | None:
        """The estimate, None before the first run ended.

        Args:
            running: when each running run began, by `time.monotonic`; so many run at a time.
        """
        from gradlab.runs.engine import cost

        if "" not in self._seen:
            return None
        total = longest = 0.0
        for name, spec in self._left.items():
            seconds, work = self._seen.get(spec.cell, self._seen[""])
            needed = seconds / work * cost(spec)
            if name in running:
                needed = max(0.0, needed - (time.monotonic() - running[name]))
            total, longest = total + needed, max(longest, needed)
        return max(total / max(1, len(running)), longest)


def clock(seconds: float) -> str:
    """A duration for people: `12 s`, `14 min`, `3.2 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
