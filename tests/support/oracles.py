"""Independent routes to what gradlab measures: nothing here imports gradlab.

A state is a dict of float leaves (B, ...). Curves are dicts of log10 norms (T, B), row i being lag i + 1.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

# ---------------------------------------------------------------- toy cells


@dataclass(frozen=True)
class Early:
    """Two leaves of different shape and size; the output is computed before the state is updated."""

    def carry(self, params, batch_size):
        return {"a": jnp.zeros((batch_size, 3)), "m": jnp.zeros((batch_size, 2))}

    def step(self, params, s, x_t):
        y_t = jnp.tanh(s["a"] @ params["w_ya"]) + s["m"] @ params["w_ym"]
        a_t = jnp.tanh(s["a"] @ params["w_aa"] + 100 * s["m"] @ params["w_am"] + x_t @ params["w_ax"])
        m_t = 0.01 * jnp.tanh(s["a"] @ params["w_ma"] + s["m"] @ params["w_mm"])
        return {"a": a_t, "m": m_t}, y_t

    def random(self, rng, input_size):
        shapes = {"w_ya": (3, 4), "w_ym": (2, 4), "w_aa": (3, 3), "w_am": (2, 3), "w_mm": (2, 2), "w_ma": (3, 2)}
        return {name: rng.normal(size=shape) for name, shape in (shapes | {"w_ax": (input_size, 3)}).items()}


@dataclass(frozen=True)
class Linear:
    """hₜ = hₜ₋₁ W + xₜ, yₜ = hₜ; the parameters are W (H, H)."""

    def carry(self, w, batch_size):
        return {"h": jnp.zeros((batch_size, len(w)), w.dtype)}

    def step(self, w, s, x_t):
        h_t = s["h"] @ w + x_t
        return {"h": h_t}, h_t


@dataclass(frozen=True)
class Diagonal:
    """Each leaf u for itself: uₜ = a_u ⊙ uₜ₋₁ + xₜ, yₜ = all real parts; the parameters are the a_u (H,)."""

    def carry(self, a, batch_size):
        return {name: jnp.zeros((batch_size, len(leaf)), leaf.dtype) for name, leaf in a.items()}

    def step(self, a, s, x_t):
        s_t = {name: a[name] * leaf + x_t for name, leaf in s.items()}
        return s_t, jnp.concatenate([leaf.real for leaf in s_t.values()], axis=-1)


# ---------------------------------------------------------------- route 1 and 3: automatic differentiation


def perturbed_losses(cell, params, inputs, loss, taps, kind="total", at=None):
    """Losses (B,) where `taps` (T, B, ...) are added to each leaf as it enters each timestep."""

    def timestep(s, inp):
        x_t, tap_t = inp
        s_t, y_t = cell.step(params, jax.tree.map(jnp.add, s, tap_t), x_t)
        return (lax.stop_gradient(s_t) if kind == "direct" else s_t), y_t

    _, outputs = lax.scan(timestep, cell.carry(params, inputs.shape[1]), (inputs, taps))
    if at is not None:
        outputs = lax.stop_gradient(outputs).at[at - 1].set(outputs[at - 1])
    return loss(outputs)


def zero_taps(cell, params, inputs):
    steps, batch_size = inputs.shape[:2]
    return {name: jnp.zeros((steps, *leaf.shape)) for name, leaf in cell.carry(params, batch_size).items()}


def tap_gradients(cell, params, inputs, loss, kind="total", at=None):
    """Route 1: reverse mode with respect to zero perturbations; the gradients (T, B, ...) by time."""

    def total(taps, params, inputs):
        return perturbed_losses(cell, params, inputs, loss, taps, kind, at).sum()

    return jax.jit(jax.grad(total))(zero_taps(cell, params, inputs), params, inputs)


def curve_by_taps(*args, kind="total", at=None):
    gradients = tap_gradients(*args, kind=kind, at=at)
    by_lag = {name: np.asarray(leaf, np.float64)[:at][::-1] for name, leaf in gradients.items()}
    leaves = {name: leaf.reshape(*leaf.shape[:2], -1) for name, leaf in by_lag.items()}
    leaves["state"] = np.concatenate(list(leaves.values()), axis=-1)
    return {name: log10_norm(leaf) for name, leaf in leaves.items()}


def curve_by_jvp(cell, params, inputs, loss, kind="total", at=None):
    """Route 3: forward mode along every unit vector of the state at every timestep."""
    zeros = zero_taps(cell, params, inputs)
    flat, unravel = ravel_pytree({name: leaf[0, 0] for name, leaf in zeros.items()})

    def along(t, unit):
        tangent = {name: zeros[name].at[t].set(leaf) for name, leaf in unravel(unit).items()}
        losses = partial(perturbed_losses, cell, params, inputs, loss, kind=kind, at=at)
        return jax.jvp(losses, (zeros,), (tangent,))[1]

    every_unit = jax.vmap(jax.vmap(along, (None, 0)), (0, None))
    derivatives = np.asarray(jax.jit(every_unit)(np.arange(len(inputs)), np.eye(flat.size))).transpose(0, 2, 1)
    by_lag = derivatives[:at][::-1]
    return {
        name: log10_norm(by_lag[..., part])
        for name, part in leaf_slices(cell.carry(params, inputs.shape[1])).items()
    }


# ---------------------------------------------------------------- route 2: the product of Jacobians


@partial(jax.jit, static_argnums=0)
def step_and_jacobians(cell, params, s, x_t):
    """sₜ, yₜ and for each example d(sₜ)/d(sₜ₋₁) (B, n, n) and d(yₜ)/d(sₜ₋₁) (B, O, n), all leaves flattened."""

    def one(s, x):
        flat, unravel = ravel_pytree(s)

        def flat_step(vector):
            s_t, y_t = cell.step(params, jax.tree.map(lambda leaf: leaf[None], unravel(vector)), x[None])
            return ravel_pytree(s_t)[0], y_t[0]

        return jax.jacfwd(flat_step)(flat)

    return cell.step(params, s, x_t), jax.vmap(one)(s, x_t)


def curve_by_jacobians(cell, params, inputs, loss, kind="total", at=None):
    """Route 2: Jacobians multiplied in numpy, each product rescaled by a power of two."""
    s = cell.carry(params, inputs.shape[1])
    slices = leaf_slices(s)
    jacobians, outputs = [], []
    for x_t in np.asarray(inputs):
        (s, y_t), jacobian = step_and_jacobians(cell, params, s, x_t)
        jacobians.append([np.asarray(part) for part in jacobian])
        outputs.append(np.asarray(y_t))
    g = np.asarray(jax.jit(jax.grad(lambda outputs: loss(outputs).sum()))(np.stack(outputs)))

    vector, exponent, rows = np.zeros((inputs.shape[1], slices["state"].stop)), np.zeros(inputs.shape[1], int), []
    for t in reversed(range(at or len(inputs))):
        ds_ds, dy_ds = jacobians[t]
        carried = np.einsum("bmn,bm->bn", ds_ds, vector) * (kind == "total")
        injected = np.einsum("bon,bo->bn", dy_ds, g[t]) * (at is None or t == at - 1)
        vector, exponent = rescaled_sum(carried, exponent, injected)
        rows.append((vector, exponent))
    with np.errstate(divide="ignore"):
        return {
            name: np.stack([np.log10(np.linalg.norm(v[:, part], axis=1)) + e * np.log10(2) for v, e in rows])
            for name, part in slices.items()
        }


def rescaled_sum(carried, exponent, injected):
    """carried · 2^exponent + injected, as a vector with entries of at most 1 and its exponent."""
    arrives, carries = np.any(injected != 0, axis=1), np.any(carried != 0, axis=1)
    top = np.select([~arrives, ~carries], [exponent, 0], np.maximum(exponent, 0))
    vector = np.ldexp(carried, (exponent - top)[:, None]) + np.ldexp(injected, -top[:, None])
    shift = np.frexp(np.abs(vector).max(axis=1))[1]
    return np.ldexp(vector, -shift[:, None]), top + shift


def leaf_slices(s):
    """Where each leaf stands in the flattened state of one example, in the order of the tree's leaves."""
    slices, start = {}, 0
    for name in sorted(s):
        stop = start + s[name][0].size
        slices[name], start = slice(start, stop), stop
    return slices | {"state": slice(0, start)}


# ---------------------------------------------------------------- norms


def log10_norm(vectors):
    peak = np.abs(vectors).max(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.linalg.norm(vectors / peak[..., None], axis=-1)
        return np.where(peak > 0, np.log10(peak) + np.log10(relative), -np.inf)


# ---------------------------------------------------------------- route 4: cells in numpy float64


def sigma(z):
    return 1.0 / (1.0 + np.exp(-z))


def elman(params, inputs, activation):
    """Elman (1990): h <- φ(W h + U x + b)."""
    phi = {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0.0), "sigmoid": sigma, "linear": lambda z: z}[
        activation
    ]
    u, w, b = (np.asarray(params[name], np.float64) for name in ("w_x", "w_h", "b"))
    h = np.zeros((inputs.shape[1], w.shape[0]))
    states = []
    for x in inputs:
        h = phi(np.einsum("ij,bi->bj", w, h) + np.einsum("ij,bi->bj", u, x) + b)
        states.append({"h": h})
    return states


def long_short_term_memory(params, inputs, order):
    """Hochreiter & Schmidhuber (1997), section 4, with the forget gate of Gers et al. (2000) if `order` has f."""
    gates = {name: gate_parameters(params, order.index(name), len(order)) for name in order}
    hidden = len(params["w_h"])
    h, c, states = np.zeros((inputs.shape[1], hidden)), np.zeros((inputs.shape[1], hidden)), []
    for x in inputs:
        net = {name: x @ u + h @ w + b for name, (u, w, b) in gates.items()}
        keep = sigma(net["f"]) if "f" in net else 1.0
        c = keep * c + sigma(net["i"]) * np.tanh(net["g"])
        h = sigma(net["o"]) * np.tanh(c)
        states.append({"h": h, "c": c})
    return states


def gated_recurrent_unit(params, inputs):
    """Cho et al. (2014) in the form of cuDNN: the reset gate acts on the finished recurrent product."""
    (u_r, w_r, b_r), (u_z, w_z, b_z), (u_n, w_n, b_n) = (gate_parameters(params, i, 3) for i in range(3))
    inner = np.asarray(params["b_n"], np.float64)
    h, states = np.zeros((inputs.shape[1], len(inner))), []
    for x in inputs:
        reset = sigma(x @ u_r + h @ w_r + b_r)
        update = sigma(x @ u_z + h @ w_z + b_z)
        new = np.tanh(x @ u_n + b_n + reset * (h @ w_n + inner))
        h = new + update * (h - new)
        states.append({"h": h})
    return states


def gate_parameters(params, index, count):
    """Input weights, recurrent weights and bias of one gate block."""
    return [np.split(np.asarray(params[name], np.float64), count, axis=-1)[index] for name in ("w_x", "w_h", "b")]


# ---------------------------------------------------------------- parameters


def random_params(cell, rng, input_size, hidden_size, scale=1.0):
    """Every parameter Gaussian, biases too, so that no term of an equation is hidden by a zero."""
    if isinstance(cell, Early):
        return {name: jnp.asarray(scale * leaf) for name, leaf in cell.random(rng, input_size).items()}
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), input_size, hidden_size))
    return jax.tree.map(lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape)), shapes)
