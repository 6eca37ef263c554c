"""Statistics over seeds: the only module that averages over seeds. Imports no jax.

Runs with a non-finite curve are left out of every mean and counted beside it. A gradient that is exactly zero has
no finite span or slope and is counted as zero. Fewer than three finite seeds give a mean without an interval.
"""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from gradlab.gradient.summary import HalfLife, Summary, Word

FEWEST_SEEDS = 3
"""Fewest finite seeds for an interval."""
NEGLIGIBLE = 0.05
"""Decades that print as 0.0."""


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % t interval.

    Attributes:
        mean: over the finite values; nan if there are none.
        low, high: nan for fewer than `FEWEST_SEEDS` finite values.
        count: number of seeds; of these, zero: -inf, a gradient that is exactly zero; not_finite: nan or inf;
            missing: without such a number.
    """

    mean: float
    low: float
    high: float
    count: int
    zero: int = 0
    not_finite: int = 0
    missing: int = 0

    @property
    def finite(self) -> int:
        """Number of seeds in the mean."""
        return self.count - self.zero - self.not_finite - self.missing

    @property
    def left_out(self) -> str:
        """The seeds not in the mean: `1 of 5 zero, 2 of 5 not finite`."""
        counts = ((self.zero, "zero"), (self.not_finite, "not finite"), (self.missing, "with none"))
        return ", ".join(f"{number} of {self.count} {word}" for number, word in counts if number)

    def __str__(self) -> str:
        left_out = f" ({self.left_out})" if self.left_out and self.missing < self.count else ""
        if not self.finite:
            return f"none{left_out}"
        interval = "" if math.isnan(self.low) else f" [{self.low:.3g}, {self.high:.3g}]"
        return f"{self.mean:.3g}{interval}{left_out}"


def over_seeds(values: Iterable[float | None], confidence: float = 0.95) -> Interval:
    """The mean of one number over seeds with its t interval.

    Args:
        values: one per seed, None if a seed has no such number; non-finite ones are counted apart.
        confidence: of the interval.

    Example:
        >>> str(over_seeds([1.0, 2.0, 3.0]))
        '2 [-0.484, 4.48]'
        >>> str(over_seeds([1.0, 2.0, -math.inf]))
        '1.5 (1 of 3 zero)'

    Source: Student (1908), "The probable error of a mean", https://doi.org/10.1093/biomet/6.1.1
    """
    given = list(values)
    known = np.array([value for value in given if value is not None], float)
    finite = known[np.isfinite(known)]
    zero = int(np.isneginf(known).sum())
    left_out = (len(given), zero, len(known) - len(finite) - zero, len(given) - len(known))
    mean = float(finite.mean()) if len(finite) else math.nan
    if len(finite) < FEWEST_SEEDS:
        return Interval(mean, math.nan, math.nan, *left_out)
    half = float(_quantile(confidence, len(finite)) * finite.std(ddof=1) / math.sqrt(len(finite)))
    return Interval(mean, mean - half, mean + half, *left_out)


@lru_cache(maxsize=1024)
def _quantile(confidence: float, count: int) -> np.float64:
    """The t quantile for so many seeds: scipy takes 0.1 ms for each, and a report wants thousands."""
    from scipy import stats  # a second of import that most commands do not need

    return np.float64(stats.t.ppf(0.5 + confidence / 2, count - 1))


def median(values: Iterable[float]) -> float:
    """The median over seeds; infinities count, NaN is left out; nan if nothing is left."""
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan


def verdict_over_seeds(words: Sequence[str]) -> str:
    """How many seeds gave which verdict, the most common first.

    Example:
        >>> verdict_over_seeds(["held", "vanishing", "vanishing"])
        'vanishing in 2 of 3, held in 1 of 3'
    """
    if len(words) == 1:
        return words[0]
    return ", ".join(f"{word} in {count} of {len(words)}" for word, count in Counter(words).most_common())


def half_life(slope: Interval, longest: int) -> HalfLife:
    """log10(2) / -slope over seeds, with the interval of the slope; open-ended if that includes 0.

    Args:
        slope: over seeds, decades per timestep. longest: T, the longest measured lag.

    Example:
        >>> str(half_life(over_seeds([-0.3, -0.3, -0.3]), 50))
        '1'
    """
    ends = (slope.mean, slope.low, slope.high)
    value, low, high = (math.inf if end >= 0 else math.log10(2) / -end for end in ends)  # nan stays nan
    return HalfLife(value, low, high, longest)


class MeanHorizon(NamedTuple):
    """A mean of horizons; only a lower bound if some (`reached`) reach T (`longest`)."""

    mean: Interval
    reached: int
    longest: int

    @property
    def all_reach(self) -> bool:
        """Whether every seed reaches T."""
        return self.reached == self.mean.count

    def __str__(self) -> str:
        if self.all_reach:
            return f">= {self.longest}"
        return f"{self.mean}; {self.reached} of {self.mean.count} reach T" if self.reached else str(self.mean)


@dataclass(frozen=True)
class Seeds:
    """One leaf of one curve at one checkpoint, in runs that differ only in their seed; at least one summary.

    Example:
        >>> from gradlab.gradient import GradientCurve
        >>> both = Seeds([GradientCurve.of({"h": [[0.0], [end]]}).summary() for end in (-5.0, 6.0)])
        >>> str(both.span), both.verdict, both.disagree
        ('0.5', 'vanishing in 1 of 2, exploding in 1 of 2', True)
    """

    summaries: Sequence[Summary]

    @classmethod
    def stored(cls, leaf: str, each: Iterable[Mapping[str, Any]]) -> "Seeds":
        """From the stored numbers of each seed."""
        return cls([Summary.from_dict(leaf, one) for one in each])

    @property
    def words(self) -> list[Word]:
        """The verdict of each seed."""
        return [one.verdict.word for one in self.summaries]

    @property
    def verdict(self) -> str:
        """How many seeds gave which verdict."""
        return verdict_over_seeds(self.words)

    @property
    def finite(self) -> list[Summary]:
        """The seeds whose curve has numbers: neither non-finite nor noise; exact zeros count."""
        return [one for one in self.summaries if one.verdict.word not in ("non-finite", "noise")]

    def mean(self, number: Callable[[Summary], float]) -> Interval:
        """The mean of a number over the seeds whose curve is finite; nan and noise count as missing."""

        def of(one: Summary) -> float | None:
            if one.verdict.word == "non-finite":
                return math.inf
            value = number(one)
            return None if one.verdict.word == "noise" or math.isnan(value) else value

        return over_seeds(map(of, self.summaries))

    @cached_property
    def span(self) -> Interval:
        """Decades from lag 1 to lag T."""
        return self.mean(lambda one: one.span)

    @cached_property
    def slope(self) -> Interval:
        """Decades per timestep."""
        return self.mean(lambda one: one.slope.value)

    @cached_property
    def change(self) -> Interval:
        """The largest change relative to lag 1 in decades, with its sign."""
        return self.mean(lambda one: one.verdict.decades)

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest finite value of `change`; nan if there are none."""
        decades = [one.verdict.decades for one in self.finite if math.isfinite(one.verdict.decades)]
        return (min(decades), max(decades)) if decades else (math.nan, math.nan)

    @property
    def disagree(self) -> bool:
        """Whether the gradient falls in one seed and rises in another, which a mean would hide."""
        low, high = self.range
        return low <= -NEGLIGIBLE and high >= NEGLIGIBLE

    @property
    def not_exponential(self) -> int:
        """Number of finite seeds whose curve is not exponential."""
        return sum(math.isnan(one.half_life.value) for one in self.finite)

    @property
    def half_life(self) -> HalfLife | None:
        """From the slope; None unless the curve of every finite seed is exponential."""
        if self.not_exponential or not self.finite:
            return None
        return half_life(self.slope, self.finite[0].lags)

    def horizon(self, name: str = "horizon") -> MeanHorizon:
        """The mean of `horizon` or `float32_horizon`."""
        reached = sum(getattr(one, name).reached for one in self.finite)
        mean = self.mean(lambda one: float(getattr(one, name).lag))
        return MeanHorizon(mean, reached, self.summaries[0].lags)
