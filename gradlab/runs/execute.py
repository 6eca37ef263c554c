"""One run from its spec to its result, stored on the way if a store is given."""

import signal
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import jax

from gradlab.cells import Params
from gradlab.errors import GradlabError
from gradlab.runs.arrays import curve_arrays, flatten_params, trace_arrays, unflatten_params
from gradlab.runs.attempt import Attempt
from gradlab.runs.environment import environment
from gradlab.runs.result import RunResult
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store, StoredRun
from gradlab.training.loop import Checkpoint, Event, Outcome, initial_params, train, train_together
from gradlab.training.sharding import is_divisible
from gradlab.training.weights import count

Observe = Callable[[Event], None]


def run(
    spec: RunSpec, results: Path | str | None = None, observe: Observe | None = None, *, shards: int = 1
) -> RunResult:
    """Train and measure as a spec says.

    Args:
        spec: what to do.
        results: a results folder; nothing is stored where it is None.
        observe: hears of every event of the loop as it happens.
        shards: devices that each batch is split over, where it may be (`usable_shards`); part of what equal bits
            depend on.

    Raises:
        GradlabError: `shards` does not divide the batch or is more than there are devices, the results folder
            cannot be written, or the run whose `params` are wanted is not there.
        KeyboardInterrupt: Ctrl-C; what was measured until then is stored as `interrupted`.

    Example:
        >>> result = run(RunSpec(cell="rnn", length=10, hidden=8, steps=0))
        >>> result.status, len(result.curve("initial").lags)
        ('measured', 10)
    """
    if not 1 <= shards <= len(jax.devices()) or spec.batch % shards:
        raise GradlabError(
            f"shards is {shards}: give a divisor of batch={spec.batch}, at most {len(jax.devices())}"
        )
    job = _Job.begin(spec, results, observe)
    _carry_out([job], usable_shards(spec, shards))
    return job.result


@lru_cache(maxsize=64)  # asked by whoever says on what a run computes, and by the run
def usable_shards(spec: RunSpec, shards: int) -> int:
    """The devices that the batches of a run are split over: one where examples meet, which no split may change.

    Args:
        shards: as many as there could be.
    """
    if shards == 1:
        return 1
    try:
        with _arithmetic(spec.dtype):
            model, plan = spec.model(), spec.plan(shards)
            return shards if is_divisible(model, plan, partial(initial_params, model, plan)) else 1
    except GradlabError:  # its run will say so and do nothing
        return shards
    except Exception:  # whatever else is wrong with a cell of one's own, its run will say
        return 1


def run_together(
    specs: Sequence[RunSpec], results: Path | str | None = None, observe: Sequence[Observe | None] | None = None
) -> list[RunResult]:
    """Runs that differ in seed and learning rate alone as one batched program: for a GPU, whose time they share.

    Each is stored as by `run`, and its numbers are those of `run` but for rounding.

    Args:
        specs: what to do, at least one.
        results: a results folder; nothing is stored where it is None.
        observe: for each spec, hears of every event of its run.

    Raises:
        ValueError: the specs differ in more than seed and learning rate.
        GradlabError, KeyboardInterrupt: as `run`.

    Example:
        >>> specs = [RunSpec(cell="rnn", length=10, hidden=8, steps=0, seed=seed) for seed in range(2)]
        >>> [result.status for result in run_together(specs)]
        ['measured', 'measured']
    """
    if len({spec.shape for spec in specs}) > 1:
        raise ValueError("specs that are run together differ in seed and learning rate alone")
    hears = observe or [None] * len(specs)
    jobs = [_Job.begin(spec, results, hear) for spec, hear in zip(specs, hears, strict=True)]
    _carry_out(jobs, shards=1)
    return [job.result for job in jobs]


@dataclass
class _Job:
    """A run under way: its result so far, where it starts from, and where it is written."""

    result: RunResult
    start: Params | None
    attempt: Attempt | None
    observe: Observe
    started: float

    @classmethod
    def begin(cls, spec: RunSpec, results: Path | str | None, observe: Observe | None) -> "_Job":
        store = None if results is None else Store(results)
        with _arithmetic(spec.dtype):
            start = None if spec.params is None else trained_params(spec, Store(results).find(spec.params))
        attempt = store.begin(spec.id, spec.config()) if store else None
        return cls(RunResult(spec), start, attempt, observe or (lambda event: None), time.perf_counter())

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to store."""
        return self.result.outcome is not None

    def take(self, event: Event) -> None:
        """Note and store one event, and tell whoever listens."""
        self.result.take(event)
        if self.attempt and isinstance(event, Checkpoint):
            self.attempt.log(self.result.log_line(event))
        if isinstance(event, Outcome):
            self.keep()
        self.observe(event)

    def keep(self) -> None:
        """Write what there is and give the run its name; where the disk is full, leave nothing."""
        result, attempt = self.result, self.attempt
        result.wall_seconds = time.perf_counter() - self.started
        if attempt is None:
            return
        result.path = attempt.target
        done = {
            key: value for key, value in result.as_dict().items() if key not in ("spec", "checkpoints", "path")
        }
        try:
            if result.checkpoints:
                arrays = curve_arrays(result.checkpoints) | trace_arrays(result.trace, result.tests)
                attempt.write_arrays("curves.npz", arrays)
            if norms := result.trace.norms:
                attempt.write_arrays("every.npz", norms)
            if result.outcome:
                attempt.write_arrays("params.npz", flatten_params(jax.device_get(result.outcome.params)))
            attempt.finish(done)
        except GradlabError:
            attempt.discard()
            raise


def _carry_out(jobs: Sequence[_Job], shards: int) -> None:
    """Train, store what ends, and store what did not end as what stopped it."""
    try:
        with _arithmetic(jobs[0].result.spec.dtype):
            _perform(jobs, shards)
    except KeyboardInterrupt:
        with _undisturbed():
            for job in _open(jobs):
                job.keep()
        raise
    except GradlabError:
        for job in _open(jobs):
            if job.attempt:
                job.attempt.discard()
        raise
    except Exception as error:
        for job in _open(jobs):
            job.result.status, job.result.reason = "failed", _reason(error)
            job.keep()


def _open(jobs: Sequence[_Job]) -> list[_Job]:
    return [job for job in jobs if not job.ended]


def _perform(jobs: Sequence[_Job], shards: int) -> None:
    specs = [job.result.spec for job in jobs]
    model, plans = specs[0].model(), [spec.plan(shards) for spec in specs]
    for job, plan in zip(jobs, plans, strict=True):
        if job.attempt:
            job.attempt.write_json("env.json", environment(job.result.spec.dtype, shards, len(jobs)))
        job.start = initial_params(model, plan) if job.start is None else job.start
        job.result.parameters = count(job.start)
    if len(jobs) == 1:
        for event in train(model, plans[0], jobs[0].start):
            jobs[0].take(event)
    else:
        for index, event in train_together(model, plans, [job.start for job in jobs]):
            jobs[index].take(event)


def trained_params(spec: RunSpec, source: StoredRun) -> Params:
    """The final parameters of a stored run, in the shape that a spec's model has.

    Raises:
        GradlabError: the run has no parameters, or they are of another model.
    """
    params = unflatten_params(source.arrays("params.npz"), lambda: spec.model().init(spec.seed))
    if params is None:
        raise GradlabError(
            f"params of {source.id} do not fit {spec.cell} with hidden={spec.hidden} on {spec.task}: "
            "give the task, cell and hidden size of that run"
        )
    return params


def _reason(error: Exception) -> str:
    """One line: the exception, and the line of the user's own file that it came from."""
    ours, libraries = (
        str(Path(__file__).parents[1]),
        ("site-packages", "dist-packages", sysconfig.get_path("stdlib")),
    )
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((ours, "<")) and not any(part in frame.filename for part in libraries)
    ]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}{where}".split())


def _arithmetic(dtype: str) -> AbstractContextManager[None]:
    """What jax computes in."""
    return jax.enable_x64(dtype == "float64")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore a second Ctrl-C, which must not undo what the first one asked for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
