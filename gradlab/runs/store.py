"""The store: plain files, one directory per run, no database and no locks. Knows no jax.

An attempt is written in `runs/.<id>.<host>-<pid>/`, each file under a temporary name, synced and renamed; the
directory is renamed to `runs/<id>/` after `done.json`. Whatever dies in between leaves a directory that readers
show as killed and the next attempt replaces.
"""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from gradlab.errors import GradlabError, nearest
from gradlab.runs.jsonable import dumps

VERSION = 1
"""The newest layout of a run directory that this code reads and the one that it writes."""
DONE = ("measured", "solved", "trained", "diverged")
"""Statuses of a run that need not be repeated."""

_FILES = ("config.json", "env.json", "log.jsonl", "curves.npz", "params.npz")


def default_root() -> Path:
    """`GRADLAB_RESULTS`, or `results` in the working directory."""
    return Path(os.environ.get("GRADLAB_RESULTS") or "results")


@dataclass(frozen=True)
class StoredRun:
    """A run directory as a reader finds it.

    Attributes:
        id: the name of the run.
        path: its directory.
        status: as in `done.json`, else `running` or `killed`.
        config: what was asked.
        done: `done.json`, empty where there is none.
    """

    id: str
    path: Path
    status: str
    config: dict[str, Any]
    done: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the run need not be repeated."""
        return self.status in DONE

    def log(self) -> list[dict[str, Any]]:
        """The whole lines of `log.jsonl`, one for each checkpoint; a torn line is skipped."""
        return list(_whole_lines(self.path / "log.jsonl"))

    def arrays(self, name: str = "curves.npz") -> dict[str, np.ndarray]:
        """The arrays of an npz file of the run.

        Raises:
            GradlabError: the file is missing or cannot be read.
        """
        try:
            with np.load(self.path / name, allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except (OSError, ValueError, EOFError, KeyError) as error:
            raise GradlabError(f"run {self.id}: {name} cannot be read ({error}): run it again") from error

    def env(self) -> dict[str, Any]:
        """How the run was computed."""
        return _read_json(self.path / "env.json") or {}


class Store:
    """The runs below a results folder.

    Args:
        root: the results folder; made when something is written.

    Example:
        >>> import tempfile
        >>> store = Store(tempfile.mkdtemp())
        >>> attempt = store.begin("a-run", {"store": 1, "seed": 0})
        >>> path = attempt.finish({"status": "measured"})
        >>> store.find("a-run").status
        'measured'
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root) if root is not None else default_root()
        self.runs = self.root / "runs"

    def begin(self, run_id: str, config: Mapping[str, Any]) -> "Attempt":
        """Start an attempt at a run, and clear away dead attempts at the same one.

        Raises:
            GradlabError: the folder cannot be written.
        """
        for other in self._attempts(run_id):
            if _is_dead(other):
                shutil.rmtree(other, ignore_errors=True)
        path = self.runs / f".{run_id}.{_host()}-{os.getpid()}"
        shutil.rmtree(path, ignore_errors=True)
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise GradlabError(f"results folder `{self.root}` cannot be written: {error.strerror}") from error
        attempt = Attempt(run_id, path, self.runs / run_id)
        try:
            attempt.write_json("config.json", config)
        except GradlabError:
            attempt.discard()
            raise
        return attempt

    def completed(self, run_id: str, config: Mapping[str, Any]) -> StoredRun | None:
        """The finished run of this very config, if there is one."""
        run = self._read(self.runs / run_id)
        return run if run is not None and run.finished and run.config == dict(config) else None

    def scan(self, warn: Callable[[str], None] = lambda message: None) -> list[StoredRun]:
        """Every run, by name; `warn` hears once of each directory that is skipped as corrupt.

        Raises:
            GradlabError: a run was written by a newer gradlab.
        """
        found: dict[str, StoredRun] = {}
        for path in sorted(self.runs.iterdir()) if self.runs.is_dir() else []:
            if not path.is_dir() or path.name.startswith(".trash"):
                continue
            run = self._read(path)
            if run is None:
                if not path.name.startswith("."):
                    warn(f"skipped {path}: its config.json or done.json cannot be read; delete it or run again")
            elif run.id not in found or not found[run.id].finished:
                found[run.id] = run
        return [found[name] for name in sorted(found)]

    def find(self, name: str) -> StoredRun:
        """The run of this id, or the only one whose id begins with it or ends with it.

        Raises:
            GradlabError: none or several match.
        """
        runs = {run.id: run for run in self.scan()}
        name = Path(name).name
        if name in runs:
            return runs[name]
        matches = [run_id for run_id in runs if run_id.startswith(name) or run_id.endswith(name)]
        if len(matches) == 1:
            return runs[matches[0]]
        if matches:
            listed = ", ".join(matches[:3])
            raise GradlabError(f"run `{name}` could be any of {len(matches)}, such as {listed}: give more of it")
        hint = nearest(name, runs) or "; `gradlab ls` lists the runs"
        raise GradlabError(f"run `{name}` is not in {self.root}{hint}")

    def _attempts(self, run_id: str) -> list[Path]:
        return list(self.runs.glob(f".{run_id}.*")) if self.runs.is_dir() else []

    def _read(self, path: Path) -> StoredRun | None:
        """A run directory, or None where it is corrupt or missing."""
        config = _read_json(path / "config.json")
        if config is None:
            return None
        version = config.get("store")
        if isinstance(version, int) and version > VERSION:
            raise GradlabError(
                f"{path} was written by a newer gradlab (store {version}, this reads {VERSION}): update gradlab"
            )
        if path.name.startswith("."):
            run_id = path.name[1:].rpartition(".")[0]
            return StoredRun(run_id, path, "killed" if _is_dead(path) else "running", config)
        done = _read_json(path / "done.json")
        return None if done is None else StoredRun(path.name, path, str(done.get("status")), config, done)


@dataclass
class Attempt:
    """A run being written; `finish` makes it visible under its id."""

    run_id: str
    path: Path
    target: Path

    def write_json(self, name: str, value: Any) -> None:
        """Write one JSON file, whole or not at all."""
        self._write(name, lambda file: file.write((dumps(value, indent=1) + "\n").encode()))

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one npz file, whole or not at all."""
        self._write(name, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]

    def log(self, line: Mapping[str, Any]) -> None:
        """Append one line to `log.jsonl` and flush it to the disk."""
        with _told("log.jsonl", self.path), open(self.path / "log.jsonl", "a") as file:
            file.write(dumps(line) + "\n")
            _sync(file)

    def finish(self, done: Mapping[str, Any]) -> Path:
        """Write `done.json` and give the run its name; returns where it now stands.

        A finished run that is already there wins; an unfinished one is replaced.
        """
        digests = {name: _digest(self.path / name) for name in _FILES if (self.path / name).exists()}
        self.write_json("done.json", {**done, "digests": digests})
        for _ in range(10):
            try:
                os.rename(self.path, self.target)
                return self.target
            except OSError as error:
                if not self.target.exists():
                    raise GradlabError(f"run {self.run_id} cannot be put in place: {error.strerror}") from error
            if (_read_json(self.target / "done.json") or {}).get("status") in DONE:
                self.discard()
                return self.target
            self._clear_target()
        raise GradlabError(f"run {self.run_id} cannot be put in place: another process keeps replacing it")

    def discard(self) -> None:
        """Remove everything that this attempt wrote."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _clear_target(self) -> None:
        """Move an unfinished predecessor out of the way; whoever renames first does it."""
        trash = self.target.with_name(f".trash.{self.run_id}.{_host()}-{os.getpid()}")
        try:
            os.rename(self.target, trash)
        except OSError:
            return  # another writer was faster; the next rename shows what it left
        shutil.rmtree(trash, ignore_errors=True)

    def _write(self, name: str, write: Callable[[IO[bytes]], Any]) -> None:
        temporary = self.path / f".{name}.tmp"
        with _told(name, self.path):
            with open(temporary, "wb") as file:
                write(file)
                _sync(file)
            os.replace(temporary, self.path / name)


class _told:
    """Turns a failure of the disk into one line that names the file."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise GradlabError(
                f"{self._name} cannot be written to {self._folder}: {error.strerror}; free some space or give "
                "another --results folder"
            ) from error


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def _host() -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in socket.gethostname()) or "host"


def _is_dead(attempt: Path) -> bool:
    """Whether the process that wrote an attempt on this host is gone; another host's is taken to live."""
    host, _, pid = attempt.name.rpartition(".")[2].rpartition("-")
    if host != _host() or not pid.isdigit() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
