"""The fast path against a plain scan that autodiff goes through, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gradlab.cells import CELLS, lstm
from gradlab.training.unroll import unroll, unroll_from

CELL_NAMES = ["rnn", "lstm", "gru", "cifg", "janet", "lstm-1997"]
NO_BUDGET, ENOUGH = 1, 2**40


def build(name):
    return lstm(forget_gate=False) if name == "lstm-1997" else CELLS[name]()


def scanned(cell, params, inputs):
    return lax.scan(lambda s, x: cell.step(params, s, x), cell.carry(params, inputs.shape[1]), inputs)[1]


def problem(name, timesteps, input_size):
    cell = build(name)
    params = cell.init(jax.random.key(0), input_size, 5)
    noise = jax.tree.map(lambda leaf: 0.1 * jax.random.normal(jax.random.key(3), leaf.shape), params)
    params = jax.tree.map(jnp.add, params, noise)
    return cell, params, jax.random.normal(jax.random.key(1), (timesteps, 3, input_size))


def loss_of(outputs):
    return jnp.sum(jnp.sin(outputs * jnp.arange(1.0, 6.0)))


CASES = [
    *((name, 17, 2, True) for name in CELL_NAMES),
    *(("lstm", timesteps, 2, False) for timesteps in (1, 2, 3)),
    ("lstm", 17, 10, False),
    ("gru", 3, 10, True),
]


@pytest.mark.parametrize(("name", "timesteps", "input_size", "last"), CASES)
def test_values_and_gradients_equal_those_of_a_plain_scan(name, timesteps, input_size, last):
    with jax.enable_x64(True):
        cell, params, inputs = problem(name, timesteps, input_size)
        rows = slice(-1, None) if last else slice(None)

        def through(outputs):
            return jax.value_and_grad(lambda p, x: loss_of(outputs(p, x)), argnums=(0, 1))(params, inputs)

        want = through(lambda p, x: scanned(cell, p, x)[rows])
        for budget in (ENOUGH, NO_BUDGET):
            got = through(lambda p, x, budget=budget: unroll(cell, p, x, last=last, budget=budget))
            for one, other in zip(jax.tree.leaves(want), jax.tree.leaves(got), strict=True):
                np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["lstm", "mgu"])  # on the fast path, and by a plain scan
@pytest.mark.parametrize("last", [True, False])
def test_a_window_cuts_what_goes_back_further(name, last, float64):
    """Against copies of the state that is detached at the boundaries, counted from the end."""
    timesteps, window = 11, 4
    cell, params, inputs = problem(name, timesteps, 2)

    def detached(params):
        state, outputs = cell.carry(params, 3), []
        for t in range(timesteps):
            if t and (timesteps - t) % window == 0:
                state = lax.stop_gradient(state)
            state, y_t = cell.step(params, state, inputs[t])
            outputs.append(y_t)
        return loss_of(jnp.stack(outputs[-1:] if last else outputs))

    def truncated(params, window=window):
        return loss_of(unroll_from(cell.carry(params, 3), cell, params, inputs, last=last, window=window)[1])

    want, got = (jax.jit(jax.value_and_grad(function))(params) for function in (detached, truncated))
    for one, other in zip(jax.tree.leaves(want), jax.tree.leaves(got), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)
    whole = jax.jit(jax.grad(lambda params: truncated(params, window=0)))(params)
    assert not np.allclose(whole["w_h"], got[1]["w_h"])


def test_a_window_of_all_timesteps_or_more_cuts_nothing():
    cell, params, inputs = problem("lstm", 5, 2)
    start = cell.carry(params, 3)
    programs = [
        jax.make_jaxpr(lambda p, n=n: unroll_from(start, cell, p, inputs, window=n)[1])(params) for n in (0, 5, 9)
    ]
    assert len(set(map(str, programs))) == 1


def temporary_bytes(cell, params, inputs, budget):
    program = jax.jit(jax.grad(lambda p: loss_of(unroll(cell, p, inputs, last=True, budget=budget))))
    return program.lower(params).compile().memory_analysis().temp_size_in_bytes


def test_segments_save_memory():
    given = problem("lstm", 1024, 2)
    assert temporary_bytes(*given, NO_BUDGET) < temporary_bytes(*given, ENOUGH) / 4


@pytest.mark.parametrize(("name", "numbers"), [("lstm", 7 + 4), ("gru", 5 + 2 * 3), ("rnn", 2 + 1)])
def test_nothing_is_saved_twice(name, numbers):
    """For each unit and timestep hₜ₋₁, what `gates` needs, and δ, which a GRU has once for x and once for h."""
    cell, params, inputs = problem(name, 1024, 2)
    state = inputs.shape[0] * inputs.shape[1] * len(params["w_h"]) * inputs.dtype.itemsize
    assert temporary_bytes(cell, params, inputs, ENOUGH) / state < numbers + 0.5


def test_a_cell_without_parts_is_unrolled_by_its_step():
    class Sum:
        def carry(self, params, batch_size):
            return jnp.zeros((batch_size, 1))

        def step(self, params, carry, x_t):
            return carry + x_t, carry

    inputs = jnp.arange(8.0).reshape(4, 2, 1)
    outputs = unroll(Sum(), None, inputs)
    np.testing.assert_array_equal(outputs[:, :, 0], [[0, 0], [0, 1], [2, 4], [6, 9]])
    np.testing.assert_array_equal(unroll(Sum(), None, inputs, last=True), outputs[-1:])
