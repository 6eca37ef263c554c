"""No floor within a leaf, between leaves, near saturation: against products of factors with known logarithms."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from passes import adjoint

from gradlab.cells import gru, lstm, rnn
from gradlab.gradient import gradient_curve
from gradlab.gradient.convert import to_curve
from gradlab.gradient.pullback import BY_MAGNITUDE

pytestmark = pytest.mark.slow


def last(outputs):
    return outputs[-1].sum(axis=-1)


class Gates:
    """sₜ = xₜ ⊙ sₜ₋₁ for each unit, in as many leaves as `sizes` says; yₜ = sₜ. The input is the factor."""

    def __init__(self, *sizes):
        self.sizes = sizes

    def carry(self, params, batch_size):
        return {f"u{i}": jnp.zeros((batch_size, size)) for i, size in enumerate(self.sizes)}

    def step(self, params, s, x_t):
        parts = jnp.split(x_t, np.cumsum(self.sizes)[:-1], axis=-1)
        s_t = {name: part * s[name] for name, part in zip(s, parts, strict=True)}
        return s_t, jnp.concatenate(list(s_t.values()), axis=-1)


def products(factors):
    """log10 of |Π factors| over the last k timesteps, (T, B, H) for k = 1..T, in float64."""
    with np.errstate(divide="ignore"):
        return np.cumsum(np.log10(np.abs(np.asarray(factors, np.float64)))[::-1], axis=0)


def log10_sum_of_squares(logs):
    top = logs.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return top[..., 0] + 0.5 * np.log10(np.sum(10.0 ** (2 * (logs - top)), axis=-1))


def assert_decades(found, exact):
    assert np.array_equal(np.isneginf(found), np.isneginf(exact))
    found, exact = found[np.isfinite(exact)], exact[np.isfinite(exact)]
    np.testing.assert_array_less(np.abs(found - exact), 1e-4 * np.maximum(1.0, np.abs(exact)))


@pytest.mark.parametrize("timesteps, seed", [(1, 0), (2, 1), (3, 2), (61, 3), (3000, 4), (2999, 5)])
def test_units_of_one_leaf_and_of_others_keep_their_own_magnitude(timesteps, seed):
    rng = np.random.default_rng(seed)
    factors = np.float32(10.0 ** rng.uniform(-8, 8, (timesteps, 4, 5)) * rng.choice([-1, 1], (timesteps, 4, 5)))
    # Resets: three units of most examples die somewhere, so that what was small is all that is left.
    for example in range(1, 4):
        factors[rng.integers(timesteps), example, rng.permutation(5)[:3]] = 0.0
    curve = gradient_curve(Gates(3, 2), None, jnp.asarray(factors), last)
    logs = products(factors)
    assert_decades(curve.log10_norm["u0"], log10_sum_of_squares(logs[..., :3]))
    assert_decades(curve.log10_norm["u1"], log10_sum_of_squares(logs[..., 3:]))
    assert_decades(curve.log10_norm["state"], log10_sum_of_squares(logs))
    assert not curve.saturated and not curve.noise


@pytest.mark.parametrize("precision", [False, True], ids=["float32", "float64"])
def test_a_unit_that_was_small_takes_over(precision):
    """Unit 1 holds while unit 2 shrinks, then the other way round, beyond the range of float64."""
    with jax.enable_x64(precision):
        pattern = np.repeat([[1e-8, 1.0], [1.0, 1e-3]], [150, 150], axis=0)
        factors = jnp.asarray(pattern[:, None], jnp.float64 if precision else jnp.float32)
        curve = gradient_curve(Gates(2), None, factors, last)
    exact = log10_sum_of_squares(products(np.asarray(factors)))
    np.testing.assert_allclose(curve.log10_norm["u0"], exact, rtol=1e-6, atol=1e-6)
    assert curve.span() == pytest.approx(-450, abs=1e-3) and not curve.saturated


def test_a_slow_unit_that_is_reset_leaves_the_fast_one():
    keep, timesteps, at = np.float32([1.0, 0.3]), 1200, 100
    factors = np.tile(keep, (timesteps, 2, 1))
    factors[at - 1, :, 0] = 0.0
    curve = gradient_curve(Gates(2), None, jnp.asarray(factors), last)
    lag = timesteps - at + 1
    assert curve.typical()[lag - 2] == pytest.approx(0.0, abs=1e-6)
    assert curve.typical()[lag - 1] == pytest.approx(-575.69, abs=0.01)
    assert curve.typical()[-1] == pytest.approx(-627.45, abs=0.01)
    assert str(curve.verdict()).startswith("vanishing (-627.5 at lag 1200)")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_have_no_floor_either(dtype):
    factors = jnp.tile(jnp.asarray([0.5, 0.25, 1.0], dtype), (700, 2, 1))

    class Narrow(Gates):
        def carry(self, params, batch_size):
            return {"u": jnp.zeros((batch_size, 3), dtype)}

    curve = gradient_curve(Narrow(3), None, factors, lambda outputs: outputs[-1, :, :2].sum(axis=-1))
    exact = log10_sum_of_squares(products(np.asarray(factors[..., :2], np.float64)))
    np.testing.assert_allclose(curve.log10_norm["u"], exact, atol=1e-2)
    assert curve.dtype in (dtype, "float32")


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("length", [1, 2, 3, 58])
def test_groups_of_magnitude_agree_with_the_product_of_jacobians(float64, name, length):
    cell = {"rnn": rnn, "lstm": lstm, "gru": gru}[name]()
    rng = np.random.default_rng(length)
    params = oracles.random_params(cell, rng, 2, 4, 0.6)
    inputs = jnp.asarray(rng.normal(size=(length, 3, 2)))
    found = adjoint(cell, params, inputs, last, method=BY_MAGNITUDE)
    curve, expected = to_curve(found), oracles.curve_by_jacobians(cell, params, inputs, last)
    for leaf, values in expected.items():
        np.testing.assert_allclose(curve.log10_norm[leaf], values, rtol=0, atol=1e-9, err_msg=leaf)


@pytest.mark.parametrize("early", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_a_loss_far_below_what_is_carried_reaches_the_units_that_are_else_zero(early):
    """Unit 1 explodes from the last timestep; unit 2 is read at timestep 3 alone, by a far smaller loss."""
    factors = np.tile(np.float32([1e6, 0.5]), (60, 1, 1))

    def loss(outputs):
        return outputs[-1, :, 0] + early * outputs[2, :, 1]

    class Apart(Gates):
        def carry(self, params, batch_size):
            return {"one": jnp.zeros((batch_size, 1)), "two": jnp.zeros((batch_size, 1))}

    curve = gradient_curve(Apart(1, 1), None, jnp.asarray(factors), loss)
    exact = np.full(60, -np.inf)
    exact[57:] = np.log10(early) + np.log10(0.5) * np.arange(1, 4)
    np.testing.assert_allclose(curve.log10_norm["two"][:, 0], exact, atol=1e-5)
    np.testing.assert_allclose(curve.log10_norm["one"][:, 0], 6.0 * np.arange(1, 61), rtol=1e-6)


# ---------------------------------------------------------------- near saturation


@pytest.mark.parametrize("pre_activation", [3.0, 7.0, 7.5, 8.0, 12.0])
def test_a_saturated_network_is_measured_to_a_thousandth_of_its_decades(pre_activation):
    """λ shrinks by 1e-3 (1 - tanh²(b + 1e-3 tanh b + ...)) a timestep, at the fixed point of a scalar network."""
    w, length = float(np.float32(1e-3)), 200
    params = {"w_x": jnp.zeros((1, 1)), "w_h": jnp.full((1, 1), w), "b": jnp.full(1, pre_activation)}
    curve = gradient_curve(rnn(), params, jnp.zeros((length, 1, 1)), lambda outputs: outputs[-1, :, 0])
    h, factors = 0.0, []
    for _ in range(length):
        z = w * h + pre_activation
        factors.append(np.log10(w) - 2 * np.log10(np.cosh(z)))
        h = np.tanh(z)
    exact = np.cumsum(factors[::-1])
    error = np.abs(curve.typical("h") - exact) / np.maximum(1.0, np.abs(exact))
    assert error.max() < 1e-3
    assert bool(curve.saturated) == (pre_activation > 3) and not curve.noise
    if curve.saturated:
        assert f"imprecise from lag {curve.saturated['h']}" in curve.notes("h")[0]


# ---------------------------------------------------------------- rounding


class Cancelling:
    """The output reads a - b, and both take the same step, so that the gradient with respect to `m` is zero."""

    def carry(self, params, batch_size):
        return {"h": jnp.ones((batch_size, 3)), "m": jnp.ones((batch_size, 3))}

    def step(self, params, s, x_t):
        h_t = jnp.tanh(s["h"] @ params)
        scale = jnp.exp(s["m"] / 3)
        y_t = jnp.log(scale * jnp.exp(h_t)) - s["m"] / 3
        return {"h": h_t, "m": s["m"]}, y_t


@pytest.mark.parametrize("precision", [False, True], ids=["float32", "float64"])
def test_a_gradient_that_is_zero_in_truth_is_noise(precision):
    with jax.enable_x64(precision):
        params = jax.random.orthogonal(jax.random.key(0), 3) * 0.9
        inputs = jnp.zeros((12, 16, 1))
        start = {
            "h": jax.random.normal(jax.random.key(1), (16, 3)),
            "m": jax.random.normal(jax.random.key(2), (16, 3)),
        }
        curve = gradient_curve(Cancelling(), params, inputs, lambda y: (y * jnp.arange(1.0, 4)).sum((0, 2)), start)
    assert curve.is_noise("m").any() and not curve.is_noise("h").any() and not curve.chaotic
    assert curve.verdict(leaf="m").word in ("noise", "held", "cut")
    assert curve.verdict(leaf="h").word == "held"


def test_a_chaotic_trajectory_is_named():
    """The logistic map doubles a rounding error at every timestep, and its gradient follows one trajectory."""

    class Logistic:
        def carry(self, params, batch_size):
            return {"h": jnp.linspace(0.11, 0.87, batch_size)[:, None]}

        def step(self, params, s, x_t):
            h_t = params * s["h"] * (1 - s["h"])
            return {"h": h_t}, h_t

    inputs = jnp.zeros((400, 8, 1))
    curve = gradient_curve(Logistic(), jnp.float32(3.99), inputs, lambda y: y[-1, :, 0])
    assert curve.chaotic and "one trajectory of a chaotic network: ±" in curve.notes()[0]
    calm = gradient_curve(Logistic(), jnp.float32(2.9), inputs, lambda y: y[-1, :, 0])
    assert not calm.chaotic and not calm.noise
