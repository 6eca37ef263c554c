"""What a process does that computes jobs: each run stores itself, and is reported by its id."""

import ctypes
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradlab.errors import GradlabError, shortened
from gradlab.runs.cache import use_cache
from gradlab.runs.jobs import Deadline, JobBatch, OutOfTime, RunProgress, RunReport
from gradlab.runs.sources import working_in
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store, StoredRun

if TYPE_CHECKING:
    from gradlab.training.loop import Event

ONE_CORE = {"PJRT_NPROC": "1"}
SINGLE_THREADED = "--xla_cpu_multi_thread_eigen=false"
"""Known to every jaxlib that is supported; XLA ends the process over a flag that it does not know."""
PROGRESS_SECONDS = 0.1
"""Least seconds between two messages about the training step of a run."""
_TRIM_THRESHOLD, _MMAP_MAX, _NEVER = -1, -4, 2**31 - 1


def compute(
    job: JobBatch, send: Callable[[tuple[Any, ...]], None], stopped: Callable[[], bool]
) -> tuple[RunReport, ...]:
    """Compute the runs of a job that are not finished; GradlabErrors and exceptions of custom code are reported.

    Args:
        send: takes messages: `began`, id and `execution`, then `progress`, id and `RunProgress`.
        stopped: whether a KeyboardInterrupt of this job was raised, possibly where Python dropped it.
    """
    try:
        with working_in(job.folder):
            specs = [RunSpec.from_dict(fields) for fields in job.fields]
            if other := {spec.id for spec in specs} - set(job.run_ids):
                raise GradlabError(
                    f"its process reads it as {min(other)}: the source of its cell changed, or another gradlab is "
                    "there"
                )
            return _perform(job, specs, send, stopped)
    except GradlabError as error:
        return job.reports("refused" if job.all_cores else "failed", str(error))


def _perform(
    job: JobBatch,
    specs: Sequence[RunSpec],
    send: Callable[[tuple[Any, ...]], None],
    stopped: Callable[[], bool],
) -> tuple[RunReport, ...]:
    """Compute the runs of a job that are not finished, and store why they failed if they do."""
    from gradlab.runs.environment import execution
    from gradlab.runs.execute import run_together, usable_shards

    store, deadline = Store(job.root), Deadline(job.timeout)
    reports = {spec.id: report for spec in specs if (report := _stored(store, spec))}
    new = [spec for spec in specs if spec.id not in reports]
    if not new:
        return tuple(reports[spec.id] for spec in specs)
    devices = _devices_for(job, new[0])
    shards = usable_shards(new[0], devices)
    where = execution(new[0].dtype, shards, len(new))
    for spec in new:
        send(("began", spec.id, where, devices))
    try:
        observers = [_observer(spec, send, stopped, deadline) for spec in new]
        results = run_together(new, store.root, observers, shards=shards)
        reports |= {end.spec.id: RunReport(end.spec.id, end.status, end.reason) for end in results}
    except (GradlabError, OutOfTime, SystemExit) as error:
        if job.all_cores and isinstance(error, GradlabError):
            raise
        text = shortened(" ".join(str(error).split()))
        reason = f"it called sys.exit({text})" if isinstance(error, SystemExit) else text
        for spec in new:
            ended = _stored(store, spec)
            failed = RunReport(spec.id, "failed", reason)
            if ended is None:
                record_end(job, spec, "failed", reason)
            reports[spec.id] = ended._replace(fresh=True) if ended else failed
    return tuple(reports[spec.id] for spec in specs)


def _devices_for(job: JobBatch, spec: RunSpec) -> int:
    from gradlab.runs.devices import devices_for

    return devices_for(spec.batch) if job.all_cores and spec.steps > 0 else 1


def _stored(store: Store, spec: RunSpec) -> RunReport | None:
    """The report of a run that is finished already."""
    stored = store.completed(spec.id, spec.config())
    return RunReport(spec.id, stored.status, fresh=False) if stored else None


def _observer(
    spec: RunSpec,
    send: Callable[[tuple[Any, ...]], None],
    stopped: Callable[[], bool],
    deadline: Deadline,
) -> Callable[["Event"], None]:
    """Reports the events of a run, and ends the run when it is stopped or out of time."""
    from gradlab.training.loop import Checkpoint, Outcome

    due = 0.0

    def on_event(event: "Event") -> None:
        nonlocal due
        if stopped():
            raise KeyboardInterrupt
        deadline.check()
        if isinstance(event, Checkpoint):
            curve = event.metrics.curves["task"]
            mark = RunProgress(event.step, event.metrics.loss, curve.span(), str(curve.verdict()))
            send(("progress", spec.id, mark))
        elif not isinstance(event, Outcome) and time.monotonic() >= due:
            due = time.monotonic() + PROGRESS_SECONDS
            send(("progress", spec.id, RunProgress(event.step, float(event.rows.loss.mean()))))

    return on_event


def record_end(job: JobBatch, spec: RunSpec, status: str, reason: str | None) -> None:
    """Store how a run ended whose process did not, with the checkpoints that it left."""
    from gradlab.runs.result import RunResult

    done = RunResult(spec, status=status, reason=reason).as_dict()
    try:
        attempt = Store(job.root).take_over(spec.id, spec.config())
        log = StoredRun(spec.id, attempt.path, status, {}).log()
        if status == "interrupted" and not log:
            attempt.discard()
            return
        done["training_steps"] = max((line["step"] for line in log), default=0)
        attempt.finish(done)
    except GradlabError:
        pass  # it likely failed of a full disk, and the caller reports the reason


def process_state() -> Mapping[str, object]:
    """What code that runs in this process could have changed and numbers could depend on."""
    import jax

    return {
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "path": list(sys.path),
        "jax": dict(jax.config.values),
    }


def prepare(gpu: str, *, all_cores: bool) -> None:
    """Set up a process that computes, before jax starts."""
    keep_memory()
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    if not all_cores:
        use_one_core()
    use_cache()
    # Two processes may compile the same program at once; one that reads a half-written entry compiles it again.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")


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

    glibc would return much of what XLA frees, and the next call faults it in again page by page. With another C
    library nothing happens.

    Source: mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, _NEVER)
