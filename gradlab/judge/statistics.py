"""What several seeds say together. NumPy and SciPy only."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its interval; the ends are nan for fewer than 3 seeds.

    Attributes:
        mean: over the finite values.
        low, high: the 95 % interval of the mean by Student's t.
        count: how many seeds. not_finite: how many of them had no finite value.
    """

    mean: float
    low: float
    high: float
    count: int
    not_finite: int = 0

    def __str__(self) -> str:
        missing = f" ({self.not_finite} of {self.count} not finite)" if self.not_finite else ""
        if math.isnan(self.low):
            return f"{self.mean:.3g}{missing}"
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]{missing}"


def over_seeds(values: Iterable[float], confidence: float = 0.95) -> Interval:
    """The mean of one number over seeds with its t interval.

    Args:
        values: one value for each seed; those that are not finite are counted, and say so.
        confidence: of the interval.

    Example:
        >>> str(over_seeds([1.0, 2.0, 3.0]))
        '2 [-0.484, 4.48]'

    Source: Student (1908), "The probable error of a mean", https://doi.org/10.1093/biomet/6.1.1
    """
    everything = np.asarray(list(values), float)
    finite = everything[np.isfinite(everything)]
    missing = len(everything) - len(finite)
    if len(finite) == 0:
        return Interval(math.nan, math.nan, math.nan, len(everything), missing)
    mean = float(finite.mean())
    if len(finite) < 3:
        return Interval(mean, math.nan, math.nan, len(everything), missing)
    from scipy import stats  # a second of import that most commands do not need

    half = float(stats.t.ppf(0.5 + confidence / 2, len(finite) - 1) * finite.std(ddof=1) / math.sqrt(len(finite)))
    return Interval(mean, mean - half, mean + half, len(everything), missing)


@dataclass(frozen=True)
class Share:
    """How many of several seeds did something; the ends are nan where there is none.

    Attributes:
        count: those that did. of: all of them.
        low, high: the 95 % interval of the probability, by Wilson's score.
    """

    count: int
    of: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Count / of; nan where there is none."""
        return self.count / self.of if self.of else math.nan

    def __str__(self) -> str:
        return f"{self.count} of {self.of}"


def share(count: int, of: int, confidence: float = 0.95) -> Share:
    """A count of seeds with the interval of its probability, which is honest for a handful of them too.

    Args:
        count: seeds that did. of: all seeds. confidence: of the interval.

    Example:
        >>> one = share(3, 3)
        >>> str(one), round(one.low, 2), round(one.high, 2)
        ('3 of 3', 0.44, 1.0)

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference",
    https://doi.org/10.1080/01621459.1927.10502953; recommended for small samples by Brown, Cai and DasGupta
    (2001), https://doi.org/10.1214/ss/1009213286
    """
    if of == 0:
        return Share(count, of, math.nan, math.nan)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = count / of
    middle = (rate + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * math.sqrt(rate * (1 - rate) / of + z**2 / (4 * of**2))
    # At the ends the score touches 0 and 1 exactly, but for the last bit.
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Share(count, of, 0.0 if count == 0 else low, 1.0 if count == of else high)


def verdict_over_seeds(words: Sequence[str]) -> str:
    """`vanishing in 5 of 8`: the commonest verdicts and how many seeds gave them.

    Example:
        >>> verdict_over_seeds(["held", "vanishing", "vanishing"])
        'vanishing in 2 of 3, held in 1 of 3'
    """
    counts = Counter(words).most_common()
    if len(counts) == 1:
        return counts[0][0] if len(words) == 1 else f"{counts[0][0]} in {len(words)} of {len(words)}"
    return ", ".join(f"{word} in {count} of {len(words)}" for word, count in counts)
