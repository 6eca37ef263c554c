"""How a list of runs looks while it goes on: a few lines redrawn on a terminal, a line for each run elsewhere."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradlab.cli.console import Progress, Screen
from gradlab.cli.interrupts import Interrupts
from gradlab.cli.present import headline, record_of
from gradlab.runs.store import Store

if TYPE_CHECKING:
    from gradlab.runs.jobs import Finished
    from gradlab.runs.spec import RunSpec
    from gradlab.training.loop import Event

REDRAW_SECONDS = 0.1
_SHOWN = 16
"""Running runs that have a line; more are counted."""


class Live:
    """Hears the runs of one command, keeps how they ended and shows how far they are.

    Args:
        progress: the lines that are redrawn.
        interrupts: the presses of Ctrl-C.
        specs: every run of the command.
        quiet: show nothing.
        each: tell of each run that is there already; else they are counted in one line.
    """

    def __init__(
        self,
        screen: Screen,
        progress: Progress,
        interrupts: Interrupts,
        store: Store,
        specs: Sequence["RunSpec"],
        *,
        quiet: bool,
        each: bool,
    ) -> None:
        self.screen, self.progress, self.interrupts, self.store = screen, progress, interrupts, store
        self.quiet, self.each = quiet, each
        self.total = len(specs)
        self.forecast = Forecast(specs)
        self.running: dict[str, tuple[RunSpec, float, int]] = {}
        self.failed = self.skipped = 0
        self.slowest: tuple[float, str] | None = None
        self.outcomes: list[Finished] = []
        self._drawn = 0.0
        self._answered = False

    def presses(self) -> int:
        """How often Ctrl-C was pressed; the first time is answered."""
        if self.interrupts.presses and not self._answered:
            self._answered = True
            self.screen.note(
                "stopping: runs under way end what they are computing, some seconds; Ctrl-C again does not wait"
            )
        return self.interrupts.presses

    def begun(self, spec: "RunSpec") -> None:
        """A run begins."""
        self.tell_skipped()
        self.running[spec.id] = (spec, time.monotonic(), 0)
        self._draw(now=True)

    def reached(self, spec: "RunSpec", event: "Event | int") -> None:
        """A run is at a training step."""
        self.interrupts.check()
        _, started, _ = self.running.get(spec.id, (spec, time.monotonic(), 0))
        self.running[spec.id] = (spec, started, event if isinstance(event, int) else event.step)
        self._draw()

    def tick(self) -> None:
        """A moment passed."""
        self._draw()

    def ended(self, finished: "Finished") -> None:
        """A run ended, or was there already."""
        self.outcomes.append(finished)
        self.running.pop(finished.spec.id, None)
        self.failed += finished.status == "failed"
        self.forecast.take(finished)
        if finished.fresh:
            self.slowest = max(self.slowest or (0.0, ""), (finished.seconds, finished.spec.id))
        else:
            self.skipped += 1
        self._tell(finished)
        self._draw(now=True)

    def warn(self, text: str) -> None:
        """Something is odd."""
        self.screen.warn(text)

    def tell_skipped(self) -> None:
        """Say once how many runs need not be done."""
        if self.skipped and not self.each and not self.quiet:
            self.screen.note(f"{self.skipped} of {self.total} runs are done already")
        self.skipped, self.each = 0, True  # what another command finishes meanwhile is told one by one

    def _tell(self, finished: "Finished") -> None:
        """The line of a run that ended; on a terminal only of one that failed, for the others are counted."""
        if self.quiet or (not finished.fresh and not self.each):
            return
        place = f"[{len(self.outcomes)}/{self.total}] {finished.spec.id}"
        path = self.store.runs / finished.spec.id
        if finished.status == "failed":
            self.screen.note(
                f"{place} failed: {finished.reason} ({path}/)", "bold red" if self.screen.live else ""
            )
        elif not finished.fresh:
            self.screen.note(f"{place}: already {finished.status}, read from {path}")
        elif not self.screen.live:
            said = headline(record_of(self.store.find(finished.spec.id)))
            self.screen.note(f"{place}: {said} ({finished.seconds:.1f} s)")

    def _draw(self, *, now: bool = False) -> None:
        if self.quiet or not self.screen.live or (not now and time.monotonic() < self._drawn + REDRAW_SECONDS):
            return
        self._drawn = time.monotonic()
        self.progress.show("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """What is shown: counts, the time that is left, the slowest run, then a line for each running one."""
        words = [
            f"{len(self.outcomes)} of {self.total} done",
            f"{len(self.running)} running",
            f"{self.failed} failed",
        ]
        left = self.forecast.seconds_left({name: run[1] for name, run in self.running.items()})
        words.append("time left unknown yet" if left is None else f"about {clock(left)} left")
        if self.slowest:
            words.append(f"slowest {self.slowest[1]} {clock(self.slowest[0])}")
        rows = [(spec.id, spec, started, step) for spec, started, step in self.running.values()]
        width = max((len(row[0]) for row in rows), default=0)
        shown = []
        for name, spec, started, step in rows[:_SHOWN]:
            at = f"training step {step:>6} of at most {spec.steps}" if spec.steps else "measuring"
            shown.append(f"  {name:<{width}}  {at}  {clock(time.monotonic() - started)}")
        more = [f"  and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
        return [" · ".join(words), *shown, *more]


class Forecast:
    """How long the runs that are left will take, from those that ended.

    A run is taken to need the mean time for a timestep of the ended runs of its cell, or else of all of them.
    """

    def __init__(self, specs: Sequence["RunSpec"]) -> None:
        self._left = {spec.id: spec for spec in specs}
        self._seen: dict[str, tuple[float, float]] = {}

    def take(self, finished: "Finished") -> None:
        """A run ended."""
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
    """A time as one reads it: `12 s`, `14 min`, `3.2 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
