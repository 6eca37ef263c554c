"""What a report was made from, so that what cannot have changed is not made twice. Loads no pandas, no matplotlib.

`made.json` beside a report has digests of its sources and of its files. It is derived like the rest, and never
trusted over the files: these are read and compared, and where anything differs or is damaged it is made again.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from gradlab.runs.files import LARGEST, OTHERS, digest, regular_bytes
from gradlab.runs.lock import is_dead
from gradlab.runs.schema import FILES
from gradlab.runs.store import Store
from gradlab.runs.sweeps import StoredSweep

FORMATS = ("html", "md", "csv")
"""What a report is written as; figures come with `md`."""
MADE = "made.json"
_READ = ("done.json", *(name for name in FILES if name != "params.npz"))
"""The files of a run that a report reads."""


class Sources(NamedTuple):
    """Digests of what a report is made from.

    Attributes:
        code: of gradlab, the installed libraries, and the folders that pages name files from.
        runs: of every file of each run that a report reads, and of whether its process lives, by id.
        whole: of all this and of what was asked for.
    """

    code: str
    runs: Mapping[str, str]
    whole: str


class Manifest(NamedTuple):
    """What a report was made from, and its files.

    Attributes:
        whole: of its `Sources`. warnings: on runs that were skipped.
        written: its files in the order of the report, those that are derived for the next one not among them.
        figures: the names of the figures that were made from sources of this digest.
        files: the digest of each file. All files are named from the results folder.
    """

    whole: str
    warnings: list[str]
    written: list[str]
    figures: dict[str, list[str]]
    files: dict[str, str]

    def is_intact(self, results: Path, name: str) -> bool:
        """Whether a file is as it was written."""
        return name in self.files and self.files[name] == digest_of(results / name)


EMPTY = Manifest("", [], [], {}, {})


def folder_of(results: Path, sweep: StoredSweep | None, run: str | None) -> Path:
    """Where the report of everything, of a sweep or of a run is written."""
    if sweep is not None:
        return results / "report" / "sweeps" / sweep.name
    return results / "report" / "runs" / run if run is not None else results / "report"


def sources_of(results: Path, sweep: StoredSweep | None, run: str | None, formats: Sequence[str]) -> Sources:
    """The digests of what a report would be made from now; every file of its runs is read."""
    names = [run] if run else sweep.ids if sweep else None
    code, runs = _code(), _runs(Store(results), names)
    asked = [str(results), vars(sweep) if sweep else None, run, sorted(formats)]
    return Sources(code, runs, hashed([code, runs, asked]))


def unchanged(results: Path, folder: Path, sources: Sources, warn: Callable[[str], None]) -> list[Path] | None:
    """The files of a report that is as it would be written now, None if it is not; repeats its warnings."""
    made = read_made(folder)
    if made.whole != sources.whole or not all(made.is_intact(results, name) for name in made.files):
        return None
    for message in made.warnings:
        warn(message)
    return [results / name for name in made.written]


def read_made(folder: Path) -> Manifest:
    """What there is to know of a report, `EMPTY` if there is none or its file is damaged."""
    try:
        stored = json.loads(regular_bytes(folder / MADE, OTHERS))
        made = Manifest(**stored["made"])
        return made if hashed(stored["made"]) == stored["digest"] else EMPTY
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return EMPTY


def write_made(folder: Path, made: Manifest) -> None:
    """Keep it with the report."""
    text = json.dumps({"digest": hashed(made._asdict()), "made": made._asdict()}, indent=0)
    (folder / MADE).write_text(text, encoding="utf-8")


def files_below(folder: Path, results: Path, target: Path) -> dict[str, str]:
    """The digests of the files in a folder, as they are named from the results once it is at `target`."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {named(target / path.relative_to(folder), results): digest_of(path) for path in paths}


def digest_of(path: Path) -> str:
    """The digest of a file of a report; "" if there is none."""
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def named(path: Path, results: Path) -> str:
    """A file as `Manifest` names it."""
    return path.relative_to(results).as_posix()


def hashed(value: Any) -> str:
    """The digest of what JSON can hold."""
    return digest(json.dumps(value, sort_keys=True).encode())


def _code() -> str:
    """Also of the settings that matplotlib reads, and of the folders that `public` leaves out of texts."""
    home = Path.home()
    asked = [Path(os.environ[name]) for name in ("MATPLOTLIBRC", "MPLCONFIGDIR") if os.environ.get(name)]
    folders = [Path.cwd(), *asked, Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "matplotlib"]
    settings = [digest_of(path) for folder in folders for path in (folder, folder / "matplotlibrc")]
    return hashed([_installed(), settings, str(Path.cwd()), str(home)])


@cache
def _installed() -> str:
    """The digest of every file of gradlab, and which versions of other packages are installed."""
    root = Path(__file__).parents[1]
    paths = sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    own = [(path.relative_to(root).as_posix(), digest(path.read_bytes())) for path in paths]
    folders = [folder for folder in sys.path if os.path.isdir(folder)]
    others = sorted(name for folder in folders for name in os.listdir(folder) if name.endswith("-info"))
    return hashed([own, others, sys.version])


def _runs(store: Store, names: Sequence[str] | None) -> dict[str, str]:
    settled, attempts = store.names()
    found = {run_id: [store.runs / run_id] for run_id in settled}
    for run_id, paths in attempts.items():
        found[run_id] = [*found.get(run_id, []), *sorted(paths)]
    wanted = sorted(found) if names is None else sorted(found.keys() & set(names))
    return {run_id: hashed([_run(str(folder)) for folder in found[run_id]]) for run_id in wanted}


def _run(folder: str) -> list[Any]:
    """The name of the folder of a run or an attempt, the digests of its files, and whether its process is dead."""
    name = os.path.basename(folder)
    files = [_run_file(Path(folder, file)) for file in _READ]
    return [name, files, name.startswith(".") and is_dead(Path(folder))]


def _run_file(path: Path) -> str:
    """The digest of a file of a run, or why it cannot be read."""
    try:
        return digest(regular_bytes(path, LARGEST.get(path.name, OTHERS)))
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
