"""Workers of Dask: on a running cluster, or started by Slurm. Each computes a job in a process of its own.

Dask gives up a job with the first worker that dies of it; `engine.py` decides whether it is tried again.
"""

import inspect
import logging
import math
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Security, get_worker
from distributed.scheduler import KilledWorker

from gradlab.errors import GradlabError, unknown
from gradlab.runs.files import parsed
from gradlab.runs.jobs import JobBatch, RunProgress, Warn
from gradlab.runs.workers import JobEnded, JobEvent, LocalPool, RunBegan, RunReached, sigint_blocked

SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-saturation": 1.0,
}
PROGRESS_SECONDS = 1.0
"""Least seconds between two messages about the training step of a run."""
_NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
_CLOSE_SECONDS = 5
_COUNT_SECONDS = 1.0
_POLL_SECONDS = 0.2

_halted: dict[str, bool] = {}
"""Commands of which this worker begins no run; true if it also stops running ones."""


class DaskPool:
    """The workers of one command on a cluster of Dask."""

    def __init__(self, client: Client, invocation: str) -> None:
        self._client, self._invocation = client, invocation
        self._events: queue.SimpleQueue[JobEvent] = queue.SimpleQueue()
        self._futures: set[Any] = set()
        self._size, self._counted = 0, -math.inf
        client.subscribe_topic(invocation, lambda event: self._events.put(_event_of(event[1])))

    def size(self) -> int:
        """Threads of all workers; counted again after a second."""
        if time.monotonic() >= self._counted + _COUNT_SECONDS:
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
            self._size = sum(worker["nthreads"] for worker in workers)
            self._counted = time.monotonic()
        return self._size

    @property
    def lost(self) -> bool:
        """Whether the scheduler is gone."""
        return self._client.status not in ("running", "connecting")

    def compiled(self, *, free: bool) -> set[str]:
        """As of `LocalPool`; here every job has a process of its own."""
        return set()

    def submit(self, job: JobBatch) -> None:
        """Give a job to whichever worker is free first."""
        future = self._client.submit(run_job, job, key=job.key, pure=False)
        self._futures.add(future)  # keep a reference: Dask cancels unreferenced futures
        future.add_done_callback(lambda done: self._end(job, done))

    def next_event(self, seconds: float) -> JobEvent | None:
        """The next event, None if there is none for so long."""
        with suppress(queue.Empty):
            return self._events.get(timeout=seconds)
        return None

    def halt(self, *, running: bool) -> None:
        """Have the workers begin no run of this command, and also stop `running` ones; returns at once."""

        def ask() -> None:
            with suppress(Exception):  # a worker that cannot be asked is ended with its process
                self._client.run(_halt, self._invocation, running, on_error="ignore")

        threading.Thread(target=ask, daemon=True).start()

    def kill(self) -> None:
        """Runs that did not stop end with their workers, or when they notice."""

    def _end(self, job: JobBatch, future: Any) -> None:
        self._futures.discard(future)
        if future.status == "finished":
            self._events.put(JobEnded(job, *future.result()))
            return
        error = future.exception() if future.status == "error" else None
        if isinstance(error, KilledWorker):
            self._counted = -math.inf
            self._events.put(JobEnded(job, None, died="with its worker"))
        elif error is not None:
            text = " ".join(f"the worker could not do it: {type(error).__name__}: {error}".split())
            self._events.put(JobEnded(job, None, error=text))
        else:
            self._events.put(JobEnded(job, None))


def run_job(job: JobBatch) -> tuple[Any, ...]:
    """Compute a job in a process that a worker of Dask starts for it; returns what `JobEnded` holds beside it."""
    worker = get_worker()
    if job.invocation in _halted:
        return (job.reports("waiting"),)
    due, asked = 0.0, False
    with LocalPool(1) as pool:
        pool.submit(job)
        while True:
            event = pool.next_event(_POLL_SECONDS)
            if isinstance(event, JobEnded):
                return tuple(event)[1:]
            if isinstance(event, RunBegan) or (isinstance(event, RunReached) and time.monotonic() >= due):
                due = time.monotonic() + PROGRESS_SECONDS
                worker.log_event(job.invocation, {"kind": type(event).__name__, "fields": list(event)})
            if _halted.get(job.invocation) and not asked:
                asked = True
                pool.halt(running=True)


def _event_of(message: Mapping[str, Any]) -> JobEvent:
    """What `run_job` logged."""
    if message["kind"] == "RunBegan":
        return RunBegan(*message["fields"])
    run_id, progress = message["fields"]
    return RunReached(run_id, RunProgress(*progress))


def _halt(invocation: str, running: bool) -> None:
    _halted[invocation] = running


@contextmanager
def remote(scheduler: str, invocation: str, tls: tuple[str, ...], warn: Warn) -> Iterator[DaskPool]:
    """A running cluster, by the address of its scheduler or the file that the scheduler wrote.

    Args:
        tls: PEM files of the authority, the certificate and its key; empty for those of Dask's configuration.
    """
    is_file = scheduler.endswith(".json")
    if is_file and not Path(scheduler).is_file():
        raise GradlabError(f"scheduler file `{scheduler}` does not exist: give what `dask scheduler` wrote")
    where: dict[str, Any] = {"scheduler_file": scheduler} if is_file else {"address": scheduler}
    if tls:
        if missing := [name for name in tls if not Path(name).is_file()]:
            raise GradlabError(f"--tls names `{missing[0]}`, which is no file: give CA,CERTIFICATE,KEY in PEM")
        names = ("tls_ca_file", "tls_client_cert", "tls_client_key")
        where["security"] = Security(**dict(zip(names, tls, strict=True)), require_encryption=True)
    address = str((parsed(Path(scheduler).read_bytes()) or {}).get("address")) if is_file else scheduler
    if address.startswith("tls://") and not where.get("security", Security()).tls_ca_file:
        raise GradlabError(f"scheduler `{scheduler}` wants certificates: give them by --tls CA,CERTIFICATE,KEY")
    with _quiet():
        try:
            client = Client(**where, set_as_default=False, timeout="5s")
        except (OSError, TypeError, ValueError, TimeoutError) as error:
            reason = str(error) or "no answer"
            raise GradlabError(f"scheduler `{scheduler}` cannot be reached: {reason}") from error
        with client:
            if not address.startswith("tls://"):
                warn(
                    f"scheduler `{scheduler}` has no TLS: whoever reaches its port can run code as you; start it "
                    "with certificates and give them by --tls"
                )
            yield DaskPool(client, invocation)


@contextmanager
def slurm(settings: Mapping[str, Any], jobs: int, invocation: str, folder: str) -> Iterator[DaskPool]:
    """Workers that Slurm starts as `jobs` jobs, reached by TLS with keys that are made for this command.

    Args:
        settings: keys of `dask_jobqueue.SLURMCluster`.
        folder: shared with the workers; it holds the keys while they run, readable by their owner alone.
    """
    try:
        import dask_jobqueue

        security = Security.temporary()
    except ImportError as error:
        raise GradlabError(
            "--slurm needs dask-jobqueue and cryptography: install them, as the extra `slurm` of gradlab-rnn does"
        ) from error
    known = _slurm_keys(dask_jobqueue.SLURMCluster)
    for key in settings:
        if key not in known:
            raise unknown("key of --slurm", key, known)
    defaults = {"cores": 1, "processes": settings.get("cores", 1), "memory": "4GB"}
    defaults |= {"scheduler_options": _NO_DASHBOARD, "silence_logs": logging.CRITICAL}
    defaults |= {"security": security, "shared_temp_directory": folder}
    # `python -m`, by which workers start, would import modules of the working folder.
    defaults |= {"job_script_prologue": ["export PYTHONSAFEPATH=1"]}
    with _quiet(), dask.config.set(SETTINGS):
        try:
            with sigint_blocked():
                cluster = dask_jobqueue.SLURMCluster(**{**defaults, **settings})
                cluster.scale(jobs)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise GradlabError(f"Slurm workers cannot be started: {error}") from error
        with _closing(cluster), Client(cluster, set_as_default=False) as client:
            yield DaskPool(client, invocation)


def _slurm_keys(cluster: type) -> list[str]:
    """The settings of a cluster and of its jobs, read from the signatures of their classes."""
    jobs = inspect.getmro(cluster.job_cls)  # type: ignore[attr-defined]
    signatures = [inspect.signature(kind.__init__) for kind in (*inspect.getmro(cluster), *jobs)]  # type: ignore[misc]
    reserved = set("self args kwargs loop asynchronous n_workers job_cls silence_logs config_name".split())
    return sorted({name for signature in signatures for name in signature.parameters} - reserved)


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
