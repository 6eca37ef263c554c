"""What a page is made from, as plain records: findings, tables, figures, commands."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading. number: aligned to the right. detail: hidden until all columns are asked for.
        words: sorted as text even where there are numbers in it.
    """

    name: str
    number: bool = False
    detail: bool = False
    words: bool = False

    @property
    def classes(self) -> str | None:
        """Its classes in HTML, None if it has none."""
        return " ".join(name for name in ("number", "detail") if getattr(self, name)) or None


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column heads the rows."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    sortable: bool = True
