"""The gradient of a user's loss: traced anew in each call, derived again only where the trace is a new one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradlab.errors import GradlabError
from gradlab.gradient import losses
from gradlab.gradient.adjoint import last_read
from gradlab.gradient.losses import with_gradient

OUTPUTS = np.random.RandomState(0).standard_normal((7, 3, 2)).astype(np.float32)


def derived(monkeypatch):
    """What is derived from now on, two entries each: to be tried, and to be kept."""
    seen, vjp = [], jax.vjp
    monkeypatch.setattr(losses.jax, "vjp", lambda *given: seen.append(1) or vjp(*given))
    return seen


def test_a_loss_may_read_what_changes_between_calls(monkeypatch):
    """L = w · Σ (y_T - target)², whose gradient at the last output is 2 w (y_T - target)."""
    losses._gradients.clear()
    given = {"w": 1.0, "target": np.zeros((3, 2), np.float32)}

    def loss(outputs):
        return given["w"] * jnp.sum((outputs[-1] - given["target"]) ** 2, axis=-1)

    seen = derived(monkeypatch)
    cases = [(1.0, 0.0, 1), (1.0, 0.5, 1), (1.0, -2.0, 1), (3.0, -2.0, 2), (1.0, 0.0, 2)]
    for w, level, times in cases:
        given |= {"w": w, "target": np.full((3, 2), level, np.float32)}
        values, gradient = with_gradient(loss)(jnp.asarray(OUTPUTS))
        np.testing.assert_allclose(values, w * ((OUTPUTS[-1] - level) ** 2).sum(-1), rtol=1e-6)
        np.testing.assert_allclose(gradient[-1], 2 * w * (OUTPUTS[-1] - level), rtol=1e-6)
        assert not np.any(gradient[:-1]) and len(seen) == 2 * times, (
            "arrays may change, a number is another program"
        )


def test_losses_of_one_value_with_derivatives_of_their_own():
    def stated(factor):
        @jax.custom_vjp
        def total(outputs):
            return jnp.sum(outputs[-1], axis=-1)

        def backward(shape, g):
            return (jnp.zeros(shape).at[-1].set(factor * g[:, None]),)

        total.defvjp(lambda outputs: (total(outputs), outputs.shape), backward)
        return total

    for factor in (1.0, 5.0):
        _, gradient = with_gradient(stated(factor))(jnp.asarray(OUTPUTS))
        np.testing.assert_array_equal(gradient[-1], np.full((3, 2), factor))


def test_a_loss_that_calls_python_is_called_in_each_call():
    factors = iter([2.0, 3.0])

    def loss(outputs):
        factor = jax.pure_callback(lambda: np.float32(next(factors)), jax.ShapeDtypeStruct((), jnp.float32))
        return factor * jnp.sum(outputs[-1], axis=-1)

    for factor in (2.0, 3.0):
        np.testing.assert_array_equal(with_gradient(loss)(jnp.asarray(OUTPUTS))[1][-1], np.full((3, 2), factor))


@pytest.mark.parametrize("wide", [False, True])
def test_each_arithmetic_has_a_gradient_of_its_own(wide):
    def loss(outputs):
        return jnp.sum(outputs**3, axis=(0, 2))

    with jax.enable_x64(wide):
        outputs = jnp.asarray(OUTPUTS, float)
        values, gradient = with_gradient(loss)(outputs)
    assert values.dtype == gradient.dtype == (np.float64 if wide else np.float32)
    np.testing.assert_allclose(gradient, 3 * np.asarray(outputs) ** 2, rtol=1e-14 if wide else 1e-6)


@pytest.mark.parametrize("timesteps", [1, 2, 255, 256, 257, 600])
def test_the_last_output_that_a_loss_reads(timesteps):
    random = np.random.RandomState(timesteps)
    expected = random.randint(0, timesteps + 1, 9)
    g = np.zeros((timesteps, 9, 2))
    for example, last in enumerate(expected):
        if last:
            g[last - 1, example, random.randint(2)] = 1e-300
            g[: last - 1, example] = random.standard_normal((last - 1, 2)) * random.randint(2)
    found = last_read(g, timesteps, None, last=False)
    np.testing.assert_array_equal(found, np.where(expected, expected, timesteps))


MEET = "depends on the outputs of another"


@pytest.mark.parametrize(
    "loss, words",
    [
        (lambda y: y[-1].sum(-1) - y[-1].sum(-1).mean(), MEET),
        (lambda y: -jnp.diag(jax.nn.log_softmax(y[-1] @ y[-1].T)), MEET),
        (lambda y: jax.nn.relu(y[-1]).sum(-1) / jnp.abs(y[-1]).sum(), MEET),
        (lambda y: jnp.argmax(y[-1], axis=-1), "is of int32"),
        (lambda y: y[-1, :, 0] > 0, "is of bool"),
        (lambda y: y[-1, :, 0] + 1j, "is of complex64"),
        (lambda y: None, "returns NoneType: give an array of shape (3,)"),
        (lambda y: (y[-1], 0), "returns tuple"),
        (lambda y: y.sum(), "has shape ()"),
        (lambda y: np.tanh(np.asarray(y[-1])).sum(-1), "use jax.numpy"),
        (lambda y: y[-1].sum(-1) * float(y.sum()), "use jax.numpy"),
        (lambda y: y[-1].sum(-1) if y.sum() > 0 else y[0].sum(-1), "use jax.numpy"),
    ],
)
def test_what_is_no_loss_of_each_example(loss, words):
    with pytest.raises(GradlabError, match=f"^loss.*{re.escape(words)}") as found:
        with_gradient(loss)(jnp.asarray(OUTPUTS))
    assert "\n" not in str(found.value)


def test_an_error_of_the_loss_itself_comes_as_it_is():
    def loss(outputs):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        with_gradient(loss)(jnp.asarray(OUTPUTS))


def test_a_single_example_has_no_other():
    _, gradient = with_gradient(lambda y: y[-1].sum(-1) - y.mean())(jnp.asarray(OUTPUTS[:, :1]))
    assert gradient.shape == (7, 1, 2)
