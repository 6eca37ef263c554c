"""What several seeds say together. NumPy and SciPy only."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
