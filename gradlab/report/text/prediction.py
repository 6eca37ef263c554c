"""Whether the gradient at initialisation foretells what is learned, in words made from ranks."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from gradlab.judge.statistics import FEWEST, Correlation, rank_correlation
from gradlab.report.data.records import Record, grouped
from gradlab.report.text.length_limit import by_length, solved


class Point(NamedTuple):
    """A setting at one length: the share of its seeds that solved the task, and decades from lag 1 before that."""

    length: int
    rate: float
    decades: float


class Foretold(NamedTuple):
    """What the points say together.

    Attributes:
        points: settings and lengths of one task.
        correlation: of solve rate with how well the gradient is kept, that is with minus the decades.
        pairs: how many pairs of settings at one length there are of which one solved the task in more seeds.
        agreed: in how many of them that one kept the gradient better; not_told: in how many both kept it alike.
    """

    points: list[Point]
    correlation: Correlation
    pairs: int
    agreed: int
    not_told: int


def foretold(records: Sequence[Record]) -> Foretold:
    """Compare what trained runs of one task learned with their gradient at initialisation.

    Args:
        records: trained runs of one task that came to an end.
    """
    points = [point for group in grouped(records, without=["length"]) for point in _points(group)]
    correlation = rank_correlation([-point.decades for point in points], [point.rate for point in points])
    pairs = [
        (better, other) if better.rate > other.rate else (other, better)
        for better, other in combinations(points, 2)
        if better.length == other.length and better.rate != other.rate
    ]
    agreed = sum(better.decades < other.decades for better, other in pairs)
    alike = sum(better.decades == other.decades for better, other in pairs)
    return Foretold(points, correlation, len(pairs), agreed, alike)


def _points(group: Sequence[Record]) -> list[Point]:
    found, counts = by_length(group), solved(group)
    return [Point(at, counts[at].rate, float(np.median([away(one) for one in found[at]]))) for at in counts]


def away(record: Record) -> float:
    """Decades that the gradient at initialisation gets from its lag 1, up or down; inf where it is no number."""
    verdict = record.summary("initial").verdict
    return math.inf if verdict.word == "non-finite" or math.isnan(verdict.decades) else abs(verdict.decades)


def verdict(found: Foretold) -> str:
    """The answer in a few words.

    Example:
        >>> yes = Foretold([], rank_correlation([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]), 4, 4, 0)
        >>> verdict(yes), verdict(yes._replace(agreed=1))
        ('Yes, by rank', 'Only that longer is harder')
    """
    value, low, high, _ = vars(found.correlation).values()
    if math.isnan(value):
        return "It cannot be told from these runs"
    low, high = (value, value) if math.isnan(low) else (low, high)
    if high < 0:
        return "No, rather the reverse"
    if low <= 0:
        return "Not from these runs"
    if found.pairs and 2 * found.agreed <= found.pairs:
        return "Only that longer is harder"
    return "Yes, by rank"


def briefly(found: Foretold) -> str:
    """The answer with the numbers that decide it."""
    text = verdict(found)
    if math.isnan(found.correlation.value):
        return f"{text}."
    text += f": rank correlation {found.correlation}"
    if found.pairs:
        text += f"; at equal length the better kept gradient learned more in {found.agreed} of {found.pairs} pairs"
    return f"{text}."


def explanation(found: Foretold) -> str:
    """The numbers behind the answer: the correlation over settings and lengths, and pairs at one length."""
    rates = {point.rate for point in found.points}
    count, exact = len(found.points), math.isnan(found.correlation.low)
    if math.isnan(found.correlation.value):
        if len(rates) == 1 and rates <= {0.0, 1.0}:
            return f"{'Every' if rates == {1.0} else 'No'} run solved the task, so there is nothing to foretell."
        if count < FEWEST:
            return f"There are {count} settings and lengths, and a correlation needs at least {FEWEST}."
        return f"These {count} settings and lengths solve it equally often or start alike: no correlation to tell."
    text = (
        f"Over {count} settings and lengths, the share of seeds that solved the task has a rank correlation of "
        f"{found.correlation} with how near the gradient at initialisation stays to its lag 1 (Spearman"
        f"{'' if exact else '; 95 % interval as if these were independent'})."
    )
    if not found.pairs:
        return f"{text} At no length did one setting solve it in more seeds than another."
    alike = f" ({found.not_told} start alike)" if found.not_told else ""
    return (
        f"{text} At the same length, where one of two settings solved it in more seeds, that one kept its "
        f"gradient better in {found.agreed} of {found.pairs} pairs{alike}."
    )
