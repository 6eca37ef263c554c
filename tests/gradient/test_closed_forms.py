"""Published results and closed forms. Curves are read relative to lag 1, the state entering the last timestep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import Linear
from passes import adjoint

from gradlab.cells import gru, lstm, rnn
from gradlab.cells.initializers import orthogonal
from gradlab.gradient import GradientCurve, gradient_curve
from gradlab.gradient.convert import to_curve
from gradlab.tasks import adding, copy
from gradlab.training.optimizers import Clip


def last(outputs):
    return outputs[-1].sum(axis=-1)


def unit_b_of_example_b(outputs):
    """Reads one unit per example, so that a norm is the absolute value of one element."""
    return jnp.diagonal(outputs[-1])


def relative(curve, leaf="state"):
    values = curve.log10_norm[leaf]
    return values - values[0]


def curves_of(cell, params, inputs, loss):
    """One curve for each set of parameters and inputs stacked along the first axis; one compilation."""
    stacked = [jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), (params, inputs)) for i in range(len(inputs))]
    return [to_curve(adjoint(cell, *each, loss)) for each in stacked]


# ---------------------------------------------------------------- baselines


@pytest.mark.parametrize(
    "length, published",
    [(100, 0.173287), (200, 0.094520), (300, 0.064983), (500, 0.039989), (1000, 0.020387), (2000, 0.010294)],
)
def test_copy_baseline(length, published):
    """Arjovsky et al. (2016), section 5.1: 10 ln 8 / (T + 20)."""
    task = copy()
    assert task.chance(length) == pytest.approx(published, abs=6e-7)
    batch = task.sample(jax.random.key(0), 2, length)
    uniform_after_delimiter = np.full((length + 20, 2, 9), -np.inf, np.float32)
    uniform_after_delimiter[: length + 10, :, 0] = 0.0
    uniform_after_delimiter[length + 10 :, :, 1:] = 0.0
    np.testing.assert_allclose(task.loss(uniform_after_delimiter, batch), published, atol=1e-6)


@pytest.mark.parametrize("markers", ["halves", "anywhere"])
def test_adding_baseline(markers):
    """Arjovsky et al. (2016), section 5.2: always answering 1 costs the variance of U + U, 1/6."""
    task = adding(markers)
    batch = task.sample(jax.random.key(1), 200_000, 20)
    ones = np.ones((1, 200_000, 1), np.float32)
    # The standard error of the mean of (U + U - 1)² over 200,000 examples is 4.4e-4.
    assert float(task.loss(ones, batch).mean()) == pytest.approx(1 / 6, abs=2e-3)
    assert task.chance(20) == pytest.approx(0.166667, abs=1e-6)


# ---------------------------------------------------------------- linear networks


@pytest.mark.parametrize("wide, tolerance", [(False, 1e-4), (True, 1e-10)], ids=["float32", "float64"])
def test_orthogonal_linear_network_keeps_the_gradient(wide, tolerance):
    """Saxe et al. (2014), section 3."""
    with jax.enable_x64(wide):
        w = orthogonal(jax.random.key(2), 128)
        curve = gradient_curve(Linear(), w, jnp.zeros((1000, 1, 128)), last)
    assert np.max(np.abs(10 ** relative(curve) - 1)) < tolerance


def test_linear_network_is_a_matrix_product(float64):
    """n_t = |(Wᵀ)ᵏ δ_T|, and by Gelfand's formula its rate tends to ln ρ(W)."""
    w = np.random.default_rng(7).normal(size=(24, 24)) / np.sqrt(24)
    curve = gradient_curve(Linear(), jnp.asarray(w), jnp.ones((2000, 1, 24)), last)
    vector, log10, product = np.ones(24), 0.0, []
    for _ in curve.lags:
        vector = w @ vector
        scale = np.linalg.norm(vector)
        vector, log10 = vector / scale, log10 + np.log10(scale)
        product.append(log10)
    error = np.abs(10 ** (curve.log10_norm["h"][:, 0] - product) - 1)
    assert np.max(error) < 1e-8

    tail = curve.log10_norm["h"][999:, 0] * np.log(10)
    rate = np.polyfit(np.arange(len(tail)), tail, 1)[0]
    assert rate == pytest.approx(np.log(np.abs(np.linalg.eigvals(w)).max()), abs=1e-3)


@pytest.mark.parametrize("activation, gamma", [("tanh", 1.0), ("sigmoid", 0.25)])
def test_no_network_breaks_the_vanishing_bound(float64, activation, gamma):
    """Pascanu et al. (2013), section 2.1: n_t <= (γ σ₁(W))^(T-t) n_T, over 100 random networks."""
    rng = np.random.default_rng(4)
    nets, steps, hidden = 100, 40, 12
    gain = rng.uniform(0.3, 1.5, size=(nets, 1, 1)) / gamma
    w_h = gain * rng.normal(size=(nets, hidden, hidden)) / np.sqrt(hidden)
    params = {"w_x": rng.normal(size=(nets, 3, hidden)), "w_h": w_h, "b": rng.normal(size=(nets, hidden))}
    curves = curves_of(rnn(activation), params, rng.normal(size=(nets, steps, 2, 3)), last)
    rates = np.log10(gamma * np.linalg.norm(w_h, ord=2, axis=(1, 2)))
    assert 10 < np.sum(rates < 0) < 90
    for curve, rate in zip(curves, rates, strict=True):
        assert np.all(np.diff(curve.log10_norm["h"], axis=0) <= rate + 1e-9)
        assert np.all(relative(curve) <= rate * (curve.lags - 1)[:, None] + 1e-9)


# ---------------------------------------------------------------- gates alone


def test_lstm_cell_path_is_the_product_of_forget_gates():
    """Gers et al. (2000): with no recurrent weights dc_T/dc_t = ∏ f_s, elementwise."""
    rng = np.random.default_rng(5)
    hidden, steps = 6, 200
    params = {
        "w_x": jnp.asarray(rng.normal(size=(2, 4 * hidden)), jnp.float32),
        "w_h": jnp.zeros((hidden, 4 * hidden)),
        "b": jnp.asarray(rng.normal(size=4 * hidden), jnp.float32),
    }
    x = rng.normal(size=(steps, 1, 2)).astype(np.float32)
    curve = gradient_curve(lstm(), params, jnp.asarray(x.repeat(hidden, axis=1)), unit_b_of_example_b)
    forget = slice(hidden, 2 * hidden)
    net = x[:, 0].astype(float) @ np.float64(params["w_x"])[:, forget] + np.float64(params["b"])[forget]
    log10_f = -np.log10(1 + np.exp(-net))
    expected = np.cumsum(log10_f[-2::-1], axis=0)  # f_T belongs to lag 1 already
    assert np.max(np.abs(10 ** (relative(curve, "c")[1:] - expected) - 1)) < 1e-4


@pytest.mark.parametrize(
    "cell, leaf, kept",
    [
        (lstm(), "c", 0.731059),
        (lstm(forget_gate=False), "c", 1.0),
        (gru(), "h", 0.5),
    ],
    ids=["forget bias 1", "constant error carousel", "gru"],
)
def test_constant_gates_give_a_geometric_curve(float64, cell, leaf, kept):
    params = cell.init(jax.random.key(6), 2, 4)
    params["w_h"] = jnp.zeros_like(params["w_h"])
    curve = gradient_curve(cell, params, jnp.zeros((300, 1, 2)), last)
    np.testing.assert_allclose(10 ** np.diff(curve.log10_norm[leaf], axis=0), kept, atol=1e-6)


# ---------------------------------------------------------------- random networks


@pytest.mark.parametrize("sw2, sin2, rate", [(1.0, 0.1, -0.18637), (0.81, 0.01, -0.14207)])
def test_tanh_network_decays_at_the_mean_field_rate(sw2, sin2, rate):
    """Chen, Pennington & Schoenholz (2018): ½ ln χ per timestep; 8 networks of 512 units."""
    seeds, steps, hidden = 8, 80, 512
    cell = rnn(init="gaussian", gain=float(np.sqrt(sw2)))
    params = jax.vmap(lambda key: cell.init(key, hidden, hidden))(jax.random.split(jax.random.key(8), seeds))
    params = params | {"w_x": jnp.broadcast_to(np.sqrt(sin2) * jnp.eye(hidden), params["w_x"].shape)}
    noise = jax.random.normal(jax.random.key(9), (seeds, steps, 1, hidden))
    curves = curves_of(cell, params, noise, last)
    # The first timesteps, before the activity has settled, are left out.
    slopes = [GradientCurve.of({"h": curve.log10_norm["h"][:60]}).slope().value for curve in curves]
    assert np.mean(slopes) * np.log(10) == pytest.approx(rate, abs=0.02)


def test_lstm_with_forget_bias_one_vanishes(float64):
    """Arjovsky et al. (2016), figure 4: an LSTM's gradient falls by many decades over the sequence."""
    seeds, length, hidden = 5, 1000, 128
    cell, task = lstm(init="glorot"), adding()
    params = jax.vmap(lambda key: cell.init(key, 2, hidden))(jax.random.split(jax.random.key(10), seeds))
    batches = [task.sample(jax.random.key(seed), 2, length) for seed in range(seeds)]
    readout = jax.random.uniform(jax.random.key(11), (hidden,), minval=-0.2, maxval=0.2)

    def loss(outputs):
        return (outputs[-1] @ readout - 1.0) ** 2

    curves = curves_of(cell, params, jnp.stack([batch.inputs for batch in batches]), loss)
    lost = np.array([-curve.span() for curve in curves])
    assert np.sum((lost >= 5) & (lost <= 45)) >= 4


# ---------------------------------------------------------------- clipping


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e3, 1e30])
@pytest.mark.parametrize("limit", [1e-6, 1.0, 1e6])
def test_clipping_by_norm(size, limit):
    """Pascanu et al. (2013), algorithm 1: the norm becomes min(norm, c), the direction stays."""
    rng = np.random.default_rng(12)
    shapes = {"w": (3, 4), "b": (4,)}
    gradients = {name: (size * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}
    clipped = Clip("norm", limit).apply(jax.tree.map(jnp.asarray, gradients))
    before, after = (flat(tree) for tree in (gradients, clipped.gradients))
    norm = np.linalg.norm(before)
    np.testing.assert_allclose(np.linalg.norm(after), min(norm, limit), rtol=1e-6)
    np.testing.assert_allclose(before @ after / norm / np.linalg.norm(after), 1.0, rtol=1e-6)
    assert float(clipped.log10_norm) == pytest.approx(np.log10(norm), abs=1e-4)
    assert float(clipped.share) == (norm > limit)
    if norm <= limit:
        np.testing.assert_array_equal(after, before)


def flat(tree):
    return np.concatenate([np.asarray(tree[name], np.float64).ravel() for name in sorted(tree)])


def test_a_norm_at_the_limit_passes_and_a_zero_gradient_stays():
    clip = Clip("norm", 5.0)
    np.testing.assert_array_equal(clip.apply({"w": jnp.array([3.0, 4.0])}).gradients["w"], [3.0, 4.0])
    zero = clip.apply({"w": jnp.zeros(3)})
    np.testing.assert_array_equal(zero.gradients["w"], 0.0)
    assert zero.log10_norm == -np.inf and zero.share == 0


def test_clipping_by_value_changes_the_direction():
    clipped = Clip("value", 1.0).apply({"w": jnp.array([3.0, -0.5, -4.0, 1.0])})
    np.testing.assert_array_equal(clipped.gradients["w"], [1.0, -0.5, -1.0, 1.0])
    assert float(clipped.share) == 0.5
