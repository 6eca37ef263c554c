"""One row for each setting and length: solving, and the numbers of the gradient over seeds."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gradlab.judge.over_seeds import Interval, half_life, over_seeds
from gradlab.report.data.records import ROLES, Record, grouped, named
from gradlab.report.data.tables import markdown
from gradlab.report.text.findings import seeds_of
from gradlab.report.text.length_limit import by_length, solved
from gradlab.runs.jsonable import number
from gradlab.runs.spec import VERSIONS

ROWS = 80
_CONSTANT = ("task", "cell", "length")


def rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """What several seeds say together at each length, as numbers.

    Args:
        records: measured runs that came to an end.

    Returns:
        For each setting and length the fields that tell settings apart, `runs`, `solved` with its rate and the
        interval of that, the median training step at which it was solved, and for the initial, the worst and the
        final checkpoint span, slope, half-life, horizon and verdict; nan where there is no such number.
    """
    series = grouped(records, without=["length"])
    varying = _varying([group[0].setting for group in series])
    found = []
    for group, label in zip(series, named(series, without=["length"]), strict=True):
        counts = solved(group)
        for length, runs in by_length(group).items():
            row: dict[str, Any] = {
                "task": group[0].config["task"],
                "setting": label,
                "cell": group[0].config["cell"],
            }
            row |= {name: group[0].setting[name] for name in varying}
            row |= {"length": length, "runs": len(runs)}
            if length in counts:
                share = counts[length]
                steps = [number(one.run.done["solved_at"]) for one in runs if one.run.status == "solved"]
                row |= {"solved": share.count, "solve_rate": share.rate}
                row |= {"solve_rate_low": share.low, "solve_rate_high": share.high}
                row["median_step_solved"] = float(np.median(steps)) if steps else math.nan
            for role in ROLES if group[0].trained else ROLES[:1]:
                row |= dict(_numbers(runs, role))
            found.append(row)
    return found


def _varying(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The fields that are not the same in all settings, but for those that every table has."""
    return [
        name
        for name in settings[0]
        if name not in _CONSTANT and len({str(setting.get(name)) for setting in settings}) > 1
    ]


def constant(records: Sequence[Record]) -> dict[str, Any]:
    """The fields that all runs share, but for the seed and the versions of the code."""
    settings = [record.setting for record in records]
    fields = {name: value for name, value in settings[0].items() if name not in VERSIONS}
    return {name: value for name, value in fields.items() if all(one.get(name) == value for one in settings)}


def _numbers(runs: Sequence[Record], role: str) -> Iterator[tuple[str, Any]]:
    """Every number of one checkpoint, means over seeds with the ends of their intervals."""
    found = seeds_of(runs, role)
    yield from _spread(f"{role}_span", found.span)
    yield from _spread(f"{role}_slope", found.slope)
    halves = found.half_life or half_life(over_seeds([]), found.summaries[0].lags)
    yield f"{role}_half_life", halves.value
    yield f"{role}_half_life_low", halves.low
    yield f"{role}_half_life_high", halves.high
    reach = found.horizon()
    yield from _spread(f"{role}_horizon", reach.mean)
    yield f"{role}_horizon_reached", reach.reached
    yield f"{role}_verdict", found.verdict
    yield f"{role}_zero", found.span.zero
    yield f"{role}_not_finite", found.span.not_finite


def _spread(name: str, interval: Interval) -> Iterator[tuple[str, float]]:
    yield name, interval.mean
    yield f"{name}_low", interval.low
    yield f"{name}_high", interval.high


def frame(found: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows as a table; what only some of them have is nan in the others."""
    return pd.DataFrame(list(found))


class Spoken(NamedTuple):
    """Rows as text, with their headings and what these mean."""

    about: str
    columns: list[str]
    rows: list[list[str]]


def spoken(found: Sequence[Mapping[str, Any]]) -> Spoken:
    """The numbers that matter most."""
    trained = any("solved" in row for row in found)
    columns = ["task", "setting", "T", "runs"]
    columns += ["solved", "95 % interval", "median training step", "span at the end"] if trained else []
    columns += ["span at initialisation", "slope", "half-life", "horizon"]
    columns += ["at worst", "at the end"] if trained else []
    after = ", the last two columns at the worst checkpoint and at the end of training" if trained else ""
    wilson = " The interval beside `solved` is that of the probability to solve (Wilson)." if trained else ""
    about = (
        "Means over the seeds whose curve is finite and not zero, [ ] their 95 % interval from 3 of them on. Span "
        "in decades; slope in decades per timestep, half-life (where the curve is exponential) and horizon in "
        f"timesteps, at initialisation{after}.{wilson}"
    )
    return Spoken(about, columns, [_cells(row, trained) for row in found])


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """The same in Markdown."""
    about, columns, lines = spoken(found)
    text = markdown(columns, lines[:ROWS], right=("T", "runs")).replace("<", "&lt;")
    more = f"\n\n{len(found) - ROWS} more rows are in lengths.csv." if len(found) > ROWS else ""
    return f"{about}\n\n{text}{more}"


def _cells(row: Mapping[str, Any], trained: bool) -> list[str]:
    start = [row["task"], str(row["setting"]), f"{row['length']:,}", f"{row['runs']}"]
    numbers = [_said(row, "initial_slope"), _said(row, "initial_half_life"), _horizon(row, "initial")]
    if not trained:
        return [*start, _said(row, "initial_span"), *numbers]
    solving = ["not trained", "-", "-", "-"]
    if "solved" in row:
        step = row["median_step_solved"]
        solving = [
            f"{row['solved']} of {row['runs']}",
            f"[{row['solve_rate_low']:.2f}, {row['solve_rate_high']:.2f}]",
            "-" if math.isnan(step) else f"{step:,.0f}",
            _said(row, "final_span"),
        ]
    later = [_horizon(row, role) if f"{role}_horizon" in row else "-" for role in ("worst", "final")]
    return [*start, *solving, _said(row, "initial_span"), *numbers, *later]


def _said(row: Mapping[str, Any], name: str) -> str:
    """A mean with its interval, and of a span which seeds it leaves out."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    role, _, number = name.partition("_")
    counts = ((row[f"{role}_zero"], "zero"), (row[f"{role}_not_finite"], "not finite"))
    odd = [f"{count} of {row['runs']} {word}" for count, word in counts if count and number == "span"]
    mean = f"{value:.3g}" if math.isnan(low) else f"{value:.3g} [{low:.3g}, {high:.3g}]"
    if math.isnan(value):
        return ", ".join(odd) or "-"
    return f"{mean} ({', '.join(odd)})" if odd else mean


def _horizon(row: Mapping[str, Any], role: str) -> str:
    """A mean of horizons; the whole length is only a lower bound."""
    reached, runs = row[f"{role}_horizon_reached"], row["runs"]
    if reached == runs:
        return f">= {row['length']:,}"
    mean = _said(row, f"{role}_horizon")
    return f"{mean}; {reached} of {runs} reach T" if reached else mean
