"""Where the code of a module comes from: files of the user's own tree, and installed packages.

What a module imports is read from its source, so that it does not matter what has been imported already, or
will be when a function is called; what it got in another way, from what its names refer to.
"""

import ast
import importlib.metadata
import importlib.util
import json
import sys
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

_BELOW = ("gradlab", "jax", "jaxlib", "numpy", "__main__")
"""What every cell stands on: of these `env.json` keeps the versions, as it does for built-in cells."""
_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))


class Origins(NamedTuple):
    """What the code of a module consists of.

    Attributes:
        files: of the user's own, by the name of the module.
        packages: installed ones, `name==version`.
    """

    files: dict[str, Path]
    packages: tuple[str, ...]


def origins(root: str) -> Origins:
    """Where the code of an imported module comes from, however deep; installed packages are not looked into.

    Args:
        root: its name.
    """
    files: dict[str, Path] = {}
    packages: set[str] = set()
    waiting, seen = [root], {root}
    while waiting:
        name = waiting.pop()
        path = _file(name, asked=name == root)
        package = _package(name.partition(".")[0]) if path is not None and _is_installed(path) else ""
        if package:
            packages.add(package)
        elif path is not None:
            files[name] = path
        if path is not None and (not package or name == root):
            found = set(_mentioned(name, path)) - seen
            seen |= found
            waiting += sorted(found)
    return Origins(files, tuple(sorted(packages)))


def _file(name: str, *, asked: bool) -> Path | None:
    """The file of a module, imported or not; None where it has none, or what it comes with is below every cell."""
    if name.partition(".")[0] in _BELOW and not asked:
        return None
    module = sys.modules.get(name)
    spec = _spec(name) if module is None else None
    origin = getattr(module, "__file__", None) or (spec.origin if spec is not None and spec.has_location else None)
    if origin is None:
        return None
    path = Path(origin)
    standard = not _is_installed(path) and any(path.is_relative_to(folder) for folder in _STANDARD)
    return path if path.is_file() and (asked or not standard) else None


def _spec(name: str) -> ModuleSpec | None:
    """What would be imported under a name; finding it imports nothing."""
    parent, _, _ = name.rpartition(".")
    try:
        if not parent:
            return importlib.util.find_spec(name)
        folders = _folders(parent)
        return PathFinder.find_spec(name, folders) if folders else None
    except Exception:  # a finder of somebody else may raise anything, and then nothing is there
        return None


def _folders(package: str) -> list[str]:
    """The folders in which the modules of a package lie."""
    module = sys.modules.get(package)
    if module is not None:
        return list(getattr(module, "__path__", ()))
    spec = _spec(package)
    if spec is not None and spec.has_location:
        return list(spec.submodule_search_locations or ())
    # One without `__init__.py`, of which nothing can be asked before it is imported.
    parent, _, leaf = package.rpartition(".")
    places = (Path(folder) / leaf for folder in (_folders(parent) if parent else sys.path))
    return [str(place) for place in places if place.is_dir()]


def _is_installed(path: Path) -> bool:
    return any(part in _INSTALLED for part in path.parts)


def _mentioned(name: str, path: Path) -> Iterator[str]:
    """Names of modules that a module may have code of, with the packages that they are in."""
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    names = set(_imports(path.read_bytes(), package)) if path.suffix == ".py" else set()
    module = sys.modules.get(name)
    for key, value in list(vars(module).items()) if module is not None else ():
        if not key.startswith(("__", "@")):  # of Python's own, and of pytest's
            names.add(value.__name__ if isinstance(value, ModuleType) else _home(value))
    for each in names:
        parts = each.split(".")
        yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _home(value: object) -> str:
    """The module in which a function or class, or else the class of an object, was defined."""
    try:
        return str(getattr(value, "__module__", "") or type(value).__module__)
    except Exception:  # an object that stands for another may raise anything
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
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                names.append(first.value)
    return tuple(name for name in names if name and not name.startswith("."))


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


@lru_cache(maxsize=512)  # the code that runs is of the version that was there when it was imported
def _package(top: str) -> str:
    """`name==version` of what brought a top-level module, with the commit where it came from one; else nothing."""
    known = sorted(set(_distributions().get(top, ())))
    return " ".join(_version(name) for name in known)


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
