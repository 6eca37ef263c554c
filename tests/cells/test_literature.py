"""Cells of the literature: against NumPy transcriptions, explicit products of Jacobians, and closed forms."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import transcriptions as numpy_of
from jax import lax

from gradlab.cells import CELLS, lstm
from gradlab.cells.base import is_built_in
from gradlab.cells.literature import LITERATURE
from gradlab.errors import GradlabError
from gradlab.gradient import gradient_curve

INPUT, HIDDEN, BATCH, STEPS = 2, 3, 2, 7
EULER = {"dt": 0.3, "gamma": 2.0, "epsilon": 1.5}

REFERENCES = {
    "lstm_peephole": ({}, numpy_of.peephole),
    "lstm_layernorm": ({}, numpy_of.layer_normalised),
    "cifg": ({}, numpy_of.coupled),
    "slstm": ({}, partial(numpy_of.unstabilised, forget="sigmoid")),
    "slstm exp": ({"forget": "exp"}, partial(numpy_of.unstabilised, forget="exp")),
    "mgu": ({}, numpy_of.minimal_gated),
    "janet": ({"beta": 0.7}, partial(numpy_of.forget_gate_alone, beta=0.7)),
    "mingru": ({}, numpy_of.minimal_gru),
    "minlstm": ({}, numpy_of.minimal_lstm),
    "indrnn": ({}, partial(numpy_of.independent, phi=lambda z: np.maximum(z, 0))),
    "indrnn tanh": ({"activation": "tanh"}, partial(numpy_of.independent, phi=np.tanh)),
    "ornn": ({"negative": 0.34}, partial(numpy_of.orthogonal, negative=1)),
    "cornn": (EULER, partial(numpy_of.oscillators, **EULER)),
    "lru": ({}, numpy_of.linear_recurrent),
}


def make(name):
    return CELLS[name.split()[0]](**REFERENCES[name][0])


def random_setting(cell, seed=1, steps=STEPS):
    """Every parameter Gaussian, so that no term is hidden by a zero."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), INPUT, HIDDEN))

    def draw(leaf):
        values = 0.6 * rng.normal(size=leaf.shape)
        return values + 0.6j * rng.normal(size=leaf.shape) if jnp.issubdtype(leaf.dtype, complex) else values

    return jax.tree.map(draw, shapes), rng.normal(size=(steps, BATCH, INPUT))


@partial(jax.jit, static_argnums=(0, 2))
def initial(cell, seed, hidden_size=HIDDEN):
    """Compiled as a whole: operation by operation it takes seconds."""
    return cell.init(jax.random.key(seed), INPUT, hidden_size)


@partial(jax.jit, static_argnums=0)
def passed(cell, params, inputs):
    """States and outputs of a scan."""

    def timestep(s, x_t):
        s_t, y_t = cell.step(params, s, x_t)
        return s_t, (s_t, y_t)

    return lax.scan(timestep, cell.carry(params, inputs.shape[1]), jnp.asarray(inputs))[1]


def total(outputs):
    return outputs[-1].sum(axis=-1)


def last_and_all(outputs):
    return outputs[-1].sum(axis=-1) + jnp.sum(outputs**2, axis=(0, 2))


def test_every_cell_has_a_transcription():
    assert {name.split()[0] for name in REFERENCES} == {factory.__name__ for factory in LITERATURE}


@pytest.mark.parametrize("name", REFERENCES)
def test_states_and_outputs_are_those_of_the_equations(float64, name):
    cell = make(name)
    params, inputs = random_setting(cell)
    states, outputs = passed(cell, params, inputs)
    expected, expected_outputs = REFERENCES[name][1](params, inputs)
    np.testing.assert_allclose(outputs, expected_outputs, rtol=1e-9, atol=1e-12)
    scale = np.exp(states.pop("m")) if "m" in states else 1.0  # c and n of an sLSTM are stored divided by it
    assert set(states) == set(expected[0])
    for leaf, values in states.items():
        values = values * scale if leaf in ("c", "n") else values
        np.testing.assert_allclose(values, [s[leaf] for s in expected], rtol=1e-9, atol=1e-12, err_msg=leaf)


@dataclass(frozen=True)
class RealParts:
    """An LRU with a state of real and imaginary parts, which real Jacobians can be formed of."""

    cell: object

    def carry(self, params, batch_size):
        return {"h": jnp.zeros((batch_size, 2 * HIDDEN))}

    def step(self, params, s, x_t):
        real, imaginary = jnp.split(s["h"], 2, axis=-1)
        s_t, y_t = self.cell.step(params, {"h": real + 1j * imaginary}, x_t)
        return {"h": jnp.concatenate([s_t["h"].real, s_t["h"].imag], axis=-1)}, y_t


@pytest.mark.parametrize("name", [name for name in REFERENCES if name not in ("slstm exp", "indrnn tanh")])
def test_curves_are_those_of_the_product_of_jacobians(float64, name):
    cell = make(name)
    for steps in (1, 2, STEPS):
        params, inputs = random_setting(cell, seed=steps, steps=steps)
        curve = gradient_curve(cell, params, jnp.asarray(inputs), last_and_all)
        real = RealParts(cell) if name == "lru" else cell
        expected = oracles.curve_by_jacobians(real, params, inputs, last_and_all)
        if "m" in expected:
            assert "m" in curve.unmeasured
            del expected["m"], expected["state"]
        for leaf, values in expected.items():
            np.testing.assert_allclose(curve.log10_norm[leaf], values, rtol=0, atol=1e-9, err_msg=leaf)


# ---------------------------------------------------------------- closed forms


def decades(cell, params, inputs, leaf="h"):
    """log10 of the norm, (T, B), for the sum of the last outputs."""
    return gradient_curve(cell, params, jnp.asarray(inputs), total).log10_norm[leaf]


def of_powers(factors, weights=1.0):
    """log10 √Σⱼ (wⱼ ∏ fⱼ)² at lags 1 to T, of factors (T, B, H) by time."""
    products = np.cumprod(np.asarray(factors)[::-1], axis=0) * weights
    return np.log10(np.linalg.norm(products, axis=-1))


def without_recurrence(params):
    return params | {"w_h": np.zeros_like(params["w_h"])}


@pytest.mark.parametrize(
    "name, factor",
    [
        ("janet", lambda net: numpy_of.sigma(net[0])),
        ("mgu", lambda net: 1 - numpy_of.sigma(net[0])),
        ("mingru", lambda net: 1 - numpy_of.sigma(net[0])),
        ("minlstm", lambda net: numpy_of.sigma(net[0]) / (numpy_of.sigma(net[0]) + numpy_of.sigma(net[1]))),
    ],
)
def test_the_gradient_is_the_product_of_gates_that_do_not_see_the_state(float64, name, factor):
    cell = make(name)
    params, inputs = random_setting(cell)
    params = without_recurrence(params) if "w_h" in params else params
    net = np.moveaxis(inputs @ params["w_x"] + params["b"], -1, 0).reshape(-1, HIDDEN, STEPS, BATCH)
    gates = factor(np.moveaxis(net, 1, -1))
    np.testing.assert_allclose(decades(cell, params, inputs), of_powers(gates), atol=1e-10)


def test_the_cell_state_of_a_cifg_fades_with_its_forget_gate(float64):
    cell = make("cifg")
    params, inputs = random_setting(cell)
    params = without_recurrence(params)
    net = inputs @ params["w_x"] + params["b"]
    f, o = numpy_of.sigma(net[..., :HIDDEN]), numpy_of.sigma(net[..., 2 * HIDDEN :])
    c = numpy_of.coupled(params, inputs)[0][-1]["c"]
    expected = of_powers(f, weights=o[-1] * (1 - np.tanh(c) ** 2))
    np.testing.assert_allclose(decades(cell, params, inputs, "c"), expected, atol=1e-10)


def test_peepholes_of_zero_leave_an_lstm(float64):
    cell = make("lstm_peephole")
    params, inputs = random_setting(cell)
    params["p"] = np.zeros_like(params["p"])
    expected = oracles.long_short_term_memory(params, inputs, "ifgo")
    for leaf, values in passed(cell, params, inputs)[0].items():
        np.testing.assert_allclose(values, [s[leaf] for s in expected], rtol=1e-9, atol=1e-12)
    started = initial(CELLS["lstm_peephole"](peephole=0.0), 3)
    assert not started["p"].any() and started["b"].tolist() == [0.0] * 3 + [1.0] * 3 + [0.0] * 6


def test_layer_normalisation_undoes_a_scale_of_the_recurrent_weights(float64):
    cell = make("lstm_layernorm")
    params, inputs = random_setting(cell)
    wide = params | {"w_h": 1e6 * params["w_h"]}, params | {"w_h": 1e7 * params["w_h"]}
    first, second = (passed(cell, each, inputs)[1] for each in wide)
    np.testing.assert_allclose(first, second, atol=1e-9)
    plain = passed(lstm(), {name: wide[0][name] for name in ("w_x", "w_h", "b")}, inputs)[1]
    assert np.abs(first - plain).max() > 0.1


@pytest.mark.parametrize("steps", [1, 50])
def test_an_indrnn_with_active_units_is_linear(float64, steps):
    cell = make("indrnn")
    u = np.array([0.5, 0.9, 1.01])
    params = {"w_x": np.ones((INPUT, HIDDEN)), "u": u, "b": np.zeros(HIDDEN)}
    inputs = np.random.default_rng(2).uniform(0.1, 1, size=(steps, BATCH, INPUT))
    expected = of_powers(np.broadcast_to(u, (steps, BATCH, HIDDEN)))
    np.testing.assert_allclose(decades(cell, params, inputs), expected, atol=1e-10)


def test_indrnn_weights_keep_the_longest_lag_within_a_factor_of_two():
    gains = np.asarray(initial(CELLS["indrnn"](t_max=1000), 0, 500)["u"], np.float64) ** 1000
    assert 0.49 < gains.min() < 0.52 and 1.9 < gains.max() < 2.02


def test_an_lru_fades_with_the_modulus_of_lambda(float64):
    cell = make("lru")
    params, inputs = random_setting(cell, steps=300)
    size = np.exp(-np.exp(params["nu"]))
    weights = np.abs(params["w_y"].sum(axis=1))
    expected = of_powers(np.broadcast_to(size, (300, BATCH, HIDDEN)), weights)
    np.testing.assert_allclose(decades(cell, params, inputs), expected, atol=1e-9)


def test_lru_states_start_at_the_scale_of_their_inputs():
    params = initial(CELLS["lru"](r_min=0.5, r_max=0.9), 0, 400)
    size = np.exp(-np.exp(np.asarray(params["nu"], np.float64)))
    assert 0.5 <= size.min() < 0.52 and 0.89 < size.max() <= 0.9
    assert np.mean(size**2) == pytest.approx((0.25 + 0.81) / 2, abs=0.03)  # the square is uniform
    np.testing.assert_allclose(np.exp(params["gamma"]), np.sqrt(1 - size**2), rtol=1e-4)


def test_uncoupled_oscillators_fade_with_their_own_matrix(float64):
    dt, gamma, epsilon = EULER.values()
    cell = make("cornn")
    params, inputs = random_setting(cell, steps=40)
    params |= {name: np.zeros((HIDDEN, HIDDEN)) for name in ("w_h", "w_z")}
    velocity = np.array([-dt * gamma, 1 - dt * epsilon])  # of (h, z)
    step = np.array([[1.0, 0.0] + dt * velocity, velocity])
    rows = np.array([np.linalg.matrix_power(step, k)[0] for k in range(1, 41)])
    for leaf, row in zip("hz", rows.T, strict=True):
        expected = np.log10(np.abs(row) * np.sqrt(HIDDEN))[:, None] + np.zeros(BATCH)
        np.testing.assert_allclose(decades(cell, params, inputs, leaf), expected, atol=1e-9)


def test_an_orthogonal_network_keeps_the_norm_at_any_lag(float64):
    cell = CELLS["ornn"]()
    rng, matrix = np.random.default_rng(5), jax.jit(cell.recurrent_matrix)
    params = initial(cell, 0, 6)
    angles = np.angle(np.linalg.eigvals(np.asarray(matrix(params))))
    assert np.unique(np.abs(angles).round(9)).size > 2
    moved = params | {"a": jnp.asarray(rng.normal(size=(6, 6)))}  # wherever training takes it
    for given, inputs in ((params, np.zeros((5, BATCH, INPUT))), (moved, rng.normal(size=(300, BATCH, INPUT)))):
        w = np.asarray(matrix(given))
        np.testing.assert_allclose(w @ w.T, np.eye(6), atol=1e-12)
        np.testing.assert_allclose(decades(cell, given, inputs), np.log10(np.sqrt(6)), atol=1e-10)


@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
def test_the_stabiliser_holds_gates_of_a_thousand(forget):
    cell = CELLS["slstm"](forget=forget)
    params, _ = random_setting(cell)
    params = {name: jnp.asarray(leaf, jnp.float32) for name, leaf in params.items()}
    params["b"] = jnp.asarray(np.random.default_rng(0).choice([-1e3, 0, 1e3], size=4 * HIDDEN), jnp.float32)
    inputs = np.random.default_rng(4).choice([-1e3, 1e3], size=(30, BATCH, INPUT)).astype(np.float32)
    states, outputs = passed(cell, params, inputs)
    assert all(np.isfinite(leaf).all() for leaf in states.values())
    assert np.abs(outputs).max() <= 1.0 + 1e-6 and np.asarray(states["n"]).min() >= 1
    gradients = jax.grad(lambda params: passed(cell, params, inputs)[1].sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in gradients.values())
    with np.errstate(over="ignore", invalid="ignore"):  # what the stabiliser is there for
        assert not np.isfinite(REFERENCES["slstm"][1](params, inputs)[1]).all()


@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
def test_the_first_timestep_counts_however_closed_the_input_gate_is(forget):
    """c / n is a mean of tanh(g), whatever the gates are: of a constant, the constant."""
    cell = CELLS["slstm"](forget=forget)
    params, inputs = random_setting(cell)
    params = {name: jnp.zeros(leaf.shape) for name, leaf in params.items()}
    params["b"] = jnp.repeat(jnp.array([-1e3, 1e3 if forget == "sigmoid" else 0.0, 0.5, 0.3]), HIDDEN)
    outputs = passed(cell, params, inputs.astype(np.float32))[1]
    np.testing.assert_allclose(outputs, numpy_of.sigma(0.3) * np.tanh(0.5), rtol=1e-6)


# ---------------------------------------------------------------- weights and options


@pytest.mark.parametrize("factory", LITERATURE, ids=lambda factory: factory.__name__)
def test_a_cell_starts_at_zero_in_the_dtype_of_its_weights(float64, factory):
    cell = factory()
    params = jax.tree.map(
        lambda leaf: np.ones(leaf.shape, leaf.dtype),
        jax.eval_shape(lambda: cell.init(jax.random.key(0), INPUT, HIDDEN)),
    )
    state = cell.carry(params, BATCH)
    assert {leaf.shape for leaf in state.values()} == {(BATCH, HIDDEN)} and not any(map(np.any, state.values()))
    assert {leaf.real.dtype for leaf in [*params.values(), *state.values()]} == {jnp.dtype("float64")}
    assert is_built_in(cell) == (factory.__name__ in ("cifg", "janet"))
    assert cell == factory() and hash(cell) == hash(factory())


@pytest.mark.parametrize(
    "name, bound", [("mingru", np.sqrt(6 / 42)), ("minlstm", np.sqrt(6 / 42)), ("cornn", 1 / np.sqrt(82))]
)
def test_weights_fill_their_bounds_and_follow_the_key(name, bound):
    one, other = (initial(CELLS[name](), seed, 40) for seed in (0, 1))
    for leaf in {"w_x", "w_h", "w_z"} & set(one):
        assert 0.9 * bound < np.abs(one[leaf]).max() <= bound * (1 + 1e-6)
        assert np.all(one[leaf] != other[leaf])


@pytest.mark.parametrize(
    "name, options, says",
    [
        *(
            (name, {"init": "chrono"}, "unknown init `chrono`")
            for name in ("cifg", "mgu", "slstm", "lstm_peephole")
        ),
        *(
            (name, {"init": "torch"}, "unknown init `torch`")
            for name in ("cifg", "mgu", "janet", "lstm_layernorm")
        ),
        *((name, {"forget_bias": float("nan")}, "forget_bias is nan") for name in ("cifg", "minlstm", "slstm")),
        ("janet", {"init": "chrono"}, "t_max=None"),
        ("janet", {"init": "chrono", "t_max": 9, "forget_bias": 2.0}, "has no effect"),
        ("janet", {"t_max": 9}, "t_max=9"),
        ("janet", {"beta": float("inf")}, "beta is inf"),
        ("lstm_peephole", {"peephole": -1.0}, "peephole is -1: give at least 0"),
        ("mingru", {"z_bias": float("inf")}, "z_bias is inf"),
        ("indrnn", {"activation": "rel"}, "did you mean `relu`"),
        ("indrnn", {"t_max": 0}, "t_max=0"),
        ("ornn", {"negative": 1.5}, "negative is 1.5: give a number from 0 to 1"),
        ("lru", {"r_min": 0.9, "r_max": 0.5}, "r_min is 0.9 and r_max 0.5"),
        ("lru", {"max_phase": 7.0}, "max_phase is 7"),
        ("cornn", {"dt": 0.0}, "dt is 0"),
        ("cornn", {"gamma": float("nan")}, "gamma is nan"),
        ("slstm", {"forget": "expp"}, "did you mean `exp`"),
    ],
)
def test_wrong_options_are_refused(name, options, says):
    with pytest.raises(GradlabError, match=says):
        CELLS[name](**options)
