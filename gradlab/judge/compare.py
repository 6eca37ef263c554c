"""One scenario against its baseline: paired by seed where possible (tier A), otherwise as samples (tier B).

Tier A: weights and data equal those of the baseline up to rounding, so each seed is compared with itself. The
tolerance at a lag is max(1e-4, 10 · noise) decades, with the noise measured when it was blessed. The median over
seeds must be within it and the largest shift within three times it. Lags with a tolerance above 0.1 decades are
chaotic (rounding alone moves them) and, before training, left to tier B.

Tier B: weights differ because another jax or device draws them differently. Samples of initial curves are compared
by a permutation test of all lags at once. Passing needs the simultaneous band of the shift within ±0.3 decades;
a shift that is merely not significant is inconclusive.
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

STATUS_NAMES = {status: status for status in STATUSES} | {
    "unreadable": "baseline unreadable",
    "missing": "no baseline",
    "incomparable": "cannot be compared",
}
PART_NAMES = {"initial": "at initialisation", "trained": "after training"}

SMALLEST, PER_NOISE, OF_LARGEST = 1e-4, 10.0, 3.0
CHAOTIC = 0.1
"""Tolerance in decades above which a lag says nothing about a single seed."""
MARGIN, LEVEL = 0.3, 0.01
"""Of tier B: decades, and the probability of a false alarm in a whole suite."""
WEIGHTS_APART = 1e-4
"""Relative to the root mean square of an array; a smaller change of a sketch is rounding."""
HORIZON_LAGS = 1
FEWEST = 2
"""Fewest finite seeds of a sample."""
_NOT_FINITE = "nan decades at lag {}, the first that is not finite"


@dataclass(frozen=True)
class Finding:
    """The comparison of one scenario before or after training.

    Attributes:
        part: `initial`, `trained` or, where nothing was compared, `all`.
        status: see `STATUSES`. message: one sentence without the name of the scenario.
        lag, decades, tolerance: where the curves are furthest apart relative to the tolerance, how far, and what
            was allowed; None if nothing was compared.
        tier: `A`, `B` or "".
        chaotic: lags that rounding alone moves too far.
        largest: largest shift in decades of any seed at any compared lag; None if seeds are not paired.
        p: of tier B, adjusted for lags and scenarios. seeds_needed: of tier B, if inconclusive.

    Example:
        >>> str(Finding("adding-rnn", "initial", "regressed", "+0.1 decades at lag 7 (tolerance 0.0001)"))
        'regressed: adding-rnn at initialisation: +0.1 decades at lag 7 (tolerance 0.0001)'
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
        """Sort key, worst first: by status, then by the shift relative to the tolerance."""
        apart = abs(self.decades or 0.0) / self.tolerance if self.tolerance else 0.0
        apart = np.inf if np.isnan(apart) else apart
        return STATUSES.index(self.status), -apart

    def __str__(self) -> str:
        when = f" {PART_NAMES[self.part]}" if self.part in PART_NAMES else ""
        return f"{STATUS_NAMES[self.status]}: {self.scenario}{when}: {self.message}"


def tolerance(noise: Floats) -> Floats:
    """Decades by which one seed may move at each lag."""
    return np.maximum(SMALLEST, PER_NOISE * noise)


def changed_arrays(before: Sequence[Sketch], now: Sequence[Sketch]) -> str:
    """The array that changed most over all seeds and by how much; "" if all are equal up to rounding.

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
                said = f"{name} {_array_change(one[name][1], apart)}"
    return said


def _array_change(rms: float, apart: Floats) -> str:
    """How an array changed: in size where it did, otherwise in direction."""
    if not np.isfinite(apart).all():
        return "is not finite"
    if rms == 0:
        return f"by {apart.max():.3g} from 0"
    if apart[0] > WEIGHTS_APART * rms:
        return f"by {100 * apart[0] / rms:.3g} %"
    return f"by {100 * apart.max() / rms:.3g} % in direction"


def compare_part(scenario: str, part: str, baseline: Baseline, now: Measurement) -> Finding:
    """Tier A: one time of training, seed by seed."""
    lags, before, after = np.array(now.lags), baseline.measurement.parts[part], now.parts[part]
    shifts = difference(before.curves, after.curves)
    allowed = tolerance(baseline.noise[part])
    chaotic = allowed > CHAOTIC
    apart = np.where(chaotic, 0.0, np.abs(shifts).max(axis=0))
    typical = np.median(np.abs(shifts), axis=0)
    # In tolerances: the median over seeds, or a third of the largest.
    ratio = np.maximum(typical, np.abs(shifts).max(axis=0) / OF_LARGEST) / allowed
    ratio = np.where(chaotic, 0.0, ratio)
    at = int(np.argmax(ratio))
    of_median = typical[at] >= ratio[at] * allowed[at] * (1 - 1e-9)
    sizes = np.abs(shifts[:, at])
    seed = int(np.argsort(sizes)[len(sizes) // 2] if of_median else np.argmax(sizes))
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
    new = (not_finite(after.curves) & ~not_finite(before.curves)).any(axis=0)
    if new.any():
        lag = int(lags[np.argmax(new)])
        return replace(finding, status="regressed", message=_NOT_FINITE.format(lag), lag=lag, decades=np.nan)
    moved = _horizon_moved(before.horizons, after.horizons, lags[chaotic])
    if ratio[at] > 1:
        moved = _shift(finding, before.curves[seed, at], after.curves[seed, at])
    if moved:
        return replace(finding, status="regressed", message=moved)
    if chaotic.all():
        return replace(finding, status="inconclusive", message="every lag is chaotic: rounding alone moves them")
    furthest = int(np.argmax(apart))
    return replace(finding, message=f"at most {apart[furthest]:.2g} decades apart, at lag {lags[furthest]}")


def _shift(finding: Finding, before: float, after: float) -> str:
    """How far one seed moved, from its value before to that after."""
    if np.isnan(before) or before == np.inf:
        return f"{'zero' if after == -np.inf else 'finite'} at lag {finding.lag}, where the baseline is not finite"
    became, was = after == -np.inf, before == -np.inf
    zero = ", became zero" if became else ", no longer zero" if was else ""
    decades, allowed = finding.decades or 0.0, finding.tolerance or 0.0
    return f"{decades:+.3g} decades at lag {finding.lag}{zero} (tolerance {allowed:.2g})"


def not_finite(curves: Floats) -> NDArray[np.bool_]:
    """NaN or +infinity; -infinity is a zero."""
    return np.isnan(curves) | np.isposinf(curves)


def _horizon_moved(before: NDArray[np.int64], now: NDArray[np.int64], chaotic: NDArray[np.int64]) -> str:
    """The change of the float32 horizon, or "" if there is none."""
    if len(chaotic) and min(before.min(), now.min()) >= chaotic.min():
        return ""
    apart = np.abs(now - before)
    if np.median(apart) <= HORIZON_LAGS and apart.max() <= OF_LARGEST * HORIZON_LAGS:
        return ""
    seed = int(np.argmax(apart))
    return f"the float32 horizon moved from lag {before[seed]} to {now[seed]}"


@dataclass(frozen=True)
class Samples:
    """Tier B of one scenario, before adjusting for the other scenarios; `zeros` are remarks by lag."""

    scenario: str
    lags: tuple[int, ...]
    found: MaxT
    reason: str
    zeros: tuple[str, ...]


def compare_samples(
    scenario: str, lags: Sequence[int], before: Floats, now: Floats, reason: str
) -> Samples | Finding:
    """Tier B: initial curves (N, K) and (M, K) as two samples; a zero counts as a decade below all other values.

    `reason` says why seeds are not paired.
    """
    bad, was = not_finite(now), not_finite(before)
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
    """For each lag in how many seeds the gradient is exactly zero, in words; "" if in none."""
    counts = zip(np.isneginf(before).sum(axis=0), np.isneginf(now).sum(axis=0), strict=True)
    text = "zero in {} of {} seeds and in {} of {} before, which counts as a decade below all others; "
    return tuple(text.format(new, len(now), old, len(before)) if new or old else "" for old, new in counts)


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
