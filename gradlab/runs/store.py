"""The store: plain files, one directory per run, no database. Loads no jax.

An attempt is written in `runs/.<id>.<random>/`, which its process keeps locked (`lock.py`), and renamed to
`runs/<id>/` after `done.json`. A process that dies in between leaves a directory that readers show as killed and
the next attempt replaces.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradlab.errors import GradlabError, nearest
from gradlab.runs.attempt import DONE, REDO, Attempt, erase, is_finished, read_json, token
from gradlab.runs.lock import hold, holder, is_dead, own, seize
from gradlab.runs.spec import STORE


@dataclass(frozen=True)
class StoredRun:
    """A stored run: its status is that of `done.json`, which may be empty, else `running` or `killed`."""

    id: str
    path: Path
    status: str
    config: dict[str, Any]
    done: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the run need not be repeated."""
        return self.status in DONE

    @property
    def holder(self) -> dict[str, Any]:
        """`host` and `pid` of the process that computes it, if it is running and they are known."""
        return holder(self.path) if self.status == "running" else {}

    @property
    def process(self) -> str:
        """` in process 123 on host` if it is running and that is known."""
        found = self.holder
        return f" in process {found['pid']} on {found['host']}" if found else ""

    def log(self) -> list[dict[str, Any]]:
        """The lines of `log.jsonl`, one for each checkpoint; a torn line is skipped."""
        found = []
        with suppress(OSError):
            for line in (self.path / "log.jsonl").read_text(errors="replace").splitlines():
                with suppress(ValueError):
                    found.append(json.loads(line))
        return [line for line in found if isinstance(line, dict)]

    def arrays(self, name: str = "curves.npz") -> dict[str, np.ndarray]:
        """The arrays of an npz file of the run; GradlabError if it is missing or cannot be read."""
        try:
            # numpy does not close the file of a damaged archive.
            with open(self.path / name, "rb") as file, np.load(file, allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except Exception as error:  # a damaged archive may raise anything
            raise GradlabError(f"run {self.id}: {name} cannot be read ({error}): run it again") from error

    def env(self) -> dict[str, Any]:
        """How the run was computed."""
        return read_json(self.path / "env.json") or {}


class Store:
    """The runs below a results folder.

    Args:
        root: the results folder, made when something is written; `GRADLAB_RESULTS` or `results` if None.

    Example:
        >>> import tempfile
        >>> store = Store(tempfile.mkdtemp())
        >>> attempt = store.begin("a-run", {"store": 1, "seed": 0})
        >>> path = attempt.finish({"status": "measured"})
        >>> store.find("a-run").status
        'measured'
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root or os.environ.get("GRADLAB_RESULTS") or "results")
        self.runs = self.root / "runs"

    def check(self, warn: Callable[[str], None]) -> list[StoredRun]:
        """Every run, as `each`; GradlabError if the folder cannot be written, before any work is done."""
        runs = list(self.each(warn))
        trial = self.runs / f".writable.{token()}"
        with self._writing():
            self.runs.mkdir(parents=True, exist_ok=True)
            trial.write_bytes(b"gradlab")
            trial.unlink()
        return runs

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise GradlabError(f"results folder `{self.root}` cannot be written: {error.strerror}") from error

    def begin(self, run_id: str, config: Mapping[str, Any]) -> Attempt:
        """Start an attempt at a run, and remove dead attempts at it."""
        for other in self.attempts(run_id):
            if lock := seize(other):
                erase(other)
                lock.release()
        path = self._new(run_id)
        with self._writing():
            path.mkdir(parents=True)
            attempt = Attempt(run_id, path, self.runs / run_id, hold(path))
        try:
            attempt.write_json("config.json", config)
        except GradlabError:
            attempt.discard()
            raise
        return attempt

    def take_over(self, run_id: str, config: Mapping[str, Any]) -> Attempt:
        """An attempt that continues that of this process or of a dead one, or else a new one."""
        for other in self.attempts(run_id):
            lock = own(other) or seize(other)
            if lock is None:
                continue
            path = self._new(run_id)
            with suppress(OSError):  # another process was faster
                if read_json(other / "config.json") == dict(config):
                    other.rename(path)
                    return Attempt(run_id, path, self.runs / run_id, lock)
        return self.begin(run_id, config)

    def _new(self, run_id: str) -> Path:
        return self.runs / f".{run_id}.{token()}"

    def reopen(self, run_id: str) -> None:
        """Let the next successful attempt at a finished run replace it; until then it stays readable."""
        with suppress(FileNotFoundError):
            (self.runs / run_id / REDO).write_text("")

    def redone(self, run_id: str) -> tuple[str, str]:
        """Status and job of the last attempt at a run that is to be repeated, both empty if none ended."""
        try:
            status, _, job = (self.runs / run_id / REDO).read_text().partition(" ")
        except OSError:
            return "", ""
        return status, job

    def peek(self, run_id: str) -> StoredRun | None:
        """The stored run of this id, finished or not; None if it has no directory of its own."""
        return self._read(self.runs / run_id)

    def completed(self, run_id: str, config: Mapping[str, Any]) -> StoredRun | None:
        """The finished run of this very config, None if there is none or its files were changed."""
        path = self.runs / run_id
        return self._read(path) if is_finished(path, config) else None

    def each(
        self, warn: Callable[[str], None] = lambda message: None, names: Iterable[str] | None = None
    ) -> Iterator[StoredRun]:
        """Every run, or those of `names` that exist, one at a time, so that thousands need not fit in memory.

        `warn` is called for each corrupt directory; a run of a newer gradlab is a GradlabError.
        """
        settled, attempts = self.names()
        there = settled | attempts.keys()
        for run_id in sorted(there if names is None else there & set(names)):
            run = self._stored(run_id, attempts.get(run_id, []))
            if run is not None:
                yield run
            elif run_id in settled:
                path = self.runs / run_id
                warn(f"skipped {path}: its config.json or done.json cannot be read; delete it or run again")

    def names(self) -> tuple[set[str], dict[str, list[Path]]]:
        """Ids of the runs that have a directory, and the directories of attempts by the id of their run."""
        settled: set[str] = set()
        attempts: dict[str, list[Path]] = {}
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.runs) as entries:
            for name in (entry.name for entry in entries if entry.is_dir()):
                if not name.startswith("."):
                    settled.add(name)
                elif not name.startswith(".trash"):
                    attempts.setdefault(_attempted(name), []).append(self.runs / name)
        return settled, attempts

    def find(self, name: str, *, trained: bool = False) -> StoredRun:
        """The run of this id, or the only one whose id begins or ends with it.

        Args:
            trained: consider only runs that have parameters, and of several those that were trained.

        Raises:
            GradlabError: none or several match.
        """
        given, name = name, Path(name).name
        if not name:
            raise GradlabError(f"run `{given}` names none: `gradlab ls` lists the runs")
        exact = self._read(self.runs / name) if not name.startswith(".") else None
        if exact is not None:
            return exact
        settled, attempts = self.names()
        ids = settled | attempts.keys()
        near = [name] if name in ids else [each for each in ids if each.startswith(name) or each.endswith(name)]
        runs = {run.id: run for run in self.each(names=near)}
        matches = list(runs)
        if trained and name not in runs:
            matches = [run_id for run_id in matches if (runs[run_id].path / "params.npz").exists()]
            matches = [run_id for run_id in matches if runs[run_id].config.get("steps")] or matches
        if len(matches) == 1:
            return runs[matches[0]]
        if matches:
            listed = ", ".join(f"{run_id} ({runs[run_id].status})" for run_id in matches[:3])
            raise GradlabError(f"run `{name}` could be any of {len(matches)}, such as {listed}: give more of it")
        hint = nearest(name, ids) or "; `gradlab ls` lists the runs"
        raise GradlabError(f"run `{name}` is not in {self.root}{hint}")

    def attempts(self, run_id: str) -> list[Path]:
        """Directories of attempts at a run."""
        return [path for path in self.runs.glob(f".{run_id}.*") if _attempted(path.name) == run_id]

    def _stored(self, run_id: str, attempts: list[Path]) -> StoredRun | None:
        """The run of this id, else an attempt at it, a running one before a dead one."""
        run = self._read(self.runs / run_id)
        if run is not None or not attempts:
            return run
        found = [attempt for attempt in map(self._read, sorted(attempts)) if attempt is not None]
        # An attempt may have been finished since the folder was listed.
        return max(found, key=lambda attempt: attempt.status == "running", default=self._read(self.runs / run_id))

    def _read(self, path: Path) -> StoredRun | None:
        """The run in a directory, None if it is corrupt or missing."""
        config = read_json(path / "config.json")
        if config is None:
            return None
        version = config.get("store")
        if not isinstance(version, int):
            return None
        if version > STORE:
            raise GradlabError(
                f"{path} was written by a newer gradlab (store {version}, this reads {STORE}): update gradlab"
            )
        if path.name.startswith("."):
            return StoredRun(_attempted(path.name), path, "killed" if is_dead(path) else "running", config)
        done = read_json(path / "done.json") or {}
        status = done.get("status")
        return StoredRun(path.name, path, status, config, done) if isinstance(status, str) else None


def _attempted(name: str) -> str:
    """The id of the run that a directory `.<id>.<random>` is an attempt at."""
    return name[1:].rpartition(".")[0]
