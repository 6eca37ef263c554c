"""What several seeds say together, against tables and an independent implementation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from gradlab.judge import statistics
from gradlab.judge.over_seeds import median, over_seeds, verdict_over_seeds
from gradlab.judge.statistics import holm, max_t, seeds_to_decide

# Two-sided 95 % points of Student's t by degrees of freedom, from a printed table.
T_TABLE = {2: 4.303, 3: 3.182, 7: 2.365, 9: 2.262, 29: 2.045}


@pytest.mark.parametrize("freedom", T_TABLE)
def test_half_width_is_the_tabulated_t_times_the_standard_error(freedom):
    values = np.arange(freedom + 1.0)
    interval = over_seeds(values)
    count = len(values)
    error = math.sqrt(sum((v - values.mean()) ** 2 for v in values) / (count - 1) / count)
    assert (interval.high - interval.low) / 2 == pytest.approx(T_TABLE[freedom] * error, rel=3e-4)
    assert interval.mean == pytest.approx(values.mean())


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_equals_the_interval_of_scipy(confidence):
    values = np.random.default_rng(3).normal(-40, 5, size=8)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    interval = over_seeds(values, confidence)
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert interval.count == 8


def test_an_interval_covers_as_often_as_it_says():
    samples = np.random.default_rng(0).normal(size=(1000, 5))
    covered = np.mean([found.low <= 0 <= found.high for found in map(over_seeds, samples)])
    assert covered == pytest.approx(0.95, abs=0.025)


@pytest.mark.parametrize("values", [[2.0], [1.0, 3.0]])
def test_fewer_than_three_seeds_have_a_mean_and_no_interval(values):
    interval = over_seeds(values)
    assert interval.mean == 2.0 and math.isnan(interval.low) and math.isnan(interval.high)
    assert str(interval) == "2"


def test_values_that_are_not_finite_are_counted_and_said():
    interval = over_seeds([1.0, 2.0, 3.0, -math.inf, math.nan])
    assert (interval.mean, interval.count, interval.zero, interval.not_finite) == (2.0, 5, 1, 1)
    assert str(interval) == "2 [-0.484, 4.48] (1 of 5 zero, 1 of 5 not finite)"
    nothing = over_seeds([math.inf])
    assert math.isnan(nothing.mean) and str(nothing) == "none (1 of 1 not finite)"
    two = over_seeds([1.0, 2.0, math.nan, None])
    assert math.isnan(two.low) and str(two) == "1.5 (1 of 4 not finite, 1 of 4 with none)"


def test_the_median_counts_infinities_and_leaves_out_nan():
    assert median([1.0, -math.inf, 3.0]) == 1.0 and median([-math.inf, math.nan]) == -math.inf
    assert median([2.0, 1.0]) == 1.5 and math.isnan(median([math.nan]))


def test_verdicts_are_told_commonest_first():
    assert verdict_over_seeds(["held"]) == "held"
    assert verdict_over_seeds(["held"] * 3) == "held in 3 of 3"
    words = ["held", "vanishing", "both", "vanishing", "vanishing", "held"]
    assert verdict_over_seeds(words) == "vanishing in 3 of 6, held in 2 of 6, both in 1 of 6"


# ---------------------------------------------------------------- two samples of curves


def curves(seed, shape, rho=0.9):
    """Correlated lags, as curves have them."""
    random = np.random.default_rng(seed)
    return np.sqrt(rho) * random.normal(size=(shape[0], 1)) + np.sqrt(1 - rho) * random.normal(size=shape)


def test_exact_p_values_are_those_of_enumeration_by_hand():
    first, second = curves(1, (4, 3)), curves(2, (3, 3)) + np.array([0.0, 1.0, 2.5])
    pooled = np.concatenate([first, second])

    def largest(chosen):
        rest = [row for row in range(7) if row not in chosen]
        t = stats.ttest_ind(pooled[rest], pooled[list(chosen)]).statistic
        return np.abs(t).max(), np.abs(t)

    observed = largest(range(4))[1]
    null = [largest(chosen)[0] for chosen in itertools.combinations(range(7), 4)]
    expected = [np.mean([value >= t * (1 - 1e-9) for value in null]) for t in observed]
    found = max_t(first, second)
    assert found.p == pytest.approx(expected)
    assert found.shift == pytest.approx(second.mean(0) - first.mean(0))


def test_one_lag_is_the_permutation_test_of_scipy():
    first, second = curves(3, (6, 1)), curves(4, (6, 1)) + 1.0
    pairs = (first[:, 0], second[:, 0])
    scipy = stats.permutation_test(pairs, lambda x, y: abs(stats.ttest_ind(x, y).statistic), alternative="greater")
    assert max_t(first, second).p[0] == pytest.approx(scipy.pvalue)


def test_random_splits_agree_with_all_of_them(monkeypatch):
    first, second = curves(5, (6, 4)), curves(6, (6, 4)) + 0.8
    exact = max_t(first, second)
    monkeypatch.setattr(statistics, "EXACT", 0)
    found = max_t(first, second)
    assert found.p == pytest.approx(exact.p, abs=0.02)
    assert (found.critical, found.alarm) == pytest.approx((exact.critical, exact.alarm), rel=0.05)


def test_false_alarms_are_as_rare_as_the_level_says():
    smallest = [max_t(curves(2 * i, (5, 6)), curves(2 * i + 1, (5, 6))).p.min() for i in range(400)]
    for level in (0.05, 0.1):
        assert np.mean(np.array(smallest) <= level) == pytest.approx(level, abs=0.03)


def test_the_band_covers_all_lags_at_once():
    shift = np.array([0.0, 1.0, -2.0])
    found = [max_t(curves(2 * i, (5, 3)), curves(2 * i + 1, (5, 3)) + shift) for i in range(400)]
    covered = np.mean([np.all((one.low <= shift) & (shift <= one.high)) for one in found])
    assert covered == pytest.approx(0.95, abs=0.04)


def test_as_many_seeds_as_were_asked_for_decide():
    def widest(count):
        ideal = 0.6 * stats.norm.ppf((np.arange(count) + 0.5) / count)[:, None]
        found = max_t(ideal, ideal)
        return found, max(-found.low[0], found.high[0])

    few, wide = widest(8)
    needed = seeds_to_decide(few, margin=0.3)
    assert wide > 0.3 and needed > 16
    assert widest(needed // 2)[1] > 0.3 > widest(needed + 2)[1]


def test_samples_that_are_the_same_everywhere_are_no_difference():
    found = max_t(np.ones((4, 2)), np.ones((4, 2)))
    assert found.p.tolist() == [1.0, 1.0] and found.shift.tolist() == [0.0, 0.0]
    apart = max_t(np.zeros((4, 1)), np.ones((4, 1)))
    assert apart.p[0] == pytest.approx(2 / math.comb(8, 4))


def test_holm_is_the_step_down_of_its_definition():
    values = np.random.default_rng(7).uniform(size=6)
    order = np.argsort(values)
    expected = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(6, 0, -1)))
    assert np.array(holm(list(values)))[order] == pytest.approx(expected)
    assert holm([]) == []
