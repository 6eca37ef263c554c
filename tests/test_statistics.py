"""What several seeds say together, against tables and an independent implementation."""

import math

import numpy as np
import pytest
from scipy import stats

from gradlab.judge.statistics import over_seeds, verdict_over_seeds

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
    assert (interval.mean, interval.count, interval.not_finite) == (2.0, 5, 2)
    assert str(interval) == "2 [-0.484, 4.48] (2 of 5 not finite)"
    nothing = over_seeds([math.inf])
    assert math.isnan(nothing.mean) and str(nothing) == "nan (1 of 1 not finite)"


def test_verdicts_are_told_commonest_first():
    assert verdict_over_seeds(["held"]) == "held"
    assert verdict_over_seeds(["held"] * 3) == "held in 3 of 3"
    words = ["held", "vanishing", "both", "vanishing", "vanishing", "held"]
    assert verdict_over_seeds(words) == "vanishing in 3 of 6, held in 2 of 6, both in 1 of 6"
