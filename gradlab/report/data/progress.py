"""How far the reading of many runs is: a bar as text, and on a terminal for those who use gradlab as a library."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WIDTH = 24
"""Characters of the bar."""
EVERY = 50
"""Runs between two messages."""

Tell = Callable[[str], None]


def reading(tell: Tell) -> Callable[[int, int], None]:
    """Tells of every few runs how many of how many are read, with a bar.

    Example:
        >>> reading(print)(50, 200)
        report: [######                  ] 50 of 200 runs read
    """

    def seen(count: int, total: int) -> None:
        if count % EVERY == 0:
            tell(f"report: {bar(count, total)} runs read")

    return seen


def bar(count: int, total: int) -> str:
    """So many of so many, as a bar and in numbers.

    Example:
        >>> bar(6, 12)
        '[############            ] 6 of 12'
    """
    done = "#" * (WIDTH * count // max(total, 1))
    return f"[{done:{WIDTH}}] {count:,} of {total:,}"


@contextmanager
def terminal_progress() -> Iterator[Tell]:
    """Messages on standard error that take each other's place, and leave nothing; none where it is no terminal."""
    stream = sys.stderr
    if stream is None or not stream.isatty():
        yield lambda text: None
        return

    def tell(text: str) -> None:
        stream.write(f"\r\x1b[K{text}")
        stream.flush()

    try:
        yield tell
    finally:
        tell("")
