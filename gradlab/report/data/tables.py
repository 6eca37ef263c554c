"""The CSV tables of a results folder: curves, summaries, and statistics over seeds."""

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradlab.gradient.summary import SENTENCES
from gradlab.judge.over_seeds import Interval, Seeds, half_life, over_seeds
from gradlab.report.data.counts import counted
from gradlab.report.data.records import CURVES, ROLES, Record, grouped, leaves_of, read
from gradlab.report.text.plain import public
from gradlab.runs.jsonable import number

STATISTICS = ("typical", "q10", "q50", "q90", "rms", "dead")
HORIZONS = ("horizon", "float32_horizon")
_WORDS = ("statistic", "verdict")
_FORMULA = re.compile(r"[=@]|[+-](?!(?:[\d.][\d.,e+-]*|inf|nan)$)", re.IGNORECASE)
"""Begins what a spreadsheet takes for a formula; a number with a sign stays one."""


def load(results: Path | str = "results") -> pd.DataFrame:
    """The curves of every run as one tidy table: a row for each run, training step, curve, leaf and lag.

    Args:
        results: a results folder.

    Returns:
        Columns: the fields of the run's spec, `run`, `status`, `training_step`, `curve` (task or total),
        `leaf`, `lag` (timesteps), `typical`, `q10`, `q50`, `q90`, `rms` (log10 norms; -inf is a zero) and
        `dead` (share of examples whose gradient is zero). Runs without curves yet have no rows. A corrupt run
        is skipped with one warning.

    Raises:
        GradlabError: a run was written by a newer gradlab.

    Example:
        >>> import tempfile
        >>> load(tempfile.mkdtemp())[["cell", "lag", "typical"]].empty
        True
    """
    frames = list(curve_frames(read(results, lambda message: warnings.warn(message, stacklevel=3))))
    if frames:
        return pd.concat(frames, ignore_index=True)
    names = ("task", "cell", "length", "hidden", "seed", "run", "status", "training_step", "curve", "leaf", "lag")
    return pd.DataFrame(columns=[*names, *STATISTICS])


def curve_frames(records: Iterable[Record]) -> Iterator[pd.DataFrame]:
    """The rows of each run that has curves, one run after the other."""
    for record in records:
        arrays = record.arrays()
        parts = [_curve(arrays, curve, leaf) for curve in CURVES for leaf in leaves_of(arrays, curve)]
        if parts:
            frame = pd.concat(parts, ignore_index=True)
            about = record.config | {"run": record.run.id, "status": record.run.status}
            yield pd.DataFrame({name: [value] * len(frame) for name, value in about.items()}).join(frame)


def _curve(arrays: Mapping[str, np.ndarray], curve: str, leaf: str) -> pd.DataFrame:
    steps, rows = np.unique(arrays["step"], return_index=True)
    lags = arrays[f"{curve}/{leaf}/typical"].shape[1]
    columns: dict[str, Any] = {
        "training_step": np.repeat(steps, lags),
        "curve": curve,
        "leaf": leaf,
        "lag": np.tile(np.arange(1, lags + 1), len(steps)),
    }
    return pd.DataFrame(columns | {name: arrays[f"{curve}/{leaf}/{name}"][rows].ravel() for name in STATISTICS})


def summaries(records: Iterable[Record]) -> pd.DataFrame:
    """A row for each run, checkpoint, curve and leaf with every number of the summary.

    A run that was not measured yet has one row that holds its status alone.
    """
    return pd.DataFrame([row for record in records for row in _summary_rows(record)])


def _summary_rows(record: Record) -> Iterator[dict[str, Any]]:
    done = record.run.done
    about = record.config | {
        "run": record.run.id,
        "status": record.run.status,
        "solved_at": number(done.get("solved_at")),
        "training_steps": number(done.get("training_steps")),
        "seconds": number(done.get("wall_seconds")),
    }
    if not record.log:
        yield about | {"training_step": math.nan, "curve": "none", "leaf": "none"}
    for index, line in enumerate(record.log):
        at = about | {"training_step": line["step"]}
        at |= {role: record.marks[role] == index for role in ROLES}
        at["loss"] = number(line["loss"])
        for curve, leaves in line["curves"].items():
            findings = "; ".join(leaves.get("non_finite", [])) or "none"
            for leaf, stored in leaves.items():
                if leaf not in SENTENCES:
                    yield at | {"curve": curve, "leaf": leaf} | _plain(stored) | {"non_finite": findings}


def _plain(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Stored numbers as numbers; a lag that does not apply is nan."""
    return {
        name: value if name in _WORDS or isinstance(value, bool) else number(value)
        for name, value in stored.items()
    }


def seeds(records: Iterable[Record]) -> pd.DataFrame:
    """A row for each setting, checkpoint, curve and leaf: means over seeds, their intervals, and verdicts.

    The ends of an interval are nan for fewer than 3 finite seeds; `_zero` and `_not_finite` count the seeds that
    a mean leaves out.
    """
    return pd.DataFrame([row for group in grouped(records) for row in _seed_rows(group)])


def _seed_rows(group: Sequence[Record]) -> Iterator[dict[str, Any]]:
    measured = [record for record in group if record.marks]
    solved = [number(record.run.done["solved_at"]) for record in group if record.run.status == "solved"]
    about = group[0].setting | {"seeds": len(measured), "runs": len(group), "solved": len(solved)}
    about |= _interval("solved_at", over_seeds(solved))
    first = measured[0].log[0]["curves"] if measured else {}
    for role in ROLES if group[0].trained else ROLES[:1]:
        for curve, leaf in [(name, leaf) for name in first for leaf in first[name] if leaf not in SENTENCES]:
            found = Seeds([each.summary(role, curve, leaf) for each in counted(measured, role)])
            yield about | {"checkpoint": role, "curve": curve, "leaf": leaf} | numbers(found)


def numbers(found: Seeds) -> dict[str, Any]:
    """The numbers of one leaf of one curve at one checkpoint, over its seeds."""
    row: dict[str, Any] = {"verdict": found.verdict}
    row |= _interval("span", found.span) | _interval("slope", found.slope)
    for name in HORIZONS:
        row |= _interval(name, found.horizon(name).mean)
    halves = found.half_life or half_life(over_seeds([]), found.summaries[0].lags)
    row |= {"half_life": halves.value, "half_life_low": halves.low, "half_life_high": halves.high}
    row["not_exponential"] = found.not_exponential
    # A horizon that reaches T is only a lower bound, so a mean of horizons says how many of them do.
    return row | {f"{name}_reached": found.horizon(name).reached for name in HORIZONS}


def _interval(name: str, interval: Interval) -> dict[str, float]:
    ends = ("mean", "low", "high", "zero", "not_finite")
    return {f"{name}_{end}": getattr(interval, end) for end in ends}


def _inert(frame: pd.DataFrame) -> pd.DataFrame:
    """Texts as pages show them, behind a `'` where a spreadsheet would run them as a formula."""
    frame = frame.copy(deep=False)
    for name, column in frame.items():
        texts = [text for text in column.unique() if isinstance(text, str)] if column.dtype.kind == "O" else []
        shown = {text: public(text, keep="") for text in texts}
        shown = {text: "'" * bool(_FORMULA.match(safe)) + safe for text, safe in shown.items()}
        if changed := {text: safe for text, safe in shown.items() if safe != text}:
            frame[name] = column.replace(changed)
    return frame


def write_csv(path: Path, frames: Iterable[pd.DataFrame], *, digits: int = 9) -> None:
    """Write frames with the same columns below each other: significant digits, `nan`, `inf` and `-inf` spelt."""
    columns: list[str] | None = None
    style: Any = {"index": False, "float_format": f"%.{digits}g", "na_rep": "nan", "lineterminator": "\n"}
    with open(path, "w", encoding="utf-8", newline="") as file:
        for frame in frames:
            ordered = frame if columns is None else frame.reindex(columns=columns)
            _inert(ordered).to_csv(file, header=columns is None, **style)
            columns = columns or list(frame.columns)
