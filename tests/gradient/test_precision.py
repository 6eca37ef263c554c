import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradlab.cells import lstm, rnn
from gradlab.errors import GradlabError
from gradlab.gradient.precision import precision_curves


def last(outputs):
    return outputs[-1].sum(axis=-1)


@pytest.fixture(scope="module")
def halving():
    """A linear cell whose gradient is 2^-k at lag k, exactly, in any arithmetic."""

    class Halves:
        def carry(self, params, batch_size):
            return {"h": jnp.zeros((batch_size, 1), params["w"].dtype)}

        def step(self, params, s, x_t):
            h_t = params["w"] * s["h"] + x_t
            return {"h": h_t}, h_t

    inputs = np.zeros((200, 2, 1), np.float32)
    return {found.dtype: found for found in precision_curves(Halves(), {"w": jnp.float32(0.5)}, inputs, last)}


def test_plain_gradients_end_where_the_dtype_does(halving):
    exact = -np.log10(2) * np.arange(1, 201)
    for dtype, found in halving.items():
        np.testing.assert_allclose(found.carried, exact[:, None].repeat(2, 1), atol=1e-6)
        np.testing.assert_allclose(found.exact, found.carried, atol=1e-6)
        assert found.leaves_at("carried") is None and found.leaves_at("plain") == found.zero_from()
        # Subnormal numbers may be flushed to zero or not.
        info = jnp.finfo("float32" if dtype == "mixed" else dtype)
        ends = info.tiny, info.smallest_subnormal
        first, final = (round(-np.log2(float(value))) + 1 for value in ends)
        assert first <= found.zero_from() <= final


def test_the_loss_scale_makes_them_normal(halving):
    assert halving["float16"].loss_scale() is None  # 2^-200 to 2^-1 does not fit into 2^-14 to 2^15
    needed = halving["float32"].loss_scale()
    assert needed == 200 - 126
    assert halving["bfloat16"].loss_scale() == needed


@pytest.mark.parametrize("cell", [rnn(gain=0.7), lstm()], ids=["rnn", "lstm"])
def test_sixteen_bits_beside_exponents_keep_the_curve(cell):
    params = cell.init(jax.random.key(0), 2, 8)
    inputs = jax.random.normal(jax.random.key(1), (150, 3, 2))
    for found in precision_curves(cell, params, inputs, last):
        off = np.abs(found.carried - found.exact).max()
        assert off < {"bfloat16": 0.15, "float16": 0.02, "float32": 1e-4, "mixed": 0.1}[found.dtype]
        tiny = jnp.finfo("float32" if found.dtype == "mixed" else found.dtype).tiny
        seen = np.isfinite(found.plain) & (found.exact > np.log10(float(tiny)) + 2)
        np.testing.assert_allclose(found.plain[seen], found.carried[seen], atol=0.15)


def test_an_unknown_dtype():
    with pytest.raises(GradlabError, match="unknown dtype `float8`"):
        precision_curves(rnn(), None, np.zeros((2, 1, 1)), last, dtypes=["float8"])


def test_a_loss_that_ends_before_the_sequence_begins_both_curves_there():
    """Examples whose losses read timesteps 30 and 20 of 40 alone: lag 1 is the state that enters these."""
    cell = rnn(gain=0.7)
    params = cell.init(jax.random.key(0), 2, 8)
    inputs = jax.random.normal(jax.random.key(1), (40, 2, 2))
    ends = np.array([30, 20])
    found = precision_curves(cell, params, inputs, lambda y: y[ends - 1, np.arange(2)].sum(axis=-1))
    for one in found:
        assert np.isfinite(one.exact[:20]).all() and np.isnan(one.exact[20:, 1]).all()
        np.testing.assert_array_equal(np.isnan(one.plain), np.isnan(one.exact))
    assert found[2].dtype == "float32" and found[2].leaves_at("plain") is None
