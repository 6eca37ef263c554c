"""Ctrl-C that cannot get lost.

Python drops an exception that is raised while it cleans up after an object, and a KeyboardInterrupt with it. Each
press is therefore remembered, and asked for again when the next event of a run comes.
"""

import signal
import sys
from types import FrameType, TracebackType
from typing import Any

PATIENCE = 2
"""Presses after which one more ends the command at once, whatever it still has to write or to stop."""


class Interrupts:
    """While this context lasts, the first SIGINT raises KeyboardInterrupt at once, or else at the next `check`.

    The next one is only counted, so that whoever presses twice still reads what became of the run.

    Args:
        raising: False counts the first one too, for a command that has workers to stop first.
    """

    def __init__(self, *, raising: bool = True) -> None:
        self.presses = 0
        self._raising = raising

    def __enter__(self) -> "Interrupts":
        self._handler = signal.signal(signal.SIGINT, self._hear)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._dropped
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._handler)
        sys.unraisablehook = self._hook

    def check(self) -> None:
        """Raise the KeyboardInterrupt that Python dropped."""
        if self._raising and self.presses:
            raise KeyboardInterrupt

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.presses += 1
        if (self._raising and self.presses == 1) or self.presses > PATIENCE:
            raise KeyboardInterrupt

    def _dropped(self, unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            self._hook(unraisable)
