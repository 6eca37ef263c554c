import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradlab import gradient_curve
from gradlab.cells import gru, lstm, rnn
from gradlab.errors import GradlabError
from gradlab.gradient.paths import path_credit
from gradlab.gradient.remembrance import remembrance

T = 12


def loss(outputs):
    return (outputs[-1] ** 2).sum(axis=-1) + outputs[4, :, 0]


def setting(cell):
    params = jax.tree.map(lambda leaf: leaf + 0.1, cell.init(jax.random.key(0), 2, 3))
    return cell, params, jax.random.normal(jax.random.key(1), (T, 3, 2))


@pytest.mark.parametrize("cell", [rnn(), lstm(), gru()], ids=["rnn", "lstm", "gru"])
def test_the_paths_add_up_to_the_curve(cell):
    found = path_credit(*setting(cell), loss)
    curve = gradient_curve(*setting(cell), loss)
    np.testing.assert_allclose(found.log10_norm, curve.log10_norm["state"], atol=1e-5)
    np.testing.assert_allclose(sum(found.share.values()), 1, atol=1e-12)
    assert list(found.alone) == ["carried", *cell.gate_bounds()]


def lstm_by_hand(params, x_t, state, path):
    """The equations of an LSTM in which gradients pass along one path alone."""

    def block(k, name):
        h = state["h"] if path == name else jax.lax.stop_gradient(state["h"])
        part = slice(3 * k, 3 * k + 3)
        return x_t @ params["w_x"][:, part] + params["b"][part] + h @ params["w_h"][:, part]

    i, f, o = (jax.nn.sigmoid(block(k, name)) for k, name in ((0, "i"), (1, "f"), (3, "o")))
    c = state["c"] if path == "carried" else jax.lax.stop_gradient(state["c"])
    c_t = f * c + i * jnp.tanh(block(2, "g"))
    return {"h": o * jnp.tanh(c_t), "c": c_t}


@pytest.mark.parametrize("path", ["carried", "i", "f", "g", "o"])
def test_one_path_alone_is_the_gradient_with_the_others_cut(path, float64):
    cell, params, inputs = setting(lstm())

    def total(taps):
        state, outputs = cell.carry(params, 3), []
        for t in range(T):
            state = jax.tree.map(lambda leaf, tap, t=t: leaf + tap[t], state, taps)
            state = lstm_by_hand(params, inputs[t], state, path)
            outputs.append(state["h"])
        return loss(jnp.stack(outputs)).sum()

    found = jax.jit(jax.grad(total))({name: jnp.zeros((T, 3, 3)) for name in ("h", "c")})
    norms = np.sqrt(sum(np.sum(np.asarray(leaf) ** 2, axis=-1) for leaf in found.values()))[::-1]
    credit = path_credit(cell, params, inputs, loss)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(credit.alone[path], np.log10(norms), atol=1e-9)


def test_paths_have_no_floor():
    cell, params, _ = setting(lstm())
    params = params | {"b": params["b"].at[3:6].set(-30.0)}  # forget gates shut: 13 decades a timestep
    found = path_credit(cell, params, np.zeros((60, 2, 2)), lambda outputs: outputs[-1].sum(axis=-1))
    steps = np.diff(found.alone["carried"][:, 0])
    np.testing.assert_allclose(steps[5:-5], np.log10(jax.nn.sigmoid(-30.0)), atol=0.3)
    assert found.alone["carried"][-1, 0] < -700


def test_cells_whose_paths_are_not_known():
    class More(type(gru())):
        def step(self, params, s, x_t):
            s_t, y_t = super().step(params, s, x_t)
            return jax.tree.map(lambda leaf: 0.9 * leaf, s_t), y_t

    _, params, inputs = setting(gru())
    with pytest.raises(GradlabError, match="step does more than its gates"):
        path_credit(More(gru().scheme), params, inputs, loss)

    class Plain:
        def carry(self, params, batch_size):
            return {"h": jnp.zeros((batch_size, 2))}

        def step(self, params, s, x_t):
            return s, s["h"]

    with pytest.raises(GradlabError, match="Plain does not state its gates"):
        path_credit(Plain(), {}, inputs, loss)


@pytest.mark.parametrize("cell", [rnn(), lstm()], ids=["rnn", "lstm"])
def test_remembrance_is_the_difference_of_two_passes(cell, float64):
    cell, params, inputs = setting(cell)

    def last(inputs):
        state = cell.carry(params, 3)
        for x_t in inputs:
            state, y_t = cell.step(params, state, x_t)
        return np.asarray(y_t)

    found = remembrance(cell, params, inputs)
    assert found.lags.tolist() == list(range(1, T + 1))
    for lag, change in zip(found.lags, found.log10_change, strict=True):
        other = inputs.at[T - lag].set(jnp.roll(inputs[T - lag], -1, axis=0))
        expected = np.linalg.norm(last(other) - last(inputs), axis=-1)
        np.testing.assert_allclose(10**change, expected, rtol=1e-9)


def test_what_is_below_rounding_is_forgotten():
    cell = rnn("relu", init="identity", gain=1e-4)
    params = jax.tree.map(jnp.abs, cell.init(jax.random.key(0), 1, 4))
    found = remembrance(cell, params, np.array([[[0.0], [1.0]]] * 9))
    assert np.isfinite(found.typical()[:3]).all() and np.isneginf(found.typical()[5:]).all()
    with pytest.raises(GradlabError, match="one example"):
        remembrance(cell, params, np.zeros((9, 1, 1)))


def test_inputs_are_exchanged_only_where_they_differ(float64):
    """One-hot symbols: neighbours often have the same, and at the last timestep all have."""
    cell, params, _ = setting(lstm())
    kinds = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0]])
    found = remembrance(cell, params, np.eye(2)[kinds])
    assert np.isnan(found.log10_change[0]).all() and np.isnan(found.typical()[0])
    assert np.isfinite(found.log10_change[1:]).all()

    def last(inputs):
        state = cell.carry(params, 3)
        for x_t in np.eye(2)[inputs]:
            state, y_t = cell.step(params, state, x_t)
        return np.asarray(y_t)

    exchanged = kinds.copy()
    exchanged[0] = [1, 1, 0]
    expected = np.linalg.norm(last(exchanged) - last(kinds), axis=-1)
    np.testing.assert_allclose(10 ** found.log10_change[-1], expected, rtol=1e-9)


def test_what_is_not_finite_has_no_paths_and_is_not_forgotten():
    cell, params, inputs = setting(lstm())
    inputs = inputs.at[3, 0].set(jnp.nan)
    with pytest.raises(GradlabError, match="gradient is not finite"):
        path_credit(cell, params, inputs, loss)
    with pytest.raises(GradlabError, match="last output is not finite"):
        remembrance(cell, params, inputs)
