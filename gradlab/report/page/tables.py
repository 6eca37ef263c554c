"""The tables of a page, their cells as text."""

import math
from collections.abc import Iterator, Sequence

from gradlab.gradient.summary import in_decades
from gradlab.judge.over_seeds import Seeds, median
from gradlab.report.data.counts import seeds_of, solved
from gradlab.report.data.records import ROLES, Labelled, Record
from gradlab.report.page.context import Column, Table
from gradlab.report.text.findings import beginning
from gradlab.report.text.outcomes import at_steps, solved_of
from gradlab.report.text.terms import CHOICE_COLUMNS, choice_rows, tuning_clause
from gradlab.runs.jsonable import number
from gradlab.runs.labels import describe
from gradlab.runs.sweeps import StoredSweep

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
    SETTING, TASK, LENGTH, Column("seeds", number=True, detail=True), Column("checkpoint", words=True),
    Column("horizon"), Column("span"), Column("verdict", words=True), Column("solved"),
    Column("slope", detail=True), Column("half-life", detail=True), Column("float32 horizon", detail=True),
    Column("training steps", number=True, detail=True), Column("seconds", number=True, detail=True),
)  # fmt: skip
COST_NAMES = ("runs", "parameters", "ms per training step", "MB for training")


def numbers_table(groups: Labelled) -> Table:
    """The numbers of the state's task curve for each setting at its initial, worst and final checkpoint."""
    return table(NUMBERS, number_rows(groups), f"rows{tuning_clause(group for _, group in groups)}")


def number_rows(groups: Labelled) -> list[list[str]]:
    """The rows of that table."""
    return [row for label, group in groups for row in _number_rows(group, label)]


def _number_rows(group: Sequence[Record], label: str) -> Iterator[list[str]]:
    config, trained = group[0].config, group[0].trained
    imported = bool(config.get("imported"))
    solving = solved_of(group) if trained else "-" if imported else "not trained"
    cost = [_median_done(group, name) for name in ("training_steps", "wall_seconds")]
    roles: dict[tuple[int, ...], list[str]] = {}
    for role in ROLES if trained else ROLES[:1]:
        roles.setdefault(tuple(record.step(role) for record in group), []).append(role)
    for steps, same in roles.items():
        at = f"{', '.join(same)} ({at_steps(steps)})"
        if imported:
            at = "as imported"
        elif config["params"] != "none":
            at = f"final weights of {config['params']}"
        start = [label, config["task"], f"{config['length']}", f"{len(group)}", at]
        span, slope, half, horizon, float32, verdict = _numbers(group, same[0])
        yield [*start, horizon, span, verdict, solving, slope, half, float32, *cost]


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
    if found.not_exponential:
        return f"not exponential in {found.not_exponential} of {len(found.summaries)}"
    mean = found.half_life
    if mean is None:
        return "none"
    # A gradient that surely rises has no half-life, and so no interval of one.
    known = not math.isnan(mean.low) and math.isfinite(min(mean.low, mean.high))
    return f"{mean} [{mean.low:.3g}, {mean.high:.3g}]" if known else str(mean)


def lengths_table(groups: Labelled) -> Table:
    """Solving and gradient of each setting and length, of the runs that came to an end."""
    trained = any(group[0].trained for _, group in groups)
    solving = (Column("solved"), Column("95 % interval"), Column("median training step", detail=True))
    later = ("horizon at the end", "horizon at worst", "span at the end")
    chosen = [Column("chosen", words=True)] if any(group[0].resolved for _, group in groups) else []
    columns = [SETTING, TASK, LENGTH, Column("runs", number=True, detail=True)]
    columns += [*chosen, *(solving if trained else ())]
    first = beginning(record for _, group in groups for record in group)
    columns += [Column(f"horizon {first}"), Column(f"span {first}")]
    columns += [Column(name, detail=name != later[0]) for name in later if trained]
    columns += [Column("slope", detail=True), Column("half-life", detail=True)]
    rows = []
    for label, group in groups:
        if row := _length_row(label, [one for one in group if one.run.finished], trained):
            values = ", ".join(describe(name, value) for name, value in group[0].resolved.items())
            rows.append([*row[:4], *([values or "-"] if chosen else []), *row[4:]])
    return table(columns, rows, f"settings and lengths{tuning_clause(group for _, group in groups)}")


def choices_table(sweep: StoredSweep) -> Table:
    """What the trials of a sweep chose, and how each candidate did."""
    columns = [SETTING, TASK, LENGTH, *(Column(name, words=True) for name in CHOICE_COLUMNS[3:])]
    return table(columns, choice_rows(sweep.choices), "choices")


def _length_row(label: str, group: Sequence[Record], trained: bool) -> list[str]:
    if not group:
        return []
    config = group[0].config
    start = [label, config["task"], f"{config['length']:,}", f"{len(group)}"]
    span, slope, half, horizon, _, _ = _numbers(group, "initial")
    if not trained:
        return [*start, horizon, span, slope, half]
    if not group[0].trained:
        return [*start, "not trained", "-", "-", horizon, span, "-", "-", "-", slope, half]
    (share,) = solved(group).values()
    step = median(number(one.run.done["solved_at"]) for one in group if one.run.status == "solved")
    solving = [str(share), f"[{share.low:.2f}, {share.high:.2f}]", "-" if math.isnan(step) else f"{step:,.0f}"]
    final, worst = _numbers(group, "final"), _numbers(group, "worst")
    return [*start, *solving, horizon, span, final[3], worst[3], final[0], slope, half]


def costs_table(groups: Labelled) -> Table | None:
    """What training each setting cost; None if none was trained."""
    found = [(label, [one for one in group if one.trained and one.run.finished]) for label, group in groups]
    rows = [_cost_row(group, label) for label, group in found if group]
    columns = [SETTING, TASK, LENGTH, *(Column(name, number=True) for name in COST_NAMES)]
    return table(columns, rows, "settings, medians over their runs") if rows else None


def _cost_row(group: Sequence[Record], label: str) -> list[str]:
    """Medians over the runs of a setting."""
    config, done = group[0].config, [record.run.done for record in group]
    rates = [number(each.get("train_steps_per_second")) for each in done]
    costs = (
        (median(number(each.get("parameters")) for each in done), ",.0f"),
        (median(1000 / rate for rate in rates if rate > 0), ",.3g"),
        (median(number(each.get("training_bytes")) / 1e6 for each in done), ",.3g"),
    )
    said = ["not recorded" if math.isnan(value) else format(value, form) for value, form in costs]
    return [label, config["task"], f"{config['length']}", f"{len(group)}", *said]
