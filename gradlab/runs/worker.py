"""What a process does that computes jobs: each run stores itself and is reported by id.

A worker of Dask imports this file before anything else, so jax is loaded only when the processor has been set up.
"""

import ctypes
import os
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from gradlab.errors import GradlabError
from gradlab.runs.cache import use_cache
from gradlab.runs.jobs import Deadline, JobBatch, OutOfTime, RunReport
from gradlab.runs.sources import working_in
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store, StoredRun

if TYPE_CHECKING:
    from gradlab.training.loop import Event

OnEvent = Callable[["Event"], None]

ONE_CORE = {"PJRT_NPROC": "1"}
SINGLE_THREADED = "--xla_cpu_multi_thread_eigen=false"
"""Known to every jaxlib that is supported; XLA ends the process over a flag that it does not know."""
PROGRESS_SECONDS = 1.0
"""Seconds between two progress messages of a run."""
_TRIM_THRESHOLD, _MMAP_MAX, _NEVER = -1, -4, 2**31 - 1

_halted: dict[str, bool] = {}
_lock = threading.Lock()
_ready = False


def run_job(job: JobBatch) -> tuple[RunReport, ...]:
    """Compute a job in a worker of Dask."""
    from distributed import get_worker

    from gradlab.runs.environment import execution

    worker = get_worker()
    with _lock:
        _prepare(job.gpus, worker.name)
    if job.invocation in _halted:
        return job.reports("waiting")

    def report(message: dict[str, Any]) -> None:
        worker.log_event(job.invocation, message)

    try:
        with working_in(job.folder):
            specs = _specs_of(job)
            if reason := was_killed(job):
                return job.reports("failed", reason)
            for run_id in job.run_ids:
                report({"id": run_id, "execution": execution(specs[0].dtype, together=len(specs))})
            on_events = [_progress(job, run_id, report) for run_id in job.run_ids]
            return perform(job, specs, on_events, guard=kill_on_timeout)
    except KeyboardInterrupt:
        return job.reports("interrupted")
    except GradlabError as error:
        return job.reports("failed", str(error))


def perform(
    job: JobBatch,
    specs: Sequence[RunSpec],
    on_events: Sequence[OnEvent],
    *,
    guard: Callable[[JobBatch, Sequence[RunSpec], Deadline], AbstractContextManager[None]] | None = None,
    shards: int | None = None,
) -> tuple[RunReport, ...]:
    """Compute the runs of a job that are not finished, and store why they failed if they do.

    Args:
        on_events: called with the events of each run.
        guard: stops runs that hang past their deadline; by default by an exception in the main thread.
        shards: as of `Settings`.

    Raises:
        KeyboardInterrupt: they were stopped, and are stored as interrupted.
    """
    from gradlab.runs.execute import run_together

    store, deadline = Store(job.root), Deadline(job.timeout)
    reports = {spec.id: report for spec in specs if (report := _stored(store, spec))}

    def timed(on_event: OnEvent) -> OnEvent:
        def on_timed_event(event: "Event") -> None:
            deadline.check()
            on_event(event)

        return on_timed_event

    new = [spec for spec in specs if spec.id not in reports]
    observers = [timed(each) for spec, each in zip(specs, on_events, strict=True) if spec in new]
    if new:
        try:
            with guard(job, new, deadline) if guard else deadline.alarm():
                results = run_together(new, store.root, observers, shards=shards or 1)
            reports |= {end.spec.id: RunReport(end.spec.id, end.status, end.reason) for end in results}
        except (GradlabError, OutOfTime, SystemExit) as error:
            if shards is not None and isinstance(error, GradlabError):
                raise
            reason = f"it called sys.exit({error})" if isinstance(error, SystemExit) else str(error)
            for spec in new:
                ended = _stored(store, spec)
                reports[spec.id] = (
                    ended._replace(fresh=True)
                    if ended
                    else RunReport(spec.id, "failed", record_failure(job, spec, reason))
                )
    return tuple(reports[spec.id] for spec in specs)


def _stored(store: Store, spec: RunSpec) -> RunReport | None:
    """The report of a run that is finished already."""
    stored = store.completed(spec.id, spec.config())
    return RunReport(spec.id, stored.status, fresh=False) if stored else None


def record_failure(job: JobBatch, spec: RunSpec, reason: str) -> str:
    """Store that a run failed, with the checkpoints that a dead process left; returns the reason."""
    from gradlab.runs.result import RunResult

    done = RunResult(spec, status="failed", reason=reason).as_dict()
    try:
        attempt = Store(job.root).take_over(spec.id, spec.config())
        log = StoredRun(spec.id, attempt.path, "failed", {}).log()
        done["training_steps"] = max((line["step"] for line in log), default=0)
        attempt.finish(done | {"job": job.key})
    except GradlabError:
        pass  # it likely failed of a full disk, and the caller reports the reason
    return reason


def was_killed(job: JobBatch) -> str:
    """Why a worker killed itself over this very job, whose run hung; empty if it did not."""
    if job.timeout is None:
        return ""
    store = Store(job.root)
    stored = store.peek(job.run_ids[0])
    killed = stored is not None and job.key in (stored.done.get("job"), store.redone(job.run_ids[0])[1])
    return Deadline(job.timeout).reason if killed else ""


def kill_on_timeout(job: JobBatch, specs: Sequence[RunSpec], deadline: Deadline) -> AbstractContextManager[None]:
    """A watchdog that kills this process on timeout: nothing else stops Python code that does not return."""

    def kill() -> None:
        if len(specs) == 1:  # runs of a batch are retried individually, which shows which one hangs
            record_failure(job, specs[0], deadline.reason)
        os._exit(1)

    return deadline.watchdog(kill)


def halt(invocation: str, running: bool) -> None:
    """Begin no other run of this command in this process; also stop `running` ones at their next event."""
    _halted[invocation] = running


def use_one_core() -> None:
    """Let XLA compute on one core, so that a run has the same bits however many run beside it.

    A jax that has started already stays as it is.
    """
    import jax

    devices: int = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    try:  # the number of devices can only be changed before jax starts; there is no public way to ask
        jax.config.update("jax_num_cpu_devices", max(devices, 0) + 1)
        jax.config.update("jax_num_cpu_devices", devices)
    except RuntimeError:
        return
    os.environ.update(ONE_CORE)
    flags = os.environ.get("XLA_FLAGS", "").split()
    if SINGLE_THREADED not in flags:
        os.environ["XLA_FLAGS"] = " ".join([*flags, SINGLE_THREADED])


def keep_memory() -> None:
    """Have the C library keep freed memory for the next call of a program instead of returning it to the system.

    A worker of Dask starts with MALLOC_TRIM_THRESHOLD_=65536, with which glibc returns nearly all that XLA frees,
    and the next call faults it in again page by page. With another C library nothing happens.

    Source: mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, _NEVER)


def _prepare(gpus: Sequence[str], name: object) -> None:
    """Set up a worker as `gradlab` sets up its own process; once."""
    global _ready
    if _ready:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keep_memory()
    if gpus and isinstance(name, int):
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[name % len(gpus)]
    use_one_core()
    use_cache(clean=False)
    # Two workers may compile the same program at once; one that reads a half-written entry compiles it again.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")
    _ready = True


def _specs_of(job: JobBatch) -> list[RunSpec]:
    specs = [RunSpec.from_dict(fields) for fields in job.fields]
    other = {spec.id for spec in specs} - set(job.run_ids)
    if other:
        raise GradlabError(
            f"the worker reads it as {min(other)}: the source of its cell changed, or another gradlab is there"
        )
    return specs


def _progress(job: JobBatch, run_id: str, report: Callable[[dict[str, Any]], None]) -> OnEvent:
    """Reports the training step of a run now and then, and stops the run if the job is halted."""
    due = 0.0

    def on_event(event: "Event") -> None:
        nonlocal due
        if _halted.get(job.invocation):
            raise KeyboardInterrupt
        step = getattr(event, "step", 0)
        if step and time.monotonic() >= due:
            due = time.monotonic() + PROGRESS_SECONDS
            report({"id": run_id, "step": step})

    return on_event
