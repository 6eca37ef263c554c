"""Objects of libraries that change, have no stated size, or are no cells; arguments that do not fit a cell."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradlab
from gradlab import GradlabError, gradient_curve
from gradlab.testing import assert_curve

INPUTS = jax.random.normal(jax.random.key(1), (12, 3, 2))


def last(outputs):
    return outputs[-1].sum(-1)


class Decaying(eqx.Module):
    """No attribute says its size."""

    weight: jax.Array

    def __init__(self, key):
        self.weight = jax.random.normal(key, (2, 5))

    def __call__(self, x, h):
        return 0.5 * h + x @ self.weight


def test_the_size_of_a_state_is_found():
    curve = gradient_curve(Decaying(jax.random.key(0)), None, INPUTS, last)
    np.testing.assert_allclose(np.diff(curve.typical("h")), np.log10(0.5), atol=1e-5)


def test_what_is_not_recurrent_is_said_to_be_so():
    network = eqx.nn.MLP(2, 3, 4, 1, key=jax.random.key(0))
    with pytest.raises(GradlabError, match=r"MLP, called as cell\(x, state\).* is it recurrent"):
        gradient_curve(network, None, INPUTS, last)
    with pytest.raises(GradlabError, match=r"took it for a str, 'lstm': .*gradlab.get_cell\('lstm'\)"):
        gradient_curve("lstm", None, INPUTS, last)


class Rated(nnx.Module):
    """An attribute that is no weight."""

    def __init__(self, rate):
        self.rate, self.weight = rate, nnx.Param(jnp.ones((2, 4)))

    def __call__(self, h, x):
        h = self.rate * h + x @ self.weight[...]
        return h, h

    def initialize_carry(self, shape, rngs=None):
        return jnp.zeros((*shape[:-1], 4))


def test_an_object_that_has_changed_is_measured_as_it_is_now():
    network = Rated(0.9)
    cell = gradlab.as_cell(network)
    params = cell.init(jax.random.key(0), 2, 4)
    spans = [gradient_curve(cell, params, INPUTS, last).span("h")]
    network.rate = 0.5
    spans += [gradient_curve(each, params, INPUTS, last).span("h") for each in (cell, network)]
    np.testing.assert_allclose(spans, 11 * np.log10([0.9, 0.5, 0.5]), rtol=1e-5)


def test_an_object_is_guarded_in_its_own_size(tmp_path):
    network = eqx.nn.GRUCell(2, 3, key=jax.random.key(0))
    options = {"baseline": tmp_path / "gru.json", "length": 5, "batch": 2, "seeds": 3}
    assert_curve(network, bless=True, **options)
    assert_curve(network, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"params": None},
            "RNN.step cannot be called .* and inputs float32 .12, 3, 2.: TypeError",
        ),
        ({"params": {}}, "RNN.step cannot be called .* KeyError"),
        ({"inputs": INPUTS[..., :1]}, "RNN.step cannot be called .* float32 .12, 3, 1."),
        ({"loss": None}, "loss is None: give a function"),
        ({"loss": "mse"}, "loss is 'mse': give a function"),
    ],
)
def test_arguments_that_do_not_fit_the_cell(change, message):
    cell = gradlab.get_cell("rnn")
    given = {"params": cell.init(jax.random.key(0), 2, 4), "inputs": INPUTS, "loss": last}
    with pytest.raises(GradlabError, match=message):
        gradient_curve(cell, **given | change)


def test_parameters_of_another_precision_than_the_inputs():
    cell = gradlab.get_cell("rnn")
    params = jax.tree.map(lambda leaf: leaf.astype("float16"), cell.init(jax.random.key(0), 2, 4))
    with pytest.raises(GradlabError, match="keep one dtype and shape"):
        gradient_curve(cell, params, INPUTS, last)


@pytest.mark.parametrize("name", ["flax.linen:Dense", "flax.nnx:Linear"])
def test_a_layer_of_flax_without_a_state_is_told_so(name):
    with pytest.raises(GradlabError, match="has no initialize_carry: a layer without a state cannot be measured"):
        gradlab.get_cell(name).init(jax.random.key(0), 2, 4)
