"""Removing runs: what would go, and how it goes without a reader ever seeing half of it."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gradlab.errors import GradlabError
from gradlab.runs.attempt import host
from gradlab.runs.store import Store, is_dead


@dataclass(frozen=True)
class Remains:
    """What there is of one run that can be removed.

    Attributes:
        id: of the run.
        status: as `gradlab ls` says it, `corrupt` where its files cannot be read.
        paths: its directory and those of dead attempts at it; a running attempt is never among them.
        size: of all files, in bytes.
    """

    id: str
    status: str
    paths: tuple[Path, ...]
    size: int


def remains(store: Store, runs: Mapping[str, str]) -> list[Remains]:
    """What can be removed of these runs; one that is only being written is left out.

    Args:
        store: where they are. runs: status by id.
    """
    settled, attempts = store.names()
    found = []
    for run_id, status in runs.items():
        paths = [store.runs / run_id] if run_id in settled else []
        paths += sorted(path for path in attempts.get(run_id, []) if is_dead(path))
        if paths:
            status = "killed" if status == "running" else status
            found.append(Remains(run_id, status, tuple(paths), sum(map(_size, paths))))
    return found


def selected(store: Store, name: str) -> tuple[str, str]:
    """Id and status of the run of this name, as `Store.find` reads it; a corrupt one goes by its whole name.

    Raises:
        GradlabError: none or several match, or the run is being written.
    """
    try:
        run = store.find(name)
    except GradlabError:
        if name in store.names()[0]:
            return name, "corrupt"
        raise
    if not remains(store, {run.id: run.status}):
        raise GradlabError(f"run {run.id} is running: stop it where it was started, then remove it")
    return run.id, run.status


def remove(store: Store, found: Remains) -> None:
    """Remove a run; each directory first leaves its place and then its files go.

    Raises:
        GradlabError: it cannot be moved.
    """
    for number, path in enumerate(found.paths):
        if path.name.startswith(".") and not is_dead(path):
            continue
        # A name that readers skip, and that is cleared away should this process die.
        trash = store.runs / f".trash.{found.id}.{number}.{host()}-{os.getpid()}"
        try:
            os.rename(path, trash)
        except FileNotFoundError:
            continue  # someone else was faster
        except OSError as error:
            raise GradlabError(f"run {found.id} cannot be removed from {path}: {error.strerror}") from error
        shutil.rmtree(trash, ignore_errors=True)


def clear_trash(store: Store) -> None:
    """Remove what processes that died had moved out of the way."""
    for path in store.runs.glob(".trash.*"):
        if is_dead(path):
            shutil.rmtree(path, ignore_errors=True)


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:
            continue
    return total
