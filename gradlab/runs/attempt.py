"""A run being written: each file whole or not at all, and its directory renamed into place when all is done.

Two processes may finish the same run at the same moment; the rename of the directory decides between them.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from gradlab.errors import GradlabError
from gradlab.runs.files import digest, read_ended, read_file
from gradlab.runs.jsonable import dumps
from gradlab.runs.lock import LOCK, Lock
from gradlab.runs.schema import DONE, FILES

REDO = "redo"
"""A file of this name marks a finished run that the next successful attempt replaces.

An attempt that does not succeed writes its status into it."""

_REPLACED = "replaced"
"""Inside an attempt that takes the place of a run, that run for a moment."""


@dataclass
class Attempt:
    """A run being written; `finish` makes it visible under its id. It lives while its lock is held."""

    run_id: str
    path: Path
    target: Path
    config: Mapping[str, Any]
    lock: Lock

    def write_json(self, name: str, value: Any) -> None:
        """Write one JSON file."""
        write_whole(self.path / name, lambda file: file.write((dumps(value, indent=1) + "\n").encode()))

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one npz file."""
        write_whole(self.path / name, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]

    def log(self, line: Mapping[str, Any]) -> None:
        """Append one line to `log.jsonl` and flush it to the disk."""
        with _reporting_disk_errors("log.jsonl", self.path), open(self.path / "log.jsonl", "a") as file:
            file.write(dumps(line) + "\n")
            _sync(file)

    def finish(self, done: Mapping[str, Any]) -> Path:
        """Write `done.json` and rename the directory to its id; returns where the run now is.

        A finished run of the same config that is already there wins; anything else is replaced. One that is marked
        `REDO` stays until an attempt succeeds.
        """
        digests = {name: digest(read_file(self.path / name)) for name in FILES if (self.path / name).exists()}
        self.write_json("done.json", {**done, "digests": digests})
        redo = self.target / REDO
        if done["status"] not in DONE and redo.exists() and self._is_there(self.target, even_redo=True):
            with suppress(OSError):  # it stays marked, without a status
                redo.write_text(done["status"])
            self.discard()
            return self.target
        for _ in range(10):
            try:
                os.rename(self.path, self.target)
                (self.target / LOCK).unlink(missing_ok=True)
                self.lock.release()
                return self.target
            except OSError as error:
                if not os.path.lexists(self.target):
                    raise GradlabError(f"run {self.run_id} cannot be put in place: {error.strerror}") from error
            if self._is_there(self.target):
                self.discard()
                return self.target
            self._clear_target()
        raise GradlabError(f"run {self.run_id} cannot be put in place: another process keeps replacing it")

    def discard(self) -> None:
        """Remove everything that this attempt wrote."""
        erase(self.path)
        self.lock.release()

    def _clear_target(self) -> None:
        """Move an unfinished predecessor into this directory and erase it, unless another process is faster."""
        old = self.path / _REPLACED
        try:
            os.rename(self.target, old)
        except OSError:
            return
        if self._is_there(old):  # another process finished it just now: it goes back and stays
            with suppress(OSError):
                os.rename(old, self.target)
                return
        erase(old)

    def _is_there(self, path: Path, *, even_redo: bool = False) -> bool:
        """Whether a directory holds this very run, finished."""
        return is_finished(path, self.config, even_redo=even_redo)


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file under a temporary name, sync it and rename it, so that no reader sees a part of it."""
    temporary = path.with_name(f".{path.name}.{token()}.tmp")
    with _reporting_disk_errors(path.name, path.parent):
        try:
            with open(temporary, "wb") as file:
                write(file)
                _sync(file)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def _reporting_disk_errors(name: str, folder: Path) -> Iterator[None]:
    """Turn a failure of the disk into one line that names the file."""
    try:
        yield
    except OSError as error:
        raise GradlabError(
            f"{name} cannot be written to {folder}: {error.strerror}; free some space or give another --results "
            "folder"
        ) from error


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def is_finished(path: Path, config: Mapping[str, Any], *, even_redo: bool = False) -> bool:
    """Whether a directory holds an intact finished run of this config, not marked `REDO` unless `even_redo`."""
    if (path / REDO).exists() and not even_redo:
        return False
    try:
        stored, done = read_ended(path)
        if done["status"] not in DONE or stored != dict(config):
            return False
        return all(digest(read_file(path / name)) == found for name, found in done["digests"].items())
    except GradlabError:
        return False


def erase(path: Path) -> None:
    """Remove a directory, or the link to one, as far as possible."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def token() -> str:
    """A part of a file name that no other process uses."""
    return secrets.token_hex(8)
