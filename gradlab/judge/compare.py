"""One scenario against its baseline: seed by seed where that means something (tier A), else as samples (tier B).

Tier A. Weights and data are those of the baseline but for rounding, so every seed is compared with itself. The
tolerance at a lag is max(1e-4, 10 · noise) decades, where noise is what the twins showed when it was blessed. The
median over seeds must be within it and the largest within three times it. Lags whose tolerance would pass 0.1
decade are chaotic: rounding alone moves them, and before training they are left to tier B.

Tier B. Weights differ because another jax draws them differently, or the device is another: samples of initial
curves are compared by a permutation test of all lags at once. Passing needs the simultaneous band of the shift
within ±0.3 decade: what is merely not significant is inconclusive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradlab.judge.baseline import Baseline
from gradlab.judge.measure import Floats, Measurement, Sketch
from gradlab.judge.statistics import MaxT, difference, holm, max_t, seeds_to_decide

Status = Literal["regressed", "unreadable", "missing", "incomparable", "inconclusive", "unchanged"]
STATUSES: tuple[Status, ...] = ("regressed", "unreadable", "missing", "incomparable", "inconclusive", "unchanged")
"""Worst first."""

SMALLEST, PER_NOISE, OF_LARGEST = 1e-4, 10.0, 3.0
CHAOTIC = 0.1
"""Decades of tolerance above which a lag says nothing about one seed."""
MARGIN, LEVEL = 0.3, 0.01
"""Of tier B: decades, and the chance of a false alarm in a whole suite."""
WEIGHTS_APART = 1e-4
"""Of the root mean square of an array: a sketch that differs by less differs by rounding."""
HORIZON_LAGS = 1
FEWEST = 2
"""Finite seeds of a sample that can be compared."""
_NOT_FINITE = "nan decades at lag {}, the first that is not finite"
PART_NAMES = {"initial": "at initialisation", "trained": "after training"}


@dataclass(frozen=True)
class Finding:
    """What the comparison of one scenario at one time of training says.

    Attributes:
        scenario, part: which; part is `initial`, `trained` or, where there is nothing to compare, `all`.
        status: see `STATUSES`.
        message: one sentence without the name of the scenario.
        lag, decades, tolerance: where the curves are furthest apart by the measure of the tolerance, how far, and
            what was allowed; None where nothing was compared.
        tier: `A`, `B` or "".
        chaotic: lags that rounding alone moves too far.
        largest: decades that any seed is from itself at any lag that is compared; None where seeds are not.
        p: of tier B, adjusted for lags and scenarios. seeds_needed: of tier B, where it is inconclusive.
    """

    scenario: str
    part: str
    status: Status
    message: str
    lag: int | None = None
    decades: float | None = None
    tolerance: float | None = None
    tier: str = ""
    chaotic: tuple[int, ...] = ()
    largest: float | None = None
    p: float | None = None
    seeds_needed: int | None = None

    @property
    def severity(self) -> tuple[int, float]:
        """Sorts findings, worst first: by status, then by how many tolerances the curves are apart."""
        apart = abs(self.decades or 0.0) / self.tolerance if self.tolerance else 0.0
        apart = np.inf if np.isnan(apart) else apart
        return STATUSES.index(self.status), -apart


def tolerance(noise: Floats) -> Floats:
    """Decades by which one seed may move at each lag."""
    return np.maximum(SMALLEST, PER_NOISE * noise)


def changed_arrays(before: Sequence[Sketch], now: Sequence[Sketch]) -> str:
    """The array that changed most over all seeds and by how much, or "" where none did but for rounding.

    Example:
        >>> changed_arrays([{"w": [4.0, 1.0, 0.5, 0.5]}], [{"w": [4.0, 1.01, 0.505, 0.505]}])
        'w by 1 %'
    """
    worst, said = WEIGHTS_APART, ""
    for one, other in zip(before, now, strict=True):
        for name in [*one, *(name for name in other if name not in one)]:
            if name not in one or name not in other:
                return f"{name} is {'new' if name in other else 'gone'}"
            if one[name][0] != other[name][0]:
                return f"{name} has {other[name][0]:.0f} numbers and had {one[name][0]:.0f}"
            if len(one[name]) != len(other[name]):
                return f"{name} is sketched in another way"
            apart = np.abs(np.array(other[name][1:]) - np.array(one[name][1:]))
            relative = float(apart.max() / max(one[name][1], 1e-30))
            if np.isnan(relative) or relative > worst:
                worst = np.inf if np.isnan(relative) else relative
                said = _array_said(name, one[name][1], apart)
    return said


def _array_said(name: str, rms: float, apart: Floats) -> str:
    """How an array changed: in size where it did, else in direction."""
    if not np.isfinite(apart).all():
        return f"{name} is not finite"
    if rms == 0:
        return f"{name} by {apart.max():.3g} from 0"
    in_size = apart[0] > WEIGHTS_APART * rms
    return (
        f"{name} by {100 * (apart[0] if in_size else apart.max()) / rms:.3g} %{'' if in_size else ' in direction'}"
    )


def compare_part(scenario: str, part: str, baseline: Baseline, now: Measurement) -> Finding:
    """Tier A: one time of training, seed by seed."""
    lags, before, after = np.array(now.lags), baseline.measurement.parts[part], now.parts[part]
    shifts = difference(before.curves, after.curves)
    allowed = tolerance(baseline.noise[part])
    chaotic = allowed > CHAOTIC
    apart = np.where(chaotic, 0.0, np.abs(shifts).max(axis=0))
    typical = np.median(np.abs(shifts), axis=0)
    # By how many tolerances: of the median over seeds, or a third of the largest.
    ratio = np.maximum(typical, np.abs(shifts).max(axis=0) / OF_LARGEST) / allowed
    ratio = np.where(chaotic, 0.0, ratio)
    at = int(np.argmax(ratio))
    seed = (
        _median_seed(shifts[:, at])
        if typical[at] >= ratio[at] * allowed[at] * (1 - 1e-9)
        else _largest(shifts[:, at])
    )
    finding = Finding(
        scenario,
        part,
        "unchanged",
        "",
        int(lags[at]),
        float(shifts[seed, at]),
        float(allowed[at]),
        "A",
        tuple(int(lag) for lag in lags[chaotic]),
        None if chaotic.all() else float(apart.max()),
    )
    new = _not_finite(after.curves) & ~_not_finite(before.curves)
    if new.any():
        lag = int(lags[int(np.argmax(new.any(axis=0)))])
        return replace(finding, status="regressed", message=_NOT_FINITE.format(lag), lag=lag, decades=np.nan)
    if ratio[at] > 1:
        said = _said(finding, before.curves[seed, at], after.curves[seed, at])
        return replace(finding, status="regressed", message=said)
    moved = _horizon_moved(before.horizons, after.horizons, lags[chaotic])
    if moved:
        return replace(finding, status="regressed", message=moved)
    if chaotic.all():
        return replace(finding, status="inconclusive", message="every lag is chaotic: rounding alone moves them")
    furthest = int(np.argmax(apart))
    return replace(finding, message=f"at most {apart[furthest]:.2g} decades apart, at lag {lags[furthest]}")


def _said(finding: Finding, before: float, after: float) -> str:
    """How far one seed moved, from its value before to that after."""
    if np.isnan(before) or before == np.inf:
        return f"{'zero' if after == -np.inf else 'finite'} at lag {finding.lag}, where the baseline is not finite"
    became, was = after == -np.inf, before == -np.inf
    zero = ", became zero" if became else ", no longer zero" if was else ""
    decades, allowed = finding.decades or 0.0, finding.tolerance or 0.0
    return f"{decades:+.3g} decades at lag {finding.lag}{zero} (tolerance {allowed:.2g})"


def _median_seed(shifts: Floats) -> int:
    return int(np.argsort(np.abs(shifts))[len(shifts) // 2])


def _largest(shifts: Floats) -> int:
    return int(np.argmax(np.abs(shifts)))


def _not_finite(curves: Floats) -> NDArray[np.bool_]:
    """NaN or +infinity; -infinity is a zero."""
    return np.isnan(curves) | np.isposinf(curves)


def _horizon_moved(before: NDArray[np.int64], now: NDArray[np.int64], chaotic: NDArray[np.int64]) -> str:
    """What happened to the lag where float32 stops seeing, or "" where it stayed."""
    if len(chaotic) and min(before.min(), now.min()) >= chaotic.min():
        return ""
    apart = now - before
    if np.median(np.abs(apart)) <= HORIZON_LAGS and np.abs(apart).max() <= OF_LARGEST * HORIZON_LAGS:
        return ""
    seed = int(np.argmax(np.abs(apart)))
    return f"the float32 horizon moved from lag {before[seed]} to {now[seed]}"


@dataclass(frozen=True)
class Samples:
    """Tier B of one scenario, before the other scenarios are known: the comparison and its lags.

    Attributes:
        zeros: for each lag in how many seeds the gradient is exactly zero, in words; "" where in none.
    """

    scenario: str
    lags: tuple[int, ...]
    found: MaxT
    reason: str
    zeros: tuple[str, ...]


def compare_samples(
    scenario: str, lags: Sequence[int], before: Floats, now: Floats, reason: str
) -> Samples | Finding:
    """Tier B: initial curves of many seeds as two samples. A zero counts as a decade below all that is not zero.

    Args:
        before, now: (N, K) and (M, K). reason: why seeds are not compared one by one.
    """
    bad, was = _not_finite(now), _not_finite(before)
    if bad.any(axis=1).mean() > was.any(axis=1).mean():
        lag = lags[int(np.argmax(bad.any(axis=0)))]
        text = f"{_NOT_FINITE.format(lag)}, in {int(bad.any(axis=1).sum())} of {len(now)} seeds"
        return Finding(scenario, "initial", "regressed", text, lag, np.nan, MARGIN, "B")
    before, now = before[~was.any(axis=1)], now[~bad.any(axis=1)]
    if min(len(before), len(now)) < FEWEST:
        text = f"fewer than {FEWEST} seeds of a sample are finite"
        return Finding(scenario, "initial", "inconclusive", text, tier="B")
    finite = [np.where(np.isfinite(sample), sample, np.nan) for sample in (before, now)]
    lowest = np.nanmin(np.vstack([*finite, np.zeros((1, len(lags)))]), axis=0) - 1.0
    first, second = (np.where(np.isnan(sample), lowest, sample) for sample in finite)
    return Samples(scenario, tuple(lags), max_t(first, second), reason, _zeros(before, now))


def _zeros(before: Floats, now: Floats) -> tuple[str, ...]:
    """For each lag `zero in 3 of 8 seeds and in 0 of 8 before, which count as a decade below the rest; `."""
    counts = zip(np.isneginf(before).sum(axis=0), np.isneginf(now).sum(axis=0), strict=True)
    return tuple(
        f"zero in {new} of {len(now)} seeds and in {old} of {len(before)} before, which counts as a decade below "
        "all others; "
        if new or old
        else ""
        for old, new in counts
    )


def judge_samples(samples: Sequence[Samples]) -> list[Finding]:
    """The findings of tier B, with p adjusted for the number of scenarios."""
    adjusted = holm([float(one.found.p.min()) for one in samples])
    return [_judged(one, p) for one, p in zip(samples, adjusted, strict=True)]


def _judged(one: Samples, p: float) -> Finding:
    found = one.found
    beyond = (np.abs(found.shift) > MARGIN) & (found.p < LEVEL)
    edge = np.maximum(np.abs(found.low), np.abs(found.high))
    at = int(np.argmax(np.where(beyond, np.abs(found.shift), -1.0)) if beyond.any() else np.argmax(edge))
    shift, lag = float(found.shift[at]), one.lags[at]
    finding = Finding(one.scenario, "initial", "unchanged", "", lag, shift, MARGIN, "B", p=p)
    band, zero = f"95 % band {found.low[at]:+.2f} to {found.high[at]:+.2f}", one.zeros[at]
    if beyond.any() and p < LEVEL:
        text = f"{shift:+.3g} decades on average at lag {lag} (p = {p:.2g}, margin {MARGIN}); {zero}{one.reason}"
        return replace(finding, status="regressed", message=text)
    if edge.max() < MARGIN:
        text = f"on average within {MARGIN} decades at every lag, {band} at lag {lag}; {zero}{one.reason}"
        return replace(finding, message=text)
    needed = seeds_to_decide(found, MARGIN)
    decides = f"about {needed} seeds would decide"
    text = f"{shift:+.2g} decades on average at lag {lag}, {band}: {decides}; {zero}{one.reason}"
    return replace(finding, status="inconclusive", message=text, seeds_needed=needed)


def environment_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """`jaxlib 0.10.1 -> 0.10.3` for everything that differs.

    Example:
        >>> environment_changes({"jax": "0.10.1", "cpu": "A"}, {"jax": "0.11.0", "cpu": "A"})
        ['jax 0.10.1 -> 0.11.0']
    """
    keys = [*before, *(key for key in now if key not in before)]
    pairs = [(key, before.get(key, ""), now.get(key, "")) for key in keys]
    return [f"{key} {old or 'none'} -> {new or 'none'}" for key, old, new in pairs if old != new]
