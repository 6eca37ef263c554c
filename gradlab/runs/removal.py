"""Removing runs: what can be removed, and how, without a reader ever seeing half of a run."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gradlab.errors import GradlabError
from gradlab.runs.attempt import erase, token
from gradlab.runs.lock import is_dead, seize
from gradlab.runs.store import Store


@dataclass(frozen=True)
class Removable:
    """What can be removed of one run: its directory and those of dead attempts at it; status may be `corrupt`."""

    id: str
    status: str
    paths: tuple[Path, ...]
    size: int


def removable(store: Store, runs: Mapping[str, str]) -> list[Removable]:
    """What can be removed of these runs, given by id and status; one that is only being written is left out."""
    settled, attempts = store.names()
    found = []
    for run_id, status in runs.items():
        paths = [store.runs / run_id] if run_id in settled else []
        paths += sorted(path for path in attempts.get(run_id, []) if is_dead(path))
        if paths:
            status = "killed" if status == "running" else status
            found.append(Removable(run_id, status, tuple(paths), sum(map(_size, paths))))
    return found


def select_removable(store: Store, name: str) -> tuple[str, str]:
    """Id and status of the run of this name, as `Store.find` reads it; a corrupt one needs its whole name."""
    try:
        run = store.find(name)
    except GradlabError:
        if name in store.names()[0]:
            return name, "corrupt"
        raise
    if not removable(store, {run.id: run.status}):
        raise GradlabError(f"run {run.id} is running{run.process}: stop it there, then remove it")
    return run.id, run.status


def remove(store: Store, found: Removable) -> None:
    """Remove a run: each directory is renamed first, so that no reader sees half of it."""
    for path in found.paths:
        lock = seize(path) if path.name.startswith(".") else None
        if path.name.startswith(".") and lock is None:
            continue  # a process continues it, or removed it
        # Readers skip this name, and `clear_trash` removes it should this process die.
        trash = store.runs / f".trash.{found.id}.{token()}"
        try:
            os.rename(path, trash)
        except FileNotFoundError:
            continue  # another process removed it
        except OSError as error:
            raise GradlabError(f"run {found.id} cannot be removed from {path}: {error.strerror}") from error
        erase(trash)


def clear_trash(store: Store) -> None:
    """Remove what was renamed to be removed by a process that died; one that lives only wants the same."""
    for path in store.runs.glob(".trash.*"):
        erase(path)


def _size(folder: Path) -> int:
    total = 0
    for path in [folder] if folder.is_symlink() else folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_size
    return total
