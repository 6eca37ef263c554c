"""Workers of Dask: on this machine, on a running cluster, or started by Slurm.

Dask gives up a job with the first worker that dies of it; `engine.py` decides whether it is tried again.
"""

import inspect
import logging
import math
import queue
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, NamedTuple

import dask
from distributed import Client, LocalCluster
from distributed.scheduler import KilledWorker

from gradlab.errors import GradlabError, unknown
from gradlab.runs.jobs import JobBatch, RunReport
from gradlab.runs.worker import halt, run_job

SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.multiprocessing-method": "spawn",
}
_NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
_CLOSE_SECONDS = 5
_COUNT_SECONDS = 1.0


class ProgressEvent(NamedTuple):
    """A message of a running run: `execution` when it begins, then `step`."""

    run_id: str
    message: dict[str, Any]


class BatchEnded(NamedTuple):
    """A job came back; with neither reports nor error, the scheduler was lost."""

    job: JobBatch
    reports: tuple[RunReport, ...] | None
    error: BaseException | None = None


class WorkerPool:
    """The workers of one command."""

    def __init__(self, client: Client, invocation: str) -> None:
        self._client, self._invocation = client, invocation
        self._events: queue.SimpleQueue[ProgressEvent | BatchEnded] = queue.SimpleQueue()
        self._futures: set[Any] = set()
        self._size, self._counted = 0, -math.inf
        client.subscribe_topic(invocation, self._on_message)

    def size(self) -> int:
        """Threads of all workers; counted again after a second or a `recount`."""
        if time.monotonic() >= self._counted + _COUNT_SECONDS:
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
            self._size = sum(worker["nthreads"] for worker in workers)
            self._counted = time.monotonic()
        return self._size

    def recount(self) -> None:
        """A worker died."""
        self._counted = -math.inf

    @property
    def lost(self) -> bool:
        """Whether the scheduler is gone."""
        return self._client.status not in ("running", "connecting")

    def submit(self, job: JobBatch) -> None:
        """Give a job to whichever worker is free first."""
        future = self._client.submit(run_job, job, key=job.key, pure=False)
        self._futures.add(future)  # keep a reference: Dask cancels unreferenced futures
        future.add_done_callback(lambda done: self._end(job, done))

    def next_event(self, seconds: float) -> ProgressEvent | BatchEnded | None:
        """The next event, None if there is none for so long."""
        with suppress(queue.Empty):
            return self._events.get(timeout=seconds)
        return None

    def halt(self, *, running: bool) -> None:
        """Have the workers begin no run of this command, and also stop `running` ones; returns at once."""

        def ask() -> None:
            with suppress(Exception):  # a worker that cannot be asked is ended with its process
                self._client.run(halt, self._invocation, running, on_error="ignore")

        threading.Thread(target=ask, daemon=True).start()

    def _on_message(self, event: tuple[Any, Any]) -> None:
        message = dict(event[1])
        self._events.put(ProgressEvent(message.pop("id"), message))

    def _end(self, job: JobBatch, future: Any) -> None:
        self._futures.discard(future)
        if future.status == "finished":
            self._events.put(BatchEnded(job, future.result()))
        else:
            error = future.exception() if future.status == "error" else None
            self._events.put(BatchEnded(job, None, error))


def deaths_in(error: BaseException | None) -> int:
    """How many workers died of a job."""
    return error.allowed_failures + 1 if isinstance(error, KilledWorker) else 0


def reason_of(error: BaseException | None, deaths: int) -> str:
    """Why a run is given up that no worker reported on."""
    if deaths:
        times = "twice" if deaths == 2 else f"{deaths} times"
        return f"its process died {times} (killed, out of memory, or it called os._exit)"
    return " ".join(f"the worker could not do it: {type(error).__name__}: {error}".split())


@contextmanager
def local(jobs: int, invocation: str) -> Iterator[WorkerPool]:
    """Single-threaded processes on this machine, which die with this one."""
    with _quiet(), dask.config.set(SETTINGS):
        with _sigint_blocked(), warnings.catch_warnings():
            # The dashboard of the scheduler takes another port if another sweep has the usual one.
            warnings.filterwarnings("ignore", "Port .* is already in use")
            cluster = LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                processes=True,
                scheduler_kwargs=_NO_DASHBOARD,
                memory_limit=0,  # Dask would stop a worker that uses more than its share
                silence_logs=logging.CRITICAL,
            )
        with _closing(cluster), Client(cluster, set_as_default=False) as client:
            yield WorkerPool(client, invocation)


@contextmanager
def remote(scheduler: str, invocation: str) -> Iterator[WorkerPool]:
    """A running cluster, by the address of its scheduler or the file that the scheduler wrote."""
    is_file = scheduler.endswith(".json")
    if is_file and not Path(scheduler).is_file():
        raise GradlabError(f"scheduler file `{scheduler}` does not exist: give what `dask scheduler` wrote")
    where: dict[str, Any] = {"scheduler_file": scheduler} if is_file else {"address": scheduler}
    with _quiet():
        try:
            client = Client(**where, set_as_default=False, timeout="5s")
        except (OSError, ValueError, TimeoutError) as error:
            reason = str(error) or "no answer"
            raise GradlabError(f"scheduler `{scheduler}` cannot be reached: {reason}") from error
        with client:
            yield WorkerPool(client, invocation)


@contextmanager
def slurm(settings: Mapping[str, Any], jobs: int, invocation: str) -> Iterator[WorkerPool]:
    """Workers that Slurm starts as `jobs` jobs; `settings` are keys of `dask_jobqueue.SLURMCluster`."""
    try:
        import dask_jobqueue
    except ImportError as error:
        raise GradlabError(
            "--slurm needs dask-jobqueue: install it, as the extra `slurm` of gradlab-rnn does"
        ) from error
    known = _slurm_keys(dask_jobqueue.SLURMCluster)
    for key in settings:
        if key not in known:
            raise unknown("key of --slurm", key, known)
    defaults = {"cores": 1, "processes": settings.get("cores", 1), "memory": "4GB"}
    defaults |= {"scheduler_options": _NO_DASHBOARD, "silence_logs": logging.CRITICAL}
    with _quiet(), dask.config.set(SETTINGS):
        try:
            with _sigint_blocked():
                cluster = dask_jobqueue.SLURMCluster(**{**defaults, **settings})
                cluster.scale(jobs)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise GradlabError(f"Slurm workers cannot be started: {error}") from error
        with _closing(cluster), Client(cluster, set_as_default=False) as client:
            yield WorkerPool(client, invocation)


def _slurm_keys(cluster: type) -> list[str]:
    """The settings of a cluster and of its jobs, read from the signatures of their classes."""
    jobs = inspect.getmro(cluster.job_cls)  # type: ignore[attr-defined]
    signatures = [inspect.signature(kind.__init__) for kind in (*inspect.getmro(cluster), *jobs)]  # type: ignore[misc]
    reserved = set("self args kwargs loop asynchronous n_workers job_cls silence_logs config_name".split())
    return sorted({name for signature in signatures for name in signature.parameters} - reserved)


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Threads and processes started within never receive SIGINT; this thread receives it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # The tracker unblocks SIGINT in the thread that first needs it, so start it in this one.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _closing(cluster: Any) -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(Exception):  # its processes end with this one in any case
            cluster.close(timeout=_CLOSE_SECONDS)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Dask logs about dying workers, which gradlab reports itself."""
    loggers = [logging.getLogger(name) for name in ("distributed", "asyncio", "tornado", "dask_jobqueue")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
