"""Long sequences: the instrument in segments against the same with every state kept, and its memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from passes import adjoint

from gradlab.cells import gru, lstm, rnn
from gradlab.gradient import adjoint as adjoint_module
from gradlab.gradient import gradient_curve, segments

CELLS = {"rnn": rnn(), "lstm": lstm(), "gru": gru()}
KEPT, RECOMPUTED = 2**40, 1


def problem(name, timesteps):
    cell = CELLS[name]
    params = cell.init(jax.random.key(0), 2, 4)
    return cell, params, jax.random.normal(jax.random.key(1), (timesteps, 3, 2))


def all_outputs(outputs):
    return jnp.sum(jnp.tanh(outputs) + outputs**2, axis=(0, 2))


def last_output(outputs):
    return jnp.sum(jnp.tanh(outputs[-1]), axis=-1)


def assert_same(one, other):
    assert one.dtype == other.dtype
    one, other = (each._replace(dtype=None) for each in (one, other))
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


@pytest.fixture(params=[KEPT, RECOMPUTED], ids=["kept", "recomputed"])
def short_segments(request, monkeypatch):
    """Segments of five timesteps, whose states are kept or recomputed; the budget that makes it so."""
    monkeypatch.setattr(segments, "LONGEST_SEGMENT", 5)
    return request.param


@pytest.mark.parametrize(("name", "timesteps", "asked"), CASES)
def test_segments_change_nothing(name, timesteps, asked, short_segments, monkeypatch):
    with jax.enable_x64(True):
        cell, params, inputs = problem(name, timesteps)
        many = adjoint(cell, params, inputs, all_outputs, budget=short_segments, **asked)
        monkeypatch.setattr(segments, "LONGEST_SEGMENT", 100)
        one = adjoint(cell, params, inputs, all_outputs, **asked)
    assert_same(one, many)


@pytest.mark.parametrize("timesteps", [1, 2, 3, 17])
def test_a_loss_of_the_last_output_needs_no_other(timesteps, short_segments):
    with jax.enable_x64(True):
        cell, params, inputs = problem("lstm", timesteps)
        whole = adjoint(cell, params, inputs, last_output)
        alone = adjoint(cell, params, inputs, last_output, last=True, budget=short_segments)
    assert_same(whole._replace(g=whole.g[-1:]), alone)


def test_a_nan_after_the_source_does_not_reach_it_in_segments(short_segments):
    cell, params, inputs = problem("lstm", 20)
    inputs = inputs.at[15].set(jnp.nan)
    seen = adjoint(cell, params, inputs, all_outputs, at=12, budget=short_segments)
    assert all(np.isfinite(norm).all() and len(norm) == 12 for norm in seen.norms.values())
    assert not seen.finite_states["h"][15:].any() and seen.finite_states["h"][:15].all()


def test_neither_another_length_nor_another_loss_compiles_the_cell_again():
    cell, params, inputs = problem("gru", 700)
    passes = segments.segments_of(cell, params, cell.carry(params, 3), inputs)
    adjoint(cell, params, inputs[:2], all_outputs)
    compiled = [len(program._compiled) for program in passes.programs]
    for timesteps in (1, 3, 255, 256, 257, 700):
        adjoint(cell, params, inputs[:timesteps], last_output)
        adjoint(cell, params, inputs[:timesteps], last_output, at=timesteps // 2 + 1)
    assert [len(program._compiled) for program in passes.programs] == compiled == [1, 1]


class Scaled:
    """A cell whose weights are an attribute, which may be changed after it was measured."""

    def __init__(self, factor):
        self.factor = factor

    def __eq__(self, other):
        return isinstance(other, Scaled)

    def __hash__(self):
        return 0

    def carry(self, params, batch_size):
        return {"h": jnp.ones((batch_size, 2))}

    def step(self, params, s, x_t):
        h_t = self.factor * s["h"]
        return {"h": h_t}, h_t


def test_a_cell_that_has_changed_is_compiled_again():
    cell, inputs = Scaled(0.5), jnp.zeros((3, 3, 2))
    spans = [gradient_curve(cell, None, inputs, last_output).span("h")]
    cell.factor = 2.0
    spans += [gradient_curve(each, None, inputs, last_output).span("h") for each in (cell, Scaled(0.1))]
    np.testing.assert_allclose(spans, 2 * np.log10([0.5, 2.0, 0.1]), rtol=1e-5)


def test_the_states_of_a_long_sequence_are_not_all_kept(monkeypatch):
    cell, params, inputs = problem("lstm", 1000)
    kept, real = [], adjoint_module._Walk.reverse

    def reverse(self, gradient, kind, states, method):
        kept.append(sum(leaf.nbytes for leaf in jax.tree.leaves(states)))
        return real(self, gradient, kind, states, method)

    monkeypatch.setattr(adjoint_module._Walk, "reverse", reverse)
    for budget in (KEPT, RECOMPUTED):
        adjoint(cell, params, inputs, last_output, budget=budget)
    state = 2 * 3 * 4 * 4  # bytes of a state of two leaves, 3 examples and 4 units
    assert kept == [(1024 + 4) * state, 4 * state]


def test_a_segment_is_shorter_where_states_are_large():
    assert segments.capacity(segments.SEGMENT_BYTES // 7) == 7
    assert segments.capacity(0) == segments.LONGEST_SEGMENT
