"""Many runs in processes that may die: finished ones are skipped, and no failure stops or hides another run.

A process never has more than one job, so that its death is the fault of that one: as many jobs are submitted as
there are processes.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from gradlab.errors import GradlabError
from gradlab.runs.jobs import (
    Deadline,
    Finished,
    JobBatch,
    JobTracker,
    Listener,
    RunReport,
    Settings,
    SpecBatch,
    measured_cell,
)
from gradlab.runs.lock import FileClaim
from gradlab.runs.schema import DONE
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store
from gradlab.runs.worker import record_end
from gradlab.runs.workers import JobEnded, JobEvent, LocalPool, RunBegan

if TYPE_CHECKING:
    from gradlab.runs.cluster import DaskPool

    Pool = LocalPool | DaskPool

MAX_DEATHS = 2
"""How many processes may die of a run before it is given up."""
STOP_SECONDS = 10.0
"""How long runs may take to stop before their processes are killed."""
_POLL = 0.2


def run_all(specs: Sequence[RunSpec], store: Store, settings: Settings, listener: Listener) -> list[Finished]:
    """Compute every run that is not finished; returns what ended, in that order.

    With `fail_fast` not every run may have begun.

    Raises:
        GradlabError: the same spec twice, no workers could be started, the scheduler was lost, or a single run
            cannot be computed as asked.
        KeyboardInterrupt: Ctrl-C; runs that had begun are stored as interrupted.
    """
    count = Counter(spec.id for spec in specs)
    twice = [run_id for run_id, number in count.items() if number > 1]
    if twice:
        raise GradlabError(f"the list asks for {min(twice)} twice: name each run once")
    tracker = JobTracker(store, settings, listener)
    todo = tracker.skip_done(specs)
    if todo:
        waiting = batches(schedule_order(todo) if settings.jobs > 1 else todo, settings.together)
        with _pool(tracker, min(settings.jobs, len(waiting))) as pool:
            Dispatcher(tracker, pool, waiting).run()
    return tracker.outcomes


def ids(batch: SpecBatch) -> set[str]:
    """The ids of the runs of a batch."""
    return {spec.id for spec in batch}


def cost(spec: RunSpec) -> float:
    """What a run costs at most, in units that are comparable between runs of one cell."""
    return float(max(spec.steps, 1) * spec.length)


def schedule_order(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """One run of each shape before the others, and the longest first.

    So a shape is compiled by one worker and read from the cache by the next, and no core idles at the end.
    """
    first: dict[str, str] = {}
    for spec in specs:
        alike = asdict(spec) | {"seed": 0, "learning_rate": 1.0, "steps": 0, "stop": ""}
        first.setdefault(str(alike), spec.id)
    leaders = set(first.values())
    return sorted(specs, key=lambda spec: (spec.id not in leaders, -cost(spec)))


def batches(specs: Sequence[RunSpec], together: int) -> list[SpecBatch]:
    """Runs of equal shape in batches of at most `together`, in the order of their first ones."""
    alike: dict[object, list[RunSpec]] = {}
    for spec in specs:
        alike.setdefault(spec.shape if together > 1 else spec.id, []).append(spec)
    return [
        tuple(group[start : start + together])
        for group in alike.values()
        for start in range(0, len(group), together)
    ]


@contextmanager
def _pool(tracker: JobTracker, count: int) -> Iterator["Pool"]:
    """The processes that the settings ask for, `count` of them if they are started now."""
    settings = tracker.settings
    if settings.scheduler is None and settings.slurm is None:
        pool: AbstractContextManager[Pool] = LocalPool(count, settings.gpus, all_cores=settings.all_cores)
    else:
        from gradlab.runs import cluster

        if settings.scheduler is not None:
            pool = cluster.remote(settings.scheduler, tracker.invocation, settings.tls, tracker.listener.warn)
        else:
            root = str(tracker.store.root.resolve())
            pool = cluster.slurm(settings.slurm or {}, count, tracker.invocation, root)
    with pool as ready:
        yield ready


class Dispatcher:
    """Submits batches to workers, in their order, and takes what comes back."""

    def __init__(self, tracker: JobTracker, pool: "Pool", todo: Sequence[SpecBatch]) -> None:
        self.tracker, self.pool = tracker, pool
        self.specs = {spec.id: spec for batch in todo for spec in batch}
        self.waiting = deque(todo)
        self.submitted: dict[str, JobBatch] = {}
        self.started: dict[str, float] = {}
        self.deaths: Counter[str] = Counter()
        self.interrupted = self.announced = False
        self.tried: set[str] = set()
        self.claims: dict[str, FileClaim] = {}

    def run(self) -> None:
        """Until every run ended, or with `fail_fast` those that had begun when one failed."""
        try:
            self._serve()
        finally:
            self._release(list(self.claims))

    def _serve(self) -> None:
        listener = self.tracker.listener
        try:
            while not listener.presses():
                while len(self.submitted) < self.pool.size() and (batch := self._next()):
                    job = self.tracker.job(batch)
                    self.submitted[job.key] = job
                    self.pool.submit(job)
                if not self.submitted and not self.waiting:
                    return
                self._take(self.pool.next_event(_POLL))
                listener.tick()
        except KeyboardInterrupt:
            pass
        self._interrupt()
        raise KeyboardInterrupt

    def _next(self) -> SpecBatch | None:
        """The next batch that no other command computes; None if there is none, or not until those have ended."""
        if not self.waiting:
            return None
        # A process of this command may still hold a run that it died of.
        elsewhere = self.tracker.store.running_elsewhere()
        busy: dict[str, str] = {}
        for batch in self._nearest_first():
            found = (
                {}
                if self.tried & ids(batch)
                else {name: elsewhere[name] for name in elsewhere.keys() & ids(batch)}
            )
            found = found or self._claim(batch)
            if not found:
                self.waiting.remove(batch)
                self.tried |= ids(batch)
                break
            busy |= found
        else:
            batch = None
        self._announce(busy)
        return batch

    def _nearest_first(self) -> Sequence[SpecBatch]:
        """What waits, first what a free process has compiled, last what a busy one has: it will be free soon."""
        free, busy = (self.pool.compiled(free=free) for free in (True, False))
        if not free | busy:
            return tuple(self.waiting)

        def distance(batch: SpecBatch) -> int:
            cell = measured_cell(batch[0].cell, batch[0].steps)
            return 0 if cell in free else 2 if cell in busy else 1

        return sorted(self.waiting, key=distance)

    def _claim(self, batch: SpecBatch) -> dict[str, str]:
        """Claim each run of a batch; what another command has, and then none is claimed."""
        for spec in batch:
            claimed = self.tracker.store.claim(spec.id)
            if isinstance(claimed, str):
                self._release(ids(batch))
                return {spec.id: claimed}
            self.claims[spec.id] = claimed
        return {}

    def _release(self, run_ids: Iterable[str]) -> None:
        """Give up the claims of this command to some runs."""
        for run_id in run_ids:
            if claim := self.claims.pop(run_id, None):
                claim.release()

    def _announce(self, elsewhere: Mapping[str, str]) -> None:
        """Say once that another process does some of these runs."""
        if elsewhere and not self.announced:
            self.announced = True
            name, where = next(iter(elsewhere.items()))
            more = f" and {len(elsewhere) - 1} more" if len(elsewhere) > 1 else ""
            them = "these" if more else "it"
            rest = (
                f"does the others and waits for {them}"
                if len(self.specs) > len(elsewhere)
                else f"waits for {them}"
            )
            self.tracker.listener.warn(
                f"{name}{more}: computed by another command already{where}; this one {rest}"
            )

    def _interrupt(self) -> None:
        """Stop what is running, and kill what does not stop; both are stored as interrupted."""
        self.interrupted = True
        self.pool.halt(running=True)
        deadline, quiet = time.monotonic() + STOP_SECONDS, 0
        # A job submitted a moment ago may still report that it began, so wait for a few polls without an event.
        while time.monotonic() < deadline and self.tracker.listener.presses() < 2 and (self.started or quiet < 3):
            event = self.pool.next_event(_POLL)
            quiet = 0 if event else quiet + 1
            self._take(event)
        self.pool.kill()
        for job in self.submitted.values():
            for run_id in self.started.keys() & job.run_ids:
                record_end(job, self.specs[run_id], "interrupted", None)

    def _take(self, event: JobEvent | None) -> None:
        if event is None:
            if self.pool.lost:
                raise _lost()
        elif isinstance(event, JobEnded):
            self._end(event)
        elif not any(event.run_id in job.run_ids for job in self.submitted.values()):
            return  # it arrived after the end of its job
        elif isinstance(event, RunBegan):
            self.tracker.compare(event.execution)
            self.started[event.run_id] = time.monotonic()
            self.tracker.listener.begun(self.specs[event.run_id], event.execution, event.devices)
        elif event.run_id in self.started:
            self.tracker.listener.reached(self.specs[event.run_id], event.progress)

    def _end(self, event: JobEnded) -> None:
        """Record how the runs of a job ended, or put them back to be tried again."""
        batch = tuple(self.specs[run_id] for run_id in event.job.run_ids)
        self.submitted.pop(event.job.key)
        began = [self.started.pop(spec.id, math.inf) for spec in batch]
        seconds = max(0.0, time.monotonic() - min(began))
        reports = self._reports(event, batch)
        self._release(event.job.run_ids)
        if reports is None:
            self.waiting.extend((spec,) for spec in batch)  # at the end, where they delay no other run
            return
        if reports[0].status == "refused":
            raise GradlabError(reports[0].reason or "")
        pairs = zip(batch, reports, strict=True)
        ended = [pair for pair in pairs if pair[1].status not in ("waiting", "interrupted")]
        if ended:
            specs, reports = zip(*ended, strict=True)
            self.waiting.extendleft(reversed(self.tracker.settle(specs, reports, seconds)))
        if self.tracker.stopped:
            self.waiting.clear()
            self.pool.halt(running=False)

    def _reports(self, event: JobEnded, batch: SpecBatch) -> tuple[RunReport, ...] | None:
        """How the runs of a job ended; None if they are to be tried again, one by one."""
        if event.reports is not None:
            pairs = zip(batch, event.reports, strict=True)
            return tuple(self._verified(event.job, spec, report) for spec, report in pairs)
        if not (event.died or event.error):
            raise _lost()
        spec = batch[0]
        if event.late:
            reason = Deadline(event.job.timeout).reason
        elif event.died:
            self.deaths[spec.id] += len(batch) == 1
            reason = f"its process died twice ({event.died})"
        else:
            reason = event.error
        if len(batch) > 1 or (event.died and not event.late and self.deaths[spec.id] < MAX_DEATHS):
            return None
        record_end(event.job, spec, "failed", reason)
        return event.job.reports("failed", reason)

    def _verified(self, job: JobBatch, spec: RunSpec, report: RunReport) -> RunReport:
        """The report of a worker, checked against this process's interrupts and store."""
        if report.status == "interrupted" and not self.interrupted:
            reason = "it raised KeyboardInterrupt itself"
            record_end(job, spec, "failed", reason)
            return report._replace(status="failed", reason=reason)
        if report.status in DONE and self.tracker.status_of(spec) not in DONE:
            folder = self.tracker.store.root
            reason = f"its results are not in {folder} of this machine: workers have to share that folder"
            return report._replace(status="failed", reason=reason)
        return report


def _lost() -> GradlabError:
    return GradlabError(
        "the connection to the scheduler was lost; what was finished is kept, and the same command does the rest",
        exit_code=1,
    )
