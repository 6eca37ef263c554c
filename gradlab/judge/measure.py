"""Measurement of one scenario: curves, losses, sketches of weights and data, and the noise of rounding."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import GradlabError
from gradlab.judge.statistics import difference
from gradlab.judge.suite import Scenario, log_spaced

if TYPE_CHECKING:
    from gradlab.gradient.curve import GradientCurve
    from gradlab.tasks import Batch
    from gradlab.training.model import Model
    from gradlab.training.seeds import SeedMeasurement
    from gradlab.training.step import Plan

Floats = NDArray[np.float64]
Sketch = dict[str, list[float]]

LAGS, POPULATION_LAGS, MORE_LAGS = 32, 12, 8
"""Of the task curve of `state`, of the population, and of every other curve."""
TASK_STATE = "task/state"
TOLERANCE_PER_NOISE = 10.0
"""A tolerance is this many times the noise."""
LEAST_LOSS_CHANGE = 1e-3
"""Relative change of the median loss below which nothing was trained."""
_PROJECTIONS = 2
_SKETCH_DIGITS = 6


class GuardedCurve(NamedTuple):
    """One curve of one leaf of every paired seed: log10 norms (S, K) at lags (K,)."""

    lags: list[int]
    values: Floats


class Part(NamedTuple):
    """Curves of one scenario before or after training.

    Attributes:
        curves: (S, K), log10 norm of the task curve of `state` of each paired seed at the lags.
        horizons: (S,), the float32 horizon of each, T where it is not reached.
        losses: (S,), on the measured examples.
        more: every other curve and leaf by `curve/leaf`, such as `total/c`; after training also the norms that
            `--measure every` keeps, of the first and the last training step, as `every 1/h`.
    """

    curves: Floats
    horizons: NDArray[np.int64]
    losses: Floats
    more: Mapping[str, GuardedCurve] = {}


@dataclass(frozen=True)
class Measurement:
    """One scenario, measured.

    Attributes:
        lags: (K,), where curves are compared.
        parts: `initial`, and `trained` if there are training steps.
        weights, data: for each paired seed a sketch of every array, by its name.
        bits: digest of curves and initial weights.
    """

    lags: list[int]
    parts: dict[str, Part]
    weights: list[Sketch]
    data: list[Sketch]
    bits: str

    def moved(self) -> bool:
        """Whether training changed the loss; true without training."""
        if "trained" not in self.parts:
            return True
        before, after = self.parts["initial"].losses, self.parts["trained"].losses
        share = np.abs(after - before) / np.maximum(np.abs(before), 1e-300)
        # NaN counts as moved: it is reported by a finding of its own.
        return not np.median(share) <= LEAST_LOSS_CHANGE


@contextmanager
def _built(scenario: Scenario) -> Iterator[tuple["Model", "Plan"]]:
    """The model and plan of a scenario, in its arithmetic."""
    from gradlab.training.numerics import numerics

    with numerics(scenario.dtype):
        yield scenario.build()


def measure(scenario: Scenario) -> Measurement:
    """Measure every paired seed of a scenario, or read what was measured elsewhere."""
    if scenario.curves is not None:
        return _given(scenario.curves())
    from gradlab.training.seeds import measure_seeds

    with _built(scenario) as (model, plan):
        return _collect(measure_seeds(model, plan, range(scenario.paired)), _batch_axes(model, plan))


def measure_trained_plainly(scenario: Scenario) -> dict[str, "GradientCurve"]:
    """Every curve of the first seed after training steps whose norms are not kept: another program trains."""
    from gradlab.training.seeds import measure_trained_plainly as measured

    with _built(scenario) as (model, plan):
        return measured(model, plan, 0)


def measure_noise(scenario: Scenario, found: Measurement) -> tuple[str, dict[str, Floats]]:
    """The effect of rounding on the curves: the largest difference to perturbed replicas, by part and lag.

    Returns:
        A description of the replicas, and decades (K,) for each part and, as `part/curve/leaf`, every other curve.
    """
    from gradlab.training.perturbation import perturbations
    from gradlab.training.seeds import measure_seeds

    curves = named_curves(found)
    if scenario.curves is not None:
        shares = {
            name: np.full(values.shape[1], scenario.tolerance / TOLERANCE_PER_NOISE)
            for name, values in curves.items()
        }
        return "none: measured elsewhere, with the tolerance that was given", shares
    noise = {name: np.zeros(values.shape[1]) for name, values in curves.items()}
    with _built(scenario) as (model, plan):
        replicas, axes = perturbations(model, plan.length), _batch_axes(model, plan)
        for replica in replicas:
            seen = measure_seeds(model, plan, range(scenario.paired), replica)
            for name, values in named_curves(_collect(seen, axes)).items():
                apart = np.abs(difference(curves[name], values)).max(axis=0)
                noise[name] = np.maximum(noise[name], apart)
    return replicas[0].name, noise


def named_curves(found: Measurement) -> dict[str, Floats]:
    """All values that are compared, by part or `part/curve/leaf`."""
    named = {name: part.curves for name, part in found.parts.items()}
    pairs = [(name, *each) for name, part in found.parts.items() for each in part.more.items()]
    return named | {f"{name}/{key}": curve.values for name, key, curve in pairs}


def measure_population(scenario: Scenario, lags: Sequence[int]) -> Floats:
    """The initial curves of the scenario's population at some lags, (N, K); of what was given, all of it."""
    from gradlab.training.seeds import measure_population as curves_of_population

    if scenario.curves is not None:
        curves = list(scenario.curves())
    else:
        with _built(scenario) as (model, plan):
            curves = curves_of_population(model, plan, scenario.population)
    return np.array([curve.summarised() for curve in curves])[:, np.asarray(lags) - 1]


def zero_parts(found: Measurement) -> list[str]:
    """The parts, and the leaves of their task curve, whose gradient is exactly zero at every lag in every seed."""
    whole = [name for name, part in found.parts.items() if np.isneginf(part.curves).all()]
    leaves = [
        f"{name}: {key.removeprefix('task/')}"
        for name, part in found.parts.items()
        for key, curve in part.more.items()
        if name not in whole and key.startswith("task/") and np.isneginf(curve.values).all()
    ]
    return whole + leaves


def _batch_axes(model: "Model", plan: "Plan") -> dict[str, int]:
    """The axis of the examples of each array of a batch."""
    from gradlab.training.step import batch_axes

    return _by_path(batch_axes(model.task, plan.measure_batch, plan.length))


def _by_path(batch: "Batch") -> dict[str, Any]:
    """The arrays of a batch by name; `targets/first` if targets are a dict."""
    from jax.tree_util import keystr, tree_leaves_with_path

    return {keystr(path, simple=True, separator="/"): leaf for path, leaf in tree_leaves_with_path(batch)}


def _collect(seen: Sequence["SeedMeasurement"], axes: Mapping[str, int]) -> Measurement:
    from gradlab.runs.parameters import flatten_params

    lags = log_spaced(len(seen[0].initial["task"].lags), LAGS)
    parts = {"initial": _part([one.initial for one in seen], lags)}
    trained = [one.trained for one in seen if one.trained is not None]
    if trained:
        parts["trained"] = _part(trained, lags, _norms([one.norms for one in seen]))
    params = [{name: np.asarray(leaf) for name, leaf in flatten_params(one.params).items()} for one in seen]
    data = [{name: np.asarray(leaf) for name, leaf in _by_path(one.batch).items()} for one in seen]
    digest = hashlib.blake2b(digest_size=8)
    for one in seen:
        for look in filter(None, (one.initial, one.trained)):
            digest.update(np.ascontiguousarray(look["task"].summarised()).tobytes())
    for leaf in (leaf for one in params for leaf in one.values()):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    weights = [sketch(one) for one in params]
    return Measurement(lags, parts, weights, [sketch_examples(one, axes) for one in data], digest.hexdigest())


def _given(curves: Sequence["GradientCurve"]) -> Measurement:
    """Curves that were measured elsewhere, of weights and data that are not known."""
    if len({len(curve.lags) for curve in curves}) > 1:
        raise GradlabError("the curves of the training steps have different lags: give each in a file of its own")
    lags, digest = log_spaced(len(curves[0].lags), LAGS), hashlib.blake2b(digest_size=8)
    for curve in curves:
        digest.update(np.ascontiguousarray(curve.summarised()).tobytes())
    unknown: list[Sketch] = [{} for _ in curves]
    part = _part([{"task": curve} for curve in curves], lags)
    return Measurement(lags, {"initial": part}, unknown, unknown, digest.hexdigest())


def _part(
    looks: Sequence[Mapping[str, "GradientCurve"]],
    lags: Sequence[int],
    norms: Mapping[str, GuardedCurve] | None = None,
) -> Part:
    main = [look["task"] for look in looks]
    curves = np.array([curve.summarised() for curve in main])[:, np.asarray(lags) - 1]
    horizons = np.array([curve.float32_horizon().lag for curve in main])
    losses = np.array([float(np.mean(curve.losses)) if len(curve.losses) else 0.0 for curve in main])
    names = [(name, leaf) for name, curve in looks[0].items() for leaf in curve.leaves]
    more = {
        f"{name}/{leaf}": _guarded([look[name].summarised(leaf) for look in looks])
        for name, leaf in names
        if f"{name}/{leaf}" != TASK_STATE
    }
    return Part(curves, horizons, losses, more | dict(norms or {}))


def _norms(seen: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, GuardedCurve]:
    """The norms of the first and the last training step; NaN of a seed that ended before."""
    steps = max(len(rows) for norms in seen for rows in norms.values())
    found = {}
    for step in sorted({1, steps}):
        for leaf in seen[0]:
            rows = [norms[leaf] for norms in seen]
            values = [each[step - 1] if step <= len(each) else np.full(each.shape[1], np.nan) for each in rows]
            found[f"every {step}/{leaf}"] = _guarded(values)
    return found


def _guarded(values: Sequence[NDArray[Any]]) -> GuardedCurve:
    lags = log_spaced(min(map(len, values)), MORE_LAGS)
    return GuardedCurve(lags, np.array([np.asarray(each, np.float64)[np.asarray(lags) - 1] for each in values]))


def sketch(arrays: Mapping[str, NDArray[Any]]) -> Sketch:
    """Size, root mean square and two projections on fixed random directions of each array.

    A change of any entry moves the projections and rounding hardly does, so weights are recognised on another
    processor, where a digest of their bits would differ.

    Example:
        >>> sketch({"w": np.ones((2, 2))})["w"][:2]
        [4.0, 1.0]
    """
    return {name: _numbers(array.reshape(1, -1)) for name, array in arrays.items()}


def sketch_examples(arrays: Mapping[str, NDArray[Any]], axes: Mapping[str, int]) -> Sketch:
    """A sketch of the arrays of a batch that does not depend on the order of examples; `axes`: those of examples.

    Example:
        >>> x = np.arange(6.0).reshape(3, 2)
        >>> sketch_examples({"x": x}, {"x": 0}) == sketch_examples({"x": x[::-1]}, {"x": 0})
        True
    """
    rows = {name: np.moveaxis(array, axes[name], 0) for name, array in arrays.items()}
    return {name: _numbers(array.reshape(len(array), -1)) for name, array in rows.items()}


def _numbers(rows: NDArray[Any]) -> list[float]:
    """Size, root mean square, the mean over rows of each projection and, of several rows, its root mean square."""
    moduli = np.abs(rows) if np.iscomplexobj(rows) else rows.astype(np.float64)
    # The modulus does not show a phase: of a complex array both parts are projected.
    values = np.concatenate([rows.real, rows.imag], axis=1) if np.iscomplexobj(rows) else moduli
    directions = np.random.RandomState(values.shape[1]).standard_normal((_PROJECTIONS, values.shape[1]))
    # Relative to the largest entry, whose square could overflow.
    top = float(np.abs(moduli).max(initial=0.0)) or 1.0
    rms = top * float(np.sqrt(np.mean((moduli / top) ** 2))) if moduli.size else 0.0
    projections = values @ directions.T / np.sqrt(max(values.shape[1], 1))
    numbers = [rms, *projections.mean(axis=0)]
    if len(values) > 1:
        numbers += [*np.sqrt((projections**2).mean(axis=0))]
    return [float(rows.size), *(float(f"{number:.{_SKETCH_DIGITS}g}") for number in numbers)]
