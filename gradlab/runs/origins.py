"""What the code of a module consists of: files of the user's own, and installed packages.

Imports are read from the source, so that it does not matter what has been imported already or is imported when a
function is called, and from what the names of a loaded module refer to.
"""

import ast
import importlib.metadata
import importlib.util
import json
import sys
import warnings
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from gradlab.runs.own_modules import find_own, is_installed, is_standard, working_folder

_CORE_PACKAGES = ("gradlab", "jax", "jaxlib", "numpy", "__main__")
"""Packages that every cell depends on; their versions are in `env.json`."""


class Origins(NamedTuple):
    """What the code of a module consists of: the user's files by module name, and `name==version` of packages."""

    files: dict[str, Path]
    packages: tuple[str, ...]


def origins(root: str) -> Origins:
    """What the code of an imported module consists of, transitively; installed packages are not looked into."""
    files: dict[str, Path] = {}
    packages: set[str] = set()
    waiting, seen = [root], {root}
    while waiting:
        name = waiting.pop()
        path = _file(name, is_root=name == root)
        if path is None:
            continue
        package = _package(name.partition(".")[0]) if is_installed(path) else ""
        if package:
            packages.add(package)
        else:
            files[name] = path
        if not package or name == root:
            found = set(_referenced_modules(name, path)) - seen
            seen |= found
            waiting += sorted(found)
    return Origins(files, tuple(sorted(packages)))


def _file(name: str, *, is_root: bool) -> Path | None:
    """The file of a module, imported or not; None if it has none, or belongs to Python or the basis."""
    if name.partition(".")[0] in _CORE_PACKAGES and not is_root:
        return None
    module = sys.modules.get(name)
    spec = _spec(name) if module is None else None
    origin = getattr(module, "__file__", None) or (spec.origin if spec is not None and spec.has_location else None)
    if origin is None:
        return None
    path = Path(origin)
    return path if path.is_file() and (is_root or not is_standard(path)) else None


def _spec(name: str) -> ModuleSpec | None:
    """What would be imported under a name; finding it imports nothing."""
    parent, _, _ = name.rpartition(".")
    try:
        if not parent:
            return importlib.util.find_spec(name) or find_own(name)
        folders = _folders(parent)
        return PathFinder.find_spec(name, folders) if folders else None
    except Exception:  # another package's finder may raise anything
        return None


def _folders(package: str) -> list[str]:
    """The folders that hold the modules of a package."""
    module = sys.modules.get(package)
    if module is not None:
        return list(getattr(module, "__path__", ()))
    spec = _spec(package)
    if spec is not None and spec.has_location:
        return list(spec.submodule_search_locations or ())
    # A package without `__init__.py`, of which nothing can be asked before it is imported.
    parent, _, leaf = package.rpartition(".")
    around = _folders(parent) if parent else [*sys.path, str(working_folder())]
    places = (Path(folder) / leaf for folder in around)
    return [str(place) for place in places if place.is_dir()]


def _referenced_modules(name: str, path: Path) -> Iterator[str]:
    """Names of modules that a module may take code from, and of the packages around them."""
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    names = set(_imports(path.read_bytes(), package)) if path.suffix == ".py" else set()
    module = sys.modules.get(name)
    with warnings.catch_warnings(action="ignore"):  # an object of a library may warn when it is looked at
        for key, value in list(vars(module).items()) if module is not None else ():
            if not key.startswith(("__", "@")):  # names of Python and of pytest
                names.add(value.__name__ if isinstance(value, ModuleType) else _defining_module(value))
    for each in names:
        parts = each.split(".")
        yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _defining_module(value: object) -> str:
    """The module that defines a function or class, or else the class of an object."""
    try:
        return str(getattr(value, "__module__", "") or type(value).__module__)
    except Exception:  # a proxy object may raise anything
        return type(value).__module__


@lru_cache(maxsize=512)
def _imports(source: bytes, package: str) -> tuple[str, ...]:
    """Every name that a source imports, in functions too; `from a import b` may mean a module a.b."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                names.append(node.args[0].value)
    return tuple(name for name in names if name and not name.startswith("."))


@lru_cache(maxsize=512)  # the code that runs is of the version at the time of its import
def _package(top: str) -> str:
    """`name==version` of the distribution of a top-level module, with its commit if known; else empty."""
    return " ".join(_version(name) for name in sorted(set(_distributions().get(top, ()))))


def _version(name: str) -> str:
    found = importlib.metadata.distribution(name)
    try:
        commit = json.loads(found.read_text("direct_url.json") or "{}")["vcs_info"]["commit_id"]
    except (KeyError, TypeError, ValueError):
        return f"{name}=={found.version}"
    return f"{name}=={found.version}@{commit}"


@lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())
