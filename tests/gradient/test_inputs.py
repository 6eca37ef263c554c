"""The gradient at the inputs, of cells and of networks without a state, against jax.grad and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gradlab import GradlabError, get_cell, gradient_curve


def loss(outputs):
    return jnp.sin(3 * outputs).sum((0, 2))


def setting(name, timesteps, examples=3):
    network = get_cell(name)
    params = network.init(jax.random.key(0), 2, 8)
    return network, params, jax.random.normal(jax.random.key(1), (timesteps, examples, 2))


def outputs_of(network, params, inputs):
    if hasattr(network, "apply"):
        return network.apply(params, inputs)
    start = network.carry(params, inputs.shape[1])
    return lax.scan(lambda s, x_t: network.step(params, s, x_t), start, inputs)[1]


def log10_norms(gradient):
    """By lag."""
    with np.errstate(divide="ignore"):
        return np.log10(np.linalg.norm(np.asarray(gradient, np.float64), axis=-1))[::-1]


NAMES = ("lstm", "stacked:gru:layers=2", "cnn:rnn:width=3", "attention:blocks=2", "bidirectional:lstm")


@pytest.mark.parametrize("timesteps", [1, 2, 19])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_jax_grad_gives(float64, name, timesteps):
    network, params, inputs = setting(name, timesteps)
    curve = gradient_curve(network, params, inputs, loss, of="inputs")
    gradient = jax.jit(jax.grad(lambda x: loss(outputs_of(network, params, x)).sum()))(inputs)
    assert curve.leaves == ["x", "state"]
    np.testing.assert_allclose(curve.log10_norm["x"], log10_norms(gradient), atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_single_output_starts_it(float64, name):
    network, params, inputs = setting(name, 9)
    curve = gradient_curve(network, params, inputs, loss, at=6, of="inputs")
    gradient = jax.jit(jax.grad(lambda x: jnp.sin(3 * outputs_of(network, params, x)[5]).sum()))(inputs)
    np.testing.assert_allclose(curve.log10_norm["x"], log10_norms(gradient[:6]), atol=1e-9)


class Leak:
    """h = a h + x, so that dL/dx at lag k is a^(k-1)."""

    def carry(self, a, batch_size):
        return jnp.zeros((batch_size, 1))

    def step(self, a, h, x_t):
        h = a * h + x_t
        return h, h


def test_it_has_no_floor():
    curve = gradient_curve(Leak(), jnp.float32(0.01), jnp.ones((3000, 2, 1)), lambda y: y[-1, :, 0], of="inputs")
    exact = np.log10(float(np.float32(0.01))) * (curve.lags - 1)
    np.testing.assert_allclose(curve.log10_norm["x"][:, 0], exact, rtol=1e-6)


def test_what_float32_cannot_hold_is_measured_in_float64():
    class Faint:
        def apply(self, params, inputs):
            return inputs * 1e-30 * params

    curve = gradient_curve(Faint(), jnp.float32(1e-15), jnp.ones((4, 2, 1)), lambda y: y.sum((0, 2)))
    np.testing.assert_allclose(curve.log10_norm["x"], -45, atol=1e-5)
    assert curve.saturated == {"x": 1, "state": 1}


class Summing:
    """The outputs are not (T, B, O)."""

    def apply(self, params, inputs):
        return inputs.sum(0)


class Normed:
    """Batch statistics."""

    def apply(self, params, inputs):
        return inputs - inputs.mean(axis=1, keepdims=True)


def test_wrong_arguments_are_refused():
    with pytest.raises(GradlabError, match=r"examples meet in Normed\.apply"):
        gradient_curve(Normed(), None, jnp.ones((4, 3, 2)), loss)
    network, params, inputs = setting("attention", 4)
    with pytest.raises(GradlabError, match="no state, and so no direct gradient"):
        gradient_curve(network, params, inputs, loss, kind="direct")
    with pytest.raises(GradlabError, match=r"Summing.apply returns float32 \(3, 2\) from inputs \(4, 3, 2\)"):
        gradient_curve(Summing(), params, inputs, loss)
    with pytest.raises(GradlabError, match="unknown of `outputs`"):
        gradient_curve(network, params, inputs, loss, of="outputs")
    with pytest.raises(GradlabError, match="only floats have a gradient"):
        gradient_curve(Leak(), jnp.ones(()), jnp.ones((4, 3, 2), int), loss, of="inputs")


class Marked(Leak):
    """Its state has a leaf of the name of the inputs."""

    def carry(self, a, batch_size):
        return {"x": jnp.zeros((batch_size, 1))}

    def step(self, a, carry, x_t):
        return (carry := {"x": a * carry["x"] + x_t}), carry["x"]


@pytest.mark.parametrize("name", ["lstm", "stacked:gru:layers=2"])
def test_both_are_measured_at_once(name):
    network, params, inputs = setting(name, 12)
    both = gradient_curve(network, params, inputs, loss, of="both")
    state = gradient_curve(network, params, inputs, loss)
    assert both.leaves == [*state.leaves[:-1], "x", "state"] and both.beside == ("x",)
    for leaf in state.leaves:
        np.testing.assert_allclose(both.log10_norm[leaf], state.log10_norm[leaf], atol=1e-6)
    alone = gradient_curve(network, params, inputs, loss, of="inputs")
    np.testing.assert_allclose(both.log10_norm["x"], alone.log10_norm["x"], atol=1e-6)


def test_a_leaf_of_the_same_name_is_refused():
    given = Marked(), jnp.float32(0.5), jnp.ones((4, 2, 1)), loss
    with pytest.raises(GradlabError, match="the state has a leaf called x, the name of the inputs"):
        gradient_curve(*given, of="both")
    alone, plain = (gradient_curve(cell, *given[1:], of="inputs") for cell in (Marked(), Leak()))
    np.testing.assert_array_equal(alone.log10_norm["x"], plain.log10_norm["x"])
