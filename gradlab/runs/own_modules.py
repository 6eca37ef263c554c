"""Modules of the working folder: imported where a user named them and by code that lies there, not by libraries.

The folder is not on `sys.path`, where `import pyarrow` in a library would execute the user's `pyarrow.py`.
"""

import sys
import sysconfig
from collections.abc import Sequence
from contextvars import ContextVar
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FrameType, ModuleType

FILE_PREFIX = "gradlab_own_"
"""How the name of a module begins that was loaded from a file."""
NAMED_BY = "gradlab.runs.sources"
"""The module that imports what a user named."""
folder: ContextVar[Path | None] = ContextVar("folder", default=None)
"""The working folder, if it is not the current one."""

_PACKAGE = Path(__file__).parents[1]
_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
_IMPORTERS = ("importlib", "_frozen_importlib", "_frozen_importlib_external")


class OwnModuleFinder:
    """The last finder of `sys.meta_path`: top-level modules of the working folder, for code that may have them."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As Python asks every finder; `path` is of the package around a module, which knows its own folder."""
        return find_own(name) if path is None and _is_own(sys._getframe(1)) else None


def find_own(name: str) -> ModuleSpec | None:
    """A top-level module of the working folder; finding it imports nothing."""
    try:
        return PathFinder.find_spec(name, [str(working_folder())])
    except OSError:  # the folder was removed
        return None


def working_folder() -> Path:
    """The folder that paths and modules of the user's are relative to."""
    return folder.get() or Path.cwd()


def is_installed(path: Path) -> bool:
    """Whether a file belongs to an installed package."""
    return any(part in _INSTALLED for part in path.parts)


def is_standard(path: Path) -> bool:
    """Whether a file belongs to Python itself."""
    return not is_installed(path) and any(path.is_relative_to(each) for each in _STANDARD)


def _is_own(frame: FrameType | None) -> bool:
    """Whether the code that asks for an import was named by the user, or lies in the working folder."""
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _IMPORTERS:
        frame = frame.f_back
    if frame is None:
        return False
    name = str(frame.f_globals.get("__name__"))
    if name == NAMED_BY or name.startswith(FILE_PREFIX):
        return True
    path, own = Path(str(frame.f_globals.get("__file__") or frame.f_code.co_filename)), working_folder()
    if is_installed(path) or is_standard(path) or path.is_relative_to(_PACKAGE):
        return False
    return path.is_relative_to(own) or path.is_relative_to(own.resolve())
