"""Long sequences: the instrument in segments against the same with every state kept, and its memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlab.cells import gru, lstm, rnn
from gradlab.gradient.adjoint import adjoint
from gradlab.gradient.segments import cut, join, segment_length

CELLS = {"rnn": rnn(), "lstm": lstm(), "gru": gru()}
KEPT, SEGMENTS = 2**40, 1


def problem(name, timesteps):
    cell = CELLS[name]
    params = cell.init(jax.random.key(0), 2, 4)
    return cell, params, jax.random.normal(jax.random.key(1), (timesteps, 3, 2))


def all_outputs(outputs):
    return jnp.sum(jnp.tanh(outputs) + outputs**2, axis=(0, 2))


def last_output(outputs):
    return jnp.sum(jnp.tanh(outputs[-1]), axis=-1)


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-12)


CASES = [
    ("lstm", 17, {}),
    ("gru", 17, {"kind": "direct"}),
    ("rnn", 17, {"at": 17}),
    ("lstm", 17, {"at": 11}),
    ("rnn", 17, {"at": 1}),
    *(("lstm", timesteps, {}) for timesteps in (1, 2, 3)),
]


@pytest.mark.parametrize(("name", "timesteps", "asked"), CASES)
def test_segments_change_nothing(name, timesteps, asked):
    with jax.enable_x64(True):
        cell, params, inputs = problem(name, timesteps)
        one, other = (
            jax.jit(lambda p, x, budget=budget: adjoint(cell, p, x, all_outputs, budget=budget, **asked))(
                params, inputs
            )
            for budget in (KEPT, SEGMENTS)
        )
    assert_same(one, other)


@pytest.mark.parametrize("budget", [KEPT, SEGMENTS])
@pytest.mark.parametrize("timesteps", [1, 2, 3, 17])
def test_a_loss_of_the_last_output_needs_no_other(timesteps, budget):
    with jax.enable_x64(True):
        cell, params, inputs = problem("lstm", timesteps)
        whole = adjoint(cell, params, inputs, last_output)
        alone = adjoint(cell, params, inputs, last_output, last=True, budget=budget)
    assert_same(whole._replace(g=whole.g[-1:]), alone)


def test_a_nan_after_the_source_does_not_reach_it_in_segments():
    cell, params, inputs = problem("lstm", 20)
    inputs = inputs.at[15].set(jnp.nan)
    seen = adjoint(cell, params, inputs, all_outputs, at=12, budget=SEGMENTS)
    assert all(np.isfinite(norm.mantissa).all() and len(norm.mantissa) == 12 for norm in seen.norms.values())
    assert not seen.finite_states["h"][15:].any() and seen.finite_states["h"][:15].all()


def temporary_bytes(timesteps, budget):
    cell = CELLS["lstm"]
    params = cell.init(jax.random.key(0), 2, 64)
    inputs = jnp.zeros((timesteps, 3, 2))
    program = jax.jit(lambda p, x: adjoint(cell, p, x, last_output, last=True, budget=budget))
    return program.lower(params, inputs).compile().memory_analysis().temp_size_in_bytes


def test_the_states_of_a_long_sequence_are_not_all_kept():
    timesteps, states = 16 * 1024, 3 * 2 * 64 * 4  # bytes of a state of 3 examples, 2 leaves, 64 units
    kept, segments = (temporary_bytes(timesteps, budget) for budget in (KEPT, SEGMENTS))
    assert kept > timesteps * states
    # What remains for every timestep is a norm and an exponent of each leaf and example, and three flags.
    assert segments < timesteps * 3 * (2 * 8 + 3) * 2 + 12 * np.sqrt(timesteps) * states


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40))
def test_what_is_cut_can_be_joined(timesteps, size):
    rows = {"a": jnp.arange(2 * timesteps).reshape(timesteps, 2), "b": None}
    head, rest = cut(rows, size)
    assert 1 <= len(head["a"]) <= size and rest["a"].shape[1:] == (size, 2)
    np.testing.assert_array_equal(join(head, rest)["a"], rows["a"])


def test_segments_are_used_beyond_the_budget_alone():
    assert segment_length(10_000, 1, budget=10_000) == 10_000
    assert segment_length(10_000, 1, budget=9_999) == 100
