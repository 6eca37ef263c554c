"""What claims measure beside runs: each function takes a point of a grid and returns numbers by name.

Where a truth in closed form is known, it is computed in NumPy, without gradlab's instrument.
"""

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.cells import attention, gru, lstm, rnn
from gradlab.cells.initializers import orthogonal as orthogonal_matrix
from gradlab.gradient import gradient_curve
from gradlab.tasks import adding, copy
from gradlab.training.optimizers import Clip

LINEAR = rnn("linear")


def last_output(outputs):
    """The sum of the last output of each example."""
    return outputs[-1].sum(axis=-1)


def own_unit(outputs):
    """Of example b the last output of unit b, so that a norm is the absolute value of one derivative."""
    return jnp.diagonal(outputs[-1])


def linear_curve(w, length):
    """log10 norms (T,) of a linear RNN with this recurrent matrix (H, H)."""
    params = {"w_x": jnp.zeros((1, len(w))), "w_h": w, "b": jnp.zeros(len(w))}
    inputs = jnp.zeros((length, 1, 1), w.dtype)
    return gradient_curve(LINEAR, params, inputs, last_output).log10_norm["h"][:, 0]


def baselines(length):
    """The loss of the best answers without memory, against the formulas; `error` is the larger of the two."""
    symbols = copy()
    batch = symbols.sample(jax.random.key(0), 2, length)
    blank_then_guess = np.full((length + 20, 2, 9), -np.inf, np.float32)
    blank_then_guess[: length + 10, :, 0] = 0
    blank_then_guess[length + 10 :, :, 1:] = 0
    found = float(symbols.loss(blank_then_guess, batch).mean())
    sums = adding().sample(jax.random.key(1), 100_000, length=20)
    always_one = float(adding().loss(np.ones((1, 100_000, 1), np.float32), sums).mean())
    return {"copy_error": found - 10 * np.log(8) / (length + 20), "adding_error": always_one - 1 / 6}


def orthogonal(dtype, seed, length=1000, size=128):
    """The largest deviation from 1 of |dL/ds| relative to lag 1, of a linear RNN with an orthogonal matrix."""
    with jax.enable_x64(dtype == "float64"):
        w = orthogonal_matrix(jax.random.key(seed), size)
        curve = linear_curve(w, length)
    return {"deviation": float(np.max(np.abs(10 ** (curve - curve[0]) - 1)))}


def matrix_product(seed, length=2000, size=24):
    """The curve of a linear RNN against the product of its matrices, and its tail against the spectral radius."""
    w = np.random.default_rng(seed).normal(size=(size, size)) / np.sqrt(size)
    with jax.enable_x64(True):
        curve = linear_curve(jnp.asarray(w), length)
    vector, log10, product = np.ones(size), 0.0, []
    for _ in range(length):
        vector = w @ vector
        scale = np.linalg.norm(vector)
        vector, log10 = vector / scale, log10 + np.log10(scale)
        product.append(log10)
    tail = curve[length // 2 :] * np.log(10)
    rate = np.polyfit(np.arange(len(tail)), tail, 1)[0]
    radius = np.abs(np.linalg.eigvals(w)).max()
    return {
        "error": float(np.max(np.abs(10 ** (curve - product) - 1))),
        "rate_error": float(rate - np.log(radius)),
    }


def bound(activation, seed, length=40, size=12):
    """By how many decades, at most, a step of a random network exceeds γ σ₁(W); negative where the bound holds."""
    gamma = {"tanh": 1.0, "sigmoid": 0.25}[activation]
    rng = np.random.default_rng(seed)
    w_h = rng.uniform(0.3, 1.5) / gamma * rng.normal(size=(size, size)) / np.sqrt(size)
    params = {"w_x": rng.normal(size=(3, size)), "w_h": w_h, "b": rng.normal(size=size)}
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, params)
        inputs = jnp.asarray(rng.normal(size=(length, 2, 3)))
        curve = gradient_curve(rnn(activation), params, inputs, last_output).log10_norm["h"]
    limit = np.log10(gamma * np.linalg.norm(w_h, ord=2))
    return {"excess": float(np.max(np.diff(curve, axis=0)) - limit)}


def forget_product(seed, length=200, size=6):
    """The path through the cell of an LSTM without recurrent weights, against the product of its forget gates."""
    rng = np.random.default_rng(seed)
    w_x = rng.normal(size=(2, 4 * size)).astype(np.float32)
    b = rng.normal(size=4 * size).astype(np.float32)
    x = rng.normal(size=(length, 1, 2)).astype(np.float32)
    params = {"w_x": jnp.asarray(w_x), "w_h": jnp.zeros((size, 4 * size)), "b": jnp.asarray(b)}
    curve = gradient_curve(lstm(), params, jnp.asarray(x.repeat(size, axis=1)), own_unit).log10_norm["c"]
    forget = slice(size, 2 * size)
    net = x[:, 0].astype(float) @ w_x[:, forget].astype(float) + b[forget]
    expected = np.cumsum(-np.log10(1 + np.exp(-net))[-2::-1], axis=0)  # f_T belongs to lag 1 already
    return {"error": float(np.max(np.abs(10 ** (curve[1:] - curve[0] - expected) - 1)))}


def constant_gate(cell, length=100, size=4):
    """What is kept of the gradient in a timestep, without recurrent weights and input."""
    made = {"lstm": lstm(), "lstm 1997": lstm(forget_gate=False), "gru": gru()}[cell]
    with jax.enable_x64(True):
        params = made.init(jax.random.key(0), 2, size)
        params["w_h"] = jnp.zeros_like(params["w_h"])
        curve = gradient_curve(made, params, jnp.zeros((length, 1, 2)), last_output)
    steps = np.diff(curve.log10_norm["h" if cell == "gru" else "c"], axis=0)
    kept = {"lstm": 1 / (1 + np.exp(-1.0)), "lstm 1997": 1.0, "gru": 0.5}[cell]
    return {"error": float(np.max(np.abs(10**steps - kept)))}


def mean_field(variance, noise):
    """q* and χ of a tanh network, W ~ N(0, variance / N), input N(0, noise): fixed point by Gauss-Hermite."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(201)
    weights = weights / weights.sum()
    q = 1.0
    for _ in range(5000):
        q = variance * weights @ np.tanh(np.sqrt(q) * nodes) ** 2 + noise
    return q, variance * weights @ np.cosh(np.sqrt(q) * nodes) ** -4.0


def mean_field_rate(variance, noise, seed, size=512, length=80):
    """The rate of a tanh RNN in nats per timestep, and ½ ln χ; `agrees` is 1 where both have the same sign."""
    key_w, key_x = jax.random.split(jax.random.key(seed))
    w_h = np.sqrt(variance / size) * jax.random.normal(key_w, (size, size))
    params = {"w_x": np.sqrt(noise) * jnp.eye(size), "w_h": w_h, "b": jnp.zeros(size)}
    curve = gradient_curve(rnn(), params, jax.random.normal(key_x, (length, 1, size)), last_output)
    # The first timesteps, in which the activity settles, are left out.
    kept = curve.log10_norm["h"][: length - 20, 0]
    rate = np.polyfit(np.arange(len(kept)), kept, 1)[0] * np.log(10)
    theory = 0.5 * np.log(mean_field(variance, noise)[1])
    return {"rate": rate, "theory": theory, "difference": rate - theory, "agrees": float(rate * theory > 0)}


def clipping(size, limit, seed):
    """Clipping by norm of gradients of a size: its norm against min(norm, c), and how much it turns."""
    rng = np.random.default_rng(seed)
    shapes = {"w": (3, 4), "b": (4,)}
    gradients = {name: (size * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}
    clipped = Clip("norm", limit).apply(jax.tree.map(jnp.asarray, gradients)).gradients
    before, after = (
        np.concatenate([np.float64(tree[name]).ravel() for name in shapes]) for tree in (gradients, clipped)
    )
    norm = np.linalg.norm(before)
    turned = 1 - before @ after / norm / np.linalg.norm(after)
    changed = 0.0 if norm > limit else float(np.max(np.abs(after - before)))
    return {"norm_error": np.linalg.norm(after) / min(norm, limit) - 1, "turned": turned, "changed_below": changed}


def omega(scale, length=50, size=16):
    """Pascanu's Ω = Σ (|δₖ₊₁ Jₖ| / |δₖ₊₁| - 1)² of a linear network W = a Q, against (a - 1)² for each step."""
    with jax.enable_x64(True):
        curve = linear_curve(scale * orthogonal_matrix(jax.random.key(0), size), length)
    found = float(np.sum((10 ** np.diff(curve) - 1) ** 2))
    return {"error": found - (length - 1) * (scale - 1) ** 2}


NETWORKS = {"lstm": lstm(), "attention": attention()}


def one_number(outputs):
    """A fixed linear readout of the last output; the plain sum is constant after a layer norm."""
    return outputs[-1] @ jnp.cos(jnp.arange(outputs.shape[-1]))


def input_gradient(seed, length=200, size=32, batch=8):
    """Decades of the input gradient at lag 200 from lag 1: of attention, of an LSTM, and their difference."""
    key_w, key_x = jax.random.split(jax.random.key(seed))
    inputs = adding().sample(key_x, batch, length).inputs
    spans = {}
    for name in ("attention", "lstm"):
        network = NETWORKS[name]
        params = network.init(key_w, 2, size)
        of = {} if name == "attention" else {"of": "inputs"}
        spans[name] = gradient_curve(network, params, inputs, one_number, **of).span("x")
    return spans | {"difference": spans["attention"] - spans["lstm"]}
