"""Stacks of cells: against layers that are run one after the other in NumPy, and products of Jacobians."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import transcriptions
from jax import lax

from gradlab import RunSpec, get_cell, run
from gradlab.cells import CELLS, gru, lstm, residual, rnn, stacked
from gradlab.cells.stacked import StackInTraining
from gradlab.errors import GradlabError
from gradlab.gradient import gradient_curve

INPUT, HIDDEN, BATCH, STEPS = 2, 3, 2, 7


def random_setting(cell, steps=STEPS, seed=1):
    rng = np.random.default_rng(seed)
    params = oracles.random_params(cell, rng, INPUT, HIDDEN, scale=0.6)
    return params, rng.normal(size=(steps, BATCH, INPUT))


@partial(jax.jit, static_argnums=0)
def passed(cell, params, inputs):
    def timestep(s, x_t):
        s_t, y_t = cell.step(params, s, x_t)
        return s_t, (s_t, y_t)

    return lax.scan(timestep, cell.carry(params, inputs.shape[1]), jnp.asarray(inputs))[1]


def through_lstm(params, inputs):
    return oracles.long_short_term_memory(params, inputs, "ifgo")


@dataclass(frozen=True)
class Flat:
    """A stack with its leaves in one dict, by the names that gradlab gives them."""

    cell: object

    def carry(self, params, batch_size):
        return self.flat(self.cell.carry(params, batch_size))

    def step(self, params, s, x_t):
        nested = {}
        for name, leaf in s.items():
            layer, own = name.split(".")
            nested.setdefault(layer, {})[own] = leaf
        s_t, y_t = self.cell.step(params, nested, x_t)
        return self.flat(s_t), y_t

    def flat(self, s):
        return {f"{layer}.{own}": leaf for layer, leaves in s.items() for own, leaf in leaves.items()}


def test_a_layer_reads_the_output_of_the_one_below(float64):
    cell = stacked(lstm(), layers=3)
    params, inputs = random_setting(cell)
    states, outputs = passed(cell, params, inputs)
    below = inputs
    for k in range(3):
        expected = through_lstm(params[f"layer{k}"], below)
        below = np.array([s["h"] for s in expected])
        for leaf in "hc":
            np.testing.assert_allclose(states[f"layer{k}"][leaf], [s[leaf] for s in expected], atol=1e-10)
    np.testing.assert_allclose(outputs, below, atol=1e-10)


@pytest.mark.parametrize("adds", [False, True])
def test_what_is_normalised_and_what_is_added(float64, adds):
    cell = (residual if adds else stacked)(gru(), layers=3, norm=True)
    params, inputs = random_setting(cell)
    assert set(params) == {"layer0", "layer1", "layer2", "norm1", "norm2"}
    below = np.array([s["h"] for s in oracles.gated_recurrent_unit(params["layer0"], inputs)])
    for k in (1, 2):
        norm = params[f"norm{k}"]
        read = transcriptions.normalised(below) * np.asarray(norm["gain"]) + np.asarray(norm["bias"])
        out = np.array([s["h"] for s in oracles.gated_recurrent_unit(params[f"layer{k}"], read)])
        below = out + below * adds
    np.testing.assert_allclose(passed(cell, params, inputs)[1], below, atol=1e-9)


@pytest.mark.parametrize("cell", [stacked(lstm()), residual(gru(), norm=True)], ids=["stacked", "residual"])
def test_curves_of_every_layer_are_those_of_the_product_of_jacobians(float64, cell):
    def loss(outputs):
        return outputs[-1].sum(axis=-1) + jnp.sum(outputs**2, axis=(0, 2))

    for steps in (1, 2, STEPS):
        params, inputs = random_setting(cell, steps, seed=steps)
        curve = gradient_curve(cell, params, jnp.asarray(inputs), loss)
        expected = oracles.curve_by_jacobians(Flat(cell), params, inputs, loss)
        assert set(curve.log10_norm) == set(expected) and {"layer0.h", "layer1.h"} < set(expected)
        for leaf, values in expected.items():
            np.testing.assert_allclose(curve.log10_norm[leaf], values, rtol=0, atol=1e-9, err_msg=leaf)


def test_a_residual_carries_the_gradient_past_a_layer_that_is_dead(float64):
    """With all weights of the upper layer zero it puts out zero, and the stack is its lowest layer."""
    params, inputs = random_setting(residual(rnn()))
    params["layer1"] = jax.tree.map(jnp.zeros_like, params["layer1"])
    alone = gradient_curve(rnn(), params["layer0"], jnp.asarray(inputs), lambda outputs: outputs[-1].sum(axis=-1))
    both = gradient_curve(residual(rnn()), params, jnp.asarray(inputs), lambda outputs: outputs[-1].sum(axis=-1))
    np.testing.assert_allclose(both.log10_norm["layer0.h"], alone.log10_norm["h"], atol=1e-12)
    cut = gradient_curve(stacked(rnn()), params, jnp.asarray(inputs), lambda outputs: outputs[-1].sum(axis=-1))
    assert (cut.log10_norm["layer0.h"] == -np.inf).all()


def test_layers_differ_and_start_as_the_cell_does():
    cell = stacked(lstm(forget_bias=3.0, init="gaussian"), layers=2, norm=True)
    params = jax.jit(lambda key: cell.init(key, INPUT, 4))(jax.random.key(0))
    assert params["layer0"]["w_x"].shape == (INPUT, 16) and params["layer1"]["w_x"].shape == (4, 16)
    assert np.all(params["layer0"]["w_h"] != params["layer1"]["w_h"])
    assert params["layer1"]["b"][4:8].tolist() == [3.0] * 4
    assert params["norm1"]["gain"].tolist() == [1.0] * 4 and params["norm1"]["bias"].tolist() == [0.0] * 4


def test_leaves_that_count_are_those_of_the_cell():
    assert stacked(lstm()).measured_leaves is None
    of_two = stacked(CELLS["slstm"]()).measured_leaves
    assert of_two == tuple(f"layer{k}.{leaf}" for k in (0, 1) for leaf in "hcn")
    inner = residual(stacked(CELLS["slstm"](), layers=1), layers=2).measured_leaves
    assert inner[0] == "layer0.layer0.h" and len(inner) == 6


class Wide:
    """Outputs are twice as wide as the state."""

    def init(self, key, input_size, hidden_size):
        return {"w": jax.random.normal(key, (input_size, hidden_size))}

    def carry(self, params, batch_size):
        return {"h": jnp.zeros((batch_size, params["w"].shape[1]))}

    def step(self, params, s, x_t):
        h_t = jnp.tanh(s["h"] + x_t @ params["w"])
        return {"h": h_t}, jnp.concatenate([h_t, -h_t], axis=-1)


class Growing(Wide):
    """Outputs are as wide as state and input together."""

    def step(self, params, s, x_t):
        h_t = jnp.tanh(s["h"] + x_t @ params["w"])
        return {"h": h_t}, jnp.concatenate([h_t, x_t], axis=-1)


def test_outputs_of_another_size():
    params = stacked(Wide(), norm=True).init(jax.random.key(0), INPUT, 3)
    assert params["layer1"]["w"].shape == (6, 3) and params["norm1"]["gain"].shape == (6,)
    assert residual(Wide()).init(jax.random.key(0), INPUT, 3)["layer1"]["w"].shape == (6, 3)
    with pytest.raises(GradlabError, match="layer 1 has outputs of size 8 from inputs of size 5, which cannot"):
        residual(Growing()).init(jax.random.key(0), INPUT, 3)


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: stacked(gru(), layers=0), "stacked: layers is 0: give at least 1"),
        (lambda: residual(gru(), layers=-1), "residual: layers is -1: give at least 2"),
        (lambda: stacked(gru(), layers=1, norm=True), "stacked: layers=1 has nothing to normalise"),
        (lambda: residual(gru(), layers=1), "residual: layers=1 has nothing to add"),
    ],
)
def test_layers_that_make_no_sense_are_refused(make, says):
    with pytest.raises(GradlabError, match=says):
        make()


# ---------------------------------------------------------------- dropout


def test_masks_drop_a_share_and_keep_the_mean():
    """A layer that passes its input on: what the layer above reads is a mask over ones."""

    class Pass:
        def carry(self, params, batch_size):
            return jnp.zeros((batch_size, 1))

        def step(self, params, carry, x_t):
            return carry, x_t

    stack = stacked(Pass(), layers=2, dropout=0.3)
    cell = StackInTraining(stack, jax.random.key(5))
    params = {"layer0": None, "layer1": None}
    state, rows = cell.carry(params, 40), []
    for _ in range(20):
        state, y_t = cell.step(params, state, jnp.ones((40, 50)))
        rows.append(np.asarray(y_t))
    masks = np.stack(rows)
    assert set(np.unique(masks)) == {0.0, np.float32(1 / np.float32(0.7))}
    assert abs((masks == 0).mean() - 0.3) < 4 * (0.3 * 0.7 / masks.size) ** 0.5
    for one, other in ((masks[0], masks[1]), (masks[:, 0], masks[:, 1]), (masks[..., 0], masks[..., 1])):
        assert 0.3 < (one != other).mean() < 0.54  # 2 p (1 - p): timesteps, examples and units are drawn apart
    np.testing.assert_array_equal(stack.step(params, stack.carry(params, 40), jnp.ones((40, 50)))[1], 1.0)


def test_dropout_changes_training_and_not_what_is_measured():
    size = {
        "length": 5,
        "hidden": 4,
        "batch": 4,
        "measure_batch": 2,
        "steps": 2,
        "stop": "never",
        "measure": "every",
    }
    plain, dropped, again = (
        run(RunSpec(cell=f"stacked:rnn{option}", **size)) for option in ("", ":dropout=0.5", ":dropout=0.5")
    )
    np.testing.assert_array_equal(dropped.trace.loss, again.trace.loss)
    assert (
        dropped.trace.loss != plain.trace.loss
    ).all() and dropped.trace.norms.keys() == plain.trace.norms.keys()
    first, same = (result.curve("initial").log10_norm["state"] for result in (plain, dropped))
    np.testing.assert_array_equal(first, same)
    assert dropped.checkpoints[0].metrics.loss == plain.checkpoints[0].metrics.loss


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stacked:rnn:dropout=1", "dropout is 1.0: give a probability below 1"),
        ("stacked:rnn:layers=1:dropout=0.5", "layers=1 has nothing to drop"),
        ("residual:layers=2:stacked:rnn:dropout=0.5", "give dropout to the outermost stack alone"),
        ("cnn:stacked:rnn:dropout=0.5", "give dropout to the outermost stack alone"),
    ],
)
def test_dropout_where_it_cannot_be(text, message):
    with pytest.raises(GradlabError, match=message):
        get_cell(text)
