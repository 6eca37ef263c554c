"""Two runs, or two sweeps, on one page: what each was asked, what each found, and their curves overlaid."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from gradlab import __version__
from gradlab.errors import GradlabError
from gradlab.report.data.outcomes import outcome
from gradlab.report.data.records import Record, grouped, labels, named, read
from gradlab.report.figures.curves import probe_figure
from gradlab.report.figures.drawing import Drawing, look
from gradlab.report.figures.embed import Framed, framed
from gradlab.report.figures.gallery import SETTINGS, by_task_and_length
from gradlab.report.figures.length_axes import Line
from gradlab.report.figures.lengths import lengths_figure, solving_figure
from gradlab.report.figures.training import loss_figure
from gradlab.report.page.assembly import SCRIPTS, STYLES
from gradlab.report.page.html import Markup, blocks, command_block, document, prose, section, table, tag
from gradlab.report.page.parts import folded, long_table
from gradlab.report.page.write import put_page
from gradlab.report.text import sections
from gradlab.report.text.findings import changes
from gradlab.report.text.length_limit import sentence
from gradlab.runs.store import Store
from gradlab.runs.sweeps import stored_sweep, sweep_names

ROWS = 200
NAMED = 4
"""Settings that a heading names."""


@dataclass(frozen=True)
class Side:
    """One of the two: a sweep or a run, by its name, with its runs that were measured."""

    name: str
    kind: str
    records: list[Record]


def side(store: Store, name: str, warn: Callable[[str], None]) -> Side:
    """The sweep of this name, or else the run.

    Args:
        store: the results folder. name: of a sweep, or a run's id or enough of it. warn: hears what was skipped.

    Raises:
        GradlabError: there is neither, or nothing of it was measured.
    """
    if name in sweep_names(store.root):
        ids: Sequence[str] = stored_sweep(store.root, name).ids
        kind = "sweep"
    else:
        ids, kind = [store.find(name).id], "run"
        name = ids[0]
    records = [record for record in read(store.root, warn, ids) if record.marks and record.run.finished]
    if not records:
        raise GradlabError(f"{kind} {name} has no finished run that was measured, so there is nothing to compare")
    return Side(name, kind, records)


def write_comparison(
    first: Side, second: Side, target: Path, progress: Callable[[str], None] = lambda message: None
) -> Path:
    """Write the page of two sides to a file.

    Args:
        first, second: two runs, or two sweeps. target: the file. progress: hears how far it got.

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
        figures.append(framed(drawing))
    return put_page(target, _page((first, second), figures))


def _settings(sides: Sequence[Side], records: Sequence[Record]) -> tuple[list[list[Record]], list[str]]:
    """The settings of both sides among some runs, `A: LSTM` and `B: LSTM` one after the other."""
    found: list[tuple[str, str, list[Record]]] = []
    for letter, one in zip("AB", sides, strict=True):
        groups = grouped(record for record in one.records if record in records)
        found += [(label, letter, group) for label, group in zip(labels(groups), groups, strict=True)]
    order = [label for label, _, _ in found]
    found.sort(key=lambda each: (order.index(each[0]), each[1]))
    return [group for _, _, group in found], [f"{letter}: {label}" for label, letter, _ in found]


def _drawings(sides: Sequence[Side]) -> Iterator[Drawing]:
    """Both sides in each figure: against length, then for each task and length before and after, and the loss."""
    everything = [record for one in sides for record in one.records]
    for task in sorted({str(record.config["task"]) for record in everything}):
        lines = _lines(sides, task)
        if len({record.config["length"] for line in lines for record in line.group}) > 1:
            if all(line.group[0].trained for line in lines):
                yield solving_figure(f"solving-{task}", lines)
            yield lengths_figure(f"lengths-{task}", lines)
    for name, some in by_task_and_length(everything):
        groups, names = _settings(sides, some)
        roles = ("initial", "final") if any(record.trained for record in some) else ("initial",)
        for role in roles:
            finding = _finding(groups, names, role)
            yield probe_figure(f"{role}-{name}", groups[:SETTINGS], names[:SETTINGS], role, finding)
        trained = [index for index, group in enumerate(groups) if group[0].trained][:SETTINGS]
        if trained:
            yield loss_figure(f"loss-{name}", [groups[i] for i in trained], [names[i] for i in trained])


def _finding(groups: Sequence[Sequence[Record]], names: Sequence[str], role: str) -> str:
    """`, at initialisation: A: LSTM 1.7 decades lost; B: GRU 5.3 decades lost`."""
    when = "at initialisation" if role == "initial" else "at the end of training"
    said = [f"{name} {changes(group, role)}" for name, group in zip(names, groups, strict=True)]
    more = [f"and {len(said) - NAMED} more"] if len(said) > NAMED else []
    return f", {when}: {'; '.join([*said[:NAMED], *more])}"


def _lines(sides: Sequence[Side], task: str) -> list[Line]:
    """A line against length for each setting of either side."""
    found = []
    for letter, one in zip("AB", sides, strict=True):
        mine = [record for record in one.records if record.config["task"] == task]
        series = grouped(mine, without=["length"])
        found += [
            (f"{letter}: {label}", group)
            for label, group in zip(labels(series, without=["length"]), series, strict=True)
        ]
    return [Line(label, look(index), group) for index, (label, group) in enumerate(found)][:SETTINGS]


def _page(sides: Sequence[Side], figures: Sequence[Framed]) -> str:
    a, b = sides
    title = f"{a.name} against {b.name}"
    button = tag("button", "Dark", type="button", class_="js", hidden=True, data_theme=True, aria_pressed="false")
    top = tag("header", tag("p", f"gradlab {__version__} · comparison", class_="eyebrow"), button, class_="top")
    said = tag("ul", *(tag("li", prose(text)) for text in _sentences(sides)[:ROWS]))
    head = tag(
        "section",
        tag("h1", title),
        tag("p", prose(f"**A** is {a.kind} `{a.name}`, **B** is {b.kind} `{b.name}`.")),
        said,
        class_="head",
        id="answers",
        aria_label="Answers",
    )
    body = [
        head,
        section("asked", "What was asked differently", _differences(sides)),
        section("numbers", "The numbers", tag("p", sections.ABOUT, class_="small muted"), _numbers(sides)),
        section("figures", "Both in one figure", *folded(figures)),
        section(
            "commands",
            "How to repeat this",
            *(_commands(one, letter) for letter, one in zip("AB", sides, strict=True)),
        ),
        section(
            "environment",
            "How it was computed",
            *(_environment(one, letter) for letter, one in zip("AB", sides, strict=True)),
        ),
        section("reading", "How to read this", blocks(sections.how_to_read())),
    ]
    page = tag(
        "div", tag("a", "To the answers", href="#answers", class_="skip"), top, tag("main", *body), class_="page"
    )
    points = {f"figure-{one.name}": one.points for one in figures if one.points}
    return document(title, page, styles=STYLES, scripts=SCRIPTS, data={"points": points})


def _sentences(sides: Sequence[Side]) -> list[str]:
    """What each side found: over lengths where it has several, else before and after training."""
    said = []
    for letter, one in zip("AB", sides, strict=True):
        groups = grouped(one.records, without=["length"])
        for group, label in zip(groups, named(groups, without=["length"]), strict=True):
            if len({record.config["length"] for record in group}) > 1:
                said.append(f"{letter}: {sentence(group, label)}")
            else:
                said.append(f"{letter}: {_found(group, label)}")
    return said


def _found(group: Sequence[Record], label: str) -> str:
    config = group[0].config
    name = f"**{label} on {config['task']}, T = {config['length']}**"
    text = f"{name}: {changes(group, 'initial')} at initialisation"
    if not group[0].trained:
        return f"{text}, not trained."
    return f"{text}, {changes(group, 'final')} at the end. {outcome(group)}."


def _differences(sides: Sequence[Side]) -> Markup:
    """The fields whose values are not the same on both sides."""
    values = [_values(one.records) for one in sides]
    names = [name for name in dict.fromkeys(chain(*values)) if values[0].get(name) != values[1].get(name)]
    if not names:
        return tag("p", "Nothing: both were asked the same.")
    rows = [[name.replace("_", " "), *(each.get(name, "-") for each in values)] for name in names]
    return table(
        ["field", *(f"{letter}: {one.name}" for letter, one in zip("AB", sides, strict=True))],
        rows,
        caption="Fields",
    )


def _numbers(sides: Sequence[Side]) -> Markup:
    """The summary table of both sides, sortable by any of its columns."""
    rows = [
        [f"{letter}: {row[1]}", row[0], *row[2:]]
        for letter, one in zip("AB", sides, strict=True)
        for row in sections.summary_rows(one.records)
    ]
    columns = ["setting", "task", *sections.COLUMNS[2:]]
    caption = f"{min(len(rows), ROWS):,} of {len(rows):,} rows; press a heading to sort"
    words, right = ("setting", "task", "checkpoint", "verdict"), ("T", "seeds", "training steps", "seconds")
    body = table(columns, rows[:ROWS], caption=caption, right=right, words=words, data_sortable=True)
    return long_table(body, len(rows))


def _values(records: Sequence[Record]) -> dict[str, str]:
    """Every field with all values it has."""
    found: dict[str, dict[Any, None]] = {}
    for record in records:
        for name, value in record.config.items():
            found.setdefault(name, {})[str(value)] = None
    return {name: ", ".join(values) for name, values in found.items()}


def _commands(one: Side, letter: str) -> Markup:
    found = sections.commands(one.records)[:ROWS]
    return command_block(f"again-{letter}", "\n".join(found), f"{letter}: {one.name}")


def _environment(one: Side, letter: str) -> Markup:
    return tag("div", tag("h3", f"{letter}: {one.name}"), blocks(sections.environments(one.records)))
