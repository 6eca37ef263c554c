"""What was found, in one file that is whole at any moment."""

import json
from pathlib import Path
from typing import Any

NAME = "bench-gpu.json"


class Record:
    """A JSON document of parts, each an object, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def read(self) -> dict[str, Any]:
        """Everything so far."""
        found: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        return found

    def put(self, part: str, **found: Any) -> None:
        """Add to a part, or replace what has the same name there."""
        whole = self.read()
        whole.setdefault(part, {}).update(found)
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps(whole, indent=1) + "\n")
        beside.replace(self.path)
