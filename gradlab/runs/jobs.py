"""Records of the engine: its settings, the jobs it hands out and how they end. Loads no jax.

A job is one run, or a batch of runs of equal shape that one program trains together.
"""

import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Protocol

from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store, StoredRun

_CORES = {"shards", "xla_flags"}
"""What differs between one process on all cores and one on each."""

GRACE = 5.0
"""Seconds past its deadline after which the process of a run is killed."""

Warn = Callable[[str], None]

SpecBatch = tuple[RunSpec, ...]
"""Runs of equal shape that one program trains, or a single run."""


@dataclass(frozen=True)
class Settings:
    """How a list of runs is carried out.

    Args:
        jobs: processes at a time.
        together: runs of equal shape that a process trains as one program, for a GPU.
        all_cores: for a single run: it uses all cores, and its GradlabError is raised. Otherwise each process
            computes on one core, so that runs have equal bits.
        gpus: of this machine, as CUDA_VISIBLE_DEVICES names them; each worker takes one.
        timeout: seconds for each run. retries: further attempts at a failed run.
        fail_fast: start no run after the first failure.
        rerun: `failed` repeats failed runs only, `all` finished ones too.
        scheduler: address or file of a Dask cluster to use. tls: certificates for it (`cluster.remote`).
        slurm: keys of a Slurm cluster to start.
    """

    jobs: int = 1
    together: int = 1
    all_cores: bool = False
    gpus: tuple[str, ...] = ()
    timeout: float | None = None
    retries: int = 0
    fail_fast: bool = False
    rerun: Literal["failed", "all"] | None = None
    scheduler: str | None = None
    tls: tuple[str, ...] = ()
    slurm: Mapping[str, Any] | None = None


class Finished(NamedTuple):
    """One run of a list: its status, why it failed, and whether it was computed now or stored already."""

    spec: RunSpec
    status: str
    reason: str | None
    fresh: bool
    seconds: float = 0.0


class RunProgress(NamedTuple):
    """Where a run is: training step and loss, and at a checkpoint also span in decades and verdict."""

    step: int
    loss: float
    span: float | None = None
    verdict: str = ""


class Listener(Protocol):
    """Receives the progress of a list of runs, always in the main thread."""

    def begun(self, spec: RunSpec, execution: Mapping[str, Any], devices: int) -> None:
        """A run begins; `devices`: over which its batches would be split if examples were independent."""

    def reached(self, spec: RunSpec, progress: RunProgress) -> None:
        """A run is at a training step."""

    def ended(self, finished: Finished) -> None:
        """A run ended, or was stored already."""

    def tick(self) -> None:
        """Called regularly."""

    def warn(self, text: str) -> None:
        """A warning for the user."""

    def presses(self) -> int:
        """How often Ctrl-C was pressed."""


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


class RunReport(NamedTuple):
    """How a run ended: a status of the store, `waiting` if it did not begin, `refused` if it cannot be computed as
    asked; not `fresh` if it was stored already.
    """

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
        all_cores: as of `Settings`.
    """

    fields: tuple[dict[str, Any], ...]
    run_ids: tuple[str, ...]
    root: str
    timeout: float | None
    invocation: str
    attempt: int = 0
    folder: str = ""
    all_cores: bool = False

    @property
    def key(self) -> str:
        """A name that no other job has."""
        return f"{self.run_ids[0]}-{self.invocation}-{self.attempt}"

    @property
    def code(self) -> tuple[str | None, str | None]:
        """Digests of the custom cell and task that it runs, None for built-in ones."""
        return self.fields[0].get("cell_source"), self.fields[0].get("task_source")

    @property
    def measures(self) -> str:
        """As `measured_cell`, of its runs."""
        return measured_cell(self.fields[0]["cell"], self.fields[0]["steps"])

    def reports(self, status: str, reason: str | None = None) -> tuple[RunReport, ...]:
        """The same report of every run."""
        return tuple(RunReport(run_id, status, reason) for run_id in self.run_ids)


def measured_cell(cell: str, steps: int) -> str:
    """The cell whose compiled passes are most of the work of a run; "" where it trains, by programs of its length.

    It is named without its options, most of which are initial weights and change no program.

    Example:
        >>> measured_cell("lstm:forget_bias=3", 0), measured_cell("gru", 5000)
        ('lstm', '')
    """
    return "" if steps else cell.partition(":")[0]


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
            elif rerun != "failed" or "failed" in (self.status_of(spec), self.store.redone(spec.id)):
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
            os.getcwd(),
            self.settings.all_cores,
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
            runs = "1 finished run was" if count == 1 else f"{count} finished runs were"
            cores = "; a single run takes all cores, those of a list one each" if others.keys() <= _CORES else ""
            self.listener.warn(
                f"{runs} computed with another {', '.join(sorted(others))}: equal bits are promised for equal "
                f"ones only{cores}"
            )
