"""Whether the initial gradient predicts what is learned, in words made from ranks."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from gradlab.judge.over_seeds import median
from gradlab.judge.statistics import FEWEST_POINTS, Correlation, rank_correlation
from gradlab.report.data.counts import by_length, solved
from gradlab.report.data.records import Labelled, Record


class Point(NamedTuple):
    """A setting at one length: the share of its seeds that solved the task, and initial decades from lag 1."""

    length: int
    rate: float
    decades: float


class RankAgreement(NamedTuple):
    """How well ranks of the initial gradient agree with ranks of learning.

    Attributes:
        points: settings and lengths of one task.
        correlation: of solve rate with how well the gradient is kept, that is with minus the decades.
        pairs: pairs of settings at one length of which one solved the task in more seeds.
        agreed: pairs in which that one kept the gradient better. tied: pairs in which both kept it alike.
    """

    points: list[Point]
    correlation: Correlation
    pairs: int
    agreed: int
    tied: int


def rank_agreement(series: Labelled) -> RankAgreement:
    """Compare what trained runs of one task learned with their gradient at initialisation."""
    points = []
    for _, group in series:
        found, counts = by_length(group), solved(group)
        points += [Point(at, counts[at].rate, median(map(_distance, found[at]))) for at in counts]
    correlation = rank_correlation([-point.decades for point in points], [point.rate for point in points])
    lengths: dict[int, dict[float, list[float]]] = {}
    for point in points:
        lengths.setdefault(point.length, {}).setdefault(point.rate, []).append(point.decades)
    comparisons = [
        _compared(rates[high], rates[low])
        for rates in lengths.values()
        for low, high in combinations(sorted(rates), 2)
    ]
    pairs, agreed, tied = map(sum, zip((0, 0, 0), *comparisons, strict=True))
    return RankAgreement(points, correlation, pairs, agreed, tied)


def _compared(better: Sequence[float], other: Sequence[float]) -> tuple[int, int, int]:
    """Pairs of the two, those in which the first is smaller, and those in which both are alike.

    Sorted and searched, for the pairs of a thousand settings are half a million.
    """
    ascending = np.sort(other)
    first, behind = (np.searchsorted(ascending, better, side) for side in ("left", "right"))
    return (
        len(better) * len(other),
        int((len(other) - behind).sum()),
        int((behind - first).sum()),
    )


def _distance(record: Record) -> float:
    """Decades that the initial gradient moves from its lag 1, up or down; inf if that is no number."""
    verdict = record.summary("initial").verdict
    return math.inf if verdict.word == "non-finite" or math.isnan(verdict.decades) else abs(verdict.decades)


def verdict(found: RankAgreement) -> str:
    """The answer in a few words.

    Example:
        >>> yes = RankAgreement([], rank_correlation([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]), 4, 4, 0)
        >>> verdict(yes), verdict(yes._replace(agreed=1))
        ('Yes, by rank', 'Only that longer is harder')
    """
    value, low, high = found.correlation.value, found.correlation.low, found.correlation.high
    if math.isnan(value):
        return "These runs cannot tell"
    low, high = (value, value) if math.isnan(low) else (low, high)
    if high < 0:
        return "No, rather the reverse"
    if low <= 0:
        return "Not in these runs"
    if found.pairs and 2 * found.agreed <= found.pairs:
        return "Only that longer is harder"
    return "Yes, by rank"


def briefly(found: RankAgreement) -> str:
    """The answer with the numbers that decide it."""
    text = verdict(found)
    if math.isnan(found.correlation.value):
        return f"{text}."
    text += f": rank correlation {found.correlation}"
    if found.pairs:
        text += f"; at equal length the better kept gradient learned more in {found.agreed} of {found.pairs} pairs"
    return f"{text}."


def explanation(found: RankAgreement) -> str:
    """The numbers behind the answer: the correlation over settings and lengths, and pairs at one length."""
    rates = {point.rate for point in found.points}
    count = len(found.points)
    if math.isnan(found.correlation.value):
        if len(rates) == 1 and rates <= {0.0, 1.0}:
            return f"{'Every' if rates == {1.0} else 'No'} run solved the task, so there is nothing to predict."
        if count < FEWEST_POINTS:
            return f"There are {count} settings and lengths, and a correlation needs at least {FEWEST_POINTS}."
        return (
            f"These {count} settings and lengths solve it equally often or start alike: there is no correlation."
        )
    exact = math.isnan(found.correlation.low)
    text = (
        f"Over {count} settings and lengths, the share of seeds that solved the task has a rank correlation of "
        f"{found.correlation} with how near the gradient at initialisation stays to its lag 1 (Spearman"
        f"{'' if exact else '; 95 % interval as if these were independent'})."
    )
    if not found.pairs:
        return f"{text} At no length did one setting solve it in more seeds than another."
    tied = f" ({found.tied} start alike)" if found.tied else ""
    return (
        f"{text} At the same length, where one of two settings solved it in more seeds, that one kept its "
        f"gradient better in {found.agreed} of {found.pairs} pairs{tied}."
    )
