"""Ctrl-C that Python cannot lose in a finaliser: presses are counted, and raised at the next event of a run."""

import signal
import sys
from types import FrameType, TracebackType
from typing import Any

GRACEFUL = 2
"""Presses that let the command write its results and stop its workers; the next one ends it at once."""


class Interrupts:
    """A context in which the first SIGINT raises KeyboardInterrupt at once, or at the next `check` if lost.

    The second one is only counted, so that the outcome of the run is still printed.

    Args:
        raising: False only counts the first one too, for a command that has workers to stop.
    """

    def __init__(self, *, raising: bool = True) -> None:
        self.presses = 0
        self._raising = raising

    def __enter__(self) -> "Interrupts":
        self._handler = signal.signal(signal.SIGINT, self._count)
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

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.presses += 1
        if (self._raising and self.presses == 1) or self.presses > GRACEFUL:
            raise KeyboardInterrupt

    def _dropped(self, unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            self._hook(unraisable)
