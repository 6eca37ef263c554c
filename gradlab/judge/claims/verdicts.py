"""Whether a claim holds: a pure function of its file and of one row of numbers for each of its runs."""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gradlab.judge.claims.files import Claim, Expectation, Fields, key_of, matches
from gradlab.judge.over_seeds import Interval, over_seeds
from gradlab.judge.statistics import rank_correlation
from gradlab.runs.fields import spell

ClaimVerdict = Literal["holds", "fails", "undecided", "not run"]
ORDER: tuple[ClaimVerdict, ...] = ("fails", "not run", "undecided", "holds")
"""A claim is what the first of these is that one of its expectations is."""
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
Number = float | None


class ClaimRow(NamedTuple):
    """The numbers of one run of a claim.

    Attributes:
        fields: of the point, spelt. metrics: by name; None where the run has no such number. seconds: it took.
        chosen: the values of tuned fields.
    """

    fields: dict[str, str]
    metrics: dict[str, Number]
    seconds: float = 0.0
    chosen: Mapping[str, str] = {}


@dataclass(frozen=True)
class ExpectationResult:
    """An expectation at one setting.

    Attributes:
        setting: the fields that tell it from the other settings of the claim. expectation: of it.
        verdict: of this expectation alone.
        values: one for each seed that was run; None, NaN and +inf are never as expected.
        interval: over them, or of the correlation. missing: number of seeds that were not run.
    """

    setting: Fields
    expectation: Expectation
    verdict: ClaimVerdict
    values: tuple[Number, ...]
    interval: Interval
    missing: int = 0

    @property
    def as_expected(self) -> int:
        """In how many seeds it is so."""
        return sum(_is_so(self.expectation, value) for value in self.values)

    @property
    def observed(self) -> str:
        """`4 of 5 seeds, mean -3.2 [-4, -2.4]`."""
        seeds = len(self.values) + self.missing
        count = f"{self.as_expected} of {seeds} seeds, " if self.expectation.quorum else ""
        missing = f", {self.missing} of {seeds} not run" if self.missing else ""
        return f"{count}{'ρ' if self.expectation.correlate else 'mean'} {self.interval}{missing}"


@dataclass(frozen=True)
class JudgedClaim:
    """A claim, its verdict, what each of its expectations came to, and the seconds that its runs took."""

    claim: Claim
    verdict: ClaimVerdict
    results: tuple[ExpectationResult, ...]
    seconds: float

    @property
    def seeds(self) -> int:
        """Seeds of a setting."""
        return len({spell(point.get("seed", 0)) for point in self.claim.points})


def judge_claim(claim: Claim, rows: Sequence[ClaimRow]) -> JudgedClaim:
    """Judge a claim by the rows of its runs; those that are not runs of its present grid do not count.

    Every setting that an expectation names must be as expected; a claim fails where one does not hold, is not run
    where runs are missing, and is undecided where an interval covers both.
    """
    found = {key_of(row.fields): row for row in rows}
    known = {key_of(point) for point in claim.points}
    results = tuple(result for each in claim.stated.expect for result in _results(claim, each, found))
    verdict = next(word for word in ORDER if any(result.verdict == word for result in results))
    return JudgedClaim(claim, verdict, results, sum(row.seconds for key, row in found.items() if key in known))


def _results(
    claim: Claim, expectation: Expectation, rows: Mapping[frozenset[tuple[str, str]], ClaimRow]
) -> list[ExpectationResult]:
    settings: dict[frozenset[tuple[str, str]], list[Fields]] = {}
    for point in claim.points:
        if matches(point, expectation.where):
            settings.setdefault(key_of({**point, "seed": ""}), []).append(point)
    if expectation.correlate is not None:
        every = [point for points in settings.values() for point in points]
        return [_correlation(expectation, [rows.get(key_of(point)) for point in every])]
    return [_result(claim, expectation, points, rows) for points in settings.values()]


def _result(
    claim: Claim,
    expectation: Expectation,
    points: Sequence[Fields],
    rows: Mapping[frozenset[tuple[str, str]], ClaimRow],
) -> ExpectationResult:
    """The expectation at one setting, whose points differ in their seed alone."""
    values: list[Number] = []
    for point in points:
        one = rows.get(key_of(point))
        other = rows.get(key_of(point | expectation.against)) if expectation.against else one
        if one is None or other is None or any(expectation.metric not in row.metrics for row in (one, other)):
            continue
        value = one.metrics[expectation.metric]
        if expectation.against:
            value = _compared(value, other.metrics[expectation.metric], quotient=expectation.quotient)
        values.append(value)
    setting = {field: points[0][field] for field in claim.varying if field in points[0]}
    missing, interval = len(points) - len(values), over_seeds(values)
    if expectation.quorum:
        verdict = _by_quorum(expectation, values, missing)
    else:
        left_out = [value for value in values if value is None or not math.isfinite(value)]
        verdict = _by_interval(expectation, interval, missing, left_out)
    return ExpectationResult(setting, expectation, verdict, tuple(values), interval, missing)


def _by_quorum(expectation: Expectation, values: Sequence[Number], missing: int) -> ClaimVerdict:
    count, quorum = sum(_is_so(expectation, value) for value in values), expectation.quorum or 0
    if count >= quorum:
        return "holds"
    return "not run" if count + missing >= quorum else "fails"


def _by_interval(
    expectation: Expectation, interval: Interval, missing: int, left_out: Sequence[Number] = ()
) -> ClaimVerdict:
    """`left_out`: what is in no mean, as a gradient that is zero; where it is not as expected, nothing holds."""
    if missing:
        return "not run"
    if math.isnan(interval.low):
        return "undecided"
    ends = [_is_so(expectation, end) for end in (interval.low, interval.high)]
    if all(ends):
        return "holds" if all(_is_so(expectation, value) for value in left_out) else "undecided"
    wanted = expectation.value
    covers = isinstance(wanted, tuple) and interval.low < wanted[0] and wanted[1] < interval.high
    return "undecided" if any(ends) or covers else "fails"


def _correlation(expectation: Expectation, rows: Sequence[ClaimRow | None]) -> ExpectationResult:
    """Over all runs that have both numbers."""
    pairs = [
        (row.metrics.get(expectation.metric), row.metrics.get(str(expectation.correlate))) for row in rows if row
    ]
    known = [
        (x, y) for x, y in pairs if x is not None and y is not None and not math.isnan(x) and not math.isnan(y)
    ]
    rho = rank_correlation([x for x, _ in known], [y for _, y in known])
    missing = sum(row is None for row in rows)
    low, high = (rho.value, rho.value) if abs(rho.value) == 1 else (rho.low, rho.high)
    interval = Interval(rho.value, low, high, len(pairs), missing=len(pairs) - len(known))
    verdict = _by_interval(expectation, interval, missing)
    return ExpectationResult({}, expectation, verdict, (), interval, missing)


def _is_so(expectation: Expectation, value: Number) -> bool:
    """Whether a number is as expected: one that is missing, NaN or +inf never is; -inf is a gradient of zero."""
    if value is None or math.isnan(value) or value == math.inf:
        return False
    if isinstance(expectation.value, tuple):
        return expectation.value[0] <= value <= expectation.value[1]
    return bool(_COMPARE[expectation.comparison](value, expectation.value))


def _compared(value: Number, other: Number, *, quotient: bool) -> Number:
    if value is None or other is None:
        return None
    if quotient:
        return value / other if other else math.nan
    return value - other  # of two gradients that are zero it is NaN, as it should be
