"""The store: plain files, one directory per run, no database. Loads no jax.

An attempt is written in `runs/.<id>.<random>/`, which its process keeps locked (`lock.py`), and renamed to
`runs/<id>/` after `done.json`. A process that dies in between leaves a directory that readers show as killed and
the next attempt replaces.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradlab.errors import GradlabError, nearest
from gradlab.runs.attempt import REDO, Attempt, erase, is_finished, token
from gradlab.runs.files import DamagedFile, read_arrays, read_config, read_ended, read_env, read_log
from gradlab.runs.lock import FileClaim, claim, hold, holder, is_dead, own, seize
from gradlab.runs.schema import DONE, is_name
from gradlab.runs.spec import plain_id


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
        return _place(self.holder)

    def log(self) -> list[dict[str, Any]]:
        """The lines of `log.jsonl`, one for each checkpoint; a torn line is skipped."""
        return read_log(self.path, self.digests)

    def arrays(self, name: str = "curves.npz") -> dict[str, np.ndarray]:
        """The arrays of an npz file of the run; DamagedFile if it is missing, replaced or cannot be read."""
        return read_arrays(self.path / name, self.digests)

    def env(self) -> dict[str, Any]:
        """How the run was computed."""
        return read_env(self.path, self.digests)

    def has(self, name: str) -> bool:
        """Whether a file of the run was written."""
        return name in (self.digests or ()) or (self.path / name).exists()

    @property
    def digests(self) -> dict[str, str] | None:
        """The digest of each file of a run that ended."""
        return self.done.get("digests")


class Store:
    """The runs below a results folder.

    Args:
        root: the results folder, made when something is written; `GRADLAB_RESULTS` or `results` if None.

    Example:
        >>> import tempfile
        >>> from gradlab.runs.spec import RunSpec
        >>> store = Store(tempfile.mkdtemp())
        >>> spec = RunSpec(steps=0)
        >>> attempt = store.begin(spec.id, spec.config())
        >>> store.find(spec.id).status
        'running'
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
            attempt = Attempt(run_id, path, self.runs / run_id, dict(config), hold(path))
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
            with suppress(OSError, DamagedFile):  # another process was faster, or it was torn
                if read_config(other) == dict(config):
                    other.rename(path)
                    return Attempt(run_id, path, self.runs / run_id, dict(config), lock)
        return self.begin(run_id, config)

    def _new(self, run_id: str) -> Path:
        return self.runs / f".{run_id}.{token()}"

    def reopen(self, run_id: str) -> None:
        """Let the next successful attempt at a finished run replace it; until then it stays readable."""
        with suppress(FileNotFoundError):
            (self.runs / run_id / REDO).write_text("")

    def redone(self, run_id: str) -> str:
        """Status of the last attempt at a run that is to be repeated, empty if none ended."""
        try:
            return (self.runs / run_id / REDO).read_text()
        except OSError:
            return ""

    def peek(self, run_id: str) -> StoredRun | None:
        """The stored run of this id, finished or not; None if it has no directory of its own, or a damaged one."""
        with suppress(DamagedFile):
            return read_run(self.runs / run_id)
        return None

    def completed(self, run_id: str, config: Mapping[str, Any]) -> StoredRun | None:
        """The finished run of this very config, None if there is none or its files were changed."""
        return self.peek(run_id) if is_finished(self.runs / run_id, config) else None

    def each(
        self,
        warn: Callable[[str], None] = lambda message: None,
        names: Iterable[str] | None = None,
        progress: Callable[[int, int], None] = lambda count, total: None,
    ) -> Iterator[StoredRun]:
        """Every run, or those of `names` that exist, one at a time, so that thousands need not fit in memory.

        `warn` is called for each that is damaged, `progress` with how many of how many were read; a run of a newer
        gradlab is a GradlabError.
        """
        settled, attempts = self.names()
        there = settled | attempts.keys()
        wanted = sorted(there if names is None else there & set(names))
        for count, run_id in enumerate(wanted):
            progress(count, len(wanted))
            try:
                run = self._stored(run_id, attempts.get(run_id, []))
            except DamagedFile as error:
                warn(error.warning)
            else:
                if run is not None:
                    yield run

    def names(self) -> tuple[set[str], dict[str, list[Path]]]:
        """Ids of the runs that have a directory, and the directories of attempts by the id of their run.

        Raises:
            GradlabError: the folder cannot be read.
        """
        settled: set[str] = set()
        attempts: dict[str, list[Path]] = {}
        try:
            with os.scandir(self.runs) as entries:
                names = [entry.name for entry in entries if _is_folder(entry)]
        except (FileNotFoundError, NotADirectoryError):
            names = []
        except OSError as error:
            raise GradlabError(f"results folder `{self.root}` cannot be read: {error.strerror}") from error
        for name in names:
            if not name.startswith("."):
                settled.add(name)
            elif not name.startswith(".trash") and is_name(_attempted(name)):
                attempts.setdefault(_attempted(name), []).append(self.runs / name)
        return settled, attempts

    def find(self, name: str, *, trained: bool = False, prefer_trained: bool = False) -> StoredRun:
        """The run of this id, or the only one whose id begins or ends with it.

        Args:
            trained: consider only runs that have parameters.
            prefer_trained: of several the one that was trained and finished, if others were not, or the one of no
                further options; follows from `trained`.

        Raises:
            GradlabError: none or several match, or it is damaged.
        """
        given, name = name, Path(name).name
        if not name:
            raise GradlabError(f"run `{given}` names none: `gradlab ls` lists the runs")
        settled, attempts = self.names()
        ids = settled | attempts.keys()
        near = [name] if name in ids else [each for each in ids if each.startswith(name) or each.endswith(name)]
        damaged: list[str] = []
        runs = {run.id: run for run in self.each(damaged.append, near)}
        matches = list(runs)
        if trained and name not in runs:
            matches = [run_id for run_id in matches if (runs[run_id].path / "params.npz").exists()]
        if (trained or prefer_trained) and name not in runs:
            matches = [run_id for run_id in matches if runs[run_id].config["steps"]] or matches
            matches = [run_id for run_id in matches if runs[run_id].finished] or matches
            matches = [run_id for run_id in matches if run_id == plain_id(runs[run_id].config)] or matches
        if len(matches) == 1:
            return runs[matches[0]]
        if matches:
            listed = ", ".join(f"{run_id} ({runs[run_id].status})" for run_id in matches[:3])
            raise GradlabError(f"run `{name}` could be any of {len(matches)}, such as {listed}: give more of it")
        if damaged:
            raise GradlabError(damaged[0].removeprefix("skipped "))
        hint = nearest(name, ids) or "; `gradlab ls` lists the runs"
        raise GradlabError(f"run `{name}` is not in {self.root}{hint}")

    def attempts(self, run_id: str) -> list[Path]:
        """Directories of attempts at a run."""
        return [path for path in self.runs.glob(f".{run_id}.*") if _attempted(path.name) == run_id]

    def running_elsewhere(self) -> dict[str, str]:
        """Where other processes compute runs: by the id of each, ` in process 123 on host` or `` if not known."""
        settled, attempts = self.names()
        del settled
        found = [(run_id, path) for run_id, paths in attempts.items() for path in paths]
        # A directory without a config is one that its process has just made, or left behind.
        alive = [(run_id, path) for run_id, path in found if (path / "config.json").exists() and not is_dead(path)]
        return {
            run_id: StoredRun(run_id, path, "running", {}).process for run_id, path in alive if own(path) is None
        }

    def claim(self, run_id: str) -> FileClaim | str:
        """The claim to compute a run, held until it is released; where the process is that has it, if another has.

        A command claims a run before it starts a process, so that two that start at once do not both compute it.
        """
        path = self.runs / f".claim.{run_id}"
        with self._writing():
            self.runs.mkdir(parents=True, exist_ok=True)
            return claim(path) or _place(holder(path))

    def _stored(self, run_id: str, attempts: list[Path]) -> StoredRun | None:
        """The run of this id, else an attempt at it, a running one before a dead one; None if it is gone."""
        path = self.runs / run_id
        try:
            run = read_run(path)
        except DamagedFile:
            if not attempts:
                raise
            run = None
        begun = [read_run(one) for one in sorted(attempts) if run is None and (one / "config.json").exists()]
        found = [attempt for attempt in begun if attempt is not None]
        # An attempt may have been finished since the folder was listed.
        return run or max(found, key=lambda each: each.status == "running", default=None) or read_run(path)


def read_run(path: Path) -> StoredRun | None:
    """The run or the attempt in a directory, None if there is none.

    Raises:
        DamagedFile: it cannot be used. GradlabError: a newer gradlab wrote it.
    """
    if not os.path.lexists(path):
        return None
    if path.name.startswith("."):
        config = read_config(path)
        return StoredRun(_attempted(path.name), path, "killed" if is_dead(path) else "running", config)
    if not is_name(path.name):
        raise DamagedFile(path, "its name", "a run has one of letters, digits and . _ = - alone")
    config, done = read_ended(path)
    return StoredRun(path.name, path, done["status"], config, done)


def _place(found: Mapping[str, Any]) -> str:
    """` in process 123 on host`, empty if it is not known."""
    return f" in process {found['pid']} on {found['host']}" if found else ""


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a directory, or a link that leads in circles, which is reported as a damaged run."""
    try:
        return entry.is_dir()
    except OSError:
        return True


def _attempted(name: str) -> str:
    """The id of the run that a directory `.<id>.<random>` is an attempt at."""
    return name[1:].rpartition(".")[0]
