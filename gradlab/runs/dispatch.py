"""Orders going out to workers and coming back.

Dask suspects every run that a worker holds when the worker dies, so a worker is never given a second one: there
are as many orders out as there are workers.
"""

import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradlab.errors import GradlabError
from gradlab.runs.attempt import DONE
from gradlab.runs.cluster import Crew, Ended, Told, deaths_in, reason_of
from gradlab.runs.spec import RunSpec
from gradlab.runs.worker import Order, Report, bitten, bury

if TYPE_CHECKING:
    from gradlab.runs.engine import Work

DEATHS = 2
"""How many workers may die of a run before it is given up."""
STOP_SECONDS = 10.0
"""How long the runs of workers may take to stop before their processes are ended."""
_POLL = 0.2


class Dispatch:
    """The runs that workers are to do.

    Args:
        work: what they are done for.
        crew: the workers.
        todo: the runs, in the order in which they are handed out.
    """

    def __init__(self, work: "Work", crew: Crew, todo: Sequence[RunSpec]) -> None:
        self.work, self.crew = work, crew
        self.specs = {spec.id: spec for spec in todo}
        self.waiting = deque(todo)
        self.out: dict[str, Order] = {}
        self.begun: dict[str, float] = {}
        self.tries: Counter[str] = Counter()
        self.deaths: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    def go(self) -> None:
        """Until every run ended, or with `fail_fast` those that had begun when one failed.

        Raises:
            GradlabError: the scheduler was lost.
            KeyboardInterrupt: Ctrl-C, and the runs that had begun were told to stop.
        """
        listener = self.work.listener
        while not listener.presses():
            self.hand_out()
            if not self.out and not self.waiting:
                return
            self.take(self.crew.next(_POLL))
            listener.tick()
        self.crew.halt(running=True)
        deadline, quiet = time.monotonic() + STOP_SECONDS, 0
        # What was handed out a moment ago may still say that it began, hence the silence that is waited for.
        while time.monotonic() < deadline and listener.presses() < 2 and (self.begun or quiet < 3):
            news = self.crew.next(_POLL)
            quiet = 0 if news else quiet + 1
            self.take(news)
        raise KeyboardInterrupt

    def hand_out(self) -> None:
        """One order for each worker that has none."""
        while self.waiting and len(self.out) < self.crew.size():
            spec = self.waiting.popleft()
            order = self.work.order(spec, self.tries[spec.id])
            self.tries[spec.id] += 1
            self.out[spec.id] = order
            self.crew.submit(order)

    def take(self, news: Told | Ended | None) -> None:
        """Hear what a worker says."""
        if news is None:
            if self.crew.lost:
                raise _lost()
        elif isinstance(news, Ended):
            self.end(news)
        elif news.run_id in self.out:
            spec = self.specs[news.run_id]
            if "execution" in news.message:
                self.work.compare(news.message["execution"])
                self.begun[spec.id] = time.monotonic()
                self.work.listener.begun(spec)
            else:
                self.work.listener.reached(spec, news.message["step"])

    def end(self, news: Ended) -> None:
        """An order came back: note it, or let it wait for another try."""
        order = news.order
        spec = self.specs[order.run_id]
        del self.out[spec.id]
        seconds = time.monotonic() - self.begun.pop(spec.id, time.monotonic())
        report = self.report(news, spec)
        if report is None:
            self.waiting.append(spec)  # at the end, where it can hurt no other
            return
        if report.status in ("waiting", "interrupted"):
            return
        if self.work.is_tried_again(spec, report, self.failures[spec.id]):
            self.failures[spec.id] += 1
            self.waiting.append(spec)
            return
        self.work.note(spec, report, seconds)
        if report.status == "failed" and self.work.settings.fail_fast:
            self.waiting.clear()
            self.crew.halt(running=False)

    def report(self, news: Ended, spec: RunSpec) -> Report | None:
        """What is known of an order that came back; None where its worker died for the first time."""
        order, report = news.order, news.report
        if report is None and news.error is None:
            raise _lost()
        if report is None and bitten(order):
            return Report(spec.id, "failed", order.deadline.reason)
        if report is None:
            self.deaths[spec.id] += deaths_in(news.error)
            if 0 < self.deaths[spec.id] < DEATHS:
                self.crew.recount()
                return None
            reason = reason_of(news.error, self.deaths[spec.id])
            return Report(spec.id, "failed", bury(order, spec, reason))
        if report.status == "interrupted" and not self.work.listener.presses():
            return report._replace(status="failed", reason="it raised KeyboardInterrupt itself")
        if report.status in DONE and self.work.status_of(spec) not in DONE:
            folder = self.work.store.root
            reason = f"its results are not in {folder} of this machine: workers have to share that folder"
            return report._replace(status="failed", reason=reason)
        return report


def _lost() -> GradlabError:
    return GradlabError(
        "the connection to the scheduler was lost; what was finished is kept, and the same command does the rest",
        exit_code=1,
    )
