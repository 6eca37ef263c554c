"""The CSV tables of a results folder: curves, summaries, and statistics over seeds."""

import csv
import io
import math
import re
import sys
import warnings
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradlab.gradient.summary import SENTENCES
from gradlab.judge.over_seeds import Interval, Seeds, half_life, over_seeds
from gradlab.report.data.counts import counted
from gradlab.report.data.progress import reading, terminal_progress
from gradlab.report.data.records import CURVES, ROLES, Record, grouped, leaves_of
from gradlab.report.text.plain import public
from gradlab.runs.archive import STATISTICS, Arrays
from gradlab.runs.files import DamagedFile
from gradlab.runs.jsonable import number
from gradlab.runs.spec import FIELDS
from gradlab.runs.store import Store

TOGETHER = 50
"""Runs whose fields are written at a time."""
DIGITS = 9
"""Significant digits of a number in a table."""
LOADED = (
    *(name for name, field in FIELDS.items() if not field.later and not field.derived),
    "params",
    "run",
    "status",
)
"""The columns that come first in what `load` returns; a field that was added later may follow."""
HORIZONS = ("horizon", "float32_horizon")
_WORDS = ("statistic", "verdict")
_FORMULA = re.compile(r"[=@]|[+-](?!(?:[\d.][\d.,e+-]*|inf|nan)$)", re.IGNORECASE)
"""Begins what a spreadsheet takes for a formula; a number with a sign stays one."""


def load(results: Path | str = "results") -> pd.DataFrame:
    """The curves of every run as one tidy table: a row for each run, training step, curve, leaf and lag.

    Args:
        results: a results folder.

    Returns:
        Columns: the fields of the run's spec, `run`, `status`, `training_step`, `curve` (task, total, direct,
        task_future, total_future), `leaf`, `lag` (timesteps), `typical`, `q10`, `q50`, `q90`, `rms` (log10 norms;
        -inf is a zero) and `dead` (share of examples whose gradient is zero). Texts are categories, whole numbers
        take 32 bits where they fit. Runs without curves yet have no rows. A damaged run is skipped with one
        warning.

    Raises:
        GradlabError: a run was written by a newer gradlab.

    Example:
        >>> import tempfile
        >>> load(tempfile.mkdtemp())[["cell", "lag", "typical"]].empty
        True
    """
    skipped: list[str] = []
    with terminal_progress() as progress:
        frame = _frame(_read_curves(Store(results), skipped.append, progress), LOADED)
    for message in skipped:
        warnings.warn(message, stacklevel=2)
    return frame


def _read_curves(
    store: Store, warn: Callable[[str], None], progress: Callable[[str], None]
) -> Iterator[tuple[Record, Arrays]]:
    """Every run that has curves, one at a time; its log is not read."""
    for run in store.each(warn, progress=reading(progress)):
        try:
            if run.has("curves.npz"):
                yield Record(run, [], {}), run.arrays()
        except DamagedFile as error:
            warn(error.warning)


def write_curves(path: Path, records: Sequence[Record]) -> None:
    """Write what `load` returns of the runs that have curves, some runs at a time, as `write_csv` does."""
    fields = list(dict.fromkeys(name for record in records for name in record.config))
    measured = [record for record in records if record.has_arrays]
    with open(path, "w", encoding="utf-8", newline="") as file:
        for start in range(0, len(measured), TOGETHER):
            some = measured[start : start + TOGETHER]
            columns: dict[str, list[Any]] = {name: [] for name in fields}
            for before, record in enumerate(some):
                _add(columns, _fields_of(record), before)
            about = _about(columns, [1] * len(some))
            if not start:
                file.write(f"{_csv_line([*about, 'training_step', 'curve', 'leaf', 'lag', *STATISTICS])}\n")
            texts = [_texts(pd.Series(column), DIGITS) for column in about.values()]
            for record, row in zip(some, zip(*texts, strict=True), strict=True):
                file.writelines(_curve_lines(_csv_line(row), record.arrays()))


def _curve_lines(about: str, arrays: Arrays) -> Iterator[str]:
    """The rows of one run after what is the same in all; each leaf by a single format, which is fastest."""
    for curve, leaf in _leaves(arrays):
        found = _curve(arrays, curve, leaf)
        numbers = ",".join([f"%.{DIGITS}g"] * len(STATISTICS))
        parts = about.replace("%", "%%"), _csv_line([_inert(curve), _inert(leaf)]).replace("%", "%%")
        table = np.column_stack([found[name] for name in ("training_step", "lag", *STATISTICS)])
        yield f"{parts[0]},%d,{parts[1]},%d,{numbers}\n" * len(table) % tuple(table.ravel().tolist())


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def _frame(runs: Iterable[tuple[Record, Arrays]], fields: Iterable[str]) -> pd.DataFrame:
    """The rows of some runs, with these fields of their specs and any others that they have."""
    about: dict[str, list[Any]] = {name: [] for name in fields}
    parts: dict[str, list[Any]] = {"curve": [], "leaf": []}
    sizes, lengths = array("q"), array("q")
    # These grow in place, so that nothing of them is in memory twice.
    columns = {"training_step": array("i"), "lag": array("i")} | {name: array("d") for name in STATISTICS}
    for record, arrays in runs:
        rows = len(columns["lag"])
        for curve, leaf in _leaves(arrays):
            found = _curve(arrays, curve, leaf)
            for name, values in found.items():
                columns[name].frombytes(values.tobytes())
            parts["curve"].append(curve)
            parts["leaf"].append(sys.intern(leaf))
            lengths.append(len(found["lag"]))
        _add(about, _fields_of(record), len(sizes))
        sizes.append(len(columns["lag"]) - rows)
    frame = _about(about, sizes)
    frame["training_step"] = np.frombuffer(columns["training_step"], np.int32)
    frame |= _about(parts, lengths)
    frame["lag"] = np.frombuffer(columns["lag"], np.int32)
    frame |= {name: np.frombuffer(columns[name], np.float64) for name in STATISTICS}
    return pd.DataFrame(frame, copy=False)


def _fields_of(record: Record) -> dict[str, Any]:
    return record.config | {"run": record.run.id, "status": record.run.status}


def _add(columns: dict[str, list[Any]], fields: Mapping[str, Any], before: int) -> None:
    """Append the fields of one more run to the columns, None where it or one before it has none."""
    for name in (*columns, *(name for name in fields if name not in columns)):
        value = fields.get(name)
        values = columns.setdefault(name, [None] * before)
        values.append(sys.intern(value) if isinstance(value, str) else value)  # each text is in memory once


def _about(columns: Mapping[str, Sequence[Any]], sizes: Sequence[int]) -> dict[str, Any]:
    """Columns with each value as often as its size."""
    return {name: _repeated(values, sizes) for name, values in columns.items()}


def _leaves(arrays: Arrays) -> list[tuple[str, str]]:
    """Every leaf of every curve."""
    return [(curve, leaf) for curve in CURVES for leaf in leaves_of(arrays, curve)]


def _repeated(values: Sequence[Any], sizes: Sequence[int]) -> Any:
    """A column with each value as often as its size; texts as categories, whole numbers in 32 bits if they fit."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, str) for value in known):
        texts = sorted(set(known))
        codes = {text: code for code, text in enumerate(texts)}
        indices = np.array([codes.get(value, -1) for value in values], np.min_scalar_type(-max(len(texts), 1)))
        return pd.Categorical.from_codes(np.repeat(indices, sizes), texts)  # type: ignore[call-overload]
    found = np.array(values) if len(known) == len(values) else np.array([number(value) for value in values])
    fits = found.dtype.kind == "i" and np.abs(found).max() < 2**31
    return np.repeat(found.astype(np.int32) if fits else found, sizes)


def _curve(arrays: Arrays, curve: str, leaf: str) -> dict[str, np.ndarray]:
    """The columns of one leaf of one curve."""
    steps, rows = np.unique(arrays["step"], return_index=True)
    lags = arrays[f"{curve}/{leaf}/typical"].shape[1]
    columns = {
        "training_step": np.repeat(steps.astype(np.int32), lags),
        "lag": np.tile(np.arange(1, lags + 1, dtype=np.int32), len(steps)),
    }
    stored = {name: arrays[f"{curve}/{leaf}/{name}"][rows] for name in STATISTICS}
    return columns | {name: each.astype(np.float64).ravel() for name, each in stored.items()}


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
    about = (
        group[0].setting | group[0].resolved | {"seeds": len(measured), "runs": len(group), "solved": len(solved)}
    )
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
    horizons = {name: found.horizon(name) for name in HORIZONS}
    for name, horizon in horizons.items():
        row |= _interval(name, horizon.mean)
    halves = found.half_life or half_life(over_seeds([]), found.summaries[0].lags)
    row |= {"half_life": halves.value, "half_life_low": halves.low, "half_life_high": halves.high}
    row["not_exponential"] = found.not_exponential
    # A horizon that reaches T is only a lower bound, so a mean of horizons says how many of them do.
    return row | {f"{name}_reached": horizon.reached for name, horizon in horizons.items()}


def _interval(name: str, interval: Interval) -> dict[str, float]:
    ends = ("mean", "low", "high", "zero", "not_finite")
    return {f"{name}_{end}": getattr(interval, end) for end in ends}


@lru_cache(maxsize=4096)
def _inert(text: str) -> str:
    """A text as pages show it, behind a `'` where a spreadsheet would run it as a formula."""
    shown = public(text, keep="")
    return f"'{shown}" if _FORMULA.match(shown) else shown


def write_csv(path: Path, frames: Iterable[pd.DataFrame], *, digits: int = DIGITS) -> None:
    """Write frames with the same columns below each other: significant digits, `nan`, `inf` and `-inf` spelt."""
    columns: list[str] = []
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        for frame in frames:
            if not columns:
                columns = list(frame.columns)
                rows.writerow(columns)
            ordered = frame.reindex(columns=columns)
            rows.writerows(zip(*(_texts(ordered[name], digits) for name in columns), strict=True))


def _texts(column: "pd.Series[Any]", digits: int) -> list[str]:
    """The values of a column as texts."""
    spelt = f"%.{digits}g"
    if isinstance(column.dtype, pd.CategoricalDtype):  # pandas itself takes five times as long
        texts = [*map(_inert, column.cat.categories), "nan"]
        return [texts[code] for code in column.cat.codes]
    if column.dtype.kind == "f":
        return [spelt % value for value in column.tolist()]
    return list(map(str if column.dtype.kind in "iu" else _text, column.tolist()))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _inert(value)
    return "nan" if value is None or value != value else str(value)
