"""Processes on this machine that compute jobs. They are reached by pipes, which nobody else can open."""

import atexit
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from gradlab.runs import child, jobs
from gradlab.runs.jobs import JobBatch, RunProgress, RunReport

_CLOSE_SECONDS = 5.0


class RunBegan(NamedTuple):
    """A run begins; `execution` says how it is computed, `devices` over how many a single run may be split."""

    run_id: str
    execution: dict[str, Any]
    devices: int


class RunReached(NamedTuple):
    """A run is at a training step."""

    run_id: str
    progress: RunProgress


class JobEnded(NamedTuple):
    """A job came back.

    Attributes:
        reports: of each run; None if its process did not live to report.
        died: how that process ended. late: it was killed, long past its time. error: it could not be computed.
    """

    job: JobBatch
    reports: tuple[RunReport, ...] | None
    died: str = ""
    late: bool = False
    error: str = ""


JobEvent = RunBegan | RunReached | JobEnded
Messages = queue.SimpleQueue[tuple["_Process", tuple[Any, ...]]]


class _Process:
    """A process of `child.py`, and the job that it has."""

    def __init__(self) -> None:
        self.job: JobBatch | None = None
        self.ready = self.sent = self.late = False
        self.pid = 0
        self.killed_at = float("inf")
        self._messages: Messages = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.wanted: child.Setup | None = None
        self.imported_with = _read_on_import()
        self._setup: child.Setup | None = None
        self.compiled: set[str] = set()
        self._code: tuple[str | None, str | None] = (None, None)
        command = [sys.executable, "-P", str(Path(child.__file__))]
        with sigint_blocked():
            self.popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self.popen.stdin is not None and self.popen.stdout is not None
        self._channel = child.Channel(self.popen.stdout.fileno(), self.popen.stdin.fileno())
        self._write([part for part in sys.path if part])
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def report_to(self, messages: Messages) -> None:
        """Put messages into this queue, those too that nobody has taken yet."""
        with self._lock, suppress(queue.Empty):
            before, self._messages = self._messages, messages
            while before is not messages:
                messages.put(before.get_nowait())

    def send_job(self) -> None:
        """Give the process its job once it can take it, after other custom code to a new fork."""
        if not self.ready or self.job is None or self.sent or self.wanted is None:
            return
        other_code = any(self._code) and self._code != self.job.code
        if self._setup is not None and (other_code or self._setup != self.wanted):
            self.ready = False
            self._write(None)
            return
        if self._setup is None:
            self._setup = self.wanted
            self._write(tuple(self.wanted))
        self.sent, self._code = True, self.job.code
        self.compiled.add(self.job.measures)
        self._write(self.job)

    def idle(self) -> None:
        """It has no fork, and the next job gets a new one."""
        self.ready, self._setup, self._code = True, None, (None, None)
        self.compiled = set()

    def signal(self, number: int) -> None:
        """Send a signal to the fork that computes, or else to the process itself if it is to be killed."""
        with suppress(OSError):
            if self.pid:
                os.kill(self.pid, number)
            elif number == signal.SIGKILL:
                self.popen.kill()

    def close(self) -> None:
        """End the process and its fork."""
        assert self.popen.stdin is not None
        with suppress(OSError):
            self.popen.stdin.close()
        if self._setup is None:
            self.popen.kill()  # it has no fork, and may still import
        try:
            self.popen.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:  # a fork that holds the interpreter's lock does not notice
            self.signal(signal.SIGKILL)
            self.popen.kill()
            self.popen.wait()
        self._listener.join(_CLOSE_SECONDS)
        assert self.popen.stdout is not None
        if not self._listener.is_alive():  # else custom code left a process that holds the pipe
            self.popen.stdout.close()

    def _write(self, value: Any) -> None:
        with suppress(OSError):  # it ended; the listener notices
            self._channel.send(value)

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._report(self._channel.receive())
        self._report(("gone",))

    def _report(self, message: tuple[Any, ...]) -> None:
        with self._lock:
            self._messages.put((self, message))


_kept: list[_Process] = []
"""Idle processes, for the next command of this process."""


def start_early() -> None:
    """Start a process while this one still reads what is asked of it: both need a second to import jax."""
    if not _kept:
        _kept.append(_Process())


def _read_on_import() -> dict[str, str]:
    """The environment variables that a process reads when it imports jax; a fork sets the others."""
    return {name: value for name, value in os.environ.items() if name.startswith(("JAX_", "TF_", "PYTHON"))}


def _take_kept() -> _Process | None:
    """A process that was kept, still lives, and has the present environment."""
    while _kept:
        process = _kept.pop()
        if process.popen.poll() is None and process.imported_with == _read_on_import():
            return process
        process.close()
    return None


@atexit.register
def close_kept() -> None:
    """End the processes that are kept."""
    while _kept:
        _kept.pop().close()


class LocalPool:
    """Processes on this machine, which end with this one.

    Those that have no job in the end are kept for the next pool of this process.

    Args:
        count: processes at a time; each is started when it is needed.
        gpus: as of `Settings`. all_cores: as of `Settings`.
    """

    lost = False

    def __init__(self, count: int, gpus: Sequence[str] = (), *, all_cores: bool = False) -> None:
        self._count, self._gpus, self._all_cores = count, gpus, all_cores
        self._messages: Messages = queue.SimpleQueue()
        self._processes: list[_Process | None] = [None] * count

    def __enter__(self) -> "LocalPool":
        return self

    def __exit__(self, *_: object) -> None:
        for process in filter(None, self._processes):
            if process.job is None:  # its fork may still be ending: then the next job waits for another
                _kept.append(process)
            else:
                process.close()

    def size(self) -> int:
        """How many jobs run at a time."""
        return self._count

    def compiled(self, *, free: bool) -> set[str]:
        """The cells, as `JobBatch.measures`, that processes have compiled which are free; or busy."""
        some = [each for each in self._processes if each is not None and (each.job is None) == free]
        return set().union(*(each.compiled | {each.job.measures if each.job else ""} for each in some)) - {""}

    def submit(self, job: JobBatch) -> None:
        """Give a job to a process that is free."""
        free = [index for index, each in enumerate(self._processes) if each is None or each.job is None]
        index = min(free, key=lambda index: self._distance(index, job))
        process = self._processes[index] = self._processes[index] or _take_kept() or _Process()
        process.wanted = self._setup(index)
        process.report_to(self._messages)
        process.job, process.sent, process.late, process.killed_at = job, False, False, float("inf")
        process.send_job()

    def next_event(self, seconds: float) -> JobEvent | None:
        """The next event, None if there is none for so long."""
        for process in filter(None, self._processes):
            if time.monotonic() > process.killed_at:
                process.late, process.killed_at = True, float("inf")
                process.signal(signal.SIGKILL)
        with suppress(queue.Empty):
            process, message = self._messages.get(timeout=seconds)
            return self._event(process, *message)
        return None

    def halt(self, *, running: bool) -> None:
        """Begin no other run; also stop `running` ones at once, or when what they compute returns."""
        for process in filter(None, self._processes):
            if running and process.job and process.sent:
                process.signal(signal.SIGUSR1)
            elif process.job and not process.sent:
                self._messages.put((process, ("dropped", process.job)))
                process.job = None

    def kill(self) -> None:
        """End all runs that did not stop; returns when their processes are gone."""
        for process in filter(None, self._processes):
            if process.job:
                process.close()

    def _distance(self, index: int, job: JobBatch) -> int:
        """How much a process has yet to do before it can begin a job: to compile, or to start."""
        process = self._processes[index]
        return 2 if process is None else job.measures not in process.compiled

    def _setup(self, index: int) -> child.Setup:
        gpu = self._gpus[index % len(self._gpus)] if self._gpus else ""
        path = [part for part in sys.path if part]
        return child.Setup(dict(os.environ), os.getcwd(), path, list(sys.argv), gpu, self._all_cores)

    def _event(self, process: _Process, name: str, *values: Any) -> JobEvent | None:
        job = process.job
        if name == "began":
            return RunBegan(*values)
        if name == "progress":
            return RunReached(*values)
        if name == "dropped":
            return JobEnded(values[0], values[0].reports("waiting"))
        if name == "pid":
            process.pid = values[0]
            if job and job.timeout is not None:
                process.killed_at = time.monotonic() + job.timeout + jobs.GRACE
        elif name == "ended" and job:
            ended = self._end(process, JobEnded(job, values[0]))
            process.ready = values[1]
            return ended
        elif name == "died" and job:
            return self._end(process, JobEnded(job, None, values[0], process.late))
        elif name == "gone":
            self._processes[self._processes.index(process)] = None
            process.close()
            if job:
                how = f"exit code {process.popen.returncode}"
                return self._end(process, JobEnded(job, None, how, process.late))
        elif name == "idle":
            lost = job if process.sent else None  # its fork exited before it reported
            end = self._end(process, JobEnded(lost, None, "exit code 0")) if lost else None
            process.idle()
            process.send_job()
            return end
        return None

    def _end(self, process: _Process, ended: JobEnded) -> JobEnded:
        process.job, process.pid, process.killed_at = None, 0, float("inf")
        process.ready = process.sent = False
        return ended


@contextmanager
def sigint_blocked() -> Iterator[None]:
    """Processes and threads that are started within receive no SIGINT; this thread receives it afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
