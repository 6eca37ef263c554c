"""What is printed and where: data on stdout, messages and progress on stderr. The only file that knows rich."""

import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import IO

from rich.console import Console, JustifyMethod
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

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
}


MANY_ROWS = 200
"""A longer table is laid out by its longest cells, not by the width of the terminal."""


class _Console(Console):
    """A console whose reader may leave, as `head` does: what is left to say then goes nowhere."""

    def on_broken_pipe(self) -> None:
        """Let the command go on and end with its own exit code."""
        _silence(self.file)


def _silence(stream: IO[str]) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _console(*, stderr: bool) -> Console:
    # FORCE_COLOR alone must not make rich draw moving lines into a log file.
    stream = sys.stderr if stderr else sys.stdout
    # A file has no width, so a table in it is not folded unless COLUMNS asks for that.
    width = None if stream.isatty() or "COLUMNS" in os.environ else 160
    return _Console(stderr=stderr, highlight=False, width=width, force_interactive=stream.isatty())


class Screen:
    """stdout and stderr of one command."""

    def __init__(self, out: Console | None = None, err: Console | None = None) -> None:
        self.out = out or _console(stderr=False)
        self.err = err or _console(stderr=True)

    @property
    def live(self) -> bool:
        """Whether progress may be redrawn in place."""
        return self.err.is_terminal and self.err.is_interactive

    def line(self, text: str = "", style: str = "") -> None:
        """One line of data, never wrapped."""
        self.out.print(Text(text, style=style), soft_wrap=True)

    def raw(self, text: str) -> None:
        """Text for another program, exactly as it is."""
        try:
            self.out.file.write(text + "\n")
            self.out.file.flush()
        except BrokenPipeError:
            self.out.on_broken_pipe()

    def note(self, text: str, style: str = "") -> None:
        """One message on stderr, never wrapped."""
        self.err.print(Text(text, style=style), soft_wrap=True)

    def error(self, text: str) -> None:
        """One line that says what went wrong."""
        self.note(f"gradlab: {text}", "bold red" if self.err.is_terminal else "")

    def warn(self, text: str) -> None:
        """One line that says what is odd."""
        self.note(f"gradlab: warning: {text}", "yellow" if self.err.is_terminal else "")

    def heading(self, text: str) -> None:
        """A line that names what follows."""
        self.out.print()
        self.out.print(Text(text, style="bold"), soft_wrap=True)

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        right: Iterable[str] = (),
        fold: Iterable[str] = (),
    ) -> None:
        """A table; words such as verdicts and statuses carry their colour, and never only colour.

        Args:
            columns: headings. rows: cells.
            right: columns that are aligned to the right.
            fold: columns that may break into lines where the terminal is narrow.
        """
        kept = list(rows)
        if len(kept) > MANY_ROWS:
            self._plain_table(columns, kept, set(right))
            return
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for column in columns:
            justify: JustifyMethod = "right" if column in right else "left"
            widest_word = max(map(len, column.split()))
            table.add_column(
                escape(column),
                justify=justify,
                overflow="fold",
                no_wrap=column not in fold,
                min_width=widest_word,
            )
        for row in kept:
            table.add_row(*(Text(cell, style=_style(cell)) for cell in row))
        self.out.print(table)

    def _plain_table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], right: set[str]) -> None:
        """A table of any length at once: rich takes a second for 5,000 rows. Long headings take several lines."""
        bodies = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        widths = [max(body, len(column)) for body, column in zip(bodies, columns, strict=True)]
        if sum(widths) + len(widths) > self.out.width:
            words = [max(map(len, column.split())) for column in columns]
            widths = [max(body, word) for body, word in zip(bodies, words, strict=True)]
        heads = [textwrap.wrap(column, width) for column, width in zip(columns, widths, strict=True)]
        deep = max(map(len, heads))
        tops = [[head[row] if row < len(head) else "" for head in heads] for row in range(deep)]
        flush = [str.rjust if column in right else str.ljust for column in columns]

        def line(cells: Sequence[str]) -> str:
            padded = (place(cell, width) for place, cell, width in zip(flush, cells, widths, strict=True))
            return " ".join(padded).rstrip()

        if self.out.is_terminal:
            text = Text()
            text.append("".join(f"{line(top)}\n" for top in tops), "bold")
            for cells in rows:
                text.append(line(cells) + "\n", next(filter(None, map(_style, cells)), ""))
            self.out.print(text, soft_wrap=True, end="")
        else:
            self.raw("\n".join(map(line, (*tops, *rows))))

    def progress(self) -> "Progress":
        """A line that is redrawn on a terminal; nothing elsewhere."""
        return Progress(self)


class Progress:
    """The live line of a run, on stderr."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._live = Live(console=screen.err, transient=True, auto_refresh=False) if screen.live else None

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._live:
            self._live.update(Text(text, style="cyan", no_wrap=True, overflow="ellipsis"), refresh=True)


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _style(cell: str) -> str:
    word = cell.split(" ", 1)[0]
    return VERDICT_STYLE.get(word, STATUS_STYLE.get(word, ""))
