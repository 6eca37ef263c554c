"""The report as one page: the answers first, then what they rest on, in the order in which a reader asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradlab import __version__
from gradlab.report.data.by_length import rows, spoken
from gradlab.report.data.costs import ABOUT, COSTS, cost_rows
from gradlab.report.data.outcomes import ending
from gradlab.report.data.records import Record, grouped, named
from gradlab.report.data.study import SENTENCES, Study, command, missing, presence
from gradlab.report.figures.embed import Framed
from gradlab.report.figures.explorer_data import bounds, choices
from gradlab.report.figures.gallery import BOUNDS
from gradlab.report.page.html import Markup, blocks, command_block, document, join, prose, section, table, tag
from gradlab.report.page.parts import choosing, folded, long_table, map_choice
from gradlab.report.text import sections
from gradlab.report.text.answers import Answer, answers, behind, cards, grid, single
from gradlab.report.text.findings import statement
from gradlab.report.text.length_limit import sentence

ROWS = 400
"""Rows of a table on the page; the CSV tables hold all."""
ENDINGS = 200
OPEN = 6
"""Sentences up to which the list of them is open; the grid says the same."""
COMMANDS = 200
STYLES = ("page.css", "report.css")
SCRIPTS = ("page.js", "figures.js", "explore.js")


@dataclass(frozen=True)
class Told:
    """What a page is about.

    Attributes:
        records: the runs it tells of. everything: these and those that did not come to an end.
        skipped: messages on what could not be read. study: the sweep, if it is one.
        single: whether it is about one run alone.
    """

    records: Sequence[Record]
    everything: Sequence[Record]
    skipped: Sequence[str] = ()
    study: Study | None = None
    single: bool = False
    framed: list[Framed] = field(default_factory=list)


def web_page(told: Told) -> str:
    """The whole page; the same bytes from the same results."""
    measured = [record for record in told.records if record.marks and record.run.finished]
    found = choices([record for record in told.records if record.marks])
    main = [
        _head(told, measured),
        _numbers(told),
        _curves(told, found),
        _lengths(told, measured),
        _figures(told, "maps", "When in training the gradient reached how far", map_choice()),
        _figures(told, "leaves", "Which part of the state carries the gradient"),
        _figures(told, "total", "Total gradient, direct gradient, and the timestep that needs memory"),
        _figures(told, "training", "Loss and gates during training"),
        _costs(told),
        _endings(told),
        _commands(told),
        _environment(told),
        section("reading", "How to read this", blocks(sections.how_to_read())),
    ]
    kept = [part for part in main if part]
    body = [tag("a", "To the answers", href="#answers", class_="skip"), _top(told), tag("main", *kept)]
    points = {f"figure-{one.name}": one.points for one in told.framed if one.points}
    return document(
        _title(told),
        tag("div", *body, class_="page"),
        styles=STYLES,
        scripts=SCRIPTS,
        data={"points": points, "choices": found},
    )


def _title(told: Told) -> str:
    if told.study:
        return told.study.sweep.title
    if told.single:
        (record,) = told.records
        (label,) = named([[record]])
        return f"{label} on {record.config['task']}, T = {record.config['length']:,}, seed {record.seed}"
    return "How far does the gradient reach?"


def _top(told: Told) -> Markup:
    if told.study:
        about = f"sweep {told.study.sweep.name}"
    elif told.single:
        about = f"run {told.records[0].run.id}"
    else:
        about = f"{len(told.everything):,} runs"
    button = tag("button", "Dark", type="button", class_="js", hidden=True, data_theme=True, aria_pressed="false")
    return tag("header", tag("p", f"gradlab {__version__} · {about}", class_="eyebrow"), button, class_="top")


def _head(told: Told, measured: Sequence[Record]) -> Markup:
    """The first screen: questions, answers, and the grid of settings and lengths."""
    parts: list[object] = [tag("h1", _title(told))]
    said: list[str] = []
    if told.single and measured:
        found = single(measured[0])
        parts += [cards(found), behind(found)]
    else:
        tasks = sorted({str(record.config["task"]) for record in measured})
        for task in tasks:
            mine = [record for record in measured if record.config["task"] == task]
            parts.append(_task(task if len(tasks) > 1 else "", mine))
            said += _sentences(mine)
    if said:
        kept = [tag("li", prose(text)) for text in said[:SENTENCES]]
        more = len(said) - SENTENCES
        if more > 0:
            kept.append(tag("li", f"{more} more settings are in the tables below."))
        parts.append(
            tag("details", tag("summary", "The same in sentences"), tag("ul", *kept), open=len(said) <= OPEN)
        )
    if told.study:
        sweep = told.study.sweep
        parts.append(tag("p", prose(presence(told.study)), class_="small"))
        parts.append(tag("p", sweep.question, class_="small muted"))
        parts += [tag("p", f"After: {sweep.source}", class_="small muted")] if sweep.source else []
    parts.append(_contents(told))
    return tag("section", *parts, class_="head", id="answers", aria_label="Answers")


def _task(name: str, records: Sequence[Record]) -> Markup:
    """The answers of one task, with a grid for what was trained and one for what was only measured."""
    parts: list[Markup] = []
    for trained in (True, False):
        some = [record for record in records if record.trained == trained]
        if some:
            found = answers(some)
            parts += [cards(_spoken(found, name)), grid(some), behind(found)]
    return tag("div", *parts)


def _spoken(found: Sequence[Answer], task: str) -> list[Answer]:
    """Questions that say their task where the page has several."""
    return [
        answer._replace(question=f"{task}: {answer.question}" if task else answer.question) for answer in found
    ]


def _sentences(records: Sequence[Record]) -> list[str]:
    """A sentence for each setting, over its lengths where there are several."""
    said = []
    groups = grouped(records, without=["length"])
    for group, label in zip(groups, named(groups, without=["length"]), strict=True):
        if len({record.config["length"] for record in group}) > 1:
            said.append(sentence(group, label))
        else:
            said.append(statement(group, label))
    return said


_CONTENTS = {
    "numbers": "Numbers",
    "curves": "Gradient curves",
    "lengths": "Against length",
    "maps": "During training",
    "leaves": "Leaves of the state",
    "total": "Total gradient",
    "training": "Loss and gates",
    "costs": "Cost",
    "endings": "Failures",
    "commands": "Commands",
    "environment": "Environment",
    "reading": "How to read this",
}


def _contents(told: Told) -> Markup:
    drawn = {_place(one.name) for one in told.framed}
    optional = {"lengths", "maps", "leaves", "total", "training"}
    names = [name for name in _CONTENTS if name not in optional or name in drawn]
    links = [tag("li", tag("a", _CONTENTS[name], href=f"#{name}")) for name in names]
    return tag("nav", tag("ul", *links), class_="contents", aria_label="Contents")


_PLACES = {
    "maps": ("map-", "every-"),
    "leaves": ("leaves-",),
    "total": ("kinds-",),
    "training": ("loss-", "gates-"),
    "lengths": ("solving-", "lengths-", "probe-lengths-"),
}


def _place(name: str) -> str:
    """The section that a figure belongs to."""
    return next((place for place, starts in _PLACES.items() if name.startswith(starts)), "curves")


def _shown(told: Told, place: str) -> list[Markup]:
    return folded([one for one in told.framed if _place(one.name) == place])


def _numbers(told: Told) -> Markup:
    found = sections.summary_rows(told.records)
    about = tag("p", sections.ABOUT, class_="small muted")
    columns, turned = _turned(sections.COLUMNS), [_turned(row) for row in found]
    caption = f"{min(len(found), ROWS):,} of {len(found):,} rows; press a heading to sort"
    words = ("setting", "task", "checkpoint", "verdict")
    right = ("T", "seeds", "training steps", "seconds")
    body = table(columns, turned[:ROWS], caption=caption, right=right, words=words, data_sortable=True)
    return section("numbers", "The numbers", about, long_table(body, len(turned)))


def _turned(row: Sequence[str]) -> list[str]:
    """The setting first, which then heads its row; its task second."""
    return [row[1], row[0], *row[2:]]


def _curves(told: Told, found: Mapping[str, Any]) -> Markup:
    figures = _shown(told, "curves")
    chooser = choosing(bounds(found)) if found["runs"] else None
    return section(
        "curves", "Gradient norm against lag", chooser, *figures, tag("p", BOUNDS, class_="small muted")
    )


def _lengths(told: Told, measured: Sequence[Record]) -> Markup | None:
    figures = _shown(told, "lengths")
    if not figures:
        return None
    told_tasks = []
    for task in sorted({str(record.config["task"]) for record in measured}):
        mine = answers([record for record in measured if record.config["task"] == task and record.trained])
        told_tasks += [tag("p", prose(f"**{task}.** {one.long}")) for one in mine[1:]]
    about, columns, lines = spoken(rows(measured))
    columns, lines = _turned(columns), [_turned(line) for line in lines]
    caption = f"{min(len(lines), ROWS):,} of {len(lines):,} settings and lengths; press a heading to sort"
    words, right = ("task", "setting"), ("T", "runs")
    body = table(columns, lines[:ROWS], caption=caption, right=right, words=words, data_sortable=True)
    note = tag("p", prose(about), class_="small muted")
    heading = "Does the gradient at initialisation foretell what is learned?"
    return section("lengths", heading, *told_tasks, *figures, note, long_table(body, len(lines)))


def _figures(told: Told, place: str, heading: str, more: object = None) -> Markup | None:
    figures = _shown(told, place)
    return section(place, heading, more, *figures) if figures else None


def _costs(told: Told) -> Markup:
    found = cost_rows(told.records)
    if not found:
        return section("costs", "What each cell costs", tag("p", "Nothing was trained here."))
    caption = f"{min(len(found), ROWS):,} of {len(found):,} settings, medians over their runs"
    words = ("setting", "task")
    body = table(COSTS, found[:ROWS], caption=caption, right=COSTS[2:], words=words, data_sortable=True)
    return section(
        "costs", "What each cell costs", tag("p", ABOUT, class_="small muted"), long_table(body, len(found))
    )


def _endings(told: Told) -> Markup:
    odd = [record for record in told.everything if record.run.status not in ("measured", "solved", "trained")]
    said = [join((tag("code", record.run.id), " ", ending(record))) for record in odd]
    lost = [prose(text) for text in missing(told.study)] if told.study else []
    items = [*said, *lost, *told.skipped]
    if not items:
        text = tag("p", "None: every run here was measured, or trained to its end.")
    else:
        more = [f"and {len(items) - ENDINGS:,} more; see gradlab ls"] if len(items) > ENDINGS else []
        text = tag("ul", *(tag("li", item) for item in [*items[:ENDINGS], *more]))
    redo = (
        command_block("redo", command(told.study), "makes the runs that are not there")
        if lost and told.study
        else None
    )
    return section("endings", "Runs that did not end well", redo, text)


def _commands(told: Told) -> Markup:
    if told.study:
        again = [command(told.study), f"gradlab report --sweep {told.study.sweep.name}"]
        parts: list[object] = [command_block("again", "\n".join(again))]
    else:
        found = sections.commands(told.records)
        parts = [tag("p", sections.NOT_REPEATED), command_block("again", "\n".join(found[:COMMANDS]))]
        if len(found) > COMMANDS:
            parts.append(tag("p", f"{len(found) - COMMANDS:,} more settings: their fields are in summaries.csv."))
    return section("commands", "How to repeat this", *parts)


def _environment(told: Told) -> Markup:
    return section("environment", "How it was computed", blocks(sections.environments(told.records)))
