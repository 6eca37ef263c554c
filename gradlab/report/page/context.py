"""What a page is made from, as plain records: findings, tables, figures, commands."""

from collections.abc import Sequence
from typing import NamedTuple

from gradlab.report.data.study import Study
from gradlab.report.figures.embed import EmbeddedFigure
from gradlab.report.text.answers import Answer
from gradlab.report.text.environments import Environments
from gradlab.report.text.plain import Sentence


class Column(NamedTuple):
    """A column; `detail` is hidden until all columns are shown, `words` sorts as text, `number` aligns right."""

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
    """A setting at one length; `level` is all, some or none of its seeds, `kind` the verdict or `mixed`."""

    level: str
    solved: str | None
    reach: str
    decades: str
    kind: str
    verdict: str


class GridRow(NamedTuple):
    """A setting; a tile for each length, None if it was not run there."""

    label: str
    solved_up_to: str
    tiles: Sequence[Tile | None]


class Grid(NamedTuple):
    """Settings of one task by length; `more_rows` and `more_lengths` count what it leaves out, `when` it is of.

    `terms` follow what was solved: `, at one setting`.
    """

    task: str
    trained: bool
    when: str
    lengths: Sequence[int]
    rows: Sequence[GridRow]
    more_rows: int
    more_lengths: int
    terms: str


class Findings(NamedTuple):
    """What was found on one task: a picture, a grid for each kind of run, answers, a sentence for each setting."""

    task: str
    headline: str
    overview: EmbeddedFigure | None
    grids: Sequence[Grid]
    answers: Sequence[Answer]
    sentences: Sequence[Sentence]


class FigureSection(NamedTuple):
    """Figures under one heading."""

    name: str
    heading: str
    figures: Sequence[EmbeddedFigure]


class ReportContext(NamedTuple):
    """Everything that a report says.

    Attributes:
        summary: how many runs there are, and what became of them. findings: for each task.
        terms: on which the cells of a sweep are compared. choices: what its trials chose, None without trials.
        constant: fields that all runs of a sweep share. sections: all figures but the first of each task.
        commands: one for each setting. csv: whether the CSV tables stand beside the page.
    """

    title: str
    about: str
    single: bool
    summary: Sentence
    findings: Sequence[Findings]
    study: Study | None
    terms: str
    choices: Table | None
    constant: str
    sections: Sequence[FigureSection]
    numbers: Table
    lengths: Table | None
    costs: Table | None
    failures: Sequence[Sentence]
    commands: Sequence[str]
    environments: Environments
    csv: bool


class ComparedSide(NamedTuple):
    """One of two runs or sweeps, and what belongs to it alone."""

    letter: str
    name: str
    kind: str
    headlines: Sequence[str]
    sentences: Sequence[Sentence]
    commands: Sequence[str]
    environments: Environments


class ComparisonContext(NamedTuple):
    """Everything that a comparison says; `differences` is None if both have the same configuration."""

    sides: Sequence[ComparedSide]
    differences: Table | None
    numbers: Table
    figures: FigureSection
