"""From the norms of an adjoint pass to a `GradientCurve`: findings, and where lags begin."""

from collections.abc import Sequence

import numpy as np

from gradlab.gradient.adjoint import Adjoint
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.summary import Kind, NonFinite


def to_curve(result: Adjoint, leaves: Sequence[str] | None = None, beside: Sequence[str] = ()) -> GradientCurve:
    """The curve of all leaves of an adjoint pass, or of those that count, and of those `beside` the state."""
    names = result.norms if leaves is None else (*leaves, *beside)
    counted = {name: values for name, values in result.norms.items() if name in names}
    counted, lengths = _from_last_read(counted, np.asarray(result.last_read, np.int64))
    return GradientCurve.of(
        counted,
        dtype=result.dtype,
        lengths=lengths,
        non_finite=(*_forward_findings(result), *_backward_findings(result.norms)),
        losses=np.asarray(result.loss, np.float64),
        beside=tuple(beside),
    )


def _from_last_read(
    leaves: dict[str, np.ndarray], last_read: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Rows by lag from the end of each sequence as rows by lag from the last output that its loss reads.

    The lags before are zero by construction. How many lags each example has is None where all have all.
    """
    timesteps = len(next(iter(leaves.values())))
    if (last_read == timesteps).all():
        return leaves, None
    rows = np.arange(last_read.max())[:, None] + (timesteps - last_read)[None, :]
    absent = rows >= timesteps
    return {
        name: np.where(absent, np.nan, np.take_along_axis(values, np.minimum(rows, timesteps - 1), axis=0))
        for name, values in leaves.items()
    }, last_read


def _forward_findings(result: Adjoint) -> list[NonFinite]:
    """For each quantity of the forward pass that is not finite, the smallest t where that is so.

    What comes after the last output that an example's loss reads has no part in its curve.
    """
    timesteps = len(result.finite_outputs)
    after = np.arange(1, timesteps + 1)[:, None] > np.asarray(result.last_read)[None, :]
    quantities: list[tuple[str, np.ndarray, Kind]] = [
        *((name, np.asarray(finite), "state") for name, finite in result.finite_states.items()),
        ("output", np.asarray(result.finite_outputs), "output"),
    ]
    findings = []
    for where, finite, kind in quantities:
        bad = ~(finite | after)
        if bad.any():
            findings.append(NonFinite(where, int(np.argmax(bad.any(axis=1))) + 1, _examples(bad), kind))
    lost = ~np.isfinite(np.asarray(result.loss))
    return [*findings, NonFinite("loss", timesteps, int(lost.sum()), "loss")] if lost.any() else findings


def _backward_findings(leaves: dict[str, np.ndarray]) -> list[NonFinite]:
    """For each leaf, the largest t whose entering state has a gradient that is not finite."""
    findings = []
    for name, values in leaves.items():
        bad = np.isnan(values) | np.isposinf(values)
        if bad.any():
            timestep = len(values) - int(np.argmax(bad.any(axis=1)))
            findings.append(NonFinite(f"gradient {name}", timestep, _examples(bad), "gradient"))
    return findings


def _examples(bad: np.ndarray) -> int:
    return int(bad.any(axis=0).sum())
