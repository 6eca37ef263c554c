"""Cells and tasks of installed packages, by their entry points `gradlab.cells` and `gradlab.tasks`.

    [project.entry-points."gradlab.cells"]
    leaky = "my_package.cells:Leaky"

Finding them imports nothing: a package is imported when its cell is named.
"""

import re
from collections.abc import Container
from functools import lru_cache
from importlib.metadata import entry_points
from typing import NamedTuple

from gradlab.errors import described

_NAME = re.compile(r"[A-Za-z_][\w-]*")
_VALUE = re.compile(r"([\w.]+)\s*:\s*(\w+)")


class Plugin(NamedTuple):
    """What a package offers: the module and the name in it, and the package with its version."""

    module: str
    attribute: str
    package: str


class Plugins(NamedTuple):
    """The plugins by name, and a message for each that cannot be used."""

    found: dict[str, Plugin]
    problems: tuple[str, ...]


def plugins(kind: str, taken: Container[str] = ()) -> Plugins:
    """The plugins of the installed packages.

    Args:
        kind: cell or task. taken: names that gradlab has itself.
    """
    found: dict[str, Plugin] = {}
    problems = []
    for name, value, package in _entries(f"gradlab.{kind}s"):
        match = _VALUE.fullmatch(value)
        reason = ""
        if match is None:
            reason = f"it says `{value}`, and not module:name"
        elif not _NAME.fullmatch(name):
            reason = "a name is letters, digits, _ and -"
        elif name in taken:
            reason = f"gradlab has a {kind} of that name"
        elif name in found and found[name].package != package:
            reason = f"{found[name].package} has one of that name"
        if reason:
            problems.append(f"{kind} `{name}` of {package} is left out: {reason}")
        elif match is not None:
            found[name] = Plugin(match[1], match[2], package)
    return Plugins(found, tuple(problems))


@lru_cache
def _entries(group: str) -> tuple[tuple[str, str, str], ...]:
    """Name, value and package of every entry point, read once in a process."""
    return tuple((point.name, point.value, _package_of(point)) for point in entry_points(group=group))


def _package_of(point: object) -> str:
    """The name and version of the package of an entry point."""
    try:
        dist = point.dist  # type: ignore[attr-defined]
        return f"{dist.name} {dist.version}"
    except Exception as error:  # metadata of others may be damaged
        return f"a package without metadata ({described(error)})"
