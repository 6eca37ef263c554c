"""The driver's side of the workers: start them, ask them, end them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from bench.case import Case

ROOT = Path(__file__).parents[1]


class WorkerFailed(RuntimeError):
    """A worker could not do what was asked, or ended; its traceback is on stderr."""


class Answer(NamedTuple):
    """The seconds that a request took inside the worker, its result, and what went wrong if anything."""

    seconds: float
    result: Any
    error: str


class Worker:
    """A process of `bench.worker`.

    Args:
        module: in `bench.contenders`.
        options: for its `make`.
        case: what it computes.
        problem: the file of `bench.reference`, or empty where nothing is compared.
        cores: that it is pinned to; all of them where empty.
        variables: set in its environment before it starts.
    """

    def __init__(
        self,
        module: str,
        options: Mapping[str, Any],
        case: Case,
        problem: str = "",
        *,
        cores: Iterable[int] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        order = {
            "module": module,
            "case": asdict(case),
            "problem": problem,
            "options": dict(options),
            "cores": list(cores),
        }
        self.name = f"{module} {dict(options)} at {case}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(variables or {}),
        )

    def send(self, do: str, **given: Any) -> None:
        """Ask without waiting."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # `receive` says what happened
            self._process.stdin.write(json.dumps({"do": do, "given": given}) + "\n")
            self._process.stdin.flush()

    def receive(self) -> Answer:
        """The next answer; the first one of a process says that it is ready."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailed(f"{self.name} ended with exit code {self._process.wait()}")
        answer = Answer(**json.loads(line))
        if answer.error:
            raise WorkerFailed(f"{self.name}: {answer.error}")
        return answer

    def ask(self, do: str, **given: Any) -> Answer:
        """Ask and wait."""
        self.send(do, **given)
        return self.receive()

    def kill(self) -> None:
        """End the process at once; who waits for its answer hears that it ended."""
        self._process.kill()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def closing(workers: list[Worker]) -> Iterator[list[Worker]]:
    """End whatever is in the list at the end of the block."""
    try:
        yield workers
    finally:
        for worker in workers:
            worker.close()


QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # For a tenth of a second after a product OpenBLAS's threads turn in place, on a core that is another's then.
    "OPENBLAS_THREAD_TIMEOUT": "4",
}


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process with some variables set, XLA's flags appended, and `QUIET`."""
    merged = os.environ | QUIET | dict(more)
    if "XLA_FLAGS" in more and "XLA_FLAGS" in os.environ:
        merged["XLA_FLAGS"] = f"{os.environ['XLA_FLAGS']} {more['XLA_FLAGS']}"
    return merged
