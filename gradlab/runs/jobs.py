"""Records of the engine: its settings, the jobs it hands out and how they end. Loads no jax.

A job is one run, or a batch of runs of equal shape that one program trains together.
"""

import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store, StoredRun

if TYPE_CHECKING:
    from gradlab.training.loop import Event

GRACE = 5.0
"""Seconds past its deadline after which a run that has not noticed it is stopped from outside."""

SpecBatch = tuple[RunSpec, ...]
"""Runs of equal shape that one program trains, or a single run."""


@dataclass(frozen=True)
class Settings:
    """How a list of runs is carried out.

    Args:
        jobs: processes; 1 is this one, more are workers.
        together: runs of equal shape that a process trains as one program, for a GPU.
        shards: of a single run in this process, devices that its batches are split over; it then uses all cores,
            and its GradlabError is raised. None for one core each, so that runs have equal bits.
        gpus: of this machine, as CUDA_VISIBLE_DEVICES names them; each worker takes one.
        timeout: seconds for each run. retries: further attempts at a failed run.
        fail_fast: start no run after the first failure.
        rerun: `failed` repeats failed runs only, `all` finished ones too.
        scheduler: address or file of a Dask cluster to use. slurm: keys of a Slurm cluster to start.
    """

    jobs: int = 1
    together: int = 1
    shards: int | None = None
    gpus: tuple[str, ...] = ()
    timeout: float | None = None
    retries: int = 0
    fail_fast: bool = False
    rerun: Literal["failed", "all"] | None = None
    scheduler: str | None = None
    slurm: Mapping[str, Any] | None = None

    @property
    def local(self) -> bool:
        """Whether this process computes the runs itself."""
        return self.jobs == 1 and self.scheduler is None and self.slurm is None


class Finished(NamedTuple):
    """One run of a list: its status, why it failed, and whether it was computed now or stored already."""

    spec: RunSpec
    status: str
    reason: str | None
    fresh: bool
    seconds: float = 0.0


class Listener(Protocol):
    """Receives the progress of a list of runs, always in the main thread."""

    def begun(self, spec: RunSpec) -> None:
        """A run begins."""

    def reached(self, spec: RunSpec, event: "Event | int") -> None:
        """A run in this process had an event, or one in a worker is at this training step."""

    def ended(self, finished: Finished) -> None:
        """A run ended, or was stored already."""

    def tick(self) -> None:
        """Called regularly while workers compute."""

    def warn(self, text: str) -> None:
        """A warning for the user."""

    def presses(self) -> int:
        """How often Ctrl-C was pressed; in this process it raises KeyboardInterrupt as well."""


class OutOfTime(Exception):
    """A run exceeded its time limit."""


class Deadline:
    """The time limit of a job in seconds, from now on; None for no limit."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def reason(self) -> str:
        """Why a run failed that exceeded it."""
        return f"ran past its {self.seconds:g} s"

    def check(self) -> None:
        """Raise OutOfTime if the time is over."""
        if self._end is not None and time.monotonic() > self._end:
            raise OutOfTime(self.reason)

    @contextmanager
    def alarm(self) -> Iterator[None]:
        """Interrupt the main thread, which computes the run, `GRACE` seconds after the deadline."""
        if self.seconds is None or not hasattr(signal, "setitimer"):
            yield
            return

        def ring(number: int, frame: FrameType | None) -> None:
            raise OutOfTime(self.reason)

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, self.seconds + GRACE)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    @contextmanager
    def watchdog(self, kill: Callable[[], None]) -> Iterator[None]:
        """Call `kill` from a thread of its own `GRACE` seconds after the deadline."""
        if self.seconds is None:
            yield
            return
        timer = threading.Timer(self.seconds + GRACE, kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


class RunReport(NamedTuple):
    """How a run ended: a status of the store, or `waiting` if halted early; not `fresh` if stored already."""

    run_id: str
    status: str
    reason: str | None = None
    fresh: bool = True


class JobBatch(NamedTuple):
    """A job as it is sent to a process.

    Attributes:
        fields: of each spec. run_ids: the ids that must follow from them.
        root: the results folder.
        invocation: the command that sends it; stopping that command stops no other on a shared cluster.
        attempt: counts the attempts at its first run.
        folder: working directory of the command, to which paths of custom cells are relative.
    """

    fields: tuple[dict[str, Any], ...]
    run_ids: tuple[str, ...]
    root: str
    timeout: float | None
    invocation: str
    attempt: int = 0
    gpus: tuple[str, ...] = ()
    folder: str = ""

    @property
    def key(self) -> str:
        """A name that no other job has."""
        return f"{self.run_ids[0]}-{self.invocation}-{self.attempt}"

    def reports(self, status: str, reason: str | None = None) -> tuple[RunReport, ...]:
        """The same report of every run."""
        return tuple(RunReport(run_id, status, reason) for run_id in self.run_ids)


class JobTracker:
    """One call of `run_all`: which runs are skipped, which are retried, and how each ended."""

    def __init__(self, store: Store, settings: Settings, listener: Listener) -> None:
        self.store, self.settings, self.listener = store, settings, listener
        self.invocation = uuid.uuid4().hex[:12]
        self.outcomes: list[Finished] = []
        self._skipped: list[StoredRun] = []
        self._compared = False
        self._attempts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()

    def skip_done(self, specs: Sequence[RunSpec]) -> list[RunSpec]:
        """Report the runs that are stored, and return those that are to be computed."""
        todo = []
        rerun = self.settings.rerun
        for spec in specs:
            stored = self.store.completed(spec.id, spec.config())
            if stored and rerun == "all":
                # Marked now, so that after an interruption the plain command repeats the rest.
                self.store.reopen(spec.id)
            if stored and rerun != "all":
                self._skipped.append(stored)
                self.end(Finished(spec, stored.status, None, fresh=False))
            elif rerun != "failed" or "failed" in (self.status_of(spec), self.store.redone(spec.id)[0]):
                todo.append(spec)
        return todo

    def status_of(self, spec: RunSpec) -> str | None:
        """The stored status of a run, None if it has none."""
        stored = self.store.peek(spec.id)
        return stored.status if stored else None

    @property
    def stopped(self) -> bool:
        """Whether no other run is to begin, because one failed."""
        return self.settings.fail_fast and any(end.status == "failed" for end in self.outcomes)

    def job(self, specs: SpecBatch) -> JobBatch:
        """The next job for these runs."""
        self._attempts[specs[0].id] += 1
        return JobBatch(
            tuple(asdict(spec) for spec in specs),
            tuple(spec.id for spec in specs),
            str(self.store.root.resolve()),
            self.settings.timeout,
            self.invocation,
            self._attempts[specs[0].id],
            self.settings.gpus,
            os.getcwd(),
        )

    def settle(self, specs: SpecBatch, reports: Sequence[RunReport], seconds: float) -> list[SpecBatch]:
        """Record how runs ended, and return those to repeat.

        Runs that failed in a batch are retried individually, so that none fails because of another.
        """
        again: list[SpecBatch] = []
        for spec, report in zip(specs, reports, strict=True):
            if report.status == "failed" and (len(specs) > 1 or self._has_retry(spec, report)):
                again.append((spec,))
            else:
                self.end(Finished(spec, report.status, report.reason, report.fresh, seconds))
        return again

    def _has_retry(self, spec: RunSpec, report: RunReport) -> bool:
        if self._failures[spec.id] >= self.settings.retries:
            return False
        self._failures[spec.id] += 1
        attempt = self._failures[spec.id] + 1
        self.listener.warn(f"{spec.id} failed ({report.reason}): try {attempt} of {self.settings.retries + 1}")
        return True

    def end(self, finished: Finished) -> None:
        """Record a run that ended or was stored already."""
        self.outcomes.append(finished)
        self.listener.ended(finished)

    def compare(self, execution: Mapping[str, Any]) -> None:
        """Warn once if stored runs of this list were computed in another way than those to come."""
        if self._compared:
            return
        self._compared = True
        others: Counter[str] = Counter()
        for run in self._skipped:
            before = run.env().get("execution", {})
            # `together` depends on scheduling.
            names = {*before, *execution} - {"dtype", "together"}
            others.update(name for name in names if before.get(name) != execution.get(name))
        if others:
            count = max(others.values())
            self.listener.warn(
                f"{count} finished runs were computed with another {', '.join(sorted(others))}: equal bits are "
                "promised for equal ones only"
            )
