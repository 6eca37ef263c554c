"""The context of a report, from the records of its runs and the figures that were drawn of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gradlab.report.data.by_length import constant
from gradlab.report.data.records import Labelled, Record, labelled
from gradlab.report.data.study import Study
from gradlab.report.figures.embed import EmbeddedFigure
from gradlab.report.page.context import FigureSection, Findings, ReportContext
from gradlab.report.page.grid import grid
from gradlab.report.page.tables import choices_table, costs_table, lengths_table, numbers_table
from gradlab.report.text.answers import answers, headline, presence, sentences, single, summary
from gradlab.report.text.environments import environments
from gradlab.report.text.outcomes import ending
from gradlab.report.text.plain import Sentence
from gradlab.report.text.terms import terms
from gradlab.runs.labels import describe
from gradlab.runs.spec import command

SECTIONS = {
    "curves": "Gradient norm against lag",
    "lengths": "Gradient and learning against length",
    "training": "Loss during training",
    "runs": "Closer look at single runs",
}


@dataclass(frozen=True)
class Selection:
    """The runs of a report.

    Attributes:
        records: the runs it is about. everything: these and those that did not come to an end.
        skipped: messages on what could not be read. study: the sweep, if it is one.
        single: whether it is about one run alone.
    """

    records: Sequence[Record]
    everything: Sequence[Record]
    skipped: Sequence[str] = ()
    study: Study | None = None
    single: bool = False

    @property
    def measured(self) -> list[Record]:
        """Those of its records that have a checkpoint."""
        return [record for record in self.records if record.marks]


def report_context(selection: Selection, figures: Sequence[EmbeddedFigure], *, csv: bool = False) -> ReportContext:
    """Everything that the report of some runs says; `csv` if the CSV tables are written beside it."""
    measured = selection.measured
    groups, series = labelled(measured), labelled(measured, without=["length"])
    study = selection.study
    same = constant(measured) if study and measured else {}
    several = any(len({record.config["length"] for record in group}) > 1 for _, group in series)
    return ReportContext(
        _title(selection),
        _about(selection),
        selection.single,
        presence(study) if study else summary(selection.records, measured),
        [_findings(task, some, figures, selection.single) for task, some in by_task(series)],
        study,
        terms(study.sweep, [record.config for record in measured]) if study and measured else "",
        choices_table(study.sweep) if study and study.sweep.choices else None,
        ", ".join(describe(name, value) for name, value in same.items()),
        list(figure_sections(figures)),
        numbers_table(groups),
        lengths_table(groups) if study or several else None,
        costs_table(groups),
        list(_failures(selection)),
        commands(labelled(selection.records)),
        environments(selection.records),
        csv,
    )


def _title(selection: Selection) -> str:
    if selection.study:
        return selection.study.sweep.title
    if selection.single:
        (record,) = selection.records
        ((label, _),) = labelled([record])
        return f"{label} on {record.config['task']}, T = {record.config['length']:,}, seed {record.seed}"
    return "How far does the gradient reach?"


def _about(selection: Selection) -> str:
    if selection.study:
        return f"sweep {selection.study.sweep.name}"
    runs = len(selection.everything)
    return f"run {selection.records[0].run.id}" if selection.single else f"{runs:,} run{'' if runs == 1 else 's'}"


def by_task(series: Labelled) -> Iterator[tuple[str, Labelled]]:
    """The settings of each task."""
    for task in dict.fromkeys(str(group[0].config["task"]) for _, group in series):
        yield task, [one for one in series if one[1][0].config["task"] == task]


def _findings(task: str, series: Labelled, figures: Sequence[EmbeddedFigure], alone: bool) -> Findings:
    kinds = [[one for one in series if one[1][0].trained == trained] for trained in (True, False)]
    found = single(series[0][1][0]) if alone else answers(series)
    mine = [one for one in figures if one.section == "overview" and one.choices.get("Task", task) == task]
    return Findings(
        task,
        headline(series),
        mine[0] if mine else None,
        [grid(some) for some in kinds if some],
        found,
        sentences(series),
    )


def figure_sections(figures: Sequence[EmbeddedFigure]) -> Iterator[FigureSection]:
    """The figures below the first one, by section."""
    for name, heading in SECTIONS.items():
        if mine := [figure for figure in figures if figure.section == name]:
            yield FigureSection(name, heading, mine)


def _failures(selection: Selection) -> Iterator[Sentence]:
    """Runs that diverged, failed, were interrupted or killed or never started, and what could not be read."""
    for record in selection.everything:
        if record.run.status not in ("measured", "solved", "trained"):
            yield Sentence(record.run.id, f" {ending(record)}")
    if selection.study:
        absent = selection.study.absent.items()
        yield from (Sentence(run, " is missing") for run, why in absent if why == "missing")
    yield from (Sentence("", why) for why in selection.skipped)


def commands(groups: Labelled) -> list[str]:
    """The commands that make these runs, one for each setting; with what else differs where two look alike."""
    lines = [
        command(group[0].config, [record.seed for record in group], file=group[0].run.env().get("file"))
        for _, group in groups
    ]
    alike = Counter(lines)
    return [
        f"{line}  # {label}" if alike[line] > 1 else line for line, (label, _) in zip(lines, groups, strict=True)
    ]
