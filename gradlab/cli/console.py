"""Output of a command: data on stdout, messages and progress on stderr. The only file that imports rich."""

import os
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from gradlab.errors import GradlabError
from gradlab.runs.jsonable import dumps, printable

VERDICT_STYLE = {
    "vanishing": "bold red",
    "exploding": "bold magenta",
    "both": "bold red",
    "non-finite": "bold red",
    "cut": "bold red",
    "noise": "yellow",
    "held": "green",
}
STATUS_STYLE = {
    "solved": "bold green",
    "trained": "yellow",
    "measured": "cyan",
    "diverged": "bold magenta",
    "interrupted": "yellow",
    "killed": "yellow",
    "failed": "bold red",
    "regressed": "bold red",
    "unchanged": "green",
    "inconclusive": "yellow",
    "fault": "bold red",
}


WIDE = 100
"""Letters from which on sentences are a column of a table; else they stand below it."""
LONGEST_WORD = 14
"""Longer words are names, which may be broken; a number or a verdict in two pieces cannot be read."""


class _Console(Console):
    """A console that survives a closed pipe: the command still ends with its own exit code."""

    def on_broken_pipe(self) -> None:
        """Drop further output."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


_data: list[TextIO] = []
"""Where the data of the present command goes, if not to `sys.stdout`."""


@contextmanager
def stdout_for_data() -> Iterator[None]:
    """What a user's cell prints goes to stderr: stdout has the data of a command alone."""
    _data.append(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _data.pop()


_log: list[Path] = []
"""The file of `--log-file`, if the present command has one."""


def log_to(path: Path | None) -> Path | None:
    """From now on append every message to the file; None ends that."""
    _log[:] = [] if path is None else [path]
    try:
        _append("")
    except OSError as error:
        _log.clear()
        raise GradlabError(f"--log-file is `{path}`: it cannot be written ({error.strerror})") from None
    return path


def _append(text: str) -> None:
    """Each line with the time; opened anew, so that the file may be moved away meanwhile."""
    at = time.strftime("%Y-%m-%d %H:%M:%S%z")
    for path in _log:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{at} {line.rstrip()}\n" for line in text.splitlines())


def _console(*, stderr: bool) -> Console:
    # FORCE_COLOR alone must not make rich draw moving lines into a log file.
    stream = sys.stderr if stderr else _data[-1] if _data else sys.stdout
    # A file has no width: tables in it are not folded unless COLUMNS is set.
    width = None if stream.isatty() or "COLUMNS" in os.environ else 160
    return _Console(file=stream, highlight=False, width=width, force_interactive=stream.isatty())


class Screen:
    """stdout and stderr of one command; control characters in texts are shown escaped."""

    def __init__(self, out: Console | None = None, err: Console | None = None) -> None:
        self.out = out or _console(stderr=False)
        self.err = err or _console(stderr=True)

    @property
    def live(self) -> bool:
        """Whether progress may be redrawn in place."""
        return self.err.is_terminal and self.err.is_interactive

    def line(self, text: str = "", style: str = "") -> None:
        """One line of data, never wrapped."""
        self.out.print(Text(printable(text), style=style), soft_wrap=True)

    def prose(self, text: str, style: str = "") -> None:
        """A sentence below a table or plot, wrapped to the width of the terminal."""
        wraps = self.out.is_terminal or "COLUMNS" in os.environ
        self.out.print(Text(printable(text), style=style), soft_wrap=not wraps)

    def raw(self, text: str) -> None:
        """Text for another program, unchanged."""
        try:
            self.out.file.write(text + "\n")
            self.out.file.flush()
        except BrokenPipeError:
            self.out.on_broken_pipe()

    def json(self, value: Any) -> None:
        """The object of `--json`."""
        self.raw(dumps(value, indent=1))

    def note(self, text: str, style: str = "", *, quiet: bool = False) -> None:
        """One message on stderr, never wrapped, and in the log file; there alone if quiet."""
        if not quiet:
            self.err.print(Text(printable(text), style=style), soft_wrap=True)
        try:
            _append(printable(text))
        except OSError as error:  # no run ends because of its log
            _log.clear()
            self.warn(f"--log-file cannot be written any more: {error.strerror}")

    @property
    def logs(self) -> bool:
        """Whether there is a log file."""
        return bool(_log)

    def error(self, text: str) -> None:
        """One line that says what went wrong."""
        self.note(f"gradlab: {text}", "bold red" if self.err.is_terminal else "")

    def warn(self, text: str) -> None:
        """A warning, one line."""
        self.note(f"gradlab: warning: {text}", "yellow" if self.err.is_terminal else "")

    def heading(self, text: str) -> None:
        """A title after an empty line."""
        self.out.print()
        self.prose(text, "bold")

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        right: Iterable[str] = (),
        fold: Sequence[str] = (),
    ) -> None:
        """A table; verdicts and statuses are coloured, and never told apart by colour alone.

        Args:
            columns: headings. rows: cells.
            right: right-aligned columns.
            fold: columns that may wrap on a narrow terminal, the first ones first: names stand last.
        """
        body = [[printable(cell) for cell in row] for row in rows]
        widths = _widths(columns, body, fold, self.out.width)
        flush = [str.rjust if column in set(right) else str.ljust for column in columns]
        lines = []
        for index, row in enumerate([list(columns), *body]):
            cells = [_wrapped(cell, width, hyphens=not index) for cell, width in zip(row, widths, strict=True)]
            for depth in range(max(map(len, cells))):
                line = Text(style="" if index else "bold")
                for at, (cell, width, place) in enumerate(zip(cells, widths, flush, strict=True)):
                    text = cell[depth] if depth < len(cell) else ""
                    line.append(" " * bool(at) + place(text, width), _style(row[at]) if index else "")
                line.rstrip()
                lines.append(line)
        if self.out.is_terminal or self.out.record:
            self.out.print(Text("\n").join(lines), soft_wrap=True)
        else:
            self.raw("\n".join(line.plain for line in lines))


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]], fold: Sequence[str], room: int) -> list[int]:
    """Widths that fit the room if possible: headings wrap first, then cells at spaces, then inside long names."""
    cells = [[row[at] for row in rows] for at in range(len(columns))]
    bodies = [max(map(len, each), default=0) for each in cells]
    words = [_longest_word([name.replace("-", "- ")]) for name in columns]
    widths = [max(body, len(name)) for body, name in zip(bodies, columns, strict=True)]
    if sum(widths) + len(widths) - 1 > room:
        widths = [max(body, word) for body, word in zip(bodies, words, strict=True)]
    for whole_words in (True, False):
        for at in [columns.index(name) for name in fold if name in columns]:
            longest = _longest_word(cells[at])
            least = max(words[at], longest if whole_words or longest <= LONGEST_WORD else 0)
            excess = sum(widths) + len(widths) - 1 - room
            widths[at] = max(min(widths[at], least), widths[at] - max(excess, 0))
    return widths


def _longest_word(texts: Iterable[str]) -> int:
    return max((len(word) for text in texts for word in text.split()), default=1)


def _wrapped(cell: str, width: int, *, hyphens: bool) -> list[str]:
    return [cell] if len(cell) <= width else textwrap.wrap(cell, width, break_on_hyphens=hyphens) or [""]


class Progress:
    """Lines on stderr that are redrawn on a terminal; nothing elsewhere."""

    def __init__(self, screen: Screen) -> None:
        self._live = Live(console=screen.err, transient=True, auto_refresh=False) if screen.live else None

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, text: str) -> None:
        """Replace the lines."""
        if self._live:
            self._live.update(
                Text(printable(text, keep="\n"), style="cyan", no_wrap=True, overflow="ellipsis"), refresh=True
            )


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _style(cell: str) -> str:
    word = cell.split(" ", 1)[0]
    return VERDICT_STYLE.get(word, STATUS_STYLE.get(word, ""))
