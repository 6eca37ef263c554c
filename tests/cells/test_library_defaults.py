"""`init=keras` and the like: the distribution of the weights that the library itself draws."""

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax import linen
from libraries import blocks, joined
from scipy import stats

import gradlab
from gradlab.cells import gru, lstm, rnn
from gradlab.cells.initializers import Scheme
from gradlab.cells.library_defaults import LIBRARIES
from gradlab.errors import GradlabError

INPUTS, HIDDEN = 80, 96
OURS = {"lstm": lstm, "gru": gru, "rnn": rnn}


def of_keras(p):
    return p["kernel"], p["recurrent_kernel"], p["bias"]


def of_equinox(p):
    return p["weight_ih"].T, p["weight_hh"].T, p["bias"]


def of_linen(gates):
    def read(p):
        w_x, w_h = (joined(*(p[f"params.{part}{gate}.kernel"] for gate in gates)) for part in "ih")
        return w_x, w_h, joined(*(leaf for name, leaf in p.items() if name.endswith("bias")))

    return read


def of_haiku_lstm(p):  # gates i, g, f, o, and 1 is added to f
    i, g, f, o = blocks(p["lstm/linear.b"], 4)
    w = p["lstm/linear.w"]
    return w[:INPUTS], w[INPUTS:], joined(i, f + 1, g, o)


THEIRS = {
    ("keras", "lstm"): (keras.layers.LSTMCell, of_keras),
    ("keras", "gru"): (keras.layers.GRUCell, of_keras),
    ("keras", "rnn"): (keras.layers.SimpleRNNCell, of_keras),
    ("flax", "lstm"): (linen.LSTMCell, of_linen("ifgo")),
    ("flax", "gru"): (linen.GRUCell, of_linen("rzn")),
    ("flax", "rnn"): (linen.SimpleCell, of_linen([""])),
    ("equinox", "lstm"): (eqx.nn.LSTMCell, of_equinox),
    ("equinox", "gru"): (eqx.nn.GRUCell, of_equinox),
    ("haiku", "lstm"): (hk.LSTM, of_haiku_lstm),
    ("haiku", "gru"): (hk.GRU, lambda p: (p["gru.w_i"], p["gru.w_h"], p["gru.b"])),
    ("haiku", "rnn"): (
        hk.VanillaRNN,
        lambda p: (p["vanilla_rnn/linear.w"], p["vanilla_rnn/linear_1.w"], p["vanilla_rnn/linear.b"]),
    ),
}


def ours(library, cell):
    params = OURS[cell](init=library).init(jax.random.key(1), INPUTS, HIDDEN)
    return params, [np.asarray(params[name], np.float64) for name in ("w_x", "w_h", "b")]


@pytest.mark.parametrize(("library", "cell"), THEIRS, ids=lambda part: part)
def test_the_library_draws_from_this_distribution(library, cell):
    source, read = THEIRS[library, cell]
    drawn = gradlab.as_cell(source).init(jax.random.key(0), INPUTS, HIDDEN)
    theirs = [np.asarray(leaf, np.float64) for leaf in read(drawn)]
    _, own = ours(library, cell)
    for given, expected in zip(own[:2], theirs[:2], strict=True):
        assert given.shape == expected.shape
        assert given.std() == pytest.approx(expected.std(), rel=0.03)
        assert np.abs(given).max() == pytest.approx(np.abs(expected).max(), rel=0.15)
        assert stats.ks_2samp(given.ravel(), expected.ravel()).pvalue > 1e-3
    for count in (1, len(own[1][0]) // HIDDEN):
        products = [np.stack([b @ b.T for b in np.split(w_h, count, axis=1)]) for w_h in (own[1], theirs[1])]
        orthogonal = [np.abs(product - np.eye(HIDDEN)).max() < 1e-4 for product in products]
        assert orthogonal[0] == orthogonal[1], f"of {count} blocks"
    if library == "equinox":
        assert stats.ks_2samp(own[2], theirs[2]).pvalue > 1e-3
    else:
        np.testing.assert_array_equal(np.sort(own[2]), np.sort(theirs[2].ravel()[: own[2].size]))


@pytest.mark.parametrize("cell", OURS)
def test_torch_is_uniform_with_two_biases(cell):
    bound = 1 / np.sqrt(HIDDEN)
    params, (w_x, w_h, b) = ours("torch", cell)
    for weights in (w_x, w_h):
        assert stats.kstest(weights.ravel(), "uniform", (-bound, 2 * bound)).pvalue > 1e-3
    summed = b[: 2 * HIDDEN] if cell == "gru" else b
    assert stats.kstest(summed, "triang", (0.5, -2 * bound, 4 * bound)).pvalue > 1e-3
    if cell == "gru":  # the candidate has them apart, for the reset gate stands between them
        apart = np.concatenate([b[2 * HIDDEN :], params["b_n"]])
        assert stats.kstest(apart, "uniform", (-bound, 2 * bound)).pvalue > 1e-3


@pytest.mark.parametrize(
    "cell, columns, bias", [("rnn", [1], [0]), ("lstm", [4], [0, 1, 0, 0]), ("gru", [2, 1], [1, 1, 0])]
)
def test_tensorflow_is_glorot_over_inputs_and_state(cell, columns, bias):
    """rnn_cell_impl.py: one kernel (I + H, G·H) for all gates, that of the candidate of a gru apart."""
    _, (w_x, w_h, b) = ours("tensorflow", cell)
    edges = np.cumsum([count * HIDDEN for count in columns])[:-1]
    for count, *parts in zip(columns, np.split(w_x, edges, axis=1), np.split(w_h, edges, axis=1), strict=True):
        bound = np.sqrt(6 / (INPUTS + HIDDEN + count * HIDDEN))
        values = np.concatenate([part.ravel() for part in parts])
        assert stats.kstest(values, "uniform", (-bound, 2 * bound)).pvalue > 1e-3
    np.testing.assert_array_equal(b, np.repeat(bias, HIDDEN))


def test_the_first_state_of_the_keras_lstm():
    """At T = 1 from zeros: c = σ(x W_i) tanh(x W_g), as no bias but that of the forget gate is set."""
    cell = lstm(init="keras")
    params = cell.init(jax.random.key(0), 2, 5)
    x = jnp.array([[0.5, -2.0]])
    i, f, g, o = blocks(x @ params["w_x"], 4)
    carry, h = cell.step(params, cell.carry(params, 1), x)
    np.testing.assert_allclose(carry["c"], jax.nn.sigmoid(i) * jnp.tanh(g), rtol=1e-6)
    np.testing.assert_allclose(h, jax.nn.sigmoid(o) * jnp.tanh(carry["c"]), rtol=1e-6)
    moved, _ = cell.step(params, {"h": jnp.zeros((1, 5)), "c": jnp.ones((1, 5))}, x)
    np.testing.assert_allclose(moved["c"] - carry["c"], jax.nn.sigmoid(f + 1), rtol=1e-5)


def test_a_gain_multiplies_the_recurrent_weights_alone():
    one, two = (rnn(init="haiku", gain=gain).init(jax.random.key(0), 2, 5) for gain in (1.0, 2.0))
    np.testing.assert_array_equal(two["w_h"], 2 * one["w_h"])
    np.testing.assert_array_equal(two["w_x"], one["w_x"])


@pytest.mark.parametrize("library", LIBRARIES)
def test_options_without_effect_are_refused(library):
    with pytest.raises(GradlabError, match=f"forget_bias=2 has no effect: init={library} sets the forget biases"):
        lstm(init=library, forget_bias=2.0)
    with pytest.raises(GradlabError, match=f"init={library} has no effect with forget_gate=false"):
        lstm(init=library, forget_gate=False)
    with pytest.raises(GradlabError, match="t_max=9 acts only with init=chrono"):
        gru(init=library, t_max=9)


def test_other_cells_have_no_such_default():
    with pytest.raises(GradlabError, match="init=torch is a default of rnn, lstm and gru"):
        Scheme("torch").weights(jax.random.key(0), 2, 5, blocks=2)


def test_equinox_has_no_plain_network():
    with pytest.raises(GradlabError, match="init=equinox has no rnn"):
        rnn(init="equinox")
