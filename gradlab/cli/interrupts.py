"""Ctrl-C, for the whole of a command: an interrupted one ends with exit code 130 and without a traceback."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
GRACEFUL_PRESSES = 2
"""Presses that let a command store its runs and stop its processes; the next one ends it at once."""


EXIT_SECONDS = 3.0
"""Seconds within which a command ends that has no processes to stop. Files are written whole or not at all."""
DEBOUNCE_SECONDS = 0.5
"""Seconds within which a second press is taken for the first one."""


class Interrupts:
    """Counts presses of Ctrl-C: each raises KeyboardInterrupt, in `counting` only beyond `GRACEFUL_PRESSES`."""

    def __init__(self) -> None:
        self.presses = 0
        self._raising, self._last = True, -DEBOUNCE_SECONDS

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle SIGINT within a command; also silence a KeyboardInterrupt that Python drops in a finaliser."""
        self.presses, self._raising, self._last = 0, True, -DEBOUNCE_SECONDS
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handler, hook = signal.signal(signal.SIGINT, self._count), sys.unraisablehook
        sys.unraisablehook = lambda unraisable: (
            None if isinstance(unraisable.exc_value, KeyboardInterrupt) else hook(unraisable)
        )
        read, write = os.pipe()
        os.set_blocking(write, False)
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        ended = threading.Event()
        threading.Thread(target=self._watch, args=(read, ended), daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            signal.set_wakeup_fd(before)
            os.close(write)
            sys.unraisablehook = hook
            signal.signal(signal.SIGINT, handler)

    def _watch(self, read: int, ended: threading.Event) -> None:
        """End a command that does not: it compiles, or Python dropped its KeyboardInterrupt."""
        while signals := os.read(read, 1):
            if signals[0] == signal.SIGINT and self._raising and not ended.wait(EXIT_SECONDS):
                os._exit(INTERRUPTED)
        os.close(read)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Only count the first presses, for a command that has processes to stop."""
        self._raising = False
        try:
            yield
        finally:
            self._raising = True

    def _count(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self._raising and now < self._last + DEBOUNCE_SECONDS:
            return
        self.presses, self._last = self.presses + 1, now
        if self._raising or self.presses > GRACEFUL_PRESSES:
            raise KeyboardInterrupt


interrupts = Interrupts()
"""Those of this process."""


def leave(code: int) -> NoReturn:
    """End the process. After Ctrl-C at once: threads of XLA may still compile, and Python would end under them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if code != INTERRUPTED:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)
