"""What can be worked out beside the curves of a model's weights, in float64: numbers by lag, and what they say.

spectrum      what the chain of Jacobians does to every direction of the state
credit        which lags the gradient of the weights comes from
paths         through which gates the gradient goes back
remembrance   what the last output still holds of an input
precision     what 16 and 32 bits make of the curve
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from gradlab.cells import Params
from gradlab.cells.base import is_network
from gradlab.errors import GradlabError
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.reductions import Floats
from gradlab.gradient.summary import Horizon
from gradlab.tasks import Batch
from gradlab.training.model import Model

SPECTRUM_EXAMPLES = 4
"""Examples of a spectrum: it takes N³ for each timestep of each."""
LAGS = (10, 50, 200)
"""Lags whose share in the gradient of the weights is told."""


class Analysis(NamedTuple):
    """Arrays by name, averaged over examples, and the object of `done.json`."""

    arrays: dict[str, np.ndarray]
    summary: dict[str, Any]


def analyse(name: str, model: Model, params: Params, batch: Batch, window: int = 0) -> Analysis:
    """One analysis of these weights on these examples.

    Args:
        window: timesteps that training goes back; 0 for all.

    Raises:
        GradlabError: the cell has no state, or does not state its gates.
    """
    if is_network(model.cell):
        raise GradlabError(f"{type(model.cell).__name__} has no state, and so no {name}: leave out also={name}")
    batch, last = model.embedded(params, batch), model.task.readout == "last"

    def loss(outputs: Array) -> Array:
        return model.read(params, outputs[-1:] if last else outputs, batch)

    return _ANALYSES[name](_Given(model.cell, params["cell"], batch.inputs, loss, window))


class _Given(NamedTuple):
    """What an analysis is of; see `analyse`."""

    cell: Any
    params: Params
    inputs: Array
    loss: Callable[[Array], Array]
    window: int


def _spectrum(given: _Given) -> Analysis:
    from gradlab.gradient.spectrum import jacobian_spectrum

    found = jacobian_spectrum(given.cell, given.params, given.inputs[:, :SPECTRUM_EXAMPLES])
    exponents, values = found.exponents.mean(axis=-1), found.singular_values.mean(axis=-1)
    largest, smallest = found.timestep.mean(axis=-1)
    arrays = {"exponents": exponents, "lags": found.lags, "singular_values": values}
    middle = values[-1, (values.shape[1] - 1) // 2]
    summary = {
        "exponents": [float(exponents[0]), float(exponents[-1])],
        "singular_values": [float(values[-1, 0]), float(middle), float(values[-1, -1])],
        "entries": len(exponents),
        "examples": found.exponents.shape[1],
    }
    return Analysis(arrays | {"timestep_largest": largest, "timestep_smallest": smallest}, summary)


def _credit(given: _Given) -> Analysis:
    from gradlab.gradient.credit import weight_credit

    found = weight_credit(given.cell, given.params, given.inputs, given.loss)
    norms = {f"norm/{name}": norm for name, norm in found.log10_norm.items()}
    by_lag = {name: getattr(found, name) for name in ("share", "cosine", "missing", "agreement")}
    lags = sorted(lag for lag in {*LAGS, given.window} if 0 < lag < len(found.share))
    summary = {
        "window": found.window(),
        "truncated_at": given.window,
        **{
            name: {str(lag): float(by_lag[name][lag - 1]) for lag in lags}
            for name in ("share", "cosine", "missing")
        },
        "agreement": [float(found.agreement[0]), float(found.agreement[-1])],
    }
    return Analysis(norms | by_lag, summary)


def _paths(given: _Given) -> Analysis:
    from gradlab.gradient.paths import path_credit

    found = path_credit(given.cell, given.params, given.inputs, given.loss)
    parts = {"share": found.share, "alone_share": found.alone_share, "alone": found.alone}
    arrays = {f"{part}/{path}": _typical(values) for part, each in parts.items() for path, values in each.items()}
    ends = {part: {path: float(arrays[f"{part}/{path}"][-1]) for path in parts[part]} for part in parts}
    return Analysis(arrays | {"whole": _typical(found.log10_norm)}, ends)


def _remembrance(given: _Given) -> Analysis:
    from gradlab.gradient.remembrance import remembrance

    found = remembrance(given.cell, given.params, given.inputs)
    typical = found.typical()
    exchanged = ~np.isnan(typical)
    lags, change = found.lags[exchanged], typical[exchanged]
    summary = {"lags": lags[[0, -1]].tolist(), "change": change[[0, -1]].tolist()} if len(lags) else {"change": []}
    # The largest of the sampled lags up to which no change has dropped by more than the threshold of a curve.
    kept = GradientCurve.of({"y": change[:, None]}).horizon() if len(lags) else Horizon(0, reached=False)
    horizon = int(lags[kept.lag - 1]) if kept.lag else 0
    summary |= {"horizon": horizon, "horizon_reached": kept.reached}
    return Analysis({"lags": lags, "change": change}, summary)


def _precision(given: _Given) -> Analysis:
    from gradlab.gradient.precision import precision_curves

    arrays, summary = {}, {}
    for found in precision_curves(given.cell, given.params, given.inputs, given.loss):
        arrays[f"carried/{found.dtype}"] = _typical(found.carried)
        arrays[f"plain/{found.dtype}"] = _typical(found.plain)
        arrays["exact"] = _typical(found.exact)
        summary[found.dtype] = {
            "carried_leaves_at": found.leaves_at("carried"),
            "plain_leaves_at": found.leaves_at("plain"),
            "plain_zero_from": found.zero_from(),
            "loss_scale": found.loss_scale(),
        }
    return Analysis(arrays, summary)


def _typical(values: Floats) -> Floats:
    """The mean over the examples that have a lag, by lag."""
    has = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sum(values, axis=-1, where=has) / has.sum(axis=-1))


_ANALYSES: Mapping[str, Callable[..., Analysis]] = {
    "spectrum": _spectrum,
    "credit": _credit,
    "paths": _paths,
    "remembrance": _remembrance,
    "precision": _precision,
}
