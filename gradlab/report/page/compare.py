"""Two runs, or two sweeps, on one page: what differs between their configurations, and what each found."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradlab.errors import GradlabError
from gradlab.report.data.records import Labelled, Record, labelled, read
from gradlab.report.data.study import study_of
from gradlab.report.figures.curves import checkpoint_figure
from gradlab.report.figures.drawing import Drawing, line_style
from gradlab.report.figures.embed import embedded
from gradlab.report.figures.gallery import SETTINGS, by_task_and_length, safe_name
from gradlab.report.figures.length_axes import LengthLine
from gradlab.report.figures.lengths import lengths_figure, solving_figure
from gradlab.report.figures.training import loss_figure
from gradlab.report.page.build import by_task, commands
from gradlab.report.page.context import Column, ComparedSide, ComparisonContext, FigureSection, Table
from gradlab.report.page.render import put_page, render
from gradlab.report.page.tables import NUMBERS, number_rows, table
from gradlab.report.page.write import SCRIPTS, STYLES
from gradlab.report.text.answers import headline, sentences
from gradlab.report.text.environments import environments
from gradlab.report.text.findings import beginning, changes
from gradlab.runs.store import Store
from gradlab.runs.sweeps import stored_sweep, sweep_names

MOST_NAMED = 4
"""Settings that a heading names."""


@dataclass(frozen=True)
class Side:
    """One of the two: a sweep or a run, by its name, with its runs that were measured."""

    name: str
    kind: str
    records: list[Record]


_IMPORTED = ("task", "cell", "length", "seed", "params", "imported")
"""What an imported curve states."""


def side(store: Store, name: str, warn: Callable[[str], None]) -> Side:
    """The sweep of this name, or else the run with an id that begins so; `warn` is called for what is skipped.

    Raises:
        GradlabError: there is neither, or nothing of it was measured.
    """
    sweep = name in sweep_names(store.root)
    stored = stored_sweep(store.root, name) if sweep else None
    ids: Sequence[str] = stored.ids if stored else [store.find(name).id]
    name, kind = (name, "sweep") if sweep else (ids[0], "run")
    found = read(store.root, warn, ids)
    found = study_of(stored, found).records if stored else found
    records = [record for record in found if record.marks and record.run.finished]
    if not records:
        raise GradlabError(f"{kind} {name} has no finished run that was measured, so there is nothing to compare")
    return Side(name, kind, records)


def write_comparison(
    first: Side, second: Side, target: Path, progress: Callable[[str], None] = lambda message: None
) -> Path:
    """Write the page of two runs, or two sweeps, to a file; `progress` is called with messages on progress.

    Raises:
        GradlabError: they are not of one kind, are the same, or the file cannot be written.
    """
    if first.kind != second.kind:
        raise GradlabError(
            f"{first.name} is a {first.kind} and {second.name} a {second.kind}: give two of one kind"
        )
    if first.name == second.name:
        raise GradlabError(f"both are {first.kind} {first.name}: give two different ones")
    figures = []
    for drawing in _drawings((first, second)):
        progress(f"report: {drawing.name}")
        figures.append(embedded(drawing))
    data = {"figure-data": {figure.name: figure.data for figure in figures if figure.data}}
    context = {"comparison": _context((first, second), FigureSection("figures", "Both in one figure", figures))}
    return put_page(target, render("compare.html.j2", context, styles=STYLES, scripts=SCRIPTS, data=data))


def _context(sides: Sequence[Side], figures: FigureSection) -> ComparisonContext:
    rows = [
        [f"{letter}: {row[0]}", *row[1:]]
        for letter, one in zip("AB", sides, strict=True)
        for row in number_rows(labelled(one.records))
    ]
    found = [_side(letter, one) for letter, one in zip("AB", sides, strict=True)]
    return ComparisonContext(found, _differences(sides), table(NUMBERS, rows, "rows"), figures)


def _side(letter: str, one: Side) -> ComparedSide:
    series = labelled(one.records, without=["length"])
    return ComparedSide(
        letter,
        one.name,
        one.kind,
        [headline(some) for _, some in by_task(series)],
        sentences(series),
        commands(labelled(one.records)),
        environments(one.records),
    )


def _differences(sides: Sequence[Side]) -> Table | None:
    """The fields whose values are not the same on both sides."""
    values = [_values(one.records) for one in sides]
    names = [name for name in values[0] | values[1] if values[0].get(name) != values[1].get(name)]
    columns = [
        Column("field"),
        *(Column(f"{letter}: {one.name}") for letter, one in zip("AB", sides, strict=True)),
    ]
    rows = [[name.replace("_", " "), *(each.get(name, "-") for each in values)] for name in names]
    return Table("Fields", columns, rows, sortable=False) if rows else None


def _values(records: Sequence[Record]) -> dict[str, str]:
    """Every field with all values it has; those that an imported curve does not state are at a default."""
    stated = [
        {name: value for name, value in one.config.items() if name in _IMPORTED or not one.config.get("imported")}
        for one in records
    ]
    names = dict.fromkeys(name for config in stated for name in config)
    values = {name: [str(config[name]) for config in stated if name in config] for name in names}
    return {name: ", ".join(dict.fromkeys(each)) for name, each in values.items()}


def _both(sides: Sequence[Side], some: Sequence[Record], without: Sequence[str] = ()) -> Labelled:
    """The settings of both sides among some runs, `A: LSTM` and `B: LSTM` one after the other."""
    ids = {id(record) for record in some}
    found = [
        (label, letter, group)
        for letter, one in zip("AB", sides, strict=True)
        for label, group in labelled((record for record in one.records if id(record) in ids), without=without)
    ]
    order = [label for label, _, _ in found]
    found.sort(key=lambda each: (order.index(each[0]), each[1]))
    return [(f"{letter}: {label}", group) for label, letter, group in found][:SETTINGS]


def _drawings(sides: Sequence[Side]) -> Iterator[Drawing]:
    """Both sides in each figure: curves and loss for each task and length, then numbers against length."""
    everything = [record for one in sides for record in one.records]
    for name, some, *_ in by_task_and_length(everything):
        both = _both(sides, some)
        names, groups = [label for label, _ in both], [group for _, group in both]
        roles = ("initial", "final") if all(group[0].trained for group in groups) else ("initial",)
        yield checkpoint_figure(f"cells-{name}", groups, names, roles, _finding(both, roles))
        if trained := [(label, group) for label, group in both if group[0].trained]:
            yield loss_figure(f"loss-{name}", [group for _, group in trained], [label for label, _ in trained])
    for task in sorted({str(record.config["task"]) for record in everything}):
        some = [record for record in everything if record.config["task"] == task]
        both = _both(sides, some, without=["length"])
        if len({record.config["length"] for record in some}) > 1:
            lines = [LengthLine(label, line_style(index), group) for index, (label, group) in enumerate(both)]
            if all(group[0].trained for _, group in both):
                yield solving_figure(f"solving-{safe_name(task)}", lines)
            yield lengths_figure(f"lengths-{safe_name(task)}", lines)


def _finding(both: Labelled, roles: Sequence[str]) -> str:
    """`, at initialisation: A: LSTM 1.7 decades lost; B: GRU 5.3 decades lost`."""
    parts = []
    for role in roles:
        found = [f"{label} {changes(group, role)}" for label, group in both]
        more = [f"and {len(found) - MOST_NAMED} more"] if len(found) > MOST_NAMED else []
        first = beginning(record for _, group in both for record in group)
        when = first if role == "initial" else "at the end of training"
        parts.append(f", {when}: {'; '.join([*found[:MOST_NAMED], *more])}")
    return "".join(parts)
