"""Tables of numbers as notebooks show them: Markdown, and HTML made from it."""

import re
from collections.abc import Iterable, Sequence

from gradlab.gradient.summary import Summary, in_decades

LEAF_COLUMNS = ("leaf", "span", "slope", "half-life", "horizon", "verdict")
_MARKS = re.compile(r"([\\`*_{}\[\]<>|&$~#])")


class NotebookTable:
    """What a notebook shows as a table: `_repr_markdown_` is given, and HTML made from it."""

    def _repr_markdown_(self) -> str:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        from markdown_it import MarkdownIt

        return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(self._repr_markdown_()))


def markdown_table(
    heading: str, columns: Sequence[str], rows: Iterable[Sequence[object]], notes: Iterable[str] = ()
) -> str:
    r"""A heading, a table and notes below it; no mark of Markdown or HTML in a text is one of the page.

    Example:
        >>> print(markdown_table("a <b>", ["x"], [["1|2"]], ["one note"]))
        **a \<b\>**
        <BLANKLINE>
        | x |
        |---|
        | 1\|2 |
        <BLANKLINE>
        - one note
    """
    table = [f"| {' | '.join(map(_literal, row))} |" for row in (columns, *rows)]
    table.insert(1, f"|{'---|' * len(columns)}")
    below = [f"- {_literal(note)}" for note in notes]
    return "\n\n".join("\n".join(part) for part in ([f"**{_literal(heading)}**"], table, below) if part)


def rows_of_leaves(leaves: Sequence[str]) -> list[str]:
    """The leaves with a row of their own: not `state`, which is the last one, if it is a single leaf."""
    return list(leaves[:-1] if len(leaves) == 2 else leaves)


def leaf_cells(leaf: str, summary: Summary) -> list[str]:
    """The cells of `LEAF_COLUMNS`."""
    verdict = str(summary.verdict).removeprefix(f"{leaf}: ")
    numbers = map(str, (summary.slope, summary.half_life, summary.horizon))
    return [leaf, in_decades(summary.span), *numbers, verdict]


def _literal(text: object) -> str:
    return _MARKS.sub(r"\\\1", " ".join(str(text).split()))
