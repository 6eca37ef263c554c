"""One scenario against its baseline, paired by seed (tier A). Where seeds cannot be paired: `samples.py` (tier B).

Weights and data equal those of the baseline up to rounding, so each seed is compared with itself. The
tolerance at a lag is max(1e-4, 10 · noise) decades, with the noise measured when it was blessed. The median over
seeds must be within it and the largest shift within three times it. Lags with a tolerance above 0.1 decades are
chaotic (rounding alone moves them) and, of the task curve of `state` before training, left to tier B.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gradlab.judge.baseline import Baseline
from gradlab.judge.measure import TOLERANCE_PER_NOISE, Floats, Measurement, Sketch
from gradlab.judge.statistics import difference

Status = Literal["regressed", "unreadable", "missing", "incomparable", "inconclusive", "unchanged"]
STATUSES: tuple[Status, ...] = get_args(Status)
"""Worst first."""

STATUS_NAMES = {status: status for status in STATUSES} | {
    "unreadable": "baseline unreadable",
    "missing": "no baseline",
    "incomparable": "cannot be compared",
}
PART_NAMES = {"initial": "at initialisation", "trained": "after training", "given": "as given"}

LEAST_TOLERANCE, LARGEST_SHIFT_FACTOR = 1e-4, 3.0
CHAOTIC_TOLERANCE = 0.1
"""Tolerance in decades above which a lag says nothing about a single seed."""
WEIGHTS_APART = 1e-4
"""Relative to the root mean square of an array; a smaller change of a sketch is rounding."""
HORIZON_LAGS = 1
NOT_FINITE = "nan decades at lag {}, the first that is not finite"


@dataclass(frozen=True)
class Finding:
    """The comparison of one scenario before or after training.

    Attributes:
        part: `initial`, `trained`, `given` of what was measured elsewhere or, where nothing was compared, `all`.
        status: see `STATUSES`. message: one sentence without the name of the scenario.
        lag, decades, tolerance: where the curves are furthest apart relative to the tolerance, how far, and what
            was allowed; None if nothing was compared.
        tier: `A`, `B` or "".
        chaotic: lags that rounding alone moves too far.
        largest: largest shift in decades of any seed at any compared lag; None if seeds are not paired.
        p: of tier B, adjusted for lags and scenarios. seeds_needed: of tier B, if inconclusive.
        curve, leaf: which curve this is about; `every 1` is training step 1 of `--measure every`.

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
    curve: str = "task"
    leaf: str = "state"

    @property
    def is_main(self) -> bool:
        """Whether this is about the task curve of `state`."""
        return (self.curve, self.leaf) == ("task", "state")

    @property
    def title(self) -> str:
        """The curve in words: `total curve of c`, `norms of h in training step 10`."""
        return curve_title(self.curve, self.leaf)

    @property
    def severity(self) -> tuple[int, float]:
        """Sort key, worst first: by status, then by the shift relative to the tolerance."""
        apart = abs(self.decades or 0.0) / self.tolerance if self.tolerance else 0.0
        apart = np.inf if np.isnan(apart) else apart
        return STATUSES.index(self.status), -apart

    def __str__(self) -> str:
        when = f" {PART_NAMES[self.part]}" if self.part in PART_NAMES else ""
        return f"{STATUS_NAMES[self.status]}: {self.scenario}{when}: {self.message}"


def split_key(key: str) -> tuple[str, str]:
    """Curve and leaf of a key `curve/leaf`; a leaf may have more of them: `direct/lower/h`."""
    curve, _, leaf = key.partition("/")
    return curve, leaf


def curve_title(curve: str, leaf: str) -> str:
    """A curve in words.

    Example:
        >>> curve_title("total", "c"), curve_title("every 10", "h")
        ('total curve of c', 'norms of h in training step 10')
    """
    kind, _, step = curve.partition(" ")
    return f"norms of {leaf} in training step {step}" if kind == "every" else f"{curve} curve of {leaf}"


def tolerance(noise: Floats) -> Floats:
    """Decades by which one seed may move at each lag."""
    return np.maximum(LEAST_TOLERANCE, TOLERANCE_PER_NOISE * noise)


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
    """Tier A: one time of training, seed by seed. Where the task curve of `state` stayed, the others decide."""
    before, after = baseline.measurement.parts[part], now.parts[part]
    finding, allowed = Finding(scenario, part, "unchanged", ""), tolerance(baseline.noise[part])
    finding = compare_curve(finding, now.lags, before.curves, after.curves, allowed)
    horizon = _horizon_moved(before.horizons, after.horizons, np.array(finding.chaotic))
    if horizon and finding.status != "regressed":
        finding = replace(finding, status="regressed", message=horizon)
    others = _compare_others(scenario, part, baseline, now)
    largest = [one.largest for one in (finding, *others) if one.largest is not None]
    finding = replace(finding, largest=max(largest, default=None))
    moved = sorted((one for one in others if one.status == "regressed"), key=lambda one: one.severity)
    if finding.status == "regressed" or not moved:
        return finding
    named = [one.title for one in moved]
    more = f"; also the {', '.join(named[1:4])}" if named[1:] else ""
    more += f" and {len(named) - 4} more" if named[4:] else ""
    return replace(moved[0], message=f"{named[0]}: {moved[0].message}{more}", largest=finding.largest)


def _compare_others(scenario: str, part: str, baseline: Baseline, now: Measurement) -> list[Finding]:
    """Tier A of every curve that the baseline has beside the task curve of `state`."""
    found, new = [], now.parts[part].more
    for key, before in baseline.measurement.parts[part].more.items():
        curve, leaf = split_key(key)
        finding = Finding(scenario, part, "unchanged", "", curve=curve, leaf=leaf)
        if key not in new:
            found.append(replace(finding, status="regressed", message="it is gone"))
        elif new[key].lags != before.lags:
            text = f"its last lag is {new[key].lags[-1]} and was {before.lags[-1]}"
            found.append(replace(finding, status="regressed", message=text))
        else:
            allowed = tolerance(baseline.noise[f"{part}/{key}"])
            found.append(compare_curve(finding, before.lags, before.values, new[key].values, allowed))
    return found


def unguarded(baseline: Baseline, now: Measurement) -> list[str]:
    """What is measured now and not in the baseline, in words."""
    known = baseline.measurement.parts
    pairs = [(part, key) for part, found in now.parts.items() for key in found.more if key not in known[part].more]
    return list(dict.fromkeys(curve_title(*split_key(key)) for _, key in pairs))


def compare_curve(
    finding: Finding, lags: Sequence[int], before: Floats, after: Floats, allowed: Floats
) -> Finding:
    """The finding of one curve: values (S, K) before and after, and what is allowed at each lag."""
    at_lag = np.array(lags)
    shifts = difference(before, after)
    chaotic = allowed > CHAOTIC_TOLERANCE
    apart = np.where(chaotic, 0.0, np.abs(shifts).max(axis=0))
    typical = np.median(np.abs(shifts), axis=0)
    # In tolerances: the median over seeds, or a third of the largest.
    ratio = np.maximum(typical, np.abs(shifts).max(axis=0) / LARGEST_SHIFT_FACTOR) / allowed
    ratio = np.where(chaotic, 0.0, ratio)
    at = int(np.argmax(ratio))
    of_median = typical[at] >= ratio[at] * allowed[at] * (1 - 1e-9)
    sizes = np.abs(shifts[:, at])
    seed = int(np.argsort(sizes)[len(sizes) // 2] if of_median else np.argmax(sizes))
    finding = replace(
        finding,
        lag=int(at_lag[at]),
        decades=float(shifts[seed, at]),
        tolerance=float(allowed[at]),
        tier="A",
        chaotic=tuple(int(lag) for lag in at_lag[chaotic]),
        largest=None if chaotic.all() else float(apart.max()),
    )
    new = (not_finite(after) & ~not_finite(before)).any(axis=0)
    if new.any():
        lag = int(at_lag[np.argmax(new)])
        return replace(finding, status="regressed", message=NOT_FINITE.format(lag), lag=lag, decades=np.nan)
    if ratio[at] > 1:
        return replace(finding, status="regressed", message=_shift(finding, before[seed, at], after[seed, at]))
    if chaotic.all():
        return replace(finding, status="inconclusive", message="every lag is chaotic: rounding alone moves them")
    furthest = int(np.argmax(apart))
    return replace(finding, message=f"at most {apart[furthest]:.2g} decades apart, at lag {at_lag[furthest]}")


def _shift(finding: Finding, before: float, after: float) -> str:
    """How far one seed moved, from its value before to that after."""
    if np.isnan(before) or before == np.inf:
        return f"{'zero' if after == -np.inf else 'finite'} at lag {finding.lag}, where the baseline is not finite"
    if -np.inf in (before, after):
        return f"{'became' if after == -np.inf else 'is no longer'} exactly zero at lag {finding.lag}"
    decades, allowed = finding.decades or 0.0, finding.tolerance or 0.0
    return f"{decades:+.3g} decades at lag {finding.lag} (tolerance {allowed:.2g})"


def not_finite(curves: Floats) -> NDArray[np.bool_]:
    """NaN or +infinity; -infinity is a zero."""
    return np.isnan(curves) | np.isposinf(curves)


def _horizon_moved(before: NDArray[np.int64], now: NDArray[np.int64], chaotic: NDArray[np.int64]) -> str:
    """The change of the float32 horizon, or "" if there is none."""
    if len(chaotic) and min(before.min(), now.min()) >= chaotic.min():
        return ""
    apart = np.abs(now - before)
    if np.median(apart) <= HORIZON_LAGS and apart.max() <= LARGEST_SHIFT_FACTOR * HORIZON_LAGS:
        return ""
    seed = int(np.argmax(apart))
    return f"the float32 horizon moved from lag {before[seed]} to {now[seed]}"


def environment_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """`jaxlib 0.10.1 -> 0.10.3` for everything that differs.

    Example:
        >>> environment_changes({"jax": "0.10.1", "cpu": "A"}, {"jax": "0.11.0", "cpu": "A"})
        ['jax 0.10.1 -> 0.11.0']
    """
    keys = [*before, *(key for key in now if key not in before)]
    pairs = [(key, before.get(key, ""), now.get(key, "")) for key in keys]
    return [f"{key} {old or 'none'} -> {new or 'none'}" for key, old, new in pairs if old != new]
