"""The numbers read off a curve, on arrays small enough to check by hand, and the arithmetic without a floor."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlab.errors import GradlabError
from gradlab.gradient import GradientCurve
from gradlab.gradient.noise import disagree, mark_noise, reconcile
from gradlab.gradient.reductions import log10_of_all
from gradlab.gradient.scaled import Scaled, add, by_entry, normalise, sizes, times_power_of_two
from gradlab.gradient.summary import NonFinite

INF, NAN = math.inf, math.nan


def curve(*examples, **attributes):
    """A curve from the log10 norms of each example over lag."""
    return GradientCurve.of({"h": np.array(examples, float).T}, **attributes)


# ---------------------------------------------------------------- statistics over examples


def test_typical_and_rms_differ():
    two = curve([0, -1], [-2, -1])
    np.testing.assert_array_equal(two.typical(), [-1.0, -1.0])
    # log10 √((1 + 1e-4) / 2) and log10 √(1e-2)
    np.testing.assert_allclose(two.rms(), [-0.15049328, -1.0], atol=1e-8)


@pytest.mark.parametrize("size", [-5000.0, 5000.0])
def test_rms_and_state_have_no_range(size):
    far = GradientCurve.of({"c": [[size, size]], "h": [[size, -INF]]})
    np.testing.assert_allclose(far.log10_norm["state"], [[size + 0.15051500, size]], atol=1e-8)
    np.testing.assert_allclose(far.rms("c"), [size], atol=1e-8)


def test_state_is_all_leaves_together():
    both = GradientCurve.of({"c": [[np.log10(3.0)], [-INF]], "h": [[np.log10(4.0)], [-INF]]})
    np.testing.assert_allclose(both.log10_norm["state"], [[np.log10(5.0)], [-INF]], atol=1e-12)
    assert both.leaves == ["c", "h", "state"]


def test_quantiles_are_observed_values():
    five = curve(*[[value] for value in (3.0, -1.0, 0.0, 7.0, -INF)])
    assert [five.quantile(q)[0] for q in (0.0, 0.1, 0.5, 0.6, 0.9, 1.0)] == [-INF, -1.0, 0.0, 3.0, 7.0, 7.0]


# ---------------------------------------------------------------- span, slope, half-life


def test_span_and_slope():
    two = curve([0, -0.25, -0.5], [0, -0.75, -1.5])
    assert two.span() == -1.0
    slope = two.slope()
    # Slopes -1/4 and -3/4: their standard deviation is √2 / 4, and there are 2 examples.
    assert (slope.value, slope.error, slope.r2) == pytest.approx((-0.5, 0.25, 1.0))
    assert str(slope).startswith("-0.5 ± 0.2")


def test_share_of_variance_of_a_zigzag():
    slope = curve([0, -1, 0, -1]).slope()
    assert slope.value == pytest.approx(-0.2) and slope.r2 == pytest.approx(0.2)
    assert math.isnan(slope.error) and str(slope) == "-0.2"


def test_half_life_and_its_interval():
    half_life = curve(*[np.arange(30) * slope for slope in (-0.2, -0.1)]).half_life()
    # Slope -0.15 ± 2 · 0.05, so log10(2) over 0.15, 0.25 and 0.05.
    assert (half_life.value, half_life.low, half_life.high) == pytest.approx((2.006867, 1.204120, 6.020600))
    assert str(half_life) == "2.01"


@pytest.mark.parametrize(
    "slopes, value, high, says",
    [
        ((-0.4, -0.1), 1.204120, INF, "1.2"),
        ((-0.002, -0.002), 150.514998, 150.514998, "> 20"),
        ((0.1, 0.1), INF, INF, "> 20"),
        ((0.0, 0.0), INF, INF, "> 20"),
    ],
)
def test_open_half_lives(slopes, value, high, says):
    half_life = curve(*[np.arange(20) * slope for slope in slopes]).half_life()
    assert (half_life.value, half_life.high) == pytest.approx((value, high))
    assert half_life.longest == 20 and str(half_life) == says


@pytest.mark.parametrize("last, r2, says", [(-2.5, 0.9797, "0.354"), (-2.0, 0.8909, "not exponential")])
def test_half_life_is_printed_where_a_line_explains_nine_tenths(last, r2, says):
    bent = curve([0, -1, -2, last])
    assert bent.slope().r2 == pytest.approx(r2, abs=1e-4)
    assert str(bent.half_life()) == says


# ---------------------------------------------------------------- horizon and verdict


@pytest.mark.parametrize(
    "values, decades, says",
    [
        ([0, -1, -2, -3], 3, ">= 4"),
        ([0, -1, -2, -3.01], 3, "3"),
        ([5, 4, 1, 4], 3, "2"),
        ([0, -1, -2, -3], 1.5, "2"),
        ([0, 9, 99, 999], 3, ">= 4"),
        ([0, NAN, 0, 0], 3, "1"),
        ([0, -1, -INF, -INF], 3, "2"),
        ([-INF, -INF], 3, "0"),
    ],
)
def test_horizon_is_the_last_lag_before_the_first_drop(values, decades, says):
    assert str(curve(values).horizon(decades)) == says


@pytest.mark.parametrize(
    "values, lag, reached",
    [
        ([0, -20, -37.8, -38, 0], 3, False),
        ([-38, -38], 0, False),
        ([0, 38.4, 38.6], 2, False),
        ([20, 38, -37.8], 3, True),
    ],
)
def test_float32_horizon_is_about_levels(values, lag, reached):
    horizon = curve(values).float32_horizon()
    assert (horizon.lag, horizon.reached) == (lag, reached)


@pytest.mark.parametrize(
    "values, word, decades, lag",
    [
        ([1, -1, -2, -2.5], "vanishing", -3.5, 4),
        ([1, -3, 1, 1], "vanishing", -4.0, 2),
        ([1, 2, 8, 3], "exploding", 7.0, 3),
        ([0, 5, -4, 0], "both", 5.0, 2),
        ([0, -4, 20], "both", 20.0, 3),
        ([0, -4, 3.5, -9], "both", -9.0, 4),
        ([0, 1, -3, 2], "held", -3.0, 3),
        ([0, 3, -2, 2], "held", 3.0, 2),
        ([0, -9, NAN, NAN], "non-finite", NAN, 3),
        ([0, -INF], "vanishing", -INF, 2),
    ],
)
def test_verdict_has_a_word_a_value_and_a_lag(values, word, decades, lag):
    verdict = curve(values).verdict()
    assert (verdict.word, verdict.lag) == (word, lag)
    assert verdict.decades == pytest.approx(decades, nan_ok=True)


def test_verdict_says_itself():
    assert str(curve([0, -4.25]).verdict()) == "vanishing (-4.2 at lag 2)"
    assert str(curve([0, 1]).verdict(decades=0.5)) == "exploding (+1.0 at lag 2)"
    assert str(curve([0, NAN]).verdict()) == "non-finite at lag 2"


# ---------------------------------------------------------------- zeros


def test_the_median_speaks_where_some_examples_are_dead():
    four = curve([0, -1, -2], [0, -2, -4], [0, -3, -6], [0, -1, -INF])
    np.testing.assert_array_equal(four.dead(), [0.0, 0.0, 0.25])
    assert four.statistic() == "median" and np.isneginf(four.typical()[2])
    # Ranked: -inf, -6, -4, -2; the higher of the two in the middle.
    np.testing.assert_array_equal(four.summarised(), [0.0, -1.0, -4.0])
    assert four.span() == -4.0 and four.slope().value == -2.0 and four.slope().zero_from is None


def test_half_of_the_examples_dead_is_still_a_number_and_more_is_zero():
    alive, dead = [0, -1, -2], [0, -1, -INF]
    half = curve(alive, alive, dead, dead)
    assert half.dead()[2] == 0.5 and half.span() == -2.0 and half.summary().dead == 0.5
    most = curve(alive, dead, dead, dead)
    assert most.dead()[2] == 0.75 and most.span() == -INF
    assert str(most.slope()) == "zero from lag 3" and most.horizon().lag == 2
    assert str(most.half_life()) == "not exponential"


def test_zero_from_lag_two():
    zero = curve([0, -INF, -INF], [0, -INF, -INF])
    assert zero.span() == -INF and zero.slope().zero_from == 2 and zero.slope().value == -INF
    assert zero.horizon().lag == 1 and not zero.horizon().reached
    assert (zero.verdict().word, zero.verdict().lag) == ("vanishing", 2)


def test_a_zero_between_is_not_zero_from_there_on():
    """Direct gradients of losses at the last and the third last timestep: lag 2 is zero, lag 3 is not."""
    gap = curve([0, -INF, 0, 0])
    assert gap.span() == 0.0 and gap.slope().zero_from is None


def test_zeros_are_repaired_by_float64_and_nothing_else_is():
    coarse = curve([0, -8, -INF, -INF], [0, -INF, -INF, NAN], dtype="float32")
    precise = curve([0.5, -8.5, -16.5, -INF], [0.5, -9.5, -17.5, -25.5])
    mended = reconcile(coarse, precise, precise)
    np.testing.assert_array_equal(mended.log10_norm["h"].T, [[0.5, -8.5, -16.5, -INF], [0.5, -9.5, -17.5, NAN]])
    assert mended.saturated == {"h": 1, "state": 1} and mended.dtype == "float32"
    assert reconcile(precise, precise, precise).saturated == {} and not disagree(precise, precise)


def test_float64_stands_only_where_the_two_differ_by_a_thousandth_of_the_decades():
    coarse = curve([0, -8, -100, -1681], dtype="float32")
    precise = curve([0, -8.007, -100.09, -1687])
    mended = reconcile(coarse, precise, precise)
    np.testing.assert_array_equal(mended.log10_norm["h"].T, [[0, -8, -100, -1687]])
    assert mended.saturated == {"h": 4, "state": 4} and not mended.noise and not mended.chaotic


def test_state_is_never_below_one_of_its_leaves():
    low = GradientCurve.of({"a": [[-15.0]], "b": [[-INF]]}, dtype="float32")
    high = GradientCurve.of({"a": [[-15.0]], "b": [[-9.8]]})
    mended = reconcile(low, high, high)
    assert mended.log10_norm["state"][0, 0] == pytest.approx(-9.8) and mended.saturated == {"b": 1, "state": 1}


def test_a_value_that_rounding_moves_is_noise_and_no_arithmetic_is_preferred():
    native = curve([0, -2, -7.1, -7.1], [0, -2, -7.3, -7.2], dtype="float32", losses=np.ones(2))
    precise = curve([0, -2, -16.1, -16.0], [0, -2, -16.2, -16.1], losses=np.ones(2))
    replica = curve([0, -2, -15.8, -16.3], [0, -2, -16.5, -16.5], losses=np.ones(2))
    found = reconcile(native, precise, replica)
    np.testing.assert_array_equal(found.log10_norm["h"], native.log10_norm["h"])
    np.testing.assert_allclose(found.noise["h"], [0, 0, 8.95, 8.9])
    np.testing.assert_array_equal(found.is_noise(), [False, False, True, True])
    assert not found.chaotic and found.saturated == {}
    assert str(found.verdict()) == "held (-2.0 at lag 2)" and found.slope().value == -2.0
    assert found.horizon().lag == 2 and "rounding noise from lag 3 (2 lags)" in found.notes()[0]
    assert found.summary().noise_from == 3


def test_other_trajectories_are_named():
    native = curve([0, 10, 29], dtype="float32", losses=np.array([1.0]))
    precise, replica = curve([0, 9, -25], losses=np.array([1.3])), curve([0, 9.5, 4], losses=np.array([0.6]))
    found = reconcile(native, precise, replica)
    assert found.chaotic and found.notes()[0] == "one trajectory of a chaotic network: ± 54 decades"
    np.testing.assert_array_equal(found.is_noise(), [False, False, True])
    assert str(found.verdict()) == "exploding (+10.0 at lag 2)"


def test_a_float64_curve_is_marked_by_its_own_rounding_and_by_float32():
    native = curve([0, -16.1], losses=np.ones(1))
    replica, coarse = curve([0, -16.5], losses=np.ones(1)), curve([0, -7.1], losses=np.ones(1))
    np.testing.assert_allclose(mark_noise(native, replica, coarse).noise["h"], [0, 9.0])
    assert not mark_noise(native, native, coarse).noise


def test_a_curve_that_is_zero_throughout_is_cut():
    cut = curve([-INF, -INF], [-INF, -INF])
    assert cut.is_cut() and str(cut.verdict()) == "cut (exactly zero at every lag)"
    assert "cut: exactly zero; a stop_gradient or an unused state?" in cut.notes()
    unsure = curve([-INF, -INF], dtype="float32", unverified="TypeError: float32 only")
    assert not unsure.is_cut() and unsure.verdict().word == "vanishing"
    assert unsure.notes() == ["reads 0 in float32, and float64 cannot tell: TypeError: float32 only"]


def test_statistics_are_over_the_examples_that_have_a_lag():
    ragged = curve([0, -1, -2, -3], [0, -3, NAN, NAN], lengths=np.array([4, 2]))
    np.testing.assert_array_equal(ragged.examples, [2, 2, 1, 1])
    np.testing.assert_array_equal(ragged.typical(), [0, -2, -2, -3])
    np.testing.assert_array_equal(ragged.quantile(0.1), [0, -1, -2, -3])
    np.testing.assert_allclose(ragged.rms()[1:], [0.5 * np.log10((1e-2 + 1e-6) / 2), -2, -3])
    assert ragged.slope().value == -2.0 and ragged.slope().error == 1.0  # -1 and -3
    assert ragged.verdict().word == "held" and not ragged.not_finite().any()
    assert "(timesteps 2 to 4)" in ragged.notes()[0]


# ---------------------------------------------------------------- one timestep, NaN and infinity


def test_one_timestep():
    one = curve([-2.0], [-4.0])
    assert list(one.lags) == [1] and one.span() == 0.0
    assert str(one.slope()) == "none" and str(one.half_life()) == "not exponential"
    assert str(one.horizon()) == ">= 1" and str(one.verdict()) == "held (+0.0 at lag 1)"


def test_nan_is_not_dropped():
    bad = curve([0, -1, NAN], [0, -1, -2], [0, -1, -2])
    assert np.isnan(bad.typical()[2]) and np.isnan(bad.rms()[2]) and np.isnan(bad.quantile(0.5)[2])
    assert math.isnan(bad.span()) and math.isnan(bad.slope().value)
    np.testing.assert_array_equal(bad.not_finite(), [0, 0, 1])
    np.testing.assert_array_equal(bad.dead(), 0.0)
    assert str(bad.verdict()) == "non-finite at lag 3"


def test_nan_is_not_hidden_by_the_median():
    bad = curve([0, -1], [0, -1], [0, -1], [0, -INF], [0, NAN])
    assert math.isnan(bad.slope().value) and math.isnan(bad.span())


@pytest.mark.parametrize("values", [[INF, INF, INF], [0, 1, INF], [0, INF, INF], [NAN, INF, 0]])
def test_infinity_is_a_finding_in_every_number(values):
    summary = curve(values).summary()
    assert summary.verdict.word == "non-finite"
    assert not math.isfinite(summary.span)
    assert math.isnan(summary.slope.value) and math.isnan(summary.half_life.value)


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_leaf_that_is_not_finite_beside_a_large_one(bad):
    np.testing.assert_array_equal(log10_of_all([np.array([bad]), np.array([400.0])]), [bad])
    np.testing.assert_array_equal(curve([bad], [400.0]).rms(), [bad])


@pytest.mark.parametrize(
    "ask, says",
    [
        (lambda c: c.typical("hh"), "did you mean `h`"),
        (lambda c: c.horizon(0), "decades is 0"),
        (lambda c: c.horizon(NAN), "decades is nan"),
        (lambda c: c.verdict(-1), "decades is -1"),
    ],
)
def test_wrong_questions_are_refused(ask, says):
    with pytest.raises(GradlabError, match=says):
        ask(curve([0, -1]))


# ---------------------------------------------------------------- exact arithmetic

exactly = settings(deadline=None, derandomize=True, max_examples=150)
SIZE = 4
normal32 = st.one_of(
    st.just(0.0),
    st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False),
)
powers = st.lists(st.integers(-252, 252), min_size=SIZE, max_size=SIZE)
exponents = st.lists(st.integers(-3000, 3000), min_size=SIZE, max_size=SIZE)
vectors = st.lists(st.lists(normal32, min_size=3, max_size=3), min_size=SIZE, max_size=SIZE)

scale_by = jax.jit(times_power_of_two)
normalised = jax.jit(by_entry)
added = jax.jit(lambda a, b, c: add(add(a, b), c))


def as_float32(values):
    return jnp.asarray(np.array(values, np.float32))


def as_int32(values):
    return jnp.asarray(np.array(values, np.int32))


def fractions(scaled):
    """The exact value of a `Scaled` with an exponent for each entry, as one list of fractions for each example."""
    return [
        [Fraction(float(m)) * Fraction(2) ** int(e) if m else Fraction(0) for m, e in zip(*row, strict=True)]
        for row in zip(np.asarray(scaled.mantissa), np.asarray(scaled.exponent), strict=True)
    ]


def assert_normalised(scaled):
    entry = np.abs(np.asarray(scaled.mantissa))
    assert np.all((entry == 0) | ((entry >= 0.5) & (entry < 1)))


@exactly
@given(st.lists(normal32, min_size=SIZE, max_size=SIZE), powers)
def test_powers_of_two_are_exact(values, power):
    product = np.asarray(scale_by(as_float32(values), as_int32(power)))
    for value, p, got in zip(values, power, product, strict=True):
        assert_scaled(value, p, got)


def test_powers_of_two_across_the_whole_range():
    smallest, largest = 2.0**-126, 2.0**127
    for value, power in [(smallest, 253), (largest, -253), (smallest, 300), (largest, -300)]:
        assert_scaled(value, power, np.asarray(scale_by(as_float32([value]), as_int32([power])))[0])


def assert_scaled(value, power, got):
    exact = Fraction(value) * Fraction(2) ** power
    if abs(exact) >= Fraction(2) ** 128:
        assert got == math.copysign(INF, value)
    elif abs(exact) >= Fraction(2) ** -126:
        assert Fraction(float(got)) == exact
    elif jax.default_backend() == "cpu":
        assert got == 0
    else:  # a GPU keeps subnormals, each step of the product rounded
        assert abs(Fraction(float(got)) - exact) <= Fraction(2) ** -148


@exactly
@given(vectors, exponents)
def test_normalising_is_exact(values, exponent):
    scaled = normalised(as_float32(values), as_int32(exponent))
    assert_normalised(scaled)
    for row, p, got in zip(values, exponent, fractions(scaled), strict=True):
        assert got == [Fraction(entry) * Fraction(2) ** p for entry in row]


@exactly
@given(st.lists(st.tuples(vectors, exponents), min_size=3, max_size=3))
def test_sums_are_those_of_exact_numbers(drawn):
    terms = [normalised(as_float32(value), as_int32(exponent)) for value, exponent in drawn]
    total = added(*terms)
    assert_normalised(total)
    for result, *parts in zip(fractions(total), *map(fractions, terms), strict=True):
        for got, *entries in zip(result, *parts, strict=True):
            assert abs(got - sum(entries)) <= max(map(abs, entries)) / 2**22


def test_adding_to_zero_changes_nothing():
    zero = by_entry(jnp.zeros((2, 3)))
    tiny = Scaled(jnp.array([[0.5, 0.0, -0.75], [0.0, 0.0, 0.0]]), as_int32([[-100_000, 0, -7]] * 2))
    total = add(add(zero, tiny), zero)
    np.testing.assert_array_equal(total.mantissa, tiny.mantissa)
    assert total.exponent[0, 0] == -100_000 and total.exponent[0, 2] == -7
    np.testing.assert_array_equal(add(zero, zero).mantissa, 0.0)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_nan_and_infinity_stay_in_their_example(bad):
    value = jnp.array([[bad, 1.0], [2.0, 3.0]])
    scaled = by_entry(value, as_int32([5, 5]))
    np.testing.assert_array_equal(scaled.mantissa[0, 0], bad)
    np.testing.assert_array_equal(scaled.mantissa[1], [0.5, 0.75])
    np.testing.assert_array_equal(scaled.exponent[1], [7, 7])
    total = add(scaled, by_entry(jnp.ones((2, 2)), as_int32([900, 0])))
    np.testing.assert_array_equal(total.mantissa[0, 0], bad)
    np.testing.assert_allclose(np.ldexp(total.mantissa[1], total.exponent[1]), [65.0, 97.0])
    together, power = normalise([value], sizes([value]).top)
    np.testing.assert_array_equal(together[0], [[bad, 1.0], [0.5, 0.75]])
    np.testing.assert_array_equal(power, [0, 2])


@pytest.mark.parametrize("value", [3e30 + 4e-8j, 4e-8 - 3e30j, -3e-30j])
def test_complex_numbers_are_scaled_as_a_whole(value):
    scaled = by_entry(jnp.array([[value, 0j]], jnp.complex64), as_int32([-500]))
    entry = np.complex128(scaled.mantissa[0, 0])
    assert 0.5 <= max(abs(entry.real), abs(entry.imag)) < 1
    exact = np.complex128(np.complex64(value)) * 2.0**-500
    np.testing.assert_allclose(entry * 2.0 ** int(scaled.exponent[0, 0]), exact, rtol=1e-7)


def test_float64_has_its_own_range(float64):
    scaled = by_entry(jnp.array([[1e-300, 3e-301]]), as_int32([-100_000]))
    assert scaled.mantissa.dtype == jnp.float64 and 0.5 <= float(scaled.mantissa[0, 0]) < 1
    assert fractions(scaled) == [[Fraction(1e-300) / 2**100_000, Fraction(3e-301) / 2**100_000]]
    np.testing.assert_array_equal(
        times_power_of_two(jnp.array([1.0, 1.0, 1.5]), as_int32([-1022, 1023, 2000])),
        [2.0**-1022, 2.0**1023, INF],
    )


@exactly
@given(st.lists(st.integers(-400, 400), min_size=1, max_size=5))
def test_norms_of_all_leaves_are_those_of_exact_integers(powers_of_ten):
    lowest = min(powers_of_ten)
    square = sum(10 ** (2 * (power - lowest)) for power in powers_of_ten)
    exact = lowest + math.log10(square) / 2
    measured = log10_of_all([np.array([float(power)]) for power in powers_of_ten])
    assert measured[0] == pytest.approx(exact, abs=1e-12, rel=1e-12)


def test_a_forward_pass_that_is_not_finite_is_never_called_vanishing():
    # A ReLU turns the NaN of its forward pass into a zero on the way back.
    finding = NonFinite("h", 2, 1)
    bad = GradientCurve.of({"h": [[-math.inf], [-math.inf]]}, non_finite=(finding,))
    assert str(bad.verdict()) == "non-finite at lag 1"


def test_infinity_ends_the_horizon():
    curve = GradientCurve.of({"h": [[0.0], [-1.0], [np.inf], [-1.0]]})
    assert str(curve.horizon()) == "2" and curve.verdict().word == "non-finite"


def test_a_leaf_in_the_place_of_decades_is_named():
    curve = GradientCurve.of({"h": [[0.0], [-1.0]]})
    for summary in (curve.verdict, curve.horizon):
        with pytest.raises(GradlabError, match="decades is `h`: give a number; a leaf is given as leaf='h'"):
            summary("h")


def test_a_curve_is_told_in_a_line():
    curve = GradientCurve.of({"h": -np.arange(5.0)[:, None] + np.zeros((1, 3))})
    assert repr(curve) == "<GradientCurve of h, state: 5 lags, 3 examples, vanishing (-4.0 at lag 5)>"
