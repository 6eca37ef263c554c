"""Reading the files of a run: one that is no regular file, too large, damaged or replaced is a `DamagedFile`."""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradlab.errors import GradlabError
from gradlab.runs.archive import analyses_layout, curve_layout, norms_layout, read_archive
from gradlab.runs.schema import CONFIG, ENV, LINE, Check, ended
from gradlab.runs.spec import STORE

MB = 2**20
LARGEST = {"config.json": MB, "env.json": MB, "done.json": 64 * MB, "log.jsonl": 512 * MB, "curves.npz": 4096 * MB}
"""Bytes beyond which a file is not read; `OTHERS` for those that are not named."""
OTHERS = 32_768 * MB
_LAYOUTS = {"curves.npz": curve_layout, "every.npz": norms_layout, "analyses.npz": analyses_layout}


class DamagedFile(GradlabError):
    """A file of the store that cannot be used: its name, and what is wrong with it or with which field."""

    def __init__(self, folder: Path, name: str, wrong: str) -> None:
        self.wrong = f"{name} cannot be read ({wrong.removeprefix('.')})"
        # Bytes of a name that are no UTF-8 are spelt as in Python, so that any file can hold the text.
        self.folder = str(folder).encode("utf-8", "backslashreplace").decode()
        super().__init__(f"run {Path(self.folder).name}: {self.wrong}: run it again")

    @property
    def warning(self) -> str:
        """That the run is left out, and why."""
        return f"skipped {self.folder}: {self.wrong}; delete it or run again"


def regular_bytes(path: Path, most: int) -> bytes:
    """The bytes of a regular file; nothing of any other is read.

    Raises:
        ValueError: it is no regular file, or has more than `most` bytes. OSError: it cannot be read.
    """
    # Without O_NONBLOCK opening a FIFO waits for somebody who writes.
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        if status.st_size > most:
            raise ValueError(f"it has {status.st_size} bytes, more than {most}")
        return file.read()


def read_file(path: Path) -> bytes:
    """The bytes of a file of the store."""
    try:
        return regular_bytes(path, LARGEST.get(path.name, OTHERS))
    except ValueError as error:
        raise DamagedFile(path.parent, path.name, str(error)) from None
    except FileNotFoundError:
        raise DamagedFile(path.parent, path.name, "it is missing") from None
    except OSError as error:
        raise DamagedFile(path.parent, path.name, str(error.strerror)) from error


def read_object(path: Path, check: Check, digests: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The object in a JSON file whose fields `check` finds nothing wrong with; `digests` as of `verified`."""
    data = read_file(path)
    value = checked(path, data, check)
    verified(path, data, digests)
    return value


def checked(path: Path, data: bytes, check: Check) -> dict[str, Any]:
    """The JSON object in the bytes of a file whose fields `check` finds nothing wrong with."""
    value = parsed(data)
    if value is None:
        raise DamagedFile(path.parent, path.name, "it is no JSON object")
    if wrong := check(value):
        raise DamagedFile(path.parent, path.name, wrong)
    return value


def parsed(data: bytes) -> dict[str, Any] | None:
    """The JSON object in some bytes; None if they are something else."""
    try:
        value = _DECODER.decode(data.decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def verified(path: Path, data: bytes, digests: Mapping[str, str] | None) -> None:
    """DamagedFile if a file is not the one whose digest `done.json` has; None: the run has not ended."""
    if digests is not None and digests.get(path.name) != digest(data):
        raise DamagedFile(path.parent, path.name, "it was changed: its digest is not that in done.json")


def digest(data: bytes) -> str:
    """The digest that `done.json` has of a file."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read_config(folder: Path) -> dict[str, Any]:
    """The object of `config.json` of a run that has not ended, or of one that `done.json` says nothing about."""
    return read_object(folder / "config.json", _config_of(folder))


def read_ended(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The objects of `config.json` and `done.json` of a run that ended.

    Raises:
        DamagedFile: one of them cannot be used. GradlabError: a newer gradlab wrote them.
    """
    path = folder / "config.json"
    data = read_file(path)
    config = checked(path, data, _config_of(folder))
    done = read_object(folder / "done.json", ended)
    verified(path, data, done["digests"])
    return config, done


def _config_of(folder: Path) -> Check:
    """The check of a config, which says first whether a newer gradlab wrote it."""

    def check(value: Any) -> str:
        version = value.get("store")
        if type(version) is int and STORE < version < 2**31:
            raise GradlabError(
                f"{folder} was written by a newer gradlab (store {version}, this reads {STORE}): update gradlab"
            )
        return CONFIG(value)

    return check


def read_env(folder: Path, digests: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The object of `env.json`, empty if the run ended before it was written."""
    if _is_absent(folder / "env.json", digests):
        return {}
    return read_object(folder / "env.json", ENV, digests)


def read_log(folder: Path, digests: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The lines of `log.jsonl`; one that is torn is left out."""
    path = folder / "log.jsonl"
    if _is_absent(path, digests):
        return []
    data = read_file(path)
    verified(path, data, digests)
    lines = []
    for row, line in enumerate(data.splitlines(), 1):
        value = parsed(line)
        if value is not None:
            if wrong := LINE(value):
                raise DamagedFile(path.parent, f"{path.name}, line {row},", wrong)
            lines.append(value)
    return lines


def read_arrays(path: Path, digests: Mapping[str, str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an npz file."""
    data = read_file(path)
    verified(path, data, digests)
    try:
        arrays = read_archive(data)
    except ValueError as error:
        raise DamagedFile(path.parent, path.name, str(error)) from error
    layout = _LAYOUTS.get(path.name)
    if layout is not None and (wrong := layout(arrays)):
        raise DamagedFile(path.parent, path.name, wrong)
    return arrays


def _is_absent(path: Path, digests: Mapping[str, str] | None) -> bool:
    """Whether a file was never written; one with a digest was."""
    return path.name not in (digests or ()) and not os.path.lexists(path)
