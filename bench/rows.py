"""Every number of the report is one row of a tidy table, and everything else is made from the rows."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bench.case import Case
from bench.targets import Target

COLUMNS = (
    "section",
    "cell",
    "T",
    "H",
    "B",
    "contender",
    "median_ms",
    "min_ms",
    "value",
    "unit",
    "ratio",
    "sense",
    "target",
    "met",
    "note",
)


@dataclass(frozen=True)
class Row:
    """One number with where it belongs.

    Args:
        section: of the report.
        contender: who or what was measured.
        cell: and `T`, `H`, `B`: at which size, where there is one.
        median_ms: over rounds, of a training step or a pass; `min_ms` likewise.
        value: any other number, in `unit`.
        ratio: to what the section compares with.
        sense: `>=` or `<=`, of the target; empty where there is none.
        target: for the ratio, or for the value where there is no ratio.
    """

    section: str
    contender: str
    cell: str = ""
    T: int | None = None
    H: int | None = None
    B: int | None = None
    median_ms: float | None = None
    min_ms: float | None = None
    value: float | None = None
    unit: str = ""
    ratio: float | None = None
    sense: str = ""
    target: float | None = None
    note: str = ""

    @property
    def goal(self) -> Target | None:
        """The target, if there is one."""
        return Target(self.sense, self.target) if self.sense and self.target is not None else None

    @property
    def judged(self) -> float | None:
        """The number that the target is about."""
        return self.value if self.ratio is None else self.ratio

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none or nothing was measured."""
        return None if self.goal is None or self.judged is None else self.goal.met(self.judged)

    @property
    def size(self) -> tuple[Any, ...]:
        """T, H, B."""
        return self.T, self.H, self.B


def of_case(case: Case, section: str, contender: str, target: Target | None = None, **numbers: Any) -> Row:
    """A row at the size of a case."""
    size = dict(zip("THB", case.size, strict=True))
    return aimed(section, contender, target, cell=case.cell, **size, **numbers)


def aimed(section: str, contender: str, target: Target | None = None, **numbers: Any) -> Row:
    """A row that belongs to no size of the table."""
    if target is None:
        return Row(section, contender, **numbers)
    return Row(section, contender, sense=target.sense, target=target.value, **numbers)


def verdict(row: Row) -> str:
    """`met`, `**missed**` or nothing."""
    return {True: "met", False: "**missed**", None: ""}[row.met]


def write(path: Path, rows: Iterable[Row], heading: Mapping[str, str]) -> None:
    """The rows as CSV, with the machine as comments above them."""
    with path.open("w", newline="") as stream:
        for name, text in heading.items():
            stream.write(f"# {name}: {text}\n")
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(COLUMNS)
        for row in rows:
            numbers = asdict(row) | {"met": row.met}
            table.writerow([_cell(numbers[column]) for column in COLUMNS])


def read(path: Path) -> tuple[list[Row], dict[str, str]]:
    """What `write` wrote."""
    lines = path.read_text().splitlines()
    comments = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    heading = dict(line.split(": ", 1) for line in comments)
    table = csv.DictReader(line for line in lines if not line.startswith("# "))
    return [_row(record) for record in table], heading


def select(rows: Sequence[Row], section: str, **where: Any) -> list[Row]:
    """The rows of a section whose attributes are as said."""
    chosen = (row for row in rows if row.section == section)
    return [row for row in chosen if all(getattr(row, name) == value for name, value in where.items())]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _row(record: Mapping[str, str]) -> Row:
    whole, text = ("T", "H", "B"), ("section", "contender", "cell", "unit", "sense", "note")
    given: dict[str, Any] = {}
    for field in fields(Row):
        cell = record[field.name]
        if field.name in text:
            given[field.name] = cell
        elif cell:
            given[field.name] = int(cell) if field.name in whole else float(cell)
    return Row(**given)
