"""The numbers of the runs of a claim: read off the store, and kept in `results/claims/NAME.csv`."""

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradlab.errors import GradlabError
from gradlab.judge.claims.files import Claim, Fields
from gradlab.judge.claims.verdicts import ClaimRow, Number
from gradlab.runs.attempt import write_whole
from gradlab.runs.fields import spell
from gradlab.runs.jsonable import number
from gradlab.runs.store import StoredRun

TABLES = Path("results/claims")
_CHECKPOINTS = ("initial", "worst", "final")
_SECONDS = ("compile_seconds", "measure_seconds", "train_seconds")
_WHETHER = {"solved": "solved_at", "diverged": "diverged"}
_WINDOW = re.compile(r"(test|train)\.(min|max|mean|median)@(\d+)-(\d+)")
_STATISTICS: dict[str, Callable[[Any], Any]] = {"min": np.min, "max": np.max, "mean": np.mean, "median": np.median}
_CHOSEN, _METRIC = "chosen ", "metric "
"""Begin the headings of the columns that are not fields, so that no metric can be taken for one."""


def metric_of(run: StoredRun, name: str) -> Number:
    """A number of a stored run; None where it has none.

    Args:
        name: `initial.slope` (checkpoint, number; then the task curve of `state`), `final.c.span` (with the leaf),
            `final.total.h.span` (with curve and leaf); `test.min@0-6000`, a statistic of the held-out loss over
            these training steps, or of `train`, the loss of each; `solved` and `diverged`, 1 or 0; or a path in
            `done.json`, as `losses.test`.

    Raises:
        GradlabError: no run has such a number.
    """
    if name in _WHETHER:
        return float(run.done.get(_WHETHER[name]) is not None)
    if window := _WINDOW.fullmatch(name):
        return _over_steps(run, *window.groups())
    value: Any = run.done
    for part in _path(name):
        if not isinstance(value, Mapping) or part not in value:
            raise GradlabError(f"metric `{name}`: {run.id} has no {part}")
        value = value[part]
    if isinstance(value, Mapping | list):
        raise GradlabError(f"metric `{name}` is no number of {run.id}")
    return None if value is None else number(value)


def _path(name: str) -> list[str]:
    first, *rest = name.split(".")
    if first not in _CHECKPOINTS or not rest:
        return name.split(".")
    *middle, last = rest
    if not middle and last in ("loss", "step"):
        return ["summary", first, last]
    curve, leaf = middle if len(middle) == 2 else ["task", *(middle or ["state"])]
    return ["summary", first, "curves", curve, leaf, last]


def _over_steps(run: StoredRun, trace: str, statistic: str, first: str, last: str) -> Number:
    arrays = run.arrays()
    if trace == "test":
        steps, losses = arrays["test/step"], arrays["test/loss"]
    else:
        losses = arrays["trace/loss"]
        steps = np.arange(1, len(losses) + 1)
    inside = losses[(steps >= int(first)) & (steps <= int(last))]
    return float(_STATISTICS[statistic](inside)) if len(inside) else None


def row_of(claim: Claim, point: Fields, run: StoredRun) -> ClaimRow:
    """The numbers of a finished run of a point of a claim."""
    metrics = {name: metric_of(run, name) for name in claim.metrics}
    chosen = {field: spell(run.config[field]) for field in claim.tuned}
    return ClaimRow(_spelt(point), metrics, sum(number(run.done.get(name) or 0) for name in _SECONDS), chosen)


def measured_row(claim: Claim, point: Fields, found: Mapping[str, Any], seconds: float) -> ClaimRow:
    """The numbers that the function of a claim returned for a point."""
    lacking = [name for name in claim.metrics if name not in found]
    if lacking:
        raise GradlabError(f"{claim.path}: {claim.stated.measure} returns no {lacking[0]}")
    numbers = {name: None if value is None else float(value) for name, value in found.items()}
    return ClaimRow(_spelt(point), numbers, seconds)


def write_rows(path: Path, rows: Sequence[ClaimRow]) -> None:
    """Write the table of a claim whole."""
    text = io.StringIO()
    table = [
        row.fields
        | {_CHOSEN + name: value for name, value in row.chosen.items()}
        | {_METRIC + name: _text(value) for name, value in row.metrics.items()}
        | {"seconds": f"{row.seconds:.3g}"}
        for row in rows
    ]
    columns = list(dict.fromkeys(column for row in table for column in row))
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GradlabError(f"{path} cannot be written: {error.strerror}") from error
    write_whole(path, lambda file: file.write(text.getvalue().encode()))


def read_rows(path: Path) -> list[ClaimRow]:
    """The table of a claim; empty if there is none.

    Raises:
        GradlabError: something in it is no number, or it cannot be read.
    """
    try:
        lines = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        return [_row(line) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise GradlabError(
            f"{path} cannot be read ({error}): make it again, gradlab claims --run {path.stem}"
        ) from None


def _row(line: Mapping[str, str]) -> ClaimRow:
    line = dict(line)
    seconds = float(line.pop("seconds"))
    chosen = {name.removeprefix(_CHOSEN): line.pop(name) for name in list(line) if name.startswith(_CHOSEN)}
    metrics = {name.removeprefix(_METRIC): line.pop(name) for name in list(line) if name.startswith(_METRIC)}
    numbers = {name: float(text) if text else None for name, text in metrics.items()}
    return ClaimRow({name: text for name, text in line.items() if text}, numbers, seconds, chosen)


def _spelt(point: Fields) -> dict[str, str]:
    return {name: spell(value) for name, value in point.items()}


def _text(value: Number) -> str:
    return "" if value is None else f"{value:.6g}" if math.isfinite(value) else str(value)
