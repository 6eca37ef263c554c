"""The time that a run may take: asked for at every event, and enforced where a run hangs and has no event."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

GRACE = 5.0
"""Seconds past its deadline after which a run that has not noticed it is stopped from outside."""


class OutOfTime(Exception):
    """A run took longer than it may."""


class Deadline:
    """The time of one run, from the moment this is made.

    Args:
        seconds: how long it may take; None for ever.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def reason(self) -> str:
        """What is said of a run that took longer."""
        return f"ran past its {self.seconds:g} s"

    def check(self) -> None:
        """Raise where the time is over.

        Raises:
            OutOfTime: it is.
        """
        if self._end is not None and time.monotonic() > self._end:
            raise OutOfTime(self.reason)

    @contextmanager
    def alarm(self) -> Iterator[None]:
        """Interrupt the main thread, where the run is, `GRACE` seconds after the deadline."""
        if self.seconds is None or not hasattr(signal, "setitimer"):
            yield
            return

        def ring(number: int, frame: FrameType | None) -> None:
            raise OutOfTime(self.reason)

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, self.seconds + GRACE)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    @contextmanager
    def watchdog(self, bite: Callable[[], None]) -> Iterator[None]:
        """Call `bite` from a thread of its own `GRACE` seconds after the deadline."""
        if self.seconds is None:
            yield
            return
        timer = threading.Timer(self.seconds + GRACE, bite)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
