"""Initial task curves of many seeds as two samples (tier B): another jax or device draws other weights.

A permutation test of all lags at once. Passing needs the simultaneous band of the shift within ±0.3 decades; a
shift that is merely not significant is inconclusive.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradlab.judge.compare import NOT_FINITE, Finding, not_finite
from gradlab.judge.measure import Floats
from gradlab.judge.statistics import MaxT, holm, max_t, seeds_to_decide

MARGIN, LEVEL = 0.3, 0.01
"""Of tier B: decades, and the probability of a false alarm in a whole suite."""
FEWEST_FINITE = 2
"""Fewest finite seeds of a sample."""


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
        text = f"{NOT_FINITE.format(lag)}, in {int(bad.any(axis=1).sum())} of {len(now)} seeds"
        return Finding(scenario, "initial", "regressed", text, lag, np.nan, MARGIN, "B")
    before, now = before[~was.any(axis=1)], now[~bad.any(axis=1)]
    if min(len(before), len(now)) < FEWEST_FINITE:
        text = f"fewer than {FEWEST_FINITE} seeds of a sample are finite"
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
