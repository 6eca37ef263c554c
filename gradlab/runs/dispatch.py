"""Orders going out to workers and coming back.

Dask suspects every run that a worker holds when the worker dies, so a worker is never given a second one: there
are as many orders out as there are workers.
"""

import math
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
    from gradlab.runs.engine import Pack, Work

DEATHS = 2
"""How many workers may die of a run before it is given up."""
STOP_SECONDS = 10.0
"""How long the runs of workers may take to stop before their processes are ended."""
_POLL = 0.2
_NOT_ENDED = ("waiting", "interrupted")


class Dispatch:
    """The runs that workers are to do.

    Args:
        work: what they are done for.
        crew: the workers.
        todo: the runs, in the order in which they are handed out.
    """

    def __init__(self, work: "Work", crew: Crew, todo: Sequence["Pack"]) -> None:
        self.work, self.crew = work, crew
        self.specs = {spec.id: spec for pack in todo for spec in pack}
        self.waiting = deque(todo)
        self.out: dict[str, Order] = {}
        self.begun: dict[str, float] = {}
        self.deaths: Counter[str] = Counter()

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
            order = self.work.order(self.waiting.popleft())
            self.out[order.key] = order
            self.crew.submit(order)

    def take(self, news: Told | Ended | None) -> None:
        """Hear what a worker says."""
        if news is None:
            if self.crew.lost:
                raise _lost()
        elif isinstance(news, Ended):
            self.end(news)
        elif not any(news.run_id in order.run_ids for order in self.out.values()):
            return  # it was heard after the end
        elif "execution" in news.message:
            self.work.compare(news.message["execution"])
            self.begun[news.run_id] = time.monotonic()
            self.work.listener.begun(self.specs[news.run_id])
        elif news.run_id in self.begun:
            self.work.listener.reached(self.specs[news.run_id], news.message["step"])

    def end(self, news: Ended) -> None:
        """An order came back: note how its runs ended, or let them wait for another try."""
        pack = tuple(self.specs[run_id] for run_id in news.order.run_ids)
        self.out.pop(news.order.key)
        began = [self.begun.pop(spec.id, math.inf) for spec in pack]
        seconds = max(0.0, time.monotonic() - min(began))
        reports = self.reports(news, pack)
        if reports is None:
            self.waiting.extend((spec,) for spec in pack)  # at the end, where they can hurt no other
            return
        ended = [pair for pair in zip(pack, reports, strict=True) if pair[1].status not in _NOT_ENDED]
        if ended:
            specs, reports = zip(*ended, strict=True)
            self.waiting.extend(self.work.settle(specs, reports, seconds))
        if self.work.stopped:
            self.waiting.clear()
            self.crew.halt(running=False)

    def reports(self, news: Ended, pack: "Pack") -> tuple[Report, ...] | None:
        """What is known of an order that came back; None where its worker died and that may be another's fault."""
        order = news.order
        if news.reports is not None:
            return tuple(self.judged(spec, report) for spec, report in zip(pack, news.reports, strict=True))
        if news.error is None:
            raise _lost()
        if bitten(order):
            return order.reports("failed", order.deadline.reason)
        died = deaths_in(news.error)
        if died:
            self.crew.recount()
        if died and len(pack) > 1:
            return None
        spec = pack[0]
        self.deaths[spec.id] += died
        if 0 < self.deaths[spec.id] < DEATHS:
            return None
        reason = reason_of(news.error, self.deaths[spec.id])
        return tuple(Report(spec.id, "failed", bury(order, spec, reason)) for spec in pack)

    def judged(self, spec: RunSpec, report: Report) -> Report:
        """What a worker reports of a run, as it is seen from here."""
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
