import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradlab.cells import gru, lstm, rnn
from gradlab.errors import GradlabError
from gradlab.gradient.credit import weight_credit


def loss(outputs):
    return (outputs[-1] ** 2).sum(axis=-1) + outputs[4, :, 0]


def by_unshared_weights(cell, params, inputs):
    """The gradient of copies of the weights, one for each timestep: (T, P), by lag."""
    timesteps = len(inputs)

    def total(copies):
        state, outputs = cell.carry(jax.tree.map(lambda leaf: leaf[0], copies), inputs.shape[1]), []
        for t in range(timesteps):
            state, y_t = cell.step(jax.tree.map(lambda leaf, t=t: leaf[t], copies), state, inputs[t])
            outputs.append(y_t)
        return loss(jnp.stack(outputs)).sum()

    copies = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (timesteps, *leaf.shape)), params)
    found = jax.jit(jax.grad(total))(copies)
    return {name: np.asarray(leaf).reshape(timesteps, -1)[::-1] for name, leaf in found.items()}


@pytest.mark.parametrize("cell", [rnn(), lstm(), gru()], ids=["rnn", "lstm", "gru"])
def test_credit_is_the_gradient_of_unshared_weights(cell, float64):
    params = jax.tree.map(lambda leaf: leaf + 0.1, cell.init(jax.random.key(0), 2, 3))
    inputs = jax.random.normal(jax.random.key(1), (9, 3, 2))
    found = weight_credit(cell, params, inputs, loss)
    parts = by_unshared_weights(cell, params, inputs)
    flat = np.concatenate(list(parts.values()), axis=1)
    sums = np.cumsum(flat, axis=0)
    whole, size = sums[-1], np.linalg.norm(sums[-1])
    for name, part in {**parts, "all": flat}.items():
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(10 ** found.log10_norm[name], np.linalg.norm(part, axis=1), rtol=1e-11)
    np.testing.assert_allclose(found.share, sums @ whole / size**2, atol=1e-12)
    np.testing.assert_allclose(found.cosine, sums @ whole / size / np.linalg.norm(sums, axis=1), atol=1e-12)
    np.testing.assert_allclose(found.missing, np.linalg.norm(sums - whole, axis=1) / size, atol=1e-7)
    assert found.share[-1] == pytest.approx(1) and found.log10_total == pytest.approx(np.log10(size))


def test_credit_goes_to_the_timestep_that_mattered():
    """A linear cell that keeps all it got: every timestep's part is its input, and only one is not zero."""

    class Adds:
        def carry(self, params, batch_size):
            return {"h": jnp.zeros((batch_size, 1))}

        def step(self, params, s, x_t):
            h_t = s["h"] + params["w"] * x_t
            return {"h": h_t}, h_t

    inputs = np.zeros((100, 2, 1))
    inputs[20] = 1.0  # timestep 21, lag 80
    found = weight_credit(Adds(), {"w": jnp.ones(())}, inputs, lambda outputs: outputs[-1].sum(axis=-1))
    assert found.window() == 80
    np.testing.assert_array_equal(found.share, np.arange(1, 101) >= 80)
    np.testing.assert_allclose(found.agreement, 1)


@pytest.mark.parametrize("decades", [-3.0, 3.0])
def test_credit_has_no_floor_and_no_ceiling(decades):
    class Scales:
        def carry(self, params, batch_size):
            return {"h": jnp.zeros((batch_size, 1))}

        def step(self, params, s, x_t):
            h_t = 10.0**decades * s["h"] + params["w"] * x_t
            return {"h": h_t}, h_t

    inputs = np.zeros((400, 2, 1))
    inputs[-1] = 1e-200 if decades > 0 else 1.0
    inputs[0] = 1e-200
    found = weight_credit(Scales(), {"w": jnp.ones(())}, inputs, lambda outputs: outputs[-1].sum(axis=-1) * 1.0)
    assert found.log10_norm["w"][-1] == pytest.approx(399 * decades - 200 + np.log10(2), rel=1e-12)
    assert found.window() == (1 if decades < 0 else 400)


def test_agreement_is_the_mean_cosine_between_examples():
    class Keeps:
        def carry(self, params, batch_size):
            return {"h": jnp.zeros((batch_size, 2))}

        def step(self, params, s, x_t):
            return {"h": s["h"] + 0 * params["w"]}, s["h"]

    directions = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    found = weight_credit(
        Keeps(), {"w": jnp.ones(2)}, np.zeros((3, 3, 1)), lambda outputs: (outputs[-1] * directions).sum(axis=-1)
    )
    np.testing.assert_allclose(found.agreement, (0 + 2 * np.sqrt(0.5)) / 3, atol=1e-12)
    assert np.isneginf(found.log10_total)


def test_a_loss_that_is_not_finite_has_no_parts():
    cell = rnn()
    params = cell.init(jax.random.key(0), 1, 2)
    with pytest.raises(GradlabError, match="not finite"):
        weight_credit(cell, params, np.zeros((3, 2, 1)), lambda outputs: outputs[-1].sum(axis=-1) * np.nan)


class LearnedStart:
    """A linear cell whose initial state is a parameter, beside an index and a key that are none."""

    def carry(self, params, batch_size):
        return jnp.broadcast_to(params["start"], (batch_size, 2))

    def step(self, params, s, x_t):
        s = params["w"] * s + x_t
        return s, s


def test_credit_through_a_learned_start_belongs_to_lag_t():
    params = {"w": jnp.array([0.5, 0.5]), "start": jnp.ones(2)}
    others = {"index": jnp.arange(3), "key": jax.random.key(0)}
    inputs = np.ones((3, 2, 1))
    found = weight_credit(LearnedStart(), params | others, inputs, lambda outputs: outputs[-1].sum(axis=-1))
    assert set(found.log10_norm) == {"w", "start", "all"}
    # s3 = w³ + w² + w + 1 of each unit and example: ∂/∂start is w³, ∂/∂w is s2 + w s1 + w² s0.
    of_start, of_w = 2 * 0.125, 2 * (1.75 + 0.5 * 1.5 + 0.25)
    np.testing.assert_allclose(10 ** found.log10_norm["start"], [0, 0, np.sqrt(2) * of_start], atol=1e-12)
    assert 10**found.log10_total == pytest.approx(np.sqrt(2 * (of_start**2 + of_w**2)))
    given = weight_credit(
        LearnedStart(), params, inputs, lambda outputs: outputs[-1].sum(axis=-1), jnp.ones((2, 2))
    )
    assert np.isneginf(given.log10_norm["start"]).all()


def test_weights_that_are_not_finite_and_none_at_all():
    cell, last = LearnedStart(), lambda outputs: outputs[-1].sum(axis=-1)
    params = {"w": jnp.array([0.5, jnp.nan]), "start": jnp.ones(2)}
    with pytest.raises(GradlabError, match="gradient of the weights is not finite"):
        weight_credit(cell, params, np.ones((3, 2, 1)), last)
    with pytest.raises(GradlabError, match="no weights"):
        weight_credit(rnn(), {}, np.ones((3, 2, 1)), last, jnp.ones((2, 2)))
