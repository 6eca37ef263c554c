"""The grid of settings by length: how many seeds solved the task, and how far the gradient reaches there."""

import math
from collections.abc import Sequence

import numpy as np

from gradlab.gradient.summary import Word, in_decades
from gradlab.judge.over_seeds import Seeds
from gradlab.judge.statistics import Share
from gradlab.report.data.counts import by_length, longest_passing, seeds_of, solved
from gradlab.report.data.records import Labelled, Record
from gradlab.report.page.context import Grid, GridRow, Tile
from gradlab.report.text.findings import beginning
from gradlab.report.text.terms import tuning_clause

ROWS = 40
"""Settings of a grid at most."""
TILES = 10
"""Lengths of a grid at most: the shortest, the longest and some between."""
SIGNS: dict[Word, str] = {
    "held": "●", "vanishing": "▼", "exploding": "▲", "both": "◆", "cut": "○", "noise": "≈", "non-finite": "✕"
}  # fmt: skip


def grid(series: Labelled) -> Grid:
    """Measured settings of one task, all trained or none, by length."""
    lengths = sorted({int(record.config["length"]) for _, group in series for record in group})
    count = min(TILES, len(lengths))
    shown = sorted({lengths[round(at)] for at in np.linspace(0, len(lengths) - 1, count)})
    first = series[0][1][0]
    return Grid(
        str(first.config["task"]),
        first.trained,
        beginning(record for _, group in series for record in group),
        shown,
        [_row(label, group, shown) for label, group in series[:ROWS]],
        max(0, len(series) - ROWS),
        len(lengths) - len(shown),
        tuning_clause(group for _, group in series),
    )


def _row(label: str, group: Sequence[Record], lengths: Sequence[int]) -> GridRow:
    counts, found = solved(group), by_length(group)
    limit = longest_passing(counts)
    return GridRow(
        label, f"{limit:,}" if limit else "none", [_tile(found.get(at, []), counts.get(at)) for at in lengths]
    )


def _tile(runs: Sequence[Record], share: Share | None) -> Tile | None:
    """One setting at one length, None if it was not run there; its colour says what its words say."""
    if not runs:
        return None
    found = seeds_of(runs, "initial")
    words = found.words
    alike = len(set(words)) == 1
    signs = (
        SIGNS[words[0]]
        if alike
        else " ".join(f"{words.count(word)}{SIGNS[word]}" for word in SIGNS if word in words)
    )
    passing, of = (words.count("held"), len(words)) if share is None else (share.count, share.of)
    return Tile(
        "all" if passing == of else "some" if passing else "none",
        None if share is None else f"{share.count}/{share.of}",
        _reach(found),
        f"{signs} {_decades(found)}",
        words[0] if alike else "mixed",
        found.verdict,
    )


def _reach(found: Seeds) -> str:
    """How many timesteps it reaches: `33`, `all 40`, `≥ 31` if some seeds reach all, `–` if it has no number."""
    horizon = found.horizon()
    if not horizon.mean.finite or set(found.words) <= {"cut", "noise", "non-finite"}:
        return "–"
    if horizon.all_reach:
        return f"all {horizon.longest:,}"
    return f"{'≥ ' if horizon.reached else ''}{horizon.mean.mean:,.0f}"


def _decades(found: Seeds) -> str:
    """The mean over seeds, those that are zero counted beside it, or their range if they disagree in sign."""
    if not found.finite:
        return "noise" if "noise" in found.words else "not finite"
    if found.disagree:
        return " to ".join(map(_number, found.range))
    mean = found.change
    if not mean.finite:
        return "zero"
    return _number(mean.mean) + (f", {mean.zero} zero" if mean.zero else "")


def _number(value: float) -> str:
    """`−4.2`, `+3.0`, `0` or `zero`."""
    if math.isinf(value):
        return "zero"
    text = in_decades(value, sign=True) if abs(value) < 100 else f"{value:+.0f}"
    return "0" if text in ("+0.0", "-0.0") else text.replace("-", "−")
