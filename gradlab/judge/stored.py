"""One scenario through the store and back: what readers of a run get is what was measured."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import GradlabError
from gradlab.judge.baseline import Baseline
from gradlab.judge.compare import Finding, compare_curve, curve_title, split_key, tolerance
from gradlab.judge.measure import TASK_STATE, GuardedCurve, Measurement, measure_trained_plainly
from gradlab.judge.statistics import difference
from gradlab.judge.suite import Scenario
from gradlab.runs.jsonable import jsonable
from gradlab.runs.store import Store, StoredRun

if TYPE_CHECKING:
    from gradlab.gradient.curve import GradientCurve
    from gradlab.runs.result import RunResult
    from gradlab.training.loop import Checkpoint

ReadTable = Callable[[Path], Any]
"""From a results folder to the data frame of `gradlab.load`."""
MOST = 3
"""Most findings, the first ones: a fault of the store is in every array."""


def stored_differences(
    scenario: Scenario, baseline: Baseline | None, now: Measurement | None, table: ReadTable
) -> list[Finding]:
    """Run a scenario at its first seed, and compare what is read of the run with what was measured.

    The run's own curves must be equal; those of `now`, which the baseline guards, within the tolerance.
    """
    from gradlab.runs.execute import run

    if scenario.spec is None or baseline is None or now is None:
        return []
    with tempfile.TemporaryDirectory(prefix="gradlab-") as folder:
        try:
            spec = replace(scenario.spec, seed=0, measure="every")
            result = run(spec, folder)
            if not result.checkpoints:
                raise GradlabError(f"it {result.status}, {result.reason}")
            stored = Store(folder).find(result.spec.id)
            readers = [_of_arrays(result, stored), _of_norms(result, stored), _of_json(result, stored)]
            readers += [_of_table(result, stored, table(Path(folder))), _of_run(result, now, baseline)]
            if spec.steps:
                plain = {"trained": measure_trained_plainly(scenario)}
                readers.append(_compared("trained without the norms of each step", plain, {}, now, baseline))
            found = [one for reader in readers for one in reader]
        except (GradlabError, LookupError, TypeError, ValueError) as error:
            found = [Finding("", "all", "regressed", f"a run of it cannot be stored and read back: {error}")]
    return [replace(one, scenario=scenario.name) for one in found[:MOST]]


def _of_arrays(result: "RunResult", stored: StoredRun) -> Iterator[Finding]:
    """Every statistic of every curve, and the gates, in `curves.npz`."""
    arrays = stored.arrays("curves.npz")
    for row, mark in enumerate(result.checkpoints):
        for name, gate in mark.metrics.gates.items():
            read = arrays[f"gate/{name}"][row]
            if not np.array_equal(read, gate, equal_nan=True):
                text = f"curves.npz: gate {name} is {read.tolist()} and was measured as {[*gate]}"
                yield Finding("", _part_of(mark.step), "regressed", text)
        for name, leaf, curve in _leaves(mark):
            for statistic, values in _statistics(curve, leaf).items():
                read = arrays[f"{name}/{leaf}/{statistic}"][row]
                yield from _differences(f"curves.npz, {statistic}", mark.step, (name, leaf), values, read)


def _statistics(curve: "GradientCurve", leaf: str) -> dict[str, NDArray[np.float64]]:
    quantiles = {f"q{percent}": curve.quantile(percent / 100, leaf) for percent in (10, 50, 90)}
    return quantiles | {"typical": curve.typical(leaf), "rms": curve.rms(leaf), "dead": curve.dead(leaf)}


def _of_norms(result: "RunResult", stored: StoredRun) -> Iterator[Finding]:
    """The norms of every training step in `every.npz`."""
    arrays = stored.arrays("every.npz") if result.chunks else {}
    for leaf, rows in _norms_of(result).items():
        if arrays[leaf].shape != rows.shape:
            text = f"every.npz: {leaf} has the shape {arrays[leaf].shape} and was measured as {rows.shape}"
            yield Finding("", "trained", "regressed", text)
            continue
        for step, (values, read) in enumerate(zip(rows, arrays[leaf], strict=True), start=1):
            yield from _differences("every.npz", step, (f"every {step}", leaf), values, read)


def _norms_of(result: "RunResult") -> dict[str, NDArray[Any]]:
    chunks = [rows.norms for rows in result.chunks]
    return {leaf: np.concatenate([each[leaf] for each in chunks]) for leaf in (chunks[0] if chunks else ())}


def _of_json(result: "RunResult", stored: StoredRun) -> Iterator[Finding]:
    """Loss and every number of every curve in `done.json` and `log.jsonl`."""
    summary, log = stored.done["summary"], stored.log()
    if len(log) != len(result.checkpoints):
        text = f"log.jsonl: {len(log)} lines in place of {len(result.checkpoints)}"
        yield Finding("", "all", "regressed", text)
    first, last = result.checkpoints[0], result.checkpoints[-1]
    read = [("done.json", first, summary["initial"]), ("done.json", last, summary["final"])]
    read += [("log.jsonl", mark, line) for mark, line in zip(result.checkpoints, log, strict=False)]
    for file, mark, one in read:
        if one["loss"] != jsonable(mark.metrics.loss):
            text = f"{file}: the loss is {one['loss']} and was measured as {mark.metrics.loss}"
            yield Finding("", _part_of(mark.step), "regressed", text)
        for name, leaf, curve in _leaves(mark):
            numbers, there = jsonable(curve.summary(leaf).as_dict()), one["curves"][name][leaf]
            if wrong := [field for field, value in numbers.items() if there.get(field) != value]:
                said = f"{wrong[0]} is {there.get(wrong[0])} and was measured as {numbers[wrong[0]]}"
                text = f"{file}: {curve_title(name, leaf)}: {said}"
                yield Finding("", _part_of(mark.step), "regressed", text, curve=name, leaf=leaf)


def _of_table(result: "RunResult", stored: StoredRun, frame: Any) -> Iterator[Finding]:
    """The typical curve in the table of `gradlab.load`; it has the task curve and the total one."""
    rows = frame[frame["run"] == stored.id]
    for mark in result.checkpoints:
        there = rows[rows["training_step"] == mark.step]
        for name, leaf, curve in _leaves(mark):
            if name != "direct":
                read = there[(there["curve"] == name) & (there["leaf"] == leaf)].sort_values("lag")["typical"]
                values = curve.typical(leaf)
                yield from _differences("gradlab.load", mark.step, (name, leaf), values, read.to_numpy())


def _of_run(result: "RunResult", now: Measurement, baseline: Baseline) -> Iterator[Finding]:
    """What the run measured, against what the gate measured of its seed."""
    ends = {"initial": result.checkpoints[0].metrics.curves, "trained": result.checkpoints[-1].metrics.curves}
    return _compared("in a run of seed 0", ends, _norms_of(result), now, baseline)


def _compared(
    where: str,
    curves: Mapping[str, Mapping[str, "GradientCurve"]],
    norms: Mapping[str, NDArray[Any]],
    now: Measurement,
    baseline: Baseline,
) -> Iterator[Finding]:
    """Curves by part and norms of training steps of seed 0, against those that the gate measured."""
    for name, part in ((name, part) for name, part in now.parts.items() if name in curves):
        main = GuardedCurve(now.lags, part.curves)
        for key, curve in {TASK_STATE: main, **part.more}.items():
            kind, leaf = split_key(key)
            if kind.startswith("every"):
                if not norms:
                    continue
                values = np.asarray(norms[leaf][int(kind.split()[1]) - 1], np.float64)
            else:
                values = curves[name][kind].summarised(leaf)
            noise = baseline.noise.get(name if key == TASK_STATE else f"{name}/{key}", np.zeros(len(curve.lags)))
            finding = Finding("", name, "unchanged", "", curve=kind, leaf=leaf)
            read = values[None, np.array(curve.lags) - 1]
            finding = compare_curve(finding, curve.lags, curve.values[:1], read, tolerance(noise))
            if finding.status == "regressed":
                yield replace(finding, message=f"{where}: {finding.title}: {finding.message}")


def _leaves(mark: "Checkpoint") -> Iterator[tuple[str, str, "GradientCurve"]]:
    """Every curve and leaf of a checkpoint."""
    for name, curve in mark.metrics.curves.items():
        for leaf in curve.leaves:
            yield name, leaf, curve


def _part_of(step: int) -> str:
    return "trained" if step else "initial"


def _differences(
    where: str, step: int, key: tuple[str, str], measured: NDArray[Any], read: NDArray[Any]
) -> Iterator[Finding]:
    """The largest difference of an array by lag, if there is one."""
    finding = Finding("", _part_of(step), "regressed", "", tier="A", curve=key[0], leaf=key[1])
    title = f"{where}: {finding.title}" + ("" if key[0].startswith("every") else f" after {step} training steps")
    if read.shape != measured.shape:
        yield replace(finding, message=f"{title}: {len(read)} lags in place of {len(measured)}")
        return
    shifts = difference(measured, read)
    if shifts.any():
        at = int(np.argmax(np.abs(shifts)))
        unit = "" if where.endswith("dead") else " decades"
        text = f"{title}: {shifts[at]:+.3g}{unit} at lag {at + 1} from what was measured"
        yield replace(finding, message=text, lag=at + 1, decades=float(shifts[at]))
