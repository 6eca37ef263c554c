"""What was found, in one file that is whole at any moment."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAME = "bench-gpu.json"


class Record:
    """A JSON document of parts, each an object, in a folder; two processes may write to it at a time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def read(self) -> dict[str, Any]:
        """Everything so far."""
        found: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        return found

    def put(self, part: str, **found: Any) -> None:
        """Add to a part, or replace what has the same name there."""
        with self._alone():
            whole = self.read()
            whole.setdefault(part, {}).update(found)
            beside = self.path.with_suffix(".new")
            beside.write_text(json.dumps(whole, indent=1) + "\n")
            beside.replace(self.path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)
