"""The process in which jobs are computed: `python child.py`, started by `workers.py`, which it talks to by pipes.

It imports jax once and then forks. The fork computes one job after the other; after a job that failed or changed
the state of the process, and between jobs of different custom code, the next job gets a new fork, so that no run
moves the numbers of a later one. How a fork ended is reported by its parent, where jax never starts.

A message is a pickle behind its length. The import path comes in first; then for each fork `Setup` and jobs, and
None where another fork is wanted. Answers are tuples that begin with a name: `pid`, `began`, `progress`, `ended`,
`died`, and `idle` where there is no fork. SIGUSR1 stops the job of a fork; closing stdin ends it.
"""

import os
import pickle
import select
import signal
import struct
import sys
import threading
import traceback
from contextlib import suppress
from types import FrameType
from typing import Any, NamedTuple

_LENGTH = struct.Struct(">I")


class Setup(NamedTuple):
    """What a fork takes over from the process of the command.

    Attributes:
        environment: all variables. folder: the working directory.
        path, argv: as of `sys`.
        gpu: the one that it computes on, as CUDA_VISIBLE_DEVICES names it; empty for what jax finds.
        all_cores: whether it computes on all cores or on one.
    """

    environment: dict[str, str]
    folder: str
    path: list[str]
    argv: list[str]
    gpu: str
    all_cores: bool


class Channel:
    """Frames by two file descriptors; reads nothing beyond the frame that is asked for."""

    def __init__(self, read: int, write: int) -> None:
        self.read, self.write = read, write
        self._lock = threading.Lock()

    def send(self, value: Any) -> None:
        """Write one frame; OSError if nobody reads any more."""
        body = pickle.dumps(value)
        data = memoryview(_LENGTH.pack(len(body)) + body)
        with self._lock:
            while data:
                data = data[os.write(self.write, data) :]

    def receive(self) -> Any:
        """The next frame; EOFError where there is none to come."""
        (length,) = _LENGTH.unpack(self._bytes(_LENGTH.size))
        return pickle.loads(self._bytes(length))

    def close(self) -> None:
        """Close both descriptors."""
        os.close(self.read)
        os.close(self.write)

    def _bytes(self, count: int) -> bytes:
        parts = []
        while count:
            part = os.read(self.read, min(count, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def main() -> None:
    """Serve the process at the other end of stdin and stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command stops its runs itself
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    channel = Channel(os.dup(0), os.dup(1))
    # Whatever code of the user's prints goes to stderr, and it reads nothing.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.path[:] = channel.receive()
    # XLA logs spurious errors about CPU features for every program loaded from the cache. Real errors are raised.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from gradlab.runs import child

    child.serve(channel)


def serve(channel: Channel) -> None:
    """Fork whenever a job is to come, until the other end closes."""
    from gradlab.runs import execute  # noqa: F401  (what takes a second to import is imported before the forks)

    with suppress(OSError):  # the command has ended meanwhile: then no job is to come either
        channel.send(("idle",))
    while _has_input(channel):
        fork = os.fork()
        if not fork:
            try:
                Fork(channel).work()
            except EOFError:
                pass  # there is no other job
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        _, status = os.waitpid(fork, 0)
        try:
            if status:
                channel.send(("died", _how(status)))
            channel.send(("idle",))
        except OSError:
            return


def _has_input(channel: Channel) -> bool:
    """Wait for a job, without reading it; False if none can come."""
    poll = select.poll()
    poll.register(channel.read, select.POLLIN)
    return bool(poll.poll()[0][1] & select.POLLIN)


def _how(status: int) -> str:
    """How a process ended."""
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return f"{name}, out of memory?" if name == "SIGKILL" else name
    return f"exit code {os.waitstatus_to_exitcode(status)}"


class Fork:
    """The process that computes."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.computing = self.stopped = False

    def work(self) -> None:
        """Compute jobs until no other may follow here."""
        from gradlab.runs import worker
        from gradlab.runs.schema import DONE

        # What custom code forks has no business with the command, which waits for the ends of the pipes.
        os.register_at_fork(after_in_child=self.channel.close)
        signal.signal(signal.SIGUSR1, self._stop)
        sys.unraisablehook = self._report_unraisable
        threading.Thread(target=self._watch, daemon=True).start()
        setup = Setup(*self.channel.receive())
        os.environ.clear()
        os.environ.update(setup.environment)
        os.chdir(setup.folder)
        sys.path[:], sys.argv[:] = setup.path, setup.argv
        worker.prepare(setup.gpu, all_cores=setup.all_cores)
        clean = True
        while clean and (job := self.channel.receive()) is not None:
            self.channel.send(("pid", os.getpid()))
            before = worker.process_state()
            self.stopped, self.computing = False, True
            try:
                reports = worker.compute(job, self.channel.send, lambda: self.stopped)
            except KeyboardInterrupt:
                reports = job.reports("interrupted")
            self.computing = False
            succeeded = all(report.status in DONE for report in reports)
            clean = succeeded and worker.process_state() == before
            self.channel.send(("ended", reports, clean))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        # Python drops an exception that is raised in a finaliser: then the next event of the run raises it.
        if self.computing and not self.stopped:
            self.stopped = True
            raise KeyboardInterrupt

    def _report_unraisable(self, unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            sys.__unraisablehook__(unraisable)

    def _watch(self) -> None:
        """End with the process at the other end, whatever is being computed."""
        poll = select.poll()
        poll.register(self.channel.read, 0)
        poll.poll()
        os._exit(1)


if __name__ == "__main__":
    main()
