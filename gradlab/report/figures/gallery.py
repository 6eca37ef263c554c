"""Which figures a report has: enough to see what happened, bounded however many runs there are."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from gradlab.report.data.overview import Overview, overview
from gradlab.report.data.records import Record, grouped, labels
from gradlab.report.figures.analyses import analysis_figures
from gradlab.report.figures.curves import checkpoint_figure, lag_figure, overview_figure
from gradlab.report.figures.drawing import Drawing
from gradlab.report.figures.heat import heat_figure, heat_with_loss
from gradlab.report.figures.leaves import kinds_figure, leaves_figure
from gradlab.report.figures.lengths import lengths_figure, lines_of, solving_figure
from gradlab.report.figures.per_step import per_step_figure
from gradlab.report.figures.sides import inputs_figure, sides_figure
from gradlab.report.figures.training import gates_figure, loss_figure
from gradlab.report.figures.updates import updates_figure
from gradlab.report.text.findings import overall
from gradlab.report.text.plain import public

LENGTHS = 4
"""Lengths of a task that get figures of their own: the shortest, the longest, and what lies between."""
SETTINGS = 12
"""Settings in one figure, half as many where each has two panels."""
MOST_LETTERS = 100
"""Letters of a task or run in the name of a file."""
RUNS = 6
"""Runs that get a map and a figure of their gates: the first seed at the longest length, by cell."""

BOUNDS = (
    f"Figures show at most {LENGTHS} lengths of a task (shortest, longest and between), {SETTINGS} settings each "
    f"({SETTINGS // 2} where two curves are drawn), and maps, leaves and gates of {RUNS} runs "
    "(first seed, longest length); the CSV tables hold everything."
)


class PlannedFigure(NamedTuple):
    """A figure that is not drawn yet; some runs have nothing that it could show, some plans have several figures.

    Attributes:
        draw: gives the figure, or several, or None. It reads its arguments and the files of their runs alone.
        arguments: of `draw`; the first begins the names of its figures.
        section: of the page, if not the one that `draw` gives.
    """

    draw: Callable[..., Drawing | Iterable[Drawing] | None]
    arguments: tuple[Any, ...]
    section: str = ""

    def drawn(self) -> Iterator[Drawing]:
        """The figures."""
        found = self.draw(*self.arguments)
        for drawing in [found] if isinstance(found, Drawing) else found or ():
            yield drawing._replace(section=self.section or drawing.section)


def plans(records: Sequence[Record]) -> Iterator[PlannedFigure]:
    """The figures of runs that have curves, in page order."""
    first = [_ids(one for _, group in shown.initial for one in group) for shown in overviews(records).values()]
    yield from first_pictures(records)
    yield from against_length(records)
    trained, probes = ([record for record in records if record.trained == kind] for kind in (True, False))
    places = {kind: by_task_and_length(runs) for kind, runs in ((True, trained), (False, probes))}
    for name, some, groups, names in places[True]:
        most = SETTINGS // 2 if "total" in some[0].log[0]["curves"] else SETTINGS
        if _ids(some) not in first:
            finding, told = f": {overall(some)}", len(groups) <= most
            yield PlannedFigure(
                checkpoint_figure, (f"cells-{name}", groups, names, ("initial", "final"), finding, told)
            )
        yield PlannedFigure(lag_figure, (f"lag-{name}", groups[:most], names[:most]))
    for name, some, groups, names in places[False]:
        if _ids(some) not in first:
            yield PlannedFigure(
                checkpoint_figure, (f"probe-{name}", groups, names, ("initial",), f": {overall(some)}")
            )
    for prefix, kind in (("inputs", True), ("probe-inputs", False)):
        for name, _, groups, names in places[kind]:
            yield PlannedFigure(inputs_figure, (f"{prefix}-{name}", groups, names))
            for group, label in list(zip(groups, names, strict=True))[:RUNS]:
                yield PlannedFigure(sides_figure, (f"sides-{safe_name(group[0].run.id)}", group, label))
    for name, _, groups, names in places[True]:
        yield PlannedFigure(loss_figure, (f"loss-{name}", groups, names))
        yield PlannedFigure(updates_figure, (f"updates-{name}", groups, names))
    yield from _runs(trained)
    yield from _analyses(records)


def drawings(records: Sequence[Record]) -> Iterator[Drawing]:
    """The same drawn, one after the other so that only one is in memory."""
    for plan in plans(records):
        yield from plan.drawn()


def first_pictures(records: Sequence[Record]) -> Iterator[PlannedFigure]:
    """The first picture of a page: of one run the map and the loss, of several the longest length of each task."""
    if len(records) == 1 and records[0].trained:
        (label,) = labels([records])
        yield PlannedFigure(heat_with_loss, ("overview", records[0], label), "overview")
        return
    found = overviews(records)
    for task, shown in found.items():
        name = "overview" if len(found) == 1 else f"overview-{safe_name(task)}"
        yield PlannedFigure(
            overview_figure, (name, shown.initial[:SETTINGS], shown.trained[:SETTINGS]), "overview"
        )


def overviews(records: Sequence[Record]) -> dict[str, Overview]:
    """What the first picture of each task shows."""
    return {task: overview([one for one in records if one.config["task"] == task]) for task in _tasks(records)}


def against_length(records: Sequence[Record]) -> Iterator[PlannedFigure]:
    """For each task with several lengths: to which it is solved, and the gradient, but of borrowed weights."""
    fresh = [record for record in records if record.config["params"] == "none"]
    for task in _tasks(fresh):
        for trained in (True, False):
            mine = [one for one in fresh if one.config["task"] == task and one.trained == trained]
            if len({one.config["length"] for one in mine}) < 2:
                continue
            lines = lines_of(mine, len(mine))  # headings count all, figures draw some
            if trained:
                yield PlannedFigure(solving_figure, (f"solving-{safe_name(task)}", lines, SETTINGS))
            name = f"{'lengths' if trained else 'probe-lengths'}-{safe_name(task)}"
            yield PlannedFigure(lengths_figure, (name, lines, SETTINGS))


def _runs(trained: Sequence[Record]) -> Iterator[PlannedFigure]:
    """The maps, the leaves, the total gradient and the gates of one run of each setting."""
    groups = grouped(trained, without=["length"])
    names = labels(groups, without=["length"])
    for group, label in list(zip(groups, names, strict=True))[:RUNS]:
        record = next(one for one in group if one.config["length"] == group[-1].config["length"])
        run = safe_name(record.run.id)
        closer = (
            (heat_figure, "map"),
            (per_step_figure, "every"),
            (leaves_figure, "leaves"),
            (kinds_figure, "kinds"),
            (gates_figure, "gates"),
        )
        for draw, name in closer:
            yield PlannedFigure(draw, (f"{name}-{run}", record, label))


def _analyses(records: Sequence[Record]) -> Iterator[PlannedFigure]:
    """What was worked out beside the curves, of the first seed of each setting."""
    analysed = [record for record in records if record.run.done.get("analyses")]
    groups = grouped(analysed)
    for group, label in list(zip(groups, labels(groups), strict=True))[:RUNS]:
        yield PlannedFigure(analysis_figures, (safe_name(group[0].run.id), group[0], label))


class Place(NamedTuple):
    """The runs of one task and length, a name for files, and the first settings with their labels."""

    name: str
    records: list[Record]
    groups: list[list[Record]]
    names: list[str]


def by_task_and_length(records: Sequence[Record]) -> list[Place]:
    """The runs of each task at each of a few lengths; the longest length first."""
    found = []
    for task in _tasks(records):
        mine = [record for record in records if record.config["task"] == task]
        lengths = sorted({int(record.config["length"]) for record in mine}, reverse=True)
        if len(lengths) > LENGTHS:
            lengths = [lengths[round(index * (len(lengths) - 1) / (LENGTHS - 1))] for index in range(LENGTHS)]
        for length in lengths:
            some = [record for record in mine if record.config["length"] == length]
            found.append(Place(f"{safe_name(task)}-T{length}", some, *_settings(some)))
    return found


def _tasks(records: Sequence[Record]) -> list[str]:
    return sorted({str(record.config["task"]) for record in records})


def _ids(records: Iterable[Record]) -> set[str]:
    return {record.run.id for record in records}


def _settings(records: Sequence[Record]) -> tuple[list[list[Record]], list[str]]:
    groups = grouped(records)
    return groups[:SETTINGS], labels(groups)[:SETTINGS]


def safe_name(text: str) -> str:
    """A text as part of the name of a file; one that is strange or long stays apart from others by its digest.

    Example:
        >>> safe_name("copy:symbols=4"), safe_name("copy:tag=$")
        ('copy-symbols=4', 'copy-tag=--582fa7a3')
    """
    shown = public(text)
    name = re.sub(r"[^A-Za-z0-9._=-]+", "-", shown)
    if len(name) <= MOST_LETTERS and shown == text and not re.search(r"[^A-Za-z0-9._=:,+/-]", text):
        return name
    return f"{name[:MOST_LETTERS]}-{hashlib.blake2b(ascii(text).encode(), digest_size=4).hexdigest()}"
