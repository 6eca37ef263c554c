"""Which figures a report has: enough to see what happened, bounded however many runs there are."""

import re
from collections.abc import Iterator, Sequence

from gradlab.report.data.records import Record, grouped, labels
from gradlab.report.figures.curves import heat_figure, lag_figure, probe_figure
from gradlab.report.figures.drawing import Drawing
from gradlab.report.figures.leaves import kinds_figure, leaves_figure
from gradlab.report.figures.lengths import lengths_figure, lines_of, solving_figure
from gradlab.report.figures.per_step import every_figure
from gradlab.report.figures.training import gates_figure, loss_figure

LENGTHS = 4
"""Lengths of a task that get figures of their own: the shortest, the longest, and what lies between."""
SETTINGS = 12
"""Settings in one figure, half as many where each has two panels."""
RUNS = 6
"""Runs that get a map and a figure of their gates: the first seed at the longest length, by cell."""

AGAINST_LENGTH = ("solving-", "lengths-", "probe-lengths-")
"""How the names of figures against length begin."""

BOUNDS = (
    f"Figures show at most {LENGTHS} lengths of a task (shortest, longest and between), {SETTINGS} settings each "
    f"({SETTINGS // 2} where two curves are drawn), and maps, leaves and gates of {RUNS} runs "
    "(first seed, longest length); the CSV tables hold everything."
)


def drawings(records: Sequence[Record]) -> Iterator[Drawing]:
    """The figures of a report, one after the other so that only one is in memory; those against length first.

    Args:
        records: runs that have curves.
    """
    yield from against_length(records)
    trained = [record for record in records if record.trained]
    probes = [record for record in records if not record.trained]
    for name, some in by_task_and_length(trained):
        paired = "total" in some[0].log[0]["curves"]
        yield lag_figure(f"lag-{name}", *_settings(some, SETTINGS // 2 if paired else SETTINGS))
    for name, some in by_task_and_length(probes):
        yield probe_figure(f"probe-{name}", *_settings(some, SETTINGS))
    for name, some in by_task_and_length(trained):
        yield loss_figure(f"loss-{name}", *_settings(some, SETTINGS))
    yield from _runs(trained)


def against_length(records: Sequence[Record]) -> Iterator[Drawing]:
    """For each task that was run at several lengths: to which length it is solved, and the gradient against T.

    Args:
        records: runs that have curves; those of borrowed weights are left out.
    """
    fresh = [record for record in records if record.config["params"] == "none"]
    for task in _tasks(fresh):
        for trained in (True, False):
            mine = [one for one in fresh if one.config["task"] == task and one.trained == trained]
            if len({one.config["length"] for one in mine}) < 2:
                continue
            lines = lines_of(mine, SETTINGS)
            if trained:
                yield solving_figure(f"solving-{_safe(task)}", lines)
            yield lengths_figure(f"{'lengths' if trained else 'probe-lengths'}-{_safe(task)}", lines)


def _runs(trained: Sequence[Record]) -> Iterator[Drawing]:
    """The map, the leaves, the total gradient and the gates of one run of each cell."""
    series = grouped(trained, without=["length"])
    names = labels(series, without=["length"])
    chosen = []
    for group, label in zip(series, names, strict=True):
        longest = [record for record in group if record.config["length"] == group[-1].config["length"]]
        chosen.append((longest[0], label))
    for record, label in chosen[:RUNS]:
        yield heat_figure(f"map-{_safe(record.run.id)}", record, label)
    closer = (every_figure, "every"), (leaves_figure, "leaves"), (kinds_figure, "kinds"), (gates_figure, "gates")
    for draw, name in closer:
        for record, label in chosen[:RUNS]:
            drawing = draw(f"{name}-{_safe(record.run.id)}", record, label)
            if drawing is not None:
                yield drawing


def by_task_and_length(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """The runs of each task at each of a few lengths, with a name for files; the longest length first."""
    found = []
    for task in _tasks(records):
        mine = [record for record in records if record.config["task"] == task]
        lengths = sorted({int(record.config["length"]) for record in mine}, reverse=True)
        for length in _spread(lengths):
            some = [record for record in mine if record.config["length"] == length]
            found.append((f"{_safe(task)}-T{length}", some))
    return found


def _spread(lengths: Sequence[int]) -> list[int]:
    """At most `LENGTHS` of them, the first and the last among these.

    Example:
        >>> _spread([70, 60, 50, 40, 30, 20, 10])
        [70, 50, 30, 10]
    """
    if len(lengths) <= LENGTHS:
        return list(lengths)
    return [lengths[round(index * (len(lengths) - 1) / (LENGTHS - 1))] for index in range(LENGTHS)]


def _tasks(records: Sequence[Record]) -> list[str]:
    return sorted({str(record.config["task"]) for record in records})


def _settings(records: Sequence[Record], most: int) -> tuple[list[list[Record]], list[str]]:
    groups = grouped(records)
    return groups[:most], labels(groups)[:most]


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", text)
