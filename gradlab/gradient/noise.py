"""Rounding noise and chaos: how far a gradient curve depends on the arithmetic it was measured in. NumPy only.

A curve is measured in the arithmetic of the run and in float64. Where the two agree to a thousandth of the decades
the first is right. Where they do not, float64 is measured again with every weight and input moved by one rounding
error of the run's arithmetic:

- float64 hardly moves: it is right, and the arithmetic of the run is imprecise there or reads 0 (1 - tanh² cancels
  near saturation). The value of float64 is stored, and from which lag.
- float64 moves as well: the value depends on rounding. Either a gradient that is truly zero is read as the
  rounding error of its parts, or the network is chaotic and no two arithmetics follow one trajectory for long.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gradlab.gradient.curve import STATE, Floats, GradientCurve

TOLERANCE = 1e-3
"""Share of the decades from lag 1, of at least one decade, by which two measurements may differ."""
STABLE = 0.05
"""Decades by which float64 may move under one rounding error of the run's arithmetic and still be trusted."""
SAME_LOSS = 1e-2
"""Losses that differ by more, relatively, are of different trajectories."""


def disagree(native: GradientCurve, precise: GradientCurve) -> bool:
    """Whether two measurements differ anywhere by more than the tolerance."""
    return any(differs(values, precise.log10_norm[leaf]).any() for leaf, values in native.log10_norm.items())


def differs(values: Floats, precise: Floats) -> NDArray[np.bool_]:
    """Where two measurements (T, B) differ by more than the tolerance."""
    return _distance(values, precise) > TOLERANCE * _decades(precise)


def reconcile(native: GradientCurve, precise: GradientCurve, replica: GradientCurve) -> GradientCurve:
    """The curve of the run's arithmetic, corrected where float64 is right, marked as noise where neither is.

    Args:
        native: measured in the arithmetic of the run.
        precise: in float64.
        replica: in float64, with every number moved by one rounding error of the run's arithmetic.
    """
    leaves, saturated, noise = {}, {}, {}
    chaotic = _other_trajectory(replica, precise)
    for name, values in native.log10_norm.items():
        right = precise.log10_norm[name]
        wrong, moved = differs(values, right), _distance(replica.log10_norm[name], right)
        # Where two trajectories part, that their gradients agree at some lag is chance.
        stable = ~_unstable(moved, right) & (not chaotic)
        better, unsure = wrong & stable, wrong & ~stable
        if better.any() and name != STATE:
            saturated[name] = int(np.argmax(better.any(axis=1))) + 1
        noise[name] = _median(np.where(unsure, np.maximum(_distance(values, right), moved), 0.0), native)
        leaves[name] = np.where(better, right, values)
    if own := [lag for name, lag in saturated.items() if name not in native.beside]:
        saturated[STATE] = min(own)
    noise = {name: values for name, values in noise.items() if values.any()}
    found = replace(native, log10_norm=leaves, saturated=saturated, noise=noise, chaotic=bool(noise) and chaotic)
    # `state` is put together again from its leaves, so that it is never below one of them.
    return found.with_state()


def mark_noise(native: GradientCurve, replica: GradientCurve, coarse: GradientCurve) -> GradientCurve:
    """A curve of float64, marked where rounding decides its values.

    Args:
        native: measured in float64.
        replica: in float64, with every number moved by one rounding error of it.
        coarse: in float32, which shows by how much a value depends on the arithmetic.
    """
    noise = {}
    for name, values in native.log10_norm.items():
        moved = _distance(values, replica.log10_norm[name])
        decades = np.maximum(moved, _distance(values, coarse.log10_norm[name]))
        noise[name] = _median(np.where(_unstable(moved, values), decades, 0.0), native)
    noise = {name: values for name, values in noise.items() if values.any()}
    return replace(native, noise=noise, chaotic=bool(noise) and _other_trajectory(native, replica))


def _unstable(moved: Floats, values: Floats) -> NDArray[np.bool_]:
    return moved > np.maximum(STABLE, TOLERANCE * _decades(values))


def _distance(a: Floats, b: Floats) -> Floats:
    """Decades between two measurements, (T, B); infinite where one alone is zero, 0 where one is not finite."""
    with np.errstate(invalid="ignore"):
        plain = np.abs(a - b)
    # NaN and infinity are findings of the arithmetic that has them; no other one repairs them.
    broken = np.isnan(a) | np.isnan(b) | np.isposinf(a) | np.isposinf(b)
    return np.where(broken | (a == b), 0.0, plain)


def _decades(values: Floats) -> Floats:
    """How far each value is from lag 1, at least one decade, (T, B)."""
    with np.errstate(invalid="ignore"):
        from_lag_1 = np.abs(values - values[0])
    return np.maximum(1.0, np.where(np.isfinite(from_lag_1), from_lag_1, 0.0))


def _median(decades: Floats, curve: GradientCurve) -> Floats:
    """The median over the examples that have each lag, (T,)."""
    if curve.lengths is None:
        return np.asarray(np.median(decades, axis=1))
    absent = curve.lags[:, None] > curve.lengths[None, :]
    return np.asarray(np.nanmedian(np.where(absent, np.nan, decades), axis=1))


def _other_trajectory(one: GradientCurve, precise: GradientCurve) -> bool:
    """Whether the losses of most examples differ by more than rounding along one trajectory does."""
    with np.errstate(invalid="ignore", divide="ignore"):
        moved = np.abs(one.losses - precise.losses) / np.abs(precise.losses)
    moved = np.where(one.losses == precise.losses, 0.0, moved)
    return bool(len(moved) and np.median(np.where(np.isnan(moved), 0.0, moved)) > SAME_LOSS)
