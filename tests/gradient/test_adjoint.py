"""The instrument against independent routes, its claim of no floor, and what it says when something is wrong."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from oracles import Diagonal, Early, Linear

from gradlab.cells import gru, lstm, rnn
from gradlab.errors import GradlabError
from gradlab.gradient import gradient_curve
from gradlab.gradient.adjoint import leaf_names

CELLS = {"rnn": rnn(), "lstm": lstm(), "gru": gru(), "early": Early()}
# Odd, even, one, and either side of 256; compiling is what costs, so two cells run at half of them.
LENGTHS = {
    "rnn": [1, 2, 3, 17, 255, 257],
    "lstm": [2, 17, 257],
    "gru": [1, 3, 255],
    "early": [1, 2, 3, 17, 255, 257],
}
INPUT, HIDDEN, BATCH = 2, 4, 3


def last_and_all(outputs):
    """Example 0 reads the last output, example 1 all of them, example 2 the first and the last."""
    each = jnp.sum(jnp.tanh(outputs) + outputs**2, axis=-1)
    return jnp.stack([each[-1, 0], each[:, 1].sum(), each[0, 2] + each[-1, 2]])


def last(outputs):
    return outputs[-1].sum(axis=-1)


def setting(cell, length, scale=0.6, seed=0):
    rng = np.random.default_rng(seed)
    params = oracles.random_params(cell, rng, INPUT, HIDDEN, scale)
    return cell, params, jnp.asarray(rng.normal(size=(length, BATCH, INPUT)))


def in_float64(cell, params, inputs, loss):
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (params, inputs))
        return gradient_curve(cell, *wide, loss)


def assert_same(curve, expected, atol=1e-9):
    assert set(curve.log10_norm) == set(expected)
    for leaf, values in expected.items():
        np.testing.assert_allclose(curve.log10_norm[leaf], values, rtol=0, atol=atol, err_msg=leaf)


# ---------------------------------------------------------------- three routes


@pytest.mark.parametrize("name, length", [(name, length) for name in CELLS for length in LENGTHS[name]])
def test_total_gradient_is_that_of_taps_and_jacobians(float64, name, length):
    args = (*setting(CELLS[name], length), last_and_all)
    curve = gradient_curve(*args)
    assert list(curve.lags) == list(range(1, length + 1))
    assert_same(curve, oracles.curve_by_jacobians(*args))
    assert_same(curve, oracles.curve_by_taps(*args))


@pytest.mark.parametrize(
    "name, length, kind, at",
    [
        ("early", 1, "direct", None),
        ("early", 17, "direct", None),
        ("lstm", 257, "direct", None),
        ("early", 1, "total", 1),
        ("early", 17, "total", 1),
        ("early", 17, "total", 9),
        ("lstm", 17, "total", 9),
        ("gru", 17, "direct", 9),
        ("rnn", 257, "total", 255),
    ],
)
def test_direct_and_single_step_gradients(float64, name, length, kind, at):
    args = (*setting(CELLS[name], length), last_and_all)
    curve = gradient_curve(*args, kind=kind, at=at)
    assert len(curve.lags) == (at or length)
    assert_same(curve, oracles.curve_by_jacobians(*args, kind=kind, at=at))
    if at == 9 or (kind, length) == ("direct", 17):
        assert_same(curve, oracles.curve_by_taps(*args, kind=kind, at=at))


@pytest.mark.parametrize(
    "name, kind, at",
    [
        *((name, "total", None) for name in CELLS),
        ("early", "direct", None),
        ("early", "total", 3),
    ],
)
def test_forward_mode_agrees_with_reverse_mode(float64, name, kind, at):
    args = (*setting(CELLS[name], 5), last_and_all)
    assert_same(gradient_curve(*args, kind=kind, at=at), oracles.curve_by_jvp(*args, kind=kind, at=at))


def shrinking():
    return setting(rnn(), 257, scale=0.2)


def growing():
    cell, params, inputs = setting(rnn("relu"), 257)
    return cell, params | {"w_h": 1.2 * jnp.abs(params["w_h"])}, inputs


@pytest.mark.parametrize("extreme, side", [(shrinking, -1), (growing, 1)], ids=["below 1e-60", "above 1e+60"])
def test_every_route_at_both_extremes(float64, extreme, side):
    args = (*extreme(), last_and_all)
    curve = gradient_curve(*args)
    for route in (oracles.curve_by_taps, oracles.curve_by_jacobians, oracles.curve_by_jvp):
        expected = route(*args)
        assert side * expected["state"][-1, 0] > 60
        assert_same(curve, expected)


@pytest.mark.parametrize("scale, side", [(0.15, -1), (6.0, 1)])
@pytest.mark.parametrize("precision", [True, False], ids=["float64", "float32"])
def test_beyond_the_range_of_float64(precision, scale, side):
    with jax.enable_x64(precision):
        rng = np.random.default_rng(3)
        w = jnp.asarray(scale * rng.normal(size=(HIDDEN, HIDDEN)) / 2)
        args = (
            Linear(),
            w,
            jnp.zeros((600, 2, HIDDEN)),
            lambda outputs: outputs[-1].sum(axis=-1) + outputs[99, :, 0],
        )
        curve = gradient_curve(*args)
    with jax.enable_x64(True):
        expected = oracles.curve_by_jacobians(Linear(), jnp.asarray(w, jnp.float64), *args[2:])
    assert side * expected["h"][499, 0] > 310  # the early loss arrives one lag later
    assert_same(curve, expected, atol=1e-9 if precision else 1e-3)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_float32_curves_are_float64_curves(name):
    cell, params, inputs = setting(CELLS[name], 257)
    curve = gradient_curve(cell, params, inputs, last_and_all)
    assert curve.dtype == "float32" and not curve.saturated
    precise = in_float64(cell, params, inputs, last_and_all)
    assert precise.dtype == "float64"
    for leaf, values in precise.log10_norm.items():
        np.testing.assert_allclose(curve.log10_norm[leaf], values, rtol=1e-5, atol=1e-5, err_msg=leaf)


# ---------------------------------------------------------------- no floor


@pytest.mark.parametrize("a", [0.5, 0.9, 0.999, 1.1, 2.0])
def test_five_thousand_factors(a):
    factor = np.float32(a)
    curve = gradient_curve(Diagonal(), {"u": jnp.array([factor])}, jnp.zeros((5000, 1, 1)), last)
    exact = curve.lags * np.log10(float(factor))
    error = np.abs(curve.log10_norm["u"][:, 0] - exact)
    assert np.all(error < 1e-4 * np.maximum(1.0, np.abs(exact) / 100))


def test_a_small_leaf_does_not_drown_beside_a_large_one():
    a = {"u": jnp.array([0.5]), "v": jnp.array([1.0])}
    curve = gradient_curve(Diagonal(), a, jnp.zeros((5000, 1, 1)), last)
    np.testing.assert_allclose(curve.log10_norm["u"][:, 0], curve.lags * np.log10(0.5), rtol=1e-12)
    np.testing.assert_array_equal(curve.log10_norm["v"], 0.0)
    np.testing.assert_allclose(curve.log10_norm["state"][60:], 0.0, atol=1e-12)


@pytest.mark.parametrize("early, late", [(1e-30, 1.0), (1e30, 1.0), (1.0, 1e30), (1.0, 1e-30)])
def test_losses_of_very_different_size_at_different_timesteps(early, late):
    length, lag = 300, 151

    def loss(outputs):
        return late * outputs[-1, :, 0] + early * outputs[length - lag, :, 0]

    curve = gradient_curve(Diagonal(), {"u": jnp.array([0.5])}, jnp.zeros((length, 1, 1)), loss)
    for k in (1, 100, 150, 151, 200, 300):
        arrived = Fraction(early) / 2 ** (k - lag + 1) if k >= lag else 0
        total = Fraction(late) / 2**k + arrived
        exact = np.log10(float(total.numerator / total.denominator))
        np.testing.assert_allclose(curve.log10_norm["u"][k - 1, 0], exact, atol=1e-5)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the horizon is that of a pass that flushes subnormals")
@pytest.mark.parametrize("name, scale", [("rnn", 0.3), ("rnn", 0.6), ("lstm", 0.4), ("gru", 0.5)])
def test_float32_horizon_is_where_a_float32_backward_pass_ends(name, scale):
    cell, params, inputs = setting(CELLS[name], 600, scale)
    curve = gradient_curve(cell, params, inputs[:, :1], last)
    gradients = oracles.tap_gradients(cell, params, inputs[:, :1], last)
    for leaf, values in gradients.items():
        seen = np.any(np.asarray(values)[::-1, 0] != 0, axis=1)
        ends = int(np.argmin(seen))
        assert 10 < ends and not seen[ends:].any()
        horizon = curve.float32_horizon(leaf)
        assert not horizon.reached and abs(horizon.lag - ends) <= 2


# ---------------------------------------------------------------- zeros


@pytest.mark.as_users  # where tanh is exactly 1
@pytest.mark.parametrize("pre_activation", [9.0, 10.0])
def test_saturated_units_are_measured_again_in_float64(pre_activation):
    length, loud = 12, 5
    cell = rnn()
    params = {"w_x": jnp.ones((1, 2)), "w_h": 0.5 * jnp.eye(2), "b": jnp.zeros(2)}
    inputs = jnp.zeros((length, 1, 1)).at[loud - 1].set(pre_activation)
    zero_from = length - loud + 1
    real = np.asarray(oracles.tap_gradients(cell, params, inputs, last)["h"])[::-1]
    assert np.all(real[: zero_from - 1] != 0) and np.all(real[zero_from - 1 :] == 0)

    curve = gradient_curve(cell, params, inputs, last)
    precise = in_float64(cell, params, inputs, last)
    assert curve.saturated == {"h": zero_from, "state": zero_from} and precise.saturated == {}
    assert curve.dtype == "float32"
    np.testing.assert_array_equal(curve.typical()[zero_from - 1 :], precise.typical()[zero_from - 1 :])
    assert_same(curve, precise.log10_norm, atol=1e-4)


def test_units_that_are_off_are_dead_not_saturated():
    cell = rnn("relu")
    params = {"w_x": jnp.ones((1, 2)), "w_h": 0.5 * jnp.eye(2), "b": jnp.zeros(2)}
    inputs = jnp.ones((10, 4, 1)).at[6, 1:].set(-50.0)
    curve = gradient_curve(cell, params, inputs, last)
    assert curve.saturated == {}
    np.testing.assert_array_equal(curve.dead(), [0.0] * 3 + [0.75] * 7)
    assert np.all(np.isneginf(curve.log10_norm["h"][3:, 1:])) and np.all(np.isfinite(curve.log10_norm["h"][:, 0]))
    assert curve.slope().zero_from == 4 and curve.horizon().lag == 3 and curve.span() == -np.inf


@pytest.mark.as_users
def test_a_cell_that_fixes_its_dtype_is_still_measured():
    class Fixed:
        def carry(self, params, batch_size):
            return {"h": jnp.zeros((batch_size, 2), jnp.float32)}

        def step(self, params, s, x_t):
            h_t = jnp.tanh(s["h"] + x_t).astype(jnp.float32)
            return {"h": h_t}, h_t

    curve = gradient_curve(Fixed(), {}, jnp.full((4, 1, 2), 9.0), last)
    assert np.all(np.isneginf(curve.log10_norm["h"]))


# ---------------------------------------------------------------- NaN and infinity


def findings(curve):
    return {finding.where: (finding.timestep, finding.examples) for finding in curve.non_finite}


def test_nan_in_an_input_is_found_at_its_timestep():
    cell, params, inputs = setting(rnn(), 9)
    curve = gradient_curve(cell, params, inputs.at[4, 1].set(jnp.nan), last)
    found = findings(curve)
    assert found["h"] == found["output"] == (5, 1) and found["loss"] == (9, 1)
    assert found["gradient h"] == (9, 1)
    assert curve.verdict().word == "non-finite"
    np.testing.assert_array_equal(curve.not_finite(), 1)
    np.testing.assert_array_equal(np.isfinite(curve.losses), [True, False, True])


def test_overflow_is_found_at_the_first_timestep_and_leaf():
    a = {"u": jnp.array([1e10]), "v": jnp.array([0.5])}
    curve = gradient_curve(Diagonal(), a, jnp.ones((9, 2, 1)), last)
    # u_t is about 10^(10 (t - 1)), beyond float32 from t = 5 on.
    assert findings(curve) == {"u": (5, 2), "output": (5, 2), "loss": (9, 2)}


def test_a_loss_that_is_not_finite_is_named():
    cell, params, inputs = setting(rnn(), 5)
    curve = gradient_curve(cell, params, inputs, lambda outputs: 1.0 + jnp.inf * outputs[-1, :, 0] ** 2)
    assert findings(curve)["loss"] == (5, 3) and "h" not in findings(curve)


def test_a_backward_pass_that_breaks_is_found_at_the_largest_timestep():
    class Root:
        def carry(self, params, batch_size):
            return {"r": jnp.ones((batch_size, 1))}

        def step(self, params, s, x_t):
            r_t = jnp.sqrt(s["r"]) + x_t
            return {"r": r_t}, r_t

    # Example 0: 1, 1, 0, 1, 1, ...: the state 0 enters timestep 4, where the root has no derivative.
    inputs = jnp.zeros((8, 2, 1)).at[2, 0].set(-1.0).at[3, 0].set(1.0)
    curve = gradient_curve(Root(), {}, inputs, last)
    assert findings(curve) == {"gradient r": (4, 1)}
    assert curve.verdict().word == "non-finite" and curve.verdict().lag == 5


# ---------------------------------------------------------------- leaves


class Mixed:
    """A state of many kinds of leaves; only `c.0`, `c.1` and `z` have a gradient."""

    def carry(self, params, batch_size):
        return {
            "c": (jnp.zeros((batch_size, 2)), jnp.zeros((batch_size, 1, 2))),
            "key": jax.random.split(jax.random.key(0), batch_size),
            "on": jnp.ones(batch_size, bool),
            "t": jnp.zeros(batch_size, jnp.int32),
            "z": jnp.zeros((batch_size, 2), complex),
        }

    def step(self, params, s, x_t):
        first, second = s["c"]
        c = (0.5 * first + x_t, 0.25 * second)
        s_t = s | {"c": c, "t": s["t"] + 1, "z": (0.3 + 0.4j) * s["z"] + x_t}
        return s_t, jnp.concatenate([c[0], c[1][:, 0], s_t["z"].real], axis=-1)


def test_leaves_are_named_by_path_and_those_without_gradient_are_listed():
    curve = gradient_curve(Mixed(), {}, jnp.ones((6, 2, 2)), last)
    assert curve.leaves == ["c.0", "c.1", "z", "state"]
    assert curve.unmeasured == ("key", "on", "t")
    # The gradient of two units that start with 1 each has norm √2; 0.3 + 0.4i has modulus 1/2.
    for leaf, factor in {"c.0": 0.5, "c.1": 0.25, "z": 0.5}.items():
        exact = 0.5 * np.log10(2) + curve.lags * np.log10(factor)
        np.testing.assert_allclose(curve.typical(leaf), exact, atol=1e-5)


def test_a_complex_leaf_is_measured_by_modulus_without_floor():
    modulus = np.array([0.5, 0.9, 1.0, 1.5])
    eigenvalues = modulus * np.exp(1j * np.array([0.1, 2.0, -1.0, 3.0]))
    unit = jnp.eye(4)  # example b reads unit b alone
    curve = gradient_curve(
        Diagonal(),
        {"z": jnp.asarray(eigenvalues, jnp.complex64)},
        jnp.zeros((2000, 4, 4)),
        lambda outputs: jnp.sum(outputs[-1] * unit, axis=-1),
    )
    exact = curve.lags[:, None] * np.log10(modulus)
    np.testing.assert_allclose(curve.log10_norm["z"], exact, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["s", "state_"])
def test_a_leaf_is_never_called_state(name):
    assert leaf_names({"state": jnp.zeros(1)} if name == "state_" else jnp.zeros(1)) == ([name], [])


def test_the_given_initial_state_is_used(float64):
    cell, params, inputs = setting(rnn(), 5)
    h_0 = {"h": inputs[:, 0, :1] * jnp.ones(HIDDEN)}
    curve = gradient_curve(cell, params, inputs[:, :1].repeat(5, axis=1), last, h_0)
    alone = gradient_curve(cell, params, inputs[:, :1], last, {"h": h_0["h"][2:3]})
    np.testing.assert_allclose(curve.log10_norm["h"][:, 2:3], alone.log10_norm["h"], rtol=0, atol=1e-12)
    assert len(np.unique(curve.log10_norm["h"][-1])) == 5


# ---------------------------------------------------------------- examples


def test_examples_do_not_influence_each_other(float64):
    cell, params, inputs = setting(lstm(), 20)
    curve = gradient_curve(cell, params, inputs, last)
    moved = np.array(inputs)[:, [2, 1, 0]]
    moved[3, 1] = np.nan
    other = gradient_curve(cell, params, jnp.asarray(moved), last)
    for leaf, values in curve.log10_norm.items():
        np.testing.assert_allclose(other.log10_norm[leaf][:, [2, 0]], values[:, [0, 2]], rtol=0, atol=1e-12)
        assert np.isnan(other.log10_norm[leaf][:, 1]).all()


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "change, says",
    [
        ({"kind": "totl"}, "did you mean `total`"),
        ({"at": 0}, "at=0"),
        ({"at": 6}, "at=6"),
        ({"at": 2.5}, "at=2.5"),
        ({"inputs": jnp.zeros((5, 3))}, r"\(5, 3\)"),
        ({"inputs": jnp.zeros((0, 3, 2))}, r"\(0, 3, 2\)"),
        ({"inputs": jnp.zeros((5, 0, 2))}, r"\(5, 0, 2\)"),
        ({"loss": lambda outputs: outputs.sum()}, r"loss has shape \(\)"),
        ({"loss": lambda outputs: outputs.sum(axis=-1)}, r"loss has shape \(5, 3\)"),
        ({"carry": {"t": jnp.zeros(3, int)}}, "no float leaf to measure: its leaves are t"),
    ],
)
def test_wrong_arguments_are_refused(change, says):
    cell, params, inputs = setting(rnn(), 5)
    with pytest.raises(GradlabError, match=says):
        gradient_curve(**{"cell": cell, "params": params, "inputs": inputs, "loss": last} | change)
