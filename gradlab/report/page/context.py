"""What a page is made from, as plain records: findings, tables, figures, commands."""

from collections.abc import Sequence
from typing import NamedTuple

from gradlab.report.data.study import Study
from gradlab.report.figures.embed import EmbeddedFigure
from gradlab.report.text.answers import Answer
from gradlab.report.text.environments import Environments


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: its heading. number: aligned to the right. detail: hidden until all columns are asked for.
        words: sorted as text even if there are numbers in it.
    """

    name: str
    number: bool = False
    detail: bool = False
    words: bool = False

    @property
    def classes(self) -> str | None:
        """Its classes in HTML, None if it has none."""
        return " ".join(name for name in ("number", "detail", "words") if getattr(self, name)) or None


class Table(NamedTuple):
    """A table of texts; the first column heads the rows."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    sortable: bool = True


class Tile(NamedTuple):
    """A setting at one length.

    Attributes:
        level: `all`, `some` or `none` of its seeds solved the task, or held the gradient if none was trained.
        solved: `3/3`, None if none was trained. reach: timesteps that the gradient reaches.
        decades: signs of the verdicts, and how far the gradient moves. kind: the verdict, or `mixed`.
        verdict: that of the seeds in words.
    """

    level: str
    solved: str | None
    reach: str
    decades: str
    kind: str
    verdict: str


class GridRow(NamedTuple):
    """A setting: the length up to which it solves the task, and a tile for each length, None if not run."""

    label: str
    solved_up_to: str
    tiles: Sequence[Tile | None]


class Grid(NamedTuple):
    """Settings of one task by length; `more_rows` and `more_lengths` count what it leaves out."""

    task: str
    trained: bool
    lengths: Sequence[int]
    rows: Sequence[GridRow]
    more_rows: int
    more_lengths: int


class Findings(NamedTuple):
    """What was found on one task: the headline, a grid for each kind of run, answers, and a sentence per setting."""

    task: str
    headline: str
    grids: Sequence[Grid]
    answers: Sequence[Answer]
    sentences: Sequence[str]


class FigureSection(NamedTuple):
    """Figures under one heading."""

    name: str
    heading: str
    figures: Sequence[EmbeddedFigure]


class ReportContext(NamedTuple):
    """Everything that a report says.

    Attributes:
        title, about: of the page. summary: how many runs there are, and what became of them.
        findings: for each task. study: the sweep, if it is one. constant: fields that all its runs share, in words.
        overview: the first figure of each task. sections: the others.
        numbers, lengths, costs: tables, None if there is nothing in them.
        failures: runs that failed or diverged, and what could not be read, a sentence each.
        commands: reproduce the runs. environments: how they were computed.
    """

    title: str
    about: str
    summary: str
    findings: Sequence[Findings]
    study: Study | None
    constant: str
    overview: Sequence[EmbeddedFigure]
    sections: Sequence[FigureSection]
    numbers: Table
    lengths: Table | None
    costs: Table | None
    failures: Sequence[str]
    commands: Sequence[str]
    environments: Environments
    csv: bool


class ComparedSide(NamedTuple):
    """One of two runs or sweeps, and what belongs to it alone."""

    letter: str
    name: str
    kind: str
    headlines: Sequence[str]
    sentences: Sequence[str]
    commands: Sequence[str]
    environments: Environments


class ComparisonContext(NamedTuple):
    """Everything that a comparison says; `differences` is None if both have the same configuration."""

    sides: Sequence[ComparedSide]
    differences: Table | None
    numbers: Table
    figures: FigureSection
