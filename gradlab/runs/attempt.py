"""A run being written: each file whole or not at all, and the directory in its place when all is done.

Two processes may finish the same run at the same moment; renaming a directory is what decides between them.
"""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from gradlab.errors import GradlabError
from gradlab.runs.jsonable import dumps

DONE = ("measured", "solved", "trained", "diverged")
"""Statuses of a run that need not be repeated."""

REDO = "redo"
"""A file of this name in a finished run says that the next attempt that ends well replaces it.

What did not end well in the meantime leaves its status and its order in there."""

_FILES = ("config.json", "env.json", "log.jsonl", "curves.npz", "every.npz", "params.npz")


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

        A finished run of the same config that is already there wins; anything else is replaced. One that is to be
        done again stays until an attempt ends well.
        """
        digests = {name: _digest(self.path / name) for name in _FILES if (self.path / name).exists()}
        self.write_json("done.json", {**done, "digests": digests})
        redo = self.target / REDO
        if done["status"] not in DONE and redo.exists() and self._is_whole(self.target):
            with suppress(OSError):  # it stays to be done again, only nobody can say why
                redo.write_text(f"{done['status']} {done.get('job', '')}")
            self.discard()
            return self.target
        for _ in range(10):
            try:
                os.rename(self.path, self.target)
                return self.target
            except OSError as error:
                if not self.target.exists():
                    raise GradlabError(f"run {self.run_id} cannot be put in place: {error.strerror}") from error
            if self._is_settled(self.target):
                self.discard()
                return self.target
            self._clear_target()
        raise GradlabError(f"run {self.run_id} cannot be put in place: another process keeps replacing it")

    def discard(self) -> None:
        """Remove everything that this attempt wrote."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _clear_target(self) -> None:
        """Move an unfinished predecessor out of the way; whoever renames first does it."""
        trash = self.target.with_name(f".trash.{self.run_id}.{host()}-{os.getpid()}")
        try:
            os.rename(self.target, trash)
        except OSError:
            return  # another writer was faster; the next rename shows what it left
        if self._is_settled(trash):  # it was put there just now, so it goes back instead of this one
            self.discard()
            self.path = trash
        else:
            shutil.rmtree(trash, ignore_errors=True)

    def _is_settled(self, path: Path) -> bool:
        """Whether a directory holds this very run, finished and not to be done again."""
        return is_finished(path, read_json(self.path / "config.json") or {})

    def _is_whole(self, path: Path) -> bool:
        """Whether a directory holds this very run, finished."""
        return is_whole(path, read_json(self.path / "config.json") or {})

    def _write(self, name: str, write: Callable[[IO[bytes]], Any]) -> None:
        write_whole(self.path / name, write)


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file under another name, sync it and give it its own, so that nobody ever sees a part of it.

    Raises:
        GradlabError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{host()}-{os.getpid()}.tmp")
    with _told(path.name, path.parent):
        try:
            with open(temporary, "wb") as file:
                write(file)
                _sync(file)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


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


def is_finished(path: Path, config: Mapping[str, Any]) -> bool:
    """Whether a directory holds a finished run of this config that need not be done again."""
    return not (path / REDO).exists() and is_whole(path, config)


def is_whole(path: Path, config: Mapping[str, Any]) -> bool:
    """Whether a directory holds a finished run of this config, its files as `done.json` says they were."""
    done = read_json(path / "done.json") or {}
    if done.get("status") not in DONE or read_json(path / "config.json") != dict(config):
        return False
    try:
        return all(_digest(path / name) == digest for name, digest in done.get("digests", {}).items())
    except OSError:
        return False


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None where it is missing or torn."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def host() -> str:
    """The name of this machine as part of a file name."""
    return "".join(letter if letter.isalnum() else "_" for letter in socket.gethostname()) or "host"
