"""The curves that a reader of the page can choose from: thinned so that the page stays small, and said so."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.gradient.curve import FLOAT32_FLOOR, NAIVE_FLOOR, STATE
from gradlab.report.data.gaps import gap, noise_words
from gradlab.report.data.records import (
    ROLES,
    Record,
    grouped,
    lags_of,
    leaves_of,
    named,
    noise_lags,
    row_of,
    summarised,
)
from gradlab.runs.spec import command

NUMBERS = 240_000
"""Numbers that the page holds for choosing, about 1.2 MB; more runs have fewer lags each."""
LAGS = (24, 120)
"""Lags of a curve, at least and at most."""
FULL = 28
"""Curves of a run with its map, bands, leaves and total; runs that have no room for them have `ROLES` alone."""


def choices(records: Sequence[Record]) -> dict[str, Any]:
    """Runs to choose from: curves in hundredths of a decade, null where they are zero or not finite.

    What is odd about a curve stands beside it: `said` in words, `noise` the points that are rounding noise.

    Args:
        records: runs that have curves.
    """
    groups = grouped(records, without=["length"])
    labels = named(groups, without=["length"])
    pairs = [(label, record) for label, group in zip(labels, groups, strict=True) for record in group]
    room = NUMBERS // max(1, len(pairs))
    full = room >= FULL * LAGS[0]
    most = max(1, NUMBERS // (len(ROLES) * LAGS[0]))
    lags = min(LAGS[1], max(LAGS[0], room // (FULL if full else len(ROLES))))
    kept = sorted(range(len(pairs)), key=lambda index: (pairs[index][1].seed, index))[:most]
    runs = [run for index in sorted(kept) if (run := _run(*pairs[index], lags, full))]
    commands = list(dict.fromkeys(run["command"] for run in runs))
    for run in runs:
        run["command"] = commands.index(run["command"])
    return {
        "runs": runs,
        "commands": commands,
        "left_out": len(pairs) - len(kept),
        "lags": lags,
        "full": full,
        "floors": [NAIVE_FLOOR, FLOAT32_FLOOR],
    }


def bounds(found: Mapping[str, Any]) -> str:
    """What of the curves is on the page, in a sentence."""
    runs = len(found["runs"])
    text = f"{runs:,} runs, each curve at up to {found['lags']} lags"
    text += ", with bands, leaves and maps" if found["full"] else ", without bands, leaves and maps"
    if found["left_out"]:
        text += f"; {found['left_out']:,} more runs are in curves.csv alone"
    return f"{text}. Values at the other lags are in curves.csv."


def _run(label: str, record: Record, lags: int, full: bool) -> dict[str, Any] | None:
    arrays = record.arrays()
    if not record.marks or "step" not in arrays:
        return None
    length = arrays["task/state/typical"].shape[1]
    index = np.array(_some(length, lags))
    rows = {role: row_of(arrays, record.step(role)) for role in ROLES}
    found: dict[str, Any] = {
        "id": record.run.id,
        "task": record.config["task"],
        "setting": label,
        "T": int(record.config["length"]),
        "seed": record.seed,
        "status": record.run.status,
        "command": command(record.config).rpartition(" ")[0],  # all but the seed, the same for every seed
        "timesteps": length,
        "lags": (index + 1).tolist(),
        "roles": {role: record.step(role) for role in (ROLES if record.trained else ROLES[:1])},
    }
    shown = {STATE: ("task", STATE)}
    if full:
        leaves = leaves_of(arrays, "task")[:-1]
        shown |= {leaf: ("task", leaf) for leaf in leaves if len(leaves) > 1}
        others = (("total", "state, total gradient"), ("direct", "state, direct gradient"))
        shown |= {words: (kind, STATE) for kind, words in others if f"{kind}/state/typical" in arrays}
    curves: dict[str, dict[str, list[int | None]]] = {}
    for words, place in shown.items():
        for role in found["roles"]:
            curves.setdefault(words, {})[role] = _coded(summarised(arrays, rows[role], *place)[index])
            if odd := _odd(arrays, rows[role], *place, index):
                found.setdefault("odd", {}).setdefault(words, {})[role] = odd
    if not full:
        return found | {"curves": curves}
    steps, places = np.unique(arrays["step"], return_index=True)
    kept = _some(len(steps), 16)
    maps = [np.where(noise_lags(arrays, row), np.nan, summarised(arrays, row))[index] for row in map(int, places)]
    band = {
        role: [_coded(arrays[f"task/state/{edge}"][rows[role]][index]) for edge in ("q10", "q90")]
        for role in found["roles"]
    }
    return found | {
        "curves": curves,
        "band": band,
        "steps": [int(steps[row]) for row in kept],
        "map": [_coded(maps[row]) for row in kept],
    }


def _odd(
    arrays: Mapping[str, np.ndarray], row: int, curve: str, leaf: str, index: NDArray[np.int64]
) -> dict[str, Any]:
    """Which of the points of a curve are rounding noise, and what of it is noise, zero or not finite, in words."""
    end = lags_of(arrays, row, curve)
    values, noise = summarised(arrays, row, curve, leaf)[:end], noise_lags(arrays, row, curve, leaf)
    lags = np.arange(1, end + 1)
    said = [gap(np.where(noise[:end], 0.0, values), lags), noise_words(noise[:end], lags)]
    if not any(said):
        return {}
    return {"said": ", ".join(filter(None, said)), "noise": np.flatnonzero(noise[index]).tolist()}


def _some(count: int, most: int) -> list[int]:
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, most))})


def _coded(values: Iterable[float]) -> list[int | None]:
    return [round(100 * value) if math.isfinite(value) else None for value in map(float, values)]
