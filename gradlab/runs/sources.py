"""Custom code: a user's file or module as it is on disk now, and a digest of all the code that it consists of.

The digest is of the named file, of every module of the user's that it imports, and of the versions of the
installed packages that these import. Python keeps what it has imported, so if one of these files has changed, all
of them are imported again.
"""

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from gradlab.runs import own_modules
from gradlab.runs.origins import Origins, origins
from gradlab.runs.own_modules import FILE_PREFIX, OwnModuleFinder, working_folder

_WITHOUT_DOTS = ("haiku",)
"""Libraries whose cells stand in their top-level module."""


class _Loaded(NamedTuple):
    """A module, what it consists of, and the digest of that."""

    module: ModuleType
    origins: Origins
    contents: dict[str, bytes]
    digest: str


_loaded: dict[str, _Loaded] = {}
_imported: dict[str, tuple[ModuleType, bytes]] = {}
"""By the name of a module of the user's: the module, and the source that it was imported with."""


def is_own(name: str) -> bool:
    """Whether the first part of a variant names a file or module of the user's, not a registered name."""
    return name.endswith(".py") or "/" in name or "." in name or name in _WITHOUT_DOTS


def own_name(name: str) -> str:
    """The one spelling of a file: relative to the working directory if it lies below it, else absolute.

    Args:
        name: a path that ends in `.py`; the name of a module stays as it is.

    Example:
        >>> own_name("./cells/../my.py"), own_name("package.module")
        ('my.py', 'package.module')
    """
    if not name.endswith(".py"):
        return name
    path, folder = own_path(name), working_folder().resolve()
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def own_path(name: str) -> Path:
    """The absolute path of a file."""
    return (working_folder() / name).resolve()


@contextmanager
def working_in(folder: str) -> Iterator[None]:
    """Read paths and import modules as from this folder, the working directory of the command that sent a job."""
    if not Path(folder).is_dir() or Path(folder).resolve() == Path.cwd():
        yield
        return
    token = own_modules.folder.set(Path(folder))
    try:
        yield
    finally:
        own_modules.folder.reset(token)


def load(name: str) -> tuple[ModuleType, str]:
    """A file or module as it is now, the same object while nothing changes, and the digest of its code.

    Args:
        name: a path that ends in `.py`, or the name of a module.

    Raises:
        Exception: whatever importing it raises.
    """
    root = name
    if name.endswith(".py"):
        root = FILE_PREFIX + hashlib.blake2b(str(own_path(name)).encode(), digest_size=6).hexdigest()
    known = _loaded.pop(root, None)
    if known is not None and sys.modules.get(root) is not known.module:
        known = None  # other code has had it imported again
    if known is not None and _contents(known.origins) != known.contents:
        _forget(known.origins)
        known = None
    if known is None:
        known = _load(name, root)
    _loaded[root] = known
    return known.module, known.digest


def _load(name: str, root: str) -> _Loaded:
    """Import a module, and once more if Python had kept a part of it that has changed since."""
    before = set(sys.modules)
    with _folder_and_environment_kept():
        module = _import(name, root)
    found = origins(root)
    contents = _contents(found)
    if any(_is_stale(each, contents[each]) for each in before & contents.keys()):
        _forget(found)
        module = _import(name, root)
        found = origins(root)
        contents = _contents(found)
    _imported.update({each: (sys.modules[each], contents[each]) for each in contents if each in sys.modules})
    digest = hashlib.blake2b(contents.get(root, b""), digest_size=8)
    for each in sorted(contents):
        if each != root and contents[each]:
            digest.update(f"\0{each}\0".encode() + hashlib.blake2b(contents[each]).digest())
    for package in found.packages:
        digest.update(f"\0{package}".encode())
    return _Loaded(module, found, contents, digest.hexdigest())


@contextmanager
def _folder_and_environment_kept() -> Iterator[None]:
    """What code that is imported changes in the process of a command would move its results and other runs."""
    folder, environment = os.getcwd(), dict(os.environ)
    os.environ.setdefault("KERAS_BACKEND", "jax")  # which keras reads when it is imported
    try:
        yield
    finally:
        os.chdir(folder)
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)


def _import(name: str, root: str) -> ModuleType:
    if OwnModuleFinder not in sys.meta_path:
        sys.meta_path.append(OwnModuleFinder)
    if root == name:
        return importlib.import_module(name)
    path = own_path(name)
    spec = importlib.util.spec_from_file_location(root, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[root] = module  # dataclasses look their module up while it is executed
    try:
        # Not by its loader, which may run bytecode of another source of the same size and second.
        exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), vars(module))
    except BaseException:
        del sys.modules[root]
        raise
    return module


def _contents(found: Origins) -> dict[str, bytes]:
    """The source of every file, empty if the file was removed."""
    return {name: path.read_bytes() if path.is_file() else b"" for name, path in found.files.items()}


def _is_stale(name: str, content: bytes) -> bool:
    """Whether a module was imported from another source than this."""
    module = sys.modules[name]
    known, source = _imported.get(name, (None, b""))
    if known is module:
        return source != content
    # Imported by other code: its bytecode records the second and the size of its source.
    spec = module.__spec__
    try:
        header, stat = Path(str(spec and spec.cached)).read_bytes()[:16], Path(str(spec and spec.origin)).stat()
    except OSError:
        return False
    fields = [int.from_bytes(header[at : at + 4], "little") for at in (4, 8, 12)]
    return fields[0] == 0 and fields[1:] != [int(stat.st_mtime) & 0xFFFFFFFF, stat.st_size & 0xFFFFFFFF]


def _forget(found: Origins) -> None:
    """Have Python import these modules again, and the modules inside those of them that are packages."""
    for path in found.files.values():
        with suppress(OSError, NotImplementedError):  # without bytecode an edit within a second is seen
            Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    inside = tuple(f"{name}." for name in found.files)
    for name in [name for name in sys.modules if name in found.files or name.startswith(inside)]:
        module = sys.modules.pop(name)
        parent, _, leaf = name.rpartition(".")
        if getattr(sys.modules.get(parent), leaf, None) is module:
            delattr(sys.modules[parent], leaf)
        _imported.pop(name, None)
    importlib.invalidate_caches()
