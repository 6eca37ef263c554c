"""What one scenario gives here and now: curves, losses, fingerprints and the noise of rounding, as arrays."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.judge.statistics import difference
from gradlab.judge.suite import Scenario, log_spaced

if TYPE_CHECKING:
    from gradlab.tasks import Batch
    from gradlab.training.model import Model
    from gradlab.training.seeds import CurveMeasurement, SeedMeasurement
    from gradlab.training.step import Plan

Floats = NDArray[np.float64]
Sketch = dict[str, list[float]]

LAGS, POPULATION_LAGS = 32, 12
PARTS = ("initial", "trained")
MOVED = 1e-3
"""A median loss that training changed by a smaller share than this did not move."""
_PROJECTIONS = 2
_SKETCHED = 6
"""Significant digits of a sketch."""


class Part(NamedTuple):
    """Curves of one scenario at one time of training.

    Attributes:
        curves: (S, K), log10 norm of the task curve of each paired seed at the lags.
        horizons: (S,), the float32 horizon of each, T where it is not reached.
        losses: (S,), on the examples that were measured.
    """

    curves: Floats
    horizons: NDArray[np.int64]
    losses: Floats


@dataclass(frozen=True)
class Measurement:
    """One scenario, measured.

    Attributes:
        lags: (K,), where curves are compared.
        parts: `initial`, and `trained` where there are training steps.
        weights, data: for each paired seed a sketch of every array, by its name.
        bits: a digest of every bit of curves and initial weights.
    """

    lags: list[int]
    parts: dict[str, Part]
    weights: list[Sketch]
    data: list[Sketch]
    bits: str

    def moved(self) -> bool:
        """Whether training changed the loss; true where nothing was trained."""
        if "trained" not in self.parts:
            return True
        before, after = self.parts["initial"].losses, self.parts["trained"].losses
        share = np.abs(after - before) / np.maximum(np.abs(before), 1e-300)
        # A loss that is no number moved indeed; that it did is told by its own sentence.
        return not np.median(share) <= MOVED


def measure(scenario: Scenario) -> Measurement:
    """Measure every paired seed of a scenario."""
    from gradlab.training.seeds import measure_seeds

    with _arithmetic(scenario):
        model, plan = scenario.build()
        return _collect(measure_seeds(model, plan, range(scenario.paired)), _axes(model, plan))


def measure_noise(scenario: Scenario, found: Measurement) -> tuple[str, dict[str, Floats]]:
    """What rounding does to the curves of a scenario: the largest difference to its replicas, by part and lag.

    Returns:
        What is perturbed, and for each part decades (K,).
    """
    from gradlab.training.perturbation import perturbations
    from gradlab.training.seeds import measure_seeds

    with _arithmetic(scenario):
        model, plan = scenario.build()
        replicas = perturbations(model, plan.length)
        others = [measure_seeds(model, plan, range(scenario.paired), replica) for replica in replicas]
        axes = _axes(model, plan)
    noise = {name: np.zeros(len(found.lags)) for name in found.parts}
    for seen in others:
        for name, part in _collect(seen, axes).parts.items():
            apart = np.abs(difference(found.parts[name].curves, part.curves))
            noise[name] = np.maximum(noise[name], apart.max(axis=0))
    return replicas[0].name, noise


def measure_population(scenario: Scenario, lags: Sequence[int]) -> Floats:
    """The initial curves of the scenario's population at some lags, (N, K)."""
    from gradlab.training.seeds import measure_population

    with _arithmetic(scenario):
        model, plan = scenario.build()
        curves = measure_population(model, plan, scenario.population)
    return np.array([curve.summarised() for curve in curves])[:, np.asarray(lags) - 1]


def zero_parts(found: Measurement) -> list[str]:
    """The times of training at which the gradient is exactly zero at every lag in every seed."""
    return [name for name, part in found.parts.items() if np.isneginf(part.curves).all()]


def _arithmetic(scenario: Scenario) -> AbstractContextManager[None]:
    import jax

    context: AbstractContextManager[None] = jax.enable_x64(scenario.dtype == "float64")
    return context


def _axes(model: "Model", plan: "Plan") -> dict[str, int]:
    """Of each array of a batch the axis of the examples."""
    from gradlab.training.step import batch_axes

    return _by_path(batch_axes(model.task, plan.measure_batch, plan.length))


def _by_path(batch: "Batch") -> dict[str, Any]:
    """What a batch holds, by name; `targets/first` of targets that are a dict."""
    from jax.tree_util import keystr, tree_leaves_with_path

    return {keystr(path, simple=True, separator="/"): leaf for path, leaf in tree_leaves_with_path(batch)}


def _collect(seen: Sequence["SeedMeasurement"], axes: Mapping[str, int]) -> Measurement:
    from gradlab.runs.arrays import flatten_params

    lags = log_spaced(len(seen[0].initial.curve.lags), LAGS)
    parts = {"initial": _part([one.initial for one in seen], lags)}
    trained = [one.trained for one in seen if one.trained is not None]
    if trained:
        parts["trained"] = _part(trained, lags)
    params = [{name: np.asarray(leaf) for name, leaf in flatten_params(one.params).items()} for one in seen]
    data = [{name: np.asarray(leaf) for name, leaf in _by_path(one.batch).items()} for one in seen]
    curves = [look.curve.summarised() for one in seen for look in (one.initial, one.trained) if look is not None]
    weights = [leaf for one in params for leaf in one.values()]
    return Measurement(
        lags,
        parts,
        [*map(sketch, params)],
        [sketch_examples(one, axes) for one in data],
        _digest([*curves, *weights]),
    )


def _part(looks: Sequence["CurveMeasurement"], lags: Sequence[int]) -> Part:
    curves = np.array([look.curve.summarised() for look in looks])[:, np.asarray(lags) - 1]
    horizons = np.array([look.curve.float32_horizon().lag for look in looks])
    return Part(curves, horizons, np.array([look.loss for look in looks]))


def sketch(arrays: Mapping[str, NDArray[Any]]) -> Sketch:
    """Of each array its size, its root mean square and two projections on frozen random directions.

    A change of any entry moves the projections, and rounding hardly does: so weights can be recognised on another
    processor, where a digest of their bits would call them different.

    Example:
        >>> sketch({"w": np.ones((2, 2))})["w"][:2]
        [4.0, 1.0]
    """
    return {name: _numbers(array.reshape(1, -1)) for name, array in arrays.items()}


def sketch_examples(arrays: Mapping[str, NDArray[Any]], axes: Mapping[str, int]) -> Sketch:
    """A sketch that does not know the order of examples: of their projections, the mean and the root mean square.

    Args:
        arrays: of a batch. axes: of each, the axis of the examples.

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
    # A phase is no modulus: of a complex array both parts are projected.
    values = np.concatenate([rows.real, rows.imag], axis=1) if np.iscomplexobj(rows) else moduli
    directions = np.random.RandomState(values.shape[1]).standard_normal((_PROJECTIONS, values.shape[1]))
    # Relative to its largest entry, or the squares of a huge one would overflow.
    top = float(np.abs(moduli).max(initial=0.0)) or 1.0
    rms = top * float(np.sqrt(np.mean((moduli / top) ** 2))) if moduli.size else 0.0
    projections = values @ directions.T / np.sqrt(max(values.shape[1], 1))
    numbers = [rms, *projections.mean(axis=0)]
    if len(values) > 1:
        numbers += [*np.sqrt((projections**2).mean(axis=0))]
    return [float(rows.size), *(float(f"{number:.{_SKETCHED}g}") for number in numbers)]


def _digest(arrays: Iterable[NDArray[Any]]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
