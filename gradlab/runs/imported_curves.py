"""Curves that no run of gradlab measured, as runs of the store: from a table (`import-curve`), or from Python."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradlab.errors import GradlabError, described
from gradlab.gradient.curve import STATE, GradientCurve
from gradlab.runs.environment import environment
from gradlab.runs.result import RunResult, curve_arrays, key_checkpoints, trace_arrays
from gradlab.runs.spec import FIELDS, NUMERICS, STORE, RunSpec, run_id
from gradlab.runs.store import Store
from gradlab.training.checkpoint_metrics import CheckpointMetrics
from gradlab.training.loop import Checkpoint

NEEDED, OPTIONAL = ("lag", "leaf"), {"example": 0, "step": 0}
"""Columns, and what stands for those that are missing; the values are in `log10_norm` or `norm`."""


def import_curves(path: Path, store: Store, fields: dict[str, Any]) -> list[str]:
    """Store the curves in a table as runs, in the place of earlier ones of the same names; gives their ids.

    Args:
        path: .csv or .npz, with a row for each lag and leaf and, where there are several, example and training
            step. Each training step is a run of its own, whose config names it.
        fields: of the runs: task, cell and seed.

    Raises:
        GradlabError: the table cannot be read or lacks lags, or the store cannot be written.
    """
    curves = read_curves(path)
    # As of other weights than initial ones, `params` says what they are.
    weights = {step: "imported" if len(curves) == 1 else f"imported-step{step}" for step in curves}
    return [_stored(store, curve, fields | {"params": weights[step]}, path) for step, curve in curves.items()]


def store_curve(
    curve: GradientCurve, cell: str, *, task: str = "imported", seed: int = 0, results: Path | str | None = None
) -> str:
    """Store a curve as a run, for `gradlab report`, `ls` and `show`, in the place of an earlier one of its name.

    Args:
        curve: of `gradient_curve` or `gradlab.torch.watch`.
        cell, task, seed: what was measured, on what, and which of several.
        results: the results folder.

    Returns:
        The id of the run.

    Example:
        >>> import tempfile
        >>> curve = GradientCurve.of({"h": [[0.0], [-1.0], [-2.0], [-4.5]]})
        >>> store_curve(curve, "my-cell", results=tempfile.mkdtemp()).startswith("imported-my-cell-T4-s0-")
        True
    """
    return _stored(Store(results), curve, {"cell": cell, "task": task, "seed": seed, "params": "imported"})


def imported_config(curve: GradientCurve, fields: dict[str, Any]) -> dict[str, Any]:
    """The config of a curve that no run measured; `fields` are its task, cell, seed and params."""
    known = {name: each.default for name, each in FIELDS.items() if not (each.later or each.derived)}
    if curve.dtype in FIELDS["dtype"].choices:
        known["dtype"] = curve.dtype
    known |= {"length": len(curve.lags), "measure_batch": int(curve.examples.max()), "steps": 0}
    return dict(sorted((known | fields | {"imported": True, "numerics": NUMERICS, "store": STORE}).items()))


def imported_result(curve: GradientCurve) -> RunResult:
    """The result that has this curve as its only checkpoint."""
    mark = Checkpoint(0, CheckpointMetrics({"task": curve}, float("nan"), {}))
    return RunResult(RunSpec(), "measured", checkpoints=[mark])


def _stored(store: Store, curve: GradientCurve, fields: dict[str, Any], file: Path | None = None) -> str:
    if not isinstance(curve, GradientCurve):
        raise GradlabError(f"curve is a {type(curve).__name__}: give a GradientCurve")
    for name in ("task", "cell"):
        if not re.fullmatch(r"\w[^/\\]*", fields[name]):
            raise GradlabError(f"{name} is `{fields[name]}`: give one that begins with a letter, without slashes")
    if fields["seed"] < 0:
        raise GradlabError(f"seed is {fields['seed']}: give 0 or more")
    config, result = imported_config(curve, fields), imported_result(curve)
    (mark,) = result.checkpoints
    name = run_id(config)
    store.reopen(name)
    attempt = store.begin(name, config)
    try:
        attempt.write_json("env.json", environment(config["dtype"]) | ({"file": str(file)} if file else {}))
        attempt.log(result.log_line(mark))
        attempt.write_arrays("curves.npz", curve_arrays([mark]) | trace_arrays(result.trace, []))
        nothing = dict.fromkeys(("reason", "solved_at", "diverged"))
        losses = dict.fromkeys(("initial", "final", "test", "train", "chance", "solved"))
        done = {"id": name, "status": "measured", "training_steps": 0, "losses": losses} | nothing
        summary = {when: result.summary(mark) for when in key_checkpoints([mark])}
        attempt.finish(done | {"summary": summary})
    except BaseException:
        attempt.discard()
        raise
    return name


def read_curves(path: Path) -> dict[int, GradientCurve]:
    """The curve of each training step in a table."""
    table = _checked(path, _read(path))
    steps = sorted(set(table["step"].astype(int)))
    return {step: _curve(path, table[table["step"] == step]) for step in steps}


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise GradlabError(f"`{path}` cannot be read: {described(error)}") from None
    if path.suffix == ".npz":
        return pd.DataFrame(_arrays(path))
    raise GradlabError(
        f"`{path}` is neither .csv nor .npz: give a table with the columns lag, leaf and log10_norm"
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz, all of one length."""
    again = "write it by numpy.savez(FILE, lag=..., leaf=..., log10_norm=...), rows of one length"
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (
        Exception
    ):  # numpy says the same of damage, of pickled objects and of files of another kind in many ways
        raise GradlabError(f"`{path}` cannot be read: it is damaged, or holds objects; {again}") from None
    shapes = {name: array.shape for name, array in arrays.items()}
    if len({*shapes.values()}) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise GradlabError(f"`{path}` holds arrays of the shapes {said}: {again}")
    return arrays


def _checked(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The columns that count, with the values in `log10_norm`."""
    table = table.rename(columns={"training_step": "step", "training step": "step"})
    values = [name for name in ("log10_norm", "norm") if name in table]
    missing = [name for name in NEEDED if name not in table] + ([] if values else ["log10_norm (or norm)"])
    if missing:
        raise GradlabError(
            f"`{path}` has no column {', '.join(missing)}: its columns are {', '.join(map(str, table.columns))}"
        )
    if not len(table):
        raise GradlabError(f"`{path}` holds no rows")
    table = table.assign(**{name: value for name, value in OPTIONAL.items() if name not in table})
    for name in ("lag", "step", values[0]):
        numbers = pd.to_numeric(table[name], errors="coerce")
        wrong = numbers.isna() & table[name].notna()
        if name != values[0]:
            wrong |= numbers.isna() | (numbers % 1 != 0) | (numbers < (1 if name == "lag" else 0))
        if values[0] == name == "norm":
            wrong |= numbers < 0
        if wrong.any():
            row = int(np.argmax(wrong))
            raise GradlabError(f"`{path}` has {name} `{table[name].iloc[row]}` in row {row + 1} of its numbers")
        table[name] = numbers
    if values[0] == "norm":
        with np.errstate(divide="ignore"):
            table["log10_norm"] = np.log10(table["norm"])
    table["leaf"] = table["leaf"].astype(str).str.strip()
    return table


def _curve(path: Path, rows: pd.DataFrame) -> GradientCurve:
    place = ["lag", "leaf", "example"]
    twice = rows[rows.duplicated(place)]
    if len(twice):
        lag, leaf, example = twice.iloc[0][place]
        raise GradlabError(
            f"`{path}` has lag {lag} of leaf {leaf} twice (example {example}): give each value once"
        )
    leaves, lengths = {}, []
    for leaf in dict.fromkeys(rows["leaf"]):
        own = rows[rows["leaf"] == leaf]
        by_lag = own.pivot(index="lag", columns="example", values="log10_norm")
        counts, last = own.groupby("example")["lag"].count(), own.groupby("example")["lag"].max()
        if (counts != last).any():
            raise GradlabError(f"`{path}` lacks lags of leaf {leaf}: give every lag from 1 to the last")
        leaves[leaf] = by_lag.to_numpy(np.float64)
        lengths.append(last.to_numpy(np.int64))
    if any(not np.array_equal(lengths[0], each) for each in lengths):
        raise GradlabError(f"`{path}` has other lags or examples of one leaf than of another: give the same")
    whole = None if (lengths[0] == lengths[0].max()).all() else lengths[0]
    if STATE in leaves:
        return GradientCurve(leaves, lengths=whole)
    return GradientCurve.of(leaves, lengths=whole)
