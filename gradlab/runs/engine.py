"""Many runs, here or on workers: what is done is not repeated, and no failure stops or hides another run."""

import os
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from gradlab.errors import GradlabError
from gradlab.runs.environment import execution
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store, StoredRun
from gradlab.runs.worker import Order, Report, perform, use_one_core

if TYPE_CHECKING:
    from gradlab.runs.cluster import Crew
    from gradlab.runs.deadline import Deadline
    from gradlab.training.loop import Event


@dataclass(frozen=True)
class Settings:
    """How a list of runs is carried out.

    Args:
        jobs: processes; 1 is this one, more are workers.
        together: runs of equal shape that a process trains at a time, as one program; for a GPU.
        gpus: of this machine, as CUDA_VISIBLE_DEVICES names them; each worker takes one.
        timeout: seconds for each run.
        retries: how often a failed run is tried again.
        fail_fast: begin no run after the first failure.
        rerun: `failed` does the failed ones alone, `all` does finished ones again.
        shards: of a single run that takes all cores: devices that its batches are split over. Its errors are
            raised instead of stored.
        scheduler: address or file of a Dask cluster to use.
        slurm: keys of a Slurm cluster to start.
    """

    jobs: int = 1
    together: int = 1
    gpus: tuple[str, ...] = ()
    timeout: float | None = None
    retries: int = 0
    fail_fast: bool = False
    rerun: Literal["failed", "all"] | None = None
    shards: int | None = None
    scheduler: str | None = None
    slurm: Mapping[str, Any] | None = None

    @property
    def here(self) -> bool:
        """Whether this process computes the runs itself."""
        return self.jobs == 1 and self.scheduler is None and self.slurm is None


Pack = tuple[RunSpec, ...]
"""Runs of equal shape that one program does, or a single run."""


class Finished(NamedTuple):
    """One run of a list: its status, why it failed, and whether it was done now or was there already."""

    spec: RunSpec
    status: str
    reason: str | None
    fresh: bool
    seconds: float = 0.0


class Listener(Protocol):
    """What hears how a list of runs goes on, always in the main thread."""

    def begun(self, spec: RunSpec) -> None:
        """A run begins."""

    def reached(self, spec: RunSpec, event: "Event | int") -> None:
        """A run in this process had an event, or one elsewhere is at this training step."""

    def ended(self, finished: Finished) -> None:
        """A run ended, or was there already."""

    def tick(self) -> None:
        """A moment passed, while other processes work."""

    def warn(self, text: str) -> None:
        """Something is odd."""

    def presses(self) -> int:
        """How often Ctrl-C was pressed; in this process it raises KeyboardInterrupt as well."""


def run_all(specs: Sequence[RunSpec], store: Store, settings: Settings, listener: Listener) -> list[Finished]:
    """Run every spec that is not done.

    Args:
        specs: what to run, each once.
        store: where runs are looked up and written.
        settings: how.
        listener: hears of every begin, training step and end as it happens.

    Returns:
        What ended, in that order; with `fail_fast` not every run may have begun.

    Raises:
        GradlabError: the same spec twice, or no workers could be had.
        KeyboardInterrupt: Ctrl-C; runs that had begun are stored as interrupted.
    """
    ids = [spec.id for spec in specs]
    twice = {run_id for run_id in ids if ids.count(run_id) > 1} if len(set(ids)) < len(ids) else set()
    if twice:
        raise GradlabError(f"the list asks for {min(twice)} twice: name each run once")
    work = Work(store, settings, listener)
    todo = work.skip_done(specs)
    if todo and settings.here:
        work.do_here(todo)
    elif todo:
        work.do_on_workers(todo)
    return work.outcomes


def cost(spec: RunSpec) -> float:
    """What a run costs at most, in units that are comparable between runs of one cell."""
    return float(max(spec.steps, 1) * spec.length)


def in_good_order(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """One run of each shape before the others, and the longest first.

    So a shape is compiled by one worker and read from the cache by the next, and no core waits for another at
    the end.
    """
    first: dict[str, str] = {}
    for spec in specs:
        alike = asdict(spec) | {"seed": 0, "learning_rate": 1.0, "steps": 0, "stop": ""}
        first.setdefault(str(alike), spec.id)
    leaders = set(first.values())
    return sorted(specs, key=lambda spec: (spec.id not in leaders, -cost(spec)))


def packs(specs: Sequence[RunSpec], together: int) -> list[Pack]:
    """The runs that are done as one program, at most so many each, in the order of their first ones."""
    alike: dict[object, list[RunSpec]] = {}
    for spec in specs:
        alike.setdefault(spec.shape if together > 1 else spec.id, []).append(spec)
    return [
        tuple(group[start : start + together])
        for group in alike.values()
        for start in range(0, len(group), together)
    ]


class Work:
    """One call of `run_all`."""

    def __init__(self, store: Store, settings: Settings, listener: Listener) -> None:
        self.store, self.settings, self.listener = store, settings, listener
        self.invocation = uuid.uuid4().hex[:12]
        self.outcomes: list[Finished] = []
        self.earlier: list[StoredRun] = []
        self.compared = False
        self.tries: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    def skip_done(self, specs: Sequence[RunSpec]) -> list[RunSpec]:
        """Tell of the runs that are there, and return those that are to be done."""
        todo = []
        for spec in specs:
            stored = self.store.completed(spec.id, spec.config())
            if stored and self.settings.rerun == "all":
                # Marked now, so that after an interruption the plain command goes on with the others.
                self.store.reopen(spec.id)
            if stored and self.settings.rerun != "all":
                self.earlier.append(stored)
                self.end(Finished(spec, stored.status, None, fresh=False))
            elif self.settings.rerun != "failed" or "failed" in (
                self.status_of(spec),
                self.store.redone(spec.id)[0],
            ):
                todo.append(spec)
        return todo

    def do_here(self, todo: Sequence[RunSpec]) -> None:
        """One pack after the other in this process."""
        shards = self.settings.shards
        if shards is None:
            use_one_core()
        waiting = deque(packs(todo, self.settings.together))
        while waiting and not self.stopped:
            pack = waiting.popleft()
            self.compare(execution(pack[0].dtype, shards or 1))
            for spec in pack:
                self.listener.begun(spec)
            started = time.monotonic()
            hears = [partial(self.listener.reached, spec) for spec in pack]
            reports = perform(self.order(pack), pack, hears, guard=_alarm, shards=shards)
            waiting.extendleft(reversed(self.settle(pack, reports, time.monotonic() - started)))

    def do_on_workers(self, todo: Sequence[RunSpec]) -> None:
        """In an order that keeps the workers busy."""
        from gradlab.runs.dispatch import Dispatch

        waiting = packs(in_good_order(todo), self.settings.together)
        with self.crew(min(self.settings.jobs, len(waiting))) as crew:
            Dispatch(self, crew, waiting).go()

    @contextmanager
    def crew(self, jobs: int) -> Iterator["Crew"]:
        """The workers that the settings ask for, `jobs` of them where they are to be started."""
        from gradlab.runs import cluster

        settings = self.settings
        if settings.scheduler is not None:
            workers = cluster.remote(settings.scheduler, self.invocation)
        elif settings.slurm is not None:
            workers = cluster.slurm(settings.slurm, jobs, self.invocation)
        else:
            workers = cluster.local(jobs, self.invocation)
        with workers as crew:
            yield crew

    def status_of(self, spec: RunSpec) -> str | None:
        """The status of a run that has one."""
        stored = self.store.peek(spec.id)
        return stored.status if stored else None

    @property
    def stopped(self) -> bool:
        """Whether no other run is to begin, because one failed."""
        return self.settings.fail_fast and any(end.status == "failed" for end in self.outcomes)

    def order(self, pack: Pack) -> Order:
        """What a process is told of a pack that it is to do; no two are alike."""
        self.tries[pack[0].id] += 1
        return Order(
            tuple(asdict(spec) for spec in pack),
            tuple(spec.id for spec in pack),
            str(self.store.root.resolve()),
            self.settings.timeout,
            self.invocation,
            self.tries[pack[0].id],
            self.settings.gpus,
            os.getcwd(),
        )

    def settle(self, pack: Pack, reports: Sequence[Report], seconds: float) -> list[Pack]:
        """Note how runs ended, and return those that are to be done again, alone.

        What failed in company is tried alone, so that no run fails of another's fault.
        """
        again: list[Pack] = []
        for spec, report in zip(pack, reports, strict=True):
            if report.status == "failed" and (len(pack) > 1 or self.is_tried_again(spec, report)):
                again.append((spec,))
            else:
                self.end(Finished(spec, report.status, report.reason, report.fresh, seconds))
        return again

    def is_tried_again(self, spec: RunSpec, report: Report) -> bool:
        """Whether a failed run has a try left, which is then told."""
        if self.failures[spec.id] >= self.settings.retries:
            return False
        self.failures[spec.id] += 1
        number = self.failures[spec.id] + 1
        self.listener.warn(f"{spec.id} failed ({report.reason}): try {number} of {self.settings.retries + 1}")
        return True

    def end(self, finished: Finished) -> None:
        """A run ended, or was there already."""
        self.outcomes.append(finished)
        self.listener.ended(finished)

    def compare(self, now: Mapping[str, Any]) -> None:
        """Warn once where finished runs of this list were computed in another way than those to come."""
        if self.compared:
            return
        self.compared = True
        others: dict[str, int] = {}
        for run in self.earlier:
            then = run.env().get("execution", {})
            for name in {*then, *now} - {"dtype", "together"}:  # of how many a pack is, chance decides
                if then.get(name) != now.get(name):
                    others[name] = others.get(name, 0) + 1
        if others:
            count = max(others.values())
            self.listener.warn(
                f"{count} finished runs were computed with another {', '.join(sorted(others))}: equal bits are "
                "promised for equal ones only"
            )


def _alarm(order: Order, specs: Sequence[RunSpec], deadline: "Deadline") -> AbstractContextManager[None]:
    return deadline.alarm()
