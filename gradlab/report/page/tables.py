"""The tables of a page, their cells as text."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradlab.gradient.summary import in_decades
from gradlab.judge.over_seeds import Seeds, median
from gradlab.report.data.costs import costs_of
from gradlab.report.data.counts import seeds_of
from gradlab.report.data.records import ROLES, Labelled, Record
from gradlab.report.page.context import Column, Table
from gradlab.report.text.outcomes import at_steps, solved_of
from gradlab.runs.jsonable import number

ROWS = 400
"""Rows of a table at most; the CSV tables hold all."""
SETTING, TASK = Column("setting", words=True), Column("task", words=True)
LENGTH = Column("T", number=True)


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], what: str) -> Table:
    """A table of at most `ROWS` rows that its headings sort; a task that is the same in all rows is a detail."""
    tasks = {row[1] for row in rows}
    kept = [column._replace(detail=len(tasks) < 2) if column is TASK else column for column in columns]
    return Table(f"{min(len(rows), ROWS):,} of {len(rows):,} {what}; press a heading to sort", kept, rows[:ROWS])


NUMBERS = (
    SETTING,
    TASK,
    LENGTH,
    Column("seeds", number=True, detail=True),
    Column("checkpoint", words=True),
    Column("horizon"),
    Column("span"),
    Column("verdict", words=True),
    Column("solved"),
    Column("slope", detail=True),
    Column("half-life", detail=True),
    Column("float32 horizon", detail=True),
    Column("training steps", number=True, detail=True),
    Column("seconds", number=True, detail=True),
)


def numbers_table(groups: Labelled) -> Table:
    """The numbers of the state's task curve for each setting at its initial, worst and final checkpoint."""
    return table(NUMBERS, number_rows(groups), "rows")


def number_rows(groups: Labelled) -> list[list[str]]:
    """The rows of that table."""
    return [row for label, group in groups for row in _number_rows(group, label)]


def _number_rows(group: Sequence[Record], label: str) -> Iterable[list[str]]:
    config, trained = group[0].config, group[0].trained
    solved = solved_of(group) if trained else "not trained"
    cost = [_median_done(group, name) for name in ("training_steps", "wall_seconds")]
    roles: dict[tuple[int, ...], list[str]] = {}
    for role in ROLES if trained else ROLES[:1]:
        roles.setdefault(tuple(record.step(role) for record in group), []).append(role)
    for steps, same in roles.items():
        borrowed = config["params"] != "none"
        at = f"final weights of {config['params']}" if borrowed else f"{', '.join(same)} ({at_steps(steps)})"
        start = [label, config["task"], f"{config['length']}", f"{len(group)}", at]
        span, slope, half, horizon, float32, verdict = _numbers(group, same[0])
        yield [*start, horizon, span, verdict, solved, slope, half, float32, *cost]


def _median_done(group: Sequence[Record], name: str) -> str:
    """The median over seeds of a number of `done.json`."""
    value = median(number(record.run.done.get(name)) for record in group)
    return "-" if math.isnan(value) else f"{value:,.4g}"


def _numbers(group: Sequence[Record], role: str) -> tuple[str, str, str, str, str, str]:
    found = seeds_of(group, role)
    if len(found.summaries) > 1:
        horizons = str(found.horizon()), str(found.horizon("float32_horizon"))
        return str(found.span), str(found.slope), _half_life(found), *horizons, found.verdict
    (one,), findings = found.summaries, group[0].findings(role)
    word = one.verdict.word if findings and one.verdict.word == "non-finite" else one.verdict
    verdict = ": ".join([str(word), *(["; ".join(findings)] if findings else [])])
    horizons = str(one.horizon), str(one.float32_horizon)
    return in_decades(one.span), str(one.slope), str(one.half_life), *horizons, verdict


def _half_life(found: Seeds) -> str:
    """From the slope over seeds and its interval, if every seed's curve is exponential."""
    if found.bent:
        return f"not exponential in {found.bent} of {len(found.summaries)}"
    mean = found.half_life
    if mean is None:
        return "none"
    # A gradient that surely rises has no half-life, and so no interval of one.
    known = not math.isnan(mean.low) and math.isfinite(min(mean.low, mean.high))
    return f"{mean} [{mean.low:.3g}, {mean.high:.3g}]" if known else str(mean)


def lengths_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The rows of `lengths.csv`, the numbers that matter most first."""
    trained = any("solved" in row for row in rows)
    columns = [SETTING, TASK, LENGTH, Column("runs", number=True, detail=True)]
    if trained:
        columns += [Column("solved"), Column("95 % interval"), Column("median training step", detail=True)]
    columns += [Column("horizon at initialisation"), Column("span at initialisation")]
    if trained:
        columns += [Column("horizon at the end"), Column("horizon at worst", detail=True)]
        columns += [Column("span at the end", detail=True)]
    columns += [Column("slope", detail=True), Column("half-life", detail=True)]
    return table(columns, [_length_cells(row, trained) for row in rows], "settings and lengths")


def _length_cells(row: Mapping[str, Any], trained: bool) -> list[str]:
    start = [str(row["setting"]), row["task"], f"{row['length']:,}", f"{row['runs']}"]
    reach, span = _horizon(row, "initial"), _mean(row, "initial_span")
    rest = [_mean(row, "initial_slope"), _mean(row, "initial_half_life")]
    if not trained:
        return [*start, reach, span, *rest]
    solving = ["not trained", "-", "-"]
    if "solved" in row:
        interval = f"[{row['solve_rate_low']:.2f}, {row['solve_rate_high']:.2f}]"
        step = row["median_step_solved"]
        solving = [f"{row['solved']} of {row['runs']}", interval, "-" if math.isnan(step) else f"{step:,.0f}"]
    final, worst = (_horizon(row, role) if f"{role}_horizon" in row else "-" for role in ("final", "worst"))
    return [
        *start,
        *solving,
        reach,
        span,
        final,
        worst,
        _mean(row, "final_span") if "solved" in row else "-",
        *rest,
    ]


def _mean(row: Mapping[str, Any], name: str) -> str:
    """A mean with its interval, and of a span which seeds it leaves out."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    role, _, what = name.partition("_")
    counts = ((row[f"{role}_zero"], "zero"), (row[f"{role}_not_finite"], "not finite"))
    odd = ", ".join(f"{count} of {row['runs']} {word}" for count, word in counts if count and what == "span")
    if math.isnan(value):
        return odd or "-"
    mean = f"{value:.3g}" if math.isnan(low) else f"{value:.3g} [{low:.3g}, {high:.3g}]"
    return f"{mean} ({odd})" if odd else mean


def _horizon(row: Mapping[str, Any], role: str) -> str:
    """A mean of horizons; the whole length is only a lower bound."""
    reached, runs = row[f"{role}_horizon_reached"], row["runs"]
    if reached == runs:
        return f">= {row['length']:,}"
    mean = _mean(row, f"{role}_horizon")
    return f"{mean}; {reached} of {runs} reach T" if reached else mean


COSTS = (
    SETTING,
    TASK,
    LENGTH,
    Column("runs", number=True),
    Column("parameters", number=True),
    Column("ms per training step", number=True),
    Column("MB for training", number=True),
)


def costs_table(groups: Labelled) -> Table | None:
    """What training each setting cost; None if none was trained."""
    found = [(label, [one for one in group if one.trained and one.run.finished]) for label, group in groups]
    rows = [_cost_row(group, label) for label, group in found if group]
    return table(COSTS, rows, "settings, medians over their runs") if rows else None


def _cost_row(group: Sequence[Record], label: str) -> list[str]:
    config = group[0].config
    costs = zip(costs_of(group), (",.0f", ",.3g", ",.3g"), strict=True)
    said = ["not recorded" if math.isnan(value) else format(value, form) for value, form in costs]
    return [label, config["task"], f"{config['length']}", f"{len(group)}", *said]
