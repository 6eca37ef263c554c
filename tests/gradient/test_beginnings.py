"""Where a curve begins and what it is of: losses that end early, findings beside a curve, leaves that count."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from oracles import Diagonal

from gradlab.cells import lstm
from gradlab.errors import GradlabError
from gradlab.gradient import gradient_curve

pytestmark = pytest.mark.slow


def last(outputs):
    return outputs[-1].sum(axis=-1)


class Toy:
    """A cell from an initial state (a function of the batch size) and a step."""

    def __init__(self, carry, step, **attributes):
        self.carry, self.step = lambda params, batch_size: carry(batch_size), step
        vars(self).update(attributes)


def halving(**attributes):
    return Toy(lambda b: jnp.ones((b, 1)), lambda p, s, x: (0.5 * s, 0.5 * s + x), **attributes)


# ---------------------------------------------------------------- where a curve begins


@pytest.mark.parametrize("length, read", [(6, 3), (6, 1), (1, 1), (57, 56)])
def test_lags_count_from_the_output_that_the_loss_reads(length, read):
    curve = gradient_curve(halving(), None, jnp.zeros((length, 2, 1)), lambda y: y[read - 1].sum(axis=-1))
    np.testing.assert_allclose(curve.typical(), -np.log10(2) * np.arange(1, read + 1), atol=1e-6)
    assert curve.verdict().word == ("held" if read < 11 else "vanishing")
    assert bool(curve.notes()) == (read < length)


def test_a_padded_batch_gives_the_curves_of_its_sequences(float64):
    """Sequences of 1, 2, 7 and 12 timesteps, padded with noise; each is measured alone as the second route."""
    cell, rng = lstm(), np.random.default_rng(0)
    params = oracles.random_params(cell, rng, 2, 4, 0.6)
    inputs, lengths = jnp.asarray(rng.normal(size=(12, 4, 2))), np.array([1, 2, 7, 12])

    def at_end(outputs):
        return jnp.take_along_axis(outputs, jnp.asarray(lengths - 1)[None, :, None], axis=0)[0].sum(axis=-1)

    curve = gradient_curve(cell, params, inputs, at_end)
    np.testing.assert_array_equal(curve.lengths, lengths)
    np.testing.assert_array_equal(curve.examples, [4, 3] + [2] * 5 + [1] * 5)
    for example, length in enumerate(lengths):
        alone = oracles.curve_by_jacobians(cell, params, inputs[:length, example : example + 1], last)
        for leaf in ("h", "c", "state"):
            np.testing.assert_allclose(curve.log10_norm[leaf][:length, example], alone[leaf][:, 0], atol=1e-9)
    assert np.isfinite(curve.typical()).all() and curve.verdict().word == "held"


def test_what_comes_after_the_loss_has_no_part_in_the_curve():
    inputs = jnp.zeros((6, 2, 1)).at[4].set(jnp.nan)
    for loss, options in ((lambda y: y[2].sum(axis=-1), {}), (lambda y: y.sum((0, 2)), {"at": 3})):
        curve = gradient_curve(halving(), None, inputs, loss, **options)
        np.testing.assert_allclose(curve.typical(), -np.log10(2) * np.arange(1, 4), atol=1e-6)
        assert curve.verdict().word == "held"
        assert not any(finding.kind in ("state", "output", "gradient") for finding in curve.non_finite)


def test_a_loss_that_overflows_is_a_finding_beside_a_finite_curve():
    doubling = Toy(lambda b: jnp.ones((b, 1)), lambda p, s, x: (2 * s, 2 * s))
    curve = gradient_curve(doubling, None, jnp.zeros((80, 1, 1)), lambda y: y[-1, :, 0] ** 2)
    assert str(curve.verdict()) == "exploding (+23.8 at lag 80)"
    assert [str(finding) for finding in curve.non_finite] == ["loss is not finite from timestep 80 in 1 examples"]


def test_a_state_that_overflows_condemns_what_passes_through_it():
    """ReLU lets an infinite state pass with a finite derivative."""
    cell = Toy(lambda b: jnp.ones((b, 1)), lambda p, s, x: ((r := jax.nn.relu(1e10 * s)), 0 * r + x))
    curve = gradient_curve(cell, None, jnp.zeros((9, 1, 1)), lambda y: y[-1, :, 0] ** 2)
    assert curve.verdict().word == "non-finite"


# ---------------------------------------------------------------- leaves that count


def clock(**attributes):
    def step(params, s, x_t):
        return {"h": 0.1 * s["h"] + 0 * s["t"], "t": s["t"] + 1}, 0.1 * s["h"] + 1e-3 * s["t"]

    return Toy(lambda b: {"h": jnp.ones((b, 1)), "t": jnp.zeros((b, 1))}, step, **attributes)


def test_a_cell_names_the_leaves_that_are_memory():
    inputs = jnp.zeros((30, 2, 1))
    everything = gradient_curve(clock(), None, inputs, last)
    assert everything.verdict().word == "held" or everything.verdict().decades > -3
    memory = gradient_curve(clock(measured_leaves=("h",)), None, inputs, last)
    assert memory.leaves == ["h", "state"] and memory.unmeasured == ("t",)
    assert str(memory.verdict()) == "vanishing (-29.0 at lag 30)"
    assert str(memory.verdict(leaf="h")) == "h: vanishing (-29.0 at lag 30)"
    with pytest.raises(GradlabError, match="did you mean `h`"):
        gradient_curve(clock(measured_leaves=("hh",)), None, inputs, last)


def test_a_cut_gradient_is_called_cut():
    def step(params, s, x_t):
        return {"h": jax.lax.stop_gradient(s["h"]) + x_t, "c": s["c"]}, jax.lax.stop_gradient(s["h"]) + s["c"]

    cell = Toy(lambda b: {"h": jnp.ones((b, 1)), "c": jnp.ones((b, 1))}, step)
    curve = gradient_curve(cell, None, jnp.ones((5, 2, 1)), last)
    assert curve.verdict(leaf="h").word == "cut" and curve.verdict().word == "held"
    assert curve.all_notes() == ["h: cut: exactly zero; a stop_gradient or an unused state?"]


# ---------------------------------------------------------------- numbers of Python, pinned dtypes, tracers


def test_numbers_of_python_are_arrays():
    decay = Toy(lambda b: {"h": jnp.ones((b, 1)), "n": 0}, lambda p, s, x: ({**s, "h": p * s["h"]}, p * s["h"]))
    curve = gradient_curve(decay, 0.5, jnp.zeros((3, 2, 1)), last)
    np.testing.assert_allclose(curve.typical("h"), -np.log10(2) * np.arange(1, 4), atol=1e-6)
    assert curve.unmeasured == ("n",)


def test_a_leaf_without_entries_is_not_measured():
    cell = Toy(lambda b: {"h": jnp.ones((b, 1)), "empty": jnp.ones((b, 0))}, lambda p, s, x: (s, s["h"]))
    curve = gradient_curve(cell, None, jnp.zeros((2, 2, 1)), last)
    assert curve.leaves == ["h", "state"] and curve.unmeasured == ("empty",)


@pytest.mark.as_users
@pytest.mark.parametrize("failing", ["pinned", "raises"])
def test_a_zero_that_float64_cannot_confirm_is_marked(failing):
    def pinned(params, s, x_t):
        h_t = jnp.tanh(s + 12.0).astype(jnp.float32)
        return h_t, h_t

    def raises(params, s, x_t):
        assert s.dtype == jnp.float32, "float32 only"
        return pinned(params, s, x_t)

    cell = Toy(lambda b: jnp.zeros((b, 1), jnp.float32), pinned if failing == "pinned" else raises)
    curve = gradient_curve(cell, None, jnp.zeros((1, 2, 1)), last)
    assert np.isneginf(curve.typical()).all() and not curve.is_cut()
    assert curve.unverified and "reads 0 in float32, and float64 cannot tell" in curve.notes()[0]


def test_gradient_curve_inside_jit_says_what_to_do():
    inputs = jnp.zeros((4, 2, 1))

    def inside(inputs):
        return gradient_curve(halving(), None, inputs, last).span()

    for transformed in (jax.jit(inside), jax.grad(inside), jax.vmap(inside, in_axes=2)):
        with pytest.raises(GradlabError, match="call it outside"):
            transformed(inputs)


def test_arguments_of_another_kind_are_arrays_or_one_line():
    curve = gradient_curve(halving(), None, [[[0.0]], [[0.0]]], lambda y: y[-1].sum(axis=-1))
    np.testing.assert_allclose(curve.typical(), -np.log10(2) * np.arange(1, 3), atol=1e-6)
    with pytest.raises(GradlabError, match=r"loss has shape \(\): give one loss for each example"):
        gradient_curve(halving(), None, jnp.zeros((2, 1, 1)), lambda y: 1.0)
    with pytest.raises(GradlabError, match=r"`Diagonal` is a class: give an object of it"):
        gradient_curve(Diagonal, None, jnp.zeros((2, 1, 1)), last)


def test_a_gradient_that_overflows_float32_and_one_below_it_have_no_range():
    a = {"u": jnp.array([0.05]), "v": jnp.array([30.0])}
    curve = gradient_curve(Diagonal(), a, jnp.zeros((999, 1, 1)), last)
    np.testing.assert_allclose(curve.log10_norm["u"][:, 0], curve.lags * np.log10(0.05), rtol=1e-6)
    np.testing.assert_allclose(curve.log10_norm["v"][:, 0], curve.lags * np.log10(30.0), rtol=1e-6)
