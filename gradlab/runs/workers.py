"""Processes on this machine that compute jobs. They are reached by pipes, which nobody else can open."""

import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from os import kill
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

    def __init__(
        self, setup: child.Setup, messages: "queue.SimpleQueue[tuple[_Process, tuple[Any, ...]]]"
    ) -> None:
        self.job: JobBatch | None = None
        self.ready = self.sent = self.late = False
        self.pid = 0
        self.code: tuple[str | None, str | None] = (None, None)
        self.killed_at = float("inf")
        self._messages = messages
        command = [sys.executable, "-P", str(Path(child.__file__))]
        with sigint_blocked():
            self.popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self.popen.stdin is not None and self.popen.stdout is not None
        self._channel = child.Channel(self.popen.stdout.fileno(), self.popen.stdin.fileno())
        self._write(tuple(setup))
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def send_job(self) -> None:
        """Give the process its job, once it can take one; after custom code another one has to be forked first."""
        if not self.ready or self.job is None or self.sent:
            return
        if any(self.code) and self.code != self.job.code:
            self.ready, self.code = False, (None, None)
            self._write(None)
            return
        self.sent, self.code = True, self.job.code
        self._write(self.job)

    def signal(self, number: int) -> None:
        """Send a signal to the fork that computes, or else to the process itself if it is to be killed."""
        with suppress(OSError):
            if self.pid:
                kill(self.pid, number)
            elif number == signal.SIGKILL:
                self.popen.kill()

    def close(self) -> None:
        """End the process and its fork."""
        assert self.popen.stdin is not None
        with suppress(OSError):
            self.popen.stdin.close()
        try:
            self.popen.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:  # a fork that holds the interpreter's lock does not notice
            self.signal(signal.SIGKILL)
            self.popen.kill()
            self.popen.wait()
        self._listener.join()
        assert self.popen.stdout is not None
        self.popen.stdout.close()

    def _write(self, value: Any) -> None:
        with suppress(OSError):  # it ended; the listener notices
            self._channel.send(value)

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._messages.put((self, self._channel.receive()))
        self._messages.put((self, ("gone",)))


class LocalPool:
    """Processes on this machine, which end with this one.

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
            process.close()

    def size(self) -> int:
        """How many jobs run at a time."""
        return self._count

    def submit(self, job: JobBatch) -> None:
        """Give a job to a process that is free."""
        free = [index for index, each in enumerate(self._processes) if each is None or each.job is None]
        index = min(free, key=lambda index: self._processes[index] is None)
        process = self._processes[index] or self._start(index)
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

    def _start(self, index: int) -> _Process:
        gpu = self._gpus[index % len(self._gpus)] if self._gpus else ""
        setup = child.Setup([part for part in sys.path if part], list(sys.argv), gpu, self._all_cores)
        process = self._processes[index] = _Process(setup, self._messages)
        return process

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
            return self._end(process, JobEnded(job, values[0]))
        elif name == "died" and job:
            return self._end(process, JobEnded(job, None, values[0], process.late))
        elif name == "gone":
            self._processes[self._processes.index(process)] = None
            process.close()
            if job:
                how = f"exit code {process.popen.returncode}"
                return self._end(process, JobEnded(job, None, how, process.late))
        elif name == "ready":
            process.ready = True
            if job and process.sent:  # its fork exited before it reported
                ended = self._end(process, JobEnded(job, None, "exit code 0"))
                process.ready = True
                return ended
            process.send_job()
        return None

    def _end(self, process: _Process, ended: JobEnded) -> JobEnded:
        process.job, process.pid, process.killed_at = None, 0, float("inf")
        # After a report it says when it can take the next one.
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
