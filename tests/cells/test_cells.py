"""Cells against the equations of their papers in plain numpy, and how their weights start."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from jax import lax
from scipy import stats

from gradlab.cells import CELLS, COMPOSITIONS, gru, lstm, rnn
from gradlab.cells.base import is_network, pre_activation
from gradlab.cells.initializers import chrono_bias, gaussian, glorot, identity, orthogonal
from gradlab.errors import GradlabError
from gradlab.tasks import TASKS
from gradlab.training.unroll import unroll

INPUT, HIDDEN, BATCH, STEPS = 3, 5, 4, 60

REFERENCES = {
    "rnn tanh": (rnn(), lambda params, x: oracles.elman(params, x, "tanh")),
    "rnn relu": (rnn("relu"), lambda params, x: oracles.elman(params, x, "relu")),
    "rnn linear": (rnn("linear"), lambda params, x: oracles.elman(params, x, "linear")),
    "rnn sigmoid": (rnn("sigmoid"), lambda params, x: oracles.elman(params, x, "sigmoid")),
    "lstm": (lstm(), lambda params, x: oracles.long_short_term_memory(params, x, "ifgo")),
    "lstm 1997": (lstm(forget_gate=False), lambda params, x: oracles.long_short_term_memory(params, x, "igo")),
    "gru": (gru(), oracles.gated_recurrent_unit),
}
SHAPES = {
    "rnn tanh": {"w_x": (3, 5), "w_h": (5, 5), "b": (5,)},
    "lstm": {"w_x": (3, 20), "w_h": (5, 20), "b": (20,)},
    "lstm 1997": {"w_x": (3, 15), "w_h": (5, 15), "b": (15,)},
    "gru": {"w_x": (3, 15), "w_h": (5, 15), "b": (15,), "b_n": (5,)},
}


def init(cell, hidden_size=HIDDEN, seed=0, input_size=INPUT):
    return cell.init(jax.random.key(seed), input_size, hidden_size)


def blocks(params, name, hidden_size=HIDDEN):
    leaf = np.asarray(params[name], np.float64)
    return np.split(leaf, leaf.shape[-1] // hidden_size, axis=-1)


# ---------------------------------------------------------------- equations


@pytest.mark.parametrize("name", REFERENCES)
def test_states_and_outputs_follow_the_equations(float64, name):
    cell, reference = REFERENCES[name]
    rng = np.random.default_rng(1)
    params = oracles.random_params(cell, rng, INPUT, HIDDEN, scale=0.7)
    inputs = rng.normal(size=(STEPS, BATCH, INPUT))

    def timestep(s, x_t):
        s_t, y_t = cell.step(params, s, x_t)
        return s_t, (s_t, y_t)

    _, (states, outputs) = lax.scan(timestep, cell.carry(params, BATCH), jnp.asarray(inputs))
    expected = reference(params, inputs)
    assert set(states) == set(expected[0])
    for leaf, values in states.items():
        np.testing.assert_allclose(values, [s[leaf] for s in expected], rtol=1e-9, atol=1e-12, err_msg=leaf)
    np.testing.assert_array_equal(outputs, states["h"])


@pytest.mark.parametrize("name", REFERENCES)
def test_gate_values_lie_within_their_bounds_and_reach_them(name):
    cell, _ = REFERENCES[name]
    params = oracles.random_params(cell, np.random.default_rng(2), INPUT, HIDDEN, scale=50.0)
    params |= {"b_n": jnp.zeros(HIDDEN)} if "b_n" in params else {}
    inputs = jnp.asarray(np.random.default_rng(3).normal(size=(200, INPUT)))
    gates = cell.gate_values(pre_activation(cell, params, cell.carry(params, 200), inputs))
    assert list(gates) == list(cell.gate_bounds())
    for gate, (low, high) in cell.gate_bounds().items():
        values = np.asarray(gates[gate])
        assert values.shape == (200, HIDDEN)
        assert low <= values.min() < max(low + 1e-3, -50)
        assert values.max() <= high and values.max() > min(high - 1e-3, 50)


def test_gate_values_are_the_gates_of_the_equations():
    rng = np.random.default_rng(4)
    params = oracles.random_params(lstm(), rng, INPUT, HIDDEN)
    x, h = rng.normal(size=(BATCH, INPUT)), rng.normal(size=(BATCH, HIDDEN))
    carry = {"h": jnp.asarray(h), "c": jnp.zeros((BATCH, HIDDEN))}
    with jax.default_matmul_precision("highest"):  # else a GPU rounds the factors to 11 bits
        gates = lstm().gate_values(pre_activation(lstm(), params, carry, jnp.asarray(x)))
    squash = {"i": oracles.sigma, "f": oracles.sigma, "g": np.tanh, "o": oracles.sigma}
    for index, (gate, phi) in enumerate(squash.items()):
        u, w, b = oracles.gate_parameters(params, index, 4)
        np.testing.assert_allclose(gates[gate], phi(x @ u + h @ w + b), atol=1e-5)


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_have_fixed_names_and_shapes(name):
    cell, _ = REFERENCES[name]
    params = init(cell)
    assert {leaf: value.shape for leaf, value in params.items()} == SHAPES[name]
    assert {value.dtype for value in params.values()} == {jnp.dtype("float32")}
    carry = cell.carry(params, BATCH)
    assert set(carry) == ({"h", "c"} if name.startswith("lstm") else {"h"})
    for leaf in carry.values():
        np.testing.assert_array_equal(leaf, np.zeros((BATCH, HIDDEN), np.float32))


def test_keys_decide_the_weights_and_blocks_are_independent():
    first, again, other = init(gru(), seed=1), init(gru(), seed=1), init(gru(), seed=2)
    for leaf in ("w_x", "w_h"):
        np.testing.assert_array_equal(first[leaf], again[leaf])
        assert np.all(first[leaf] != other[leaf])
        r, z, n = blocks(first, leaf)
        assert np.all(r != z) and np.all(z != n) and np.all(r != n)


@pytest.mark.parametrize("cell", [lstm(forget_bias=2.5), lstm(), lstm(forget_gate=False), gru(), rnn()])
def test_biases_start_at_zero_but_for_the_forget_block(cell):
    bias = np.asarray(init(cell)["b"])
    expected = np.zeros_like(bias)
    if getattr(cell, "forget_gate", False):
        expected[HIDDEN : 2 * HIDDEN] = cell.forget_bias
    np.testing.assert_array_equal(bias, expected)


# ---------------------------------------------------------------- initialisers


@pytest.mark.parametrize("cell", [rnn(), lstm(), gru(), rnn(gain=1.5), gru(init="chrono", t_max=50)])
def test_recurrent_blocks_are_orthogonal(float64, cell):
    for block in blocks(init(cell, 32), "w_h", 32):
        np.testing.assert_allclose(block.T @ block, cell.scheme.gain**2 * np.eye(32), atol=1e-12)


def test_orthogonal_matrices_are_uniform_over_the_group(float64):
    """Without the signs of R's diagonal a QR is not Haar, and its eigenvalues are not spread evenly."""
    matrices = np.asarray(jax.vmap(lambda key: orthogonal(key, 2))(jax.random.split(jax.random.key(5), 4000)))
    determinants = np.linalg.det(matrices)
    # The trace of a Haar matrix of O(n) has mean 0 and mean square 1; the determinant is ±1 evenly.
    assert abs(np.mean(np.trace(matrices, axis1=1, axis2=2))) < 4 / np.sqrt(4000)
    assert abs(np.mean(determinants)) < 4 / np.sqrt(4000)
    angle = np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])
    counts = np.histogram(angle, bins=8, range=(-np.pi, np.pi))[0]
    assert np.sum((counts - 500) ** 2 / 500) < 24.3  # chi-square, 7 degrees of freedom, p = 0.001


@pytest.mark.parametrize(
    "cell, count", [(rnn(init="glorot"), 1), (lstm(init="glorot"), 4), (gru(init="glorot"), 3)]
)
def test_glorot_blocks_fill_their_bounds(cell, count):
    params = init(cell, 100, input_size=50)
    for name, bound in (("w_x", np.sqrt(6 / 150)), ("w_h", np.sqrt(6 / 200))):
        parts = blocks(params, name, 100)
        assert len(parts) == count
        for block in parts:
            assert 0.99 * bound < block.max() <= bound * (1 + 1e-6)
            assert -bound * (1 + 1e-6) <= block.min() < -0.99 * bound
            assert np.var(block) == pytest.approx(bound**2 / 3, rel=0.05)


@pytest.mark.parametrize("scheme", ["orthogonal", "identity", "gaussian"])
def test_input_weights_are_glorot_whatever_the_recurrent_ones(scheme):
    block = np.asarray(init(rnn(init=scheme, gain=3.0), 100, input_size=50)["w_x"])
    assert 0.99 * np.sqrt(6 / 150) < np.abs(block).max() <= np.sqrt(6 / 150) * (1 + 1e-6)


def test_gaussian_variance_is_gain_squared_over_the_size():
    block = np.asarray(init(rnn(init="gaussian", gain=2.0), 300)["w_h"], np.float64)
    # The relative standard error of a variance over 90,000 entries is 0.0047.
    assert np.var(block) * 300 == pytest.approx(4.0, rel=0.02)
    assert abs(np.mean(block)) < 4 * 2 / np.sqrt(300) / 300
    assert np.mean(block**4) / np.var(block) ** 2 == pytest.approx(3.0, abs=0.1)


def test_identity_blocks():
    for block in blocks(init(lstm(init="identity", gain=0.5)), "w_h"):
        np.testing.assert_array_equal(block, 0.5 * np.eye(HIDDEN))


@pytest.mark.parametrize("t_max", [3, 100])
def test_chrono_biases_keep_the_state_up_to_the_longest_lag(t_max):
    """Tallec & Ollivier (2018), eq. 16: b_f = log U[1, t_max - 1], b_i = -b_f."""
    i, f, g, o = blocks(init(lstm(init="chrono", t_max=t_max), 60), "b", 60)
    assert_uniform(np.exp(f), 1, t_max - 1)
    np.testing.assert_array_equal(i, -f)
    np.testing.assert_array_equal(np.stack([g, o]), 0.0)

    params = init(gru(init="chrono", t_max=t_max), 60)
    r, z, n = blocks(params, "b", 60)
    assert_uniform(np.exp(z), 1, t_max - 1)
    assert not np.any(r) and not np.any(n) and not np.any(params["b_n"])


def assert_uniform(values, low, high):
    assert low * (1 - 1e-5) <= values.min() and values.max() <= high * (1 + 1e-5)
    assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-3


def test_initialisers_alone():
    key = jax.random.key(6)
    assert glorot(key, 3, 7).shape == (3, 7)
    np.testing.assert_array_equal(identity(key, 4), np.eye(4))
    assert gaussian(key, 4).shape == orthogonal(key, 4).shape == (4, 4)
    assert chrono_bias(key, 9, 10).shape == (9,)


# ---------------------------------------------------------------- options


@pytest.mark.parametrize("cell", [rnn, lstm, gru])
@pytest.mark.parametrize(
    "options, says",
    [
        ({"init": "orthogonl"}, "did you mean `orthogonal`"),
        ({"gain": float("nan")}, "gain is nan"),
        ({"gain": float("inf")}, "gain is inf"),
        ({"init": "chrono"}, "init=chrono"),
    ],
)
def test_wrong_options_are_refused(cell, options, says):
    with pytest.raises(GradlabError, match=says):
        cell(**options)


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: rnn("tanhh"), "did you mean `tanh`"),
        (lambda: lstm(init="chrono", t_max=2), "t_max=2"),
        (lambda: gru(init="chrono", t_max=2), "t_max=2"),
        (lambda: lstm(t_max=100), "t_max=100"),
        (lambda: gru(t_max=100), "t_max=100"),
        (lambda: lstm(forget_bias=float("nan")), "forget_bias is nan"),
        (lambda: lstm(forget_bias=2.0, forget_gate=False), "forget_gate=false"),
        (lambda: lstm(forget_bias=2.0, init="chrono", t_max=9), "init=chrono"),
        (lambda: lstm(forget_gate=False, init="chrono", t_max=9), "forget_gate=false"),
    ],
)
def test_options_without_effect_are_refused(make, says):
    with pytest.raises(GradlabError, match=says):
        make()


# ---------------------------------------------------------------- cells and tasks together


@pytest.mark.parametrize("task", [TASKS["adding"], TASKS["copy"]], ids=["last", "all"])  # what a loss reads
@pytest.mark.parametrize("name", CELLS)
def test_every_cell_runs_over_every_task(name, task):
    cell = CELLS[name](lstm()) if name in COMPOSITIONS else CELLS[name]()
    task = task()
    length = max(30, task.min_length)
    units = 8 if is_network(cell) else HIDDEN
    width = 2 * units if name == "bidirectional" else units

    def outputs(key):
        batch = task.sample(key, BATCH, length)
        params = cell.init(key, task.input_size, units)
        batch = batch._replace(
            inputs=jnp.zeros((*batch.inputs.shape[:2], task.input_size))
        )  # or vectors of tokens
        if is_network(cell):
            hidden = cell.apply(params, batch.inputs)[-1 if task.readout == "last" else 0 :]
        else:
            hidden = unroll(cell, params, batch.inputs, last=task.readout == "last")
        answers = hidden @ jnp.zeros((width, task.output_size))
        return batch.inputs, hidden, task.loss(answers, batch)

    inputs, hidden, losses = jax.eval_shape(outputs, jax.random.key(0))
    assert inputs.shape == (task.steps(length), BATCH, task.input_size)
    assert hidden.shape == (1 if task.readout == "last" else task.steps(length), BATCH, width)
    assert losses.shape == (BATCH,)
    assert task.task_curve(length) in (None, task.steps(length))
    assert 0 <= task.solved(length) < task.chance(length)
