"""Proportions, rank correlations, and permutation tests of two samples of curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

PERMUTATIONS = 9_999
EXACT = 20_000
"""Up to so many splits of two samples all are enumerated; beyond, `PERMUTATIONS` random ones are drawn."""
FEWEST_POINTS = 4
"""Fewest pairs for a rank correlation."""


def difference(before: ArrayLike, after: ArrayLike) -> NDArray[np.float64]:
    """After - before; zero where both are the same infinity or both NaN, infinite where one of them is."""
    before, after = np.asarray(before, float), np.asarray(after, float)
    with np.errstate(invalid="ignore"):
        plain = after - before
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    return np.where(same, 0.0, np.where(np.isnan(plain), np.inf, plain))


@dataclass(frozen=True)
class Share:
    """`count` of `of` seeds, with the 95 % Wilson interval of the probability; nan if there are no seeds."""

    count: int
    of: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Count / of; nan if there are no seeds."""
        return self.count / self.of if self.of else math.nan

    def __str__(self) -> str:
        return f"{self.count} of {self.of}"


def share(count: int, of: int, confidence: float = 0.95) -> Share:
    """A proportion of seeds with its Wilson score interval, which is reliable for small samples.

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
    return Share(count, of, *_wilson(count, of, confidence))


@lru_cache(maxsize=4096)
def _wilson(count: int, of: int, confidence: float) -> tuple[float, float]:
    from scipy.stats import binomtest  # a second of import that most commands do not need

    low, high = binomtest(count, of).proportion_ci(confidence, "wilson")
    return float(low), float(high)


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho of `count` pairs with its 95 % interval; nan if undefined, the ends also at exactly ±1."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return (
            f"{self.value:.2f}" if math.isnan(self.low) else f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"
        )


def rank_correlation(x: Sequence[float], y: Sequence[float], confidence: float = 0.95) -> Correlation:
    """Spearman's rank correlation of pairs, ties sharing their mean rank; infinite values have a rank too.

    rho = corr(rank x, rank y); the interval is tanh(artanh(rho) ± z sqrt((1 + rho²/2) / (n - 3))).

    The interval assumes independent pairs. The result is nan for fewer than 4 pairs, or if x or y is constant.

    Example:
        >>> str(rank_correlation([1, 2, 3, 4, 5, 6], [1, 3, 2, 5, 4, float("inf")]))
        '0.89 [0.07, 0.99]'

    Source: Bonett and Wright (2000), "Sample size requirements for estimating Pearson, Kendall and Spearman
    correlations", https://doi.org/10.1007/BF02294183
    """
    count = len(x)
    if count < FEWEST_POINTS or len(set(x)) < 2 or len(set(y)) < 2:
        return Correlation(math.nan, math.nan, math.nan, count)
    from scipy.stats import norm, spearmanr  # a second of import that most commands do not need

    rho = float(np.clip(spearmanr(x, y).statistic, -1.0, 1.0))
    if abs(rho) > 1 - 1e-12:
        return Correlation(float(round(rho)), math.nan, math.nan, count)
    half = float(norm.ppf(0.5 + confidence / 2)) * math.sqrt((1 + rho**2 / 2) / (count - 3))
    return Correlation(rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half), count)


class MaxT(NamedTuple):
    """Comparison of two samples of curves at all lags.

    Attributes:
        shift: (K,), mean of the second sample minus mean of the first.
        p: (K,), of no difference at any lag, adjusted for the number of lags.
        low, high: (K,), the simultaneous 95 % band of the shift.
        spread: (K,), the pooled standard deviation over seeds.
        critical: the 95 % point of the largest |t| over lags; alarm: its 99 % point.
    """

    shift: NDArray[np.float64]
    p: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    spread: NDArray[np.float64]
    critical: float
    alarm: float


def max_t(first: ArrayLike, second: ArrayLike, seed: int = 0) -> MaxT:
    """The permutation test of the largest |t| over lags, which holds its level however lags are correlated.

    t(k) = (ȳ(k) - x̄(k)) / (s(k) √(1/n + 1/m)) with the pooled s(k); under the null hypothesis seed labels are
    exchangeable, so max |t| is compared with its distribution over permuted labels.

    Args:
        first, second: (n, K) and (m, K), finite, n + m at least 4. seed: of the random permutations.

    Example:
        >>> x = np.arange(8.0)[:, None] % 3
        >>> found = max_t(x, x + 5)
        >>> found.shift.tolist(), bool(found.p[0] < 0.001)
        ([5.0], True)

    Source: Westfall & Young (1993), "Resampling-based multiple testing", section 2.3
    """
    x, y = np.asarray(first, float), np.asarray(second, float)
    n, m = len(x), len(y)
    values = np.concatenate([x, y])
    values = values - values.mean(axis=0)
    total = (values**2).sum(axis=0)
    share = n * m / (n + m)

    def squared_t(shift: NDArray[np.float64]) -> NDArray[np.float64]:
        # The sums of squares between and within groups add up to one that no split changes.
        between = share * shift**2
        within = np.maximum(total - between, 1e-12 * total)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(between > 0, (n + m - 2) * between / within, 0.0)

    shift = y.mean(axis=0) - x.mean(axis=0)
    t = np.sqrt(squared_t(shift))
    labels = _splits(n, m, seed)
    largest = np.sqrt(squared_t(labels @ values).max(axis=1))
    # The margin counts values equal up to rounding as reached, as the observed split must be.
    p = np.mean(largest[:, None] >= t * (1 - 1e-9), axis=0)
    spread = np.sqrt(np.maximum(total - share * shift**2, 0.0) / (n + m - 2))
    critical, alarm = (float(np.quantile(largest, q, method="higher")) for q in (0.95, 0.99))
    half = critical * spread / math.sqrt(share)
    return MaxT(shift, p, shift - half, shift + half, spread, critical, alarm)


def _splits(n: int, m: int, seed: int) -> NDArray[np.float64]:
    """Rows that give mean(second) - mean(first) of a split; the first row is the split that was observed."""
    observed = np.repeat([-1.0 / n, 1.0 / m], [n, m])
    if math.comb(n + m, n) > EXACT:
        random = np.random.default_rng(seed)
        return np.vstack([observed, random.permuted(np.tile(observed, (PERMUTATIONS, 1)), axis=1)])
    rows = np.full((math.comb(n + m, n), n + m), 1.0 / m)
    for row, chosen in zip(rows, combinations(range(n + m), n), strict=True):
        row[list(chosen)] = -1.0 / n
    return rows


def seeds_to_decide(found: MaxT, margin: float) -> int:
    """Seeds per sample needed to decide an inconclusive comparison, if spread and shift stay as they are.

    For a shift within the margin (decades), enough for the band to lie within it; beyond it, enough for
    significance at 1 %.

    Example:
        >>> noise = np.random.default_rng(0).normal(size=(8, 1))
        >>> seeds_to_decide(max_t(noise[:4], noise[4:]), margin=10.0)
        4
    """
    beyond = np.abs(found.shift) > margin
    room = np.where(beyond, np.abs(found.shift), np.maximum(margin - np.abs(found.shift), 1e-3))
    points = np.where(beyond, found.alarm, found.critical)
    needed = 2 * (points * found.spread / room) ** 2
    return max(4, math.ceil(float(needed[beyond].min() if beyond.any() else needed.max())))


def holm(values: Sequence[float]) -> list[float]:
    """P values adjusted for multiple comparisons by the Holm step-down procedure.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6, pp. 65-70
    """
    adjusted = [0.0] * len(values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        running = max(running, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = running
    return adjusted
