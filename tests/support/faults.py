"""Small cells with the faults that public projects shipped, one each; and what `check-cell` must say of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from literature import Exponential, Plain

from gradlab.cells.gru import GRU
from gradlab.cells.initializers import Scheme


class BatchNormalised(Plain):
    """Batch statistics shared between examples."""

    def step(self, params, s, x_t):
        z = s["h"] @ params["u"] + x_t @ params["w"]
        h_t = jnp.tanh((z - z.mean(axis=0)) / jnp.sqrt(z.var(axis=0) + 1e-5))
        return {"h": h_t}, h_t


class BatchNormalisedBehindStop(Plain):
    """The same where the gradient does not see it."""

    def step(self, params, s, x_t):
        z = s["h"] @ params["u"] + x_t @ params["w"]
        h_t = jnp.tanh(z - lax.stop_gradient(z.mean(axis=0)))
        return {"h": h_t}, h_t


class FirstMask(Plain):
    """Zoneout with the mask of timestep 1 at every timestep: the key is not split."""

    def carry(self, params, batch_size):
        return super().carry(params, batch_size) | {"key": jax.random.key(0)}

    def step(self, params, s, x_t):
        h_t = jnp.tanh(s["h"] @ params["u"] + x_t @ params["w"])
        h_t = jnp.where(jax.random.bernoulli(s["key"], 0.3, h_t.shape), s["h"], h_t)
        return {**s, "h": h_t}, h_t


class OwnKey(Plain):
    """Zoneout from a key that is made inside `step`."""

    def step(self, params, s, x_t):
        h_t = jnp.tanh(s["h"] @ params["u"] + x_t @ params["w"])
        h_t = jnp.where(jax.random.bernoulli(jax.random.key(3), 0.3, h_t.shape), s["h"], h_t)
        return {"h": h_t}, h_t


class KeptMask(Plain):
    """The mask of timestep 1 is kept in Python."""

    mask = None

    def step(self, params, s, x_t):
        h_t = jnp.tanh(s["h"] @ params["u"] + x_t @ params["w"])
        if self.mask is None:
            self.mask = jax.random.bernoulli(jax.random.key(0), 0.3, h_t.shape[-1:])
        return {"h": jnp.where(self.mask, s["h"], h_t)}, h_t


class SharedMask(FirstMask):
    """One mask for all examples."""

    def step(self, params, s, x_t):
        key, own = jax.random.split(s["key"])
        h_t = jnp.tanh(s["h"] @ params["u"] + x_t @ params["w"])
        h_t = jnp.where(jax.random.bernoulli(own, 0.3, h_t.shape[-1:]), s["h"], h_t)
        return {"h": h_t, "key": key}, h_t


@jax.custom_vjp
def doubled(z):
    return jnp.tanh(z)


doubled.defvjp(lambda z: (jnp.tanh(z), jnp.tanh(z)), lambda y, d: (2 * d * (1 - y**2),))


@jax.custom_vjp
def clipped(z):
    return z


clipped.defvjp(lambda z: (z, None), lambda _, d: (jnp.clip(d, -0.1, 0.1),))


class Squashed(Plain):
    """hₜ = squash(hₜ₋₁ U + xₜ W)."""

    def __init__(self, squash):
        self.squash = squash

    def step(self, params, s, x_t):
        h_t = self.squash(s["h"] @ params["u"] + x_t @ params["w"])
        return {"h": h_t}, h_t


class Detached(Plain):
    """The state that comes in is detached."""

    def step(self, params, s, x_t):
        return super().step(params, lax.stop_gradient(s), x_t)


class DetachedCarry(Plain):
    """The state that goes out is detached, the output is not."""

    def step(self, params, s, x_t):
        s_t, y_t = super().step(params, s, x_t)
        return lax.stop_gradient(s_t), y_t


class Unstable(Exponential):
    """sLSTM without its stabiliser."""

    def carry(self, params, batch_size):
        state = super().carry(params, batch_size)
        return {name: state[name] for name in ("c", "n", "h")}

    def step(self, params, s, x_t):
        i, f, z, o = jnp.split(x_t @ params["w"] + s["h"] @ params["r"] + params["b"], 4, axis=-1)
        i, f = jnp.exp(i), jax.nn.sigmoid(f)
        c_t, n_t = f * s["c"] + i * jnp.tanh(z), f * s["n"] + i
        h_t = jax.nn.sigmoid(o) * c_t / n_t
        return {"c": c_t, "n": n_t, "h": h_t}, h_t


class Unused(Plain):
    """A parameter that `step` does not read."""

    def init(self, key, input_size, hidden_size):
        return super().init(key, input_size, hidden_size) | {"spare": jnp.ones(hidden_size)}


class Untrained(Unused):
    """A parameter behind a stop_gradient."""

    def step(self, params, s, x_t):
        s_t, y_t = super().step(params, s, x_t)
        return s_t, y_t * lax.stop_gradient(params["spare"])


class Constant(Plain):
    """A leaf of the state that never changes."""

    def carry(self, params, batch_size):
        zeros = super().carry(params, batch_size)["h"]
        return {"h": zeros, "m": zeros + 0.5}

    def step(self, params, s, x_t):
        h_t = jnp.tanh(s["h"] @ params["u"] + x_t @ params["w"] + s["m"])
        return {"h": h_t, "m": s["m"]}, h_t


class Counting(Plain):
    """A counter in Python decides."""

    calls = 0

    def step(self, params, s, x_t):
        self.calls += 1
        s_t, y_t = super().step(params, s, x_t)
        return s_t, y_t * self.calls


class Noisy(Plain):
    """Random numbers of NumPy."""

    def step(self, params, s, x_t):
        s_t, y_t = super().step(params, s, x_t)
        return s_t, y_t + np.random.randn()


class RootAtZero(Plain):
    """A norm whose derivative at zero is not a number."""

    def step(self, params, s, x_t):
        z = s["h"] @ params["u"] + x_t @ params["w"]
        h_t = z / (1 + jnp.sqrt(jnp.sum(z**2, axis=-1, keepdims=True)))
        return {"h": h_t}, h_t


class ResetBefore(GRU):
    """A GRU whose reset gate acts before the matrix product."""

    def step(self, params, carry, x_t):
        w_r, w_z, w_n = jnp.split(params["w_h"], 3, axis=1)
        z_r, z_z, z_n = jnp.split(x_t @ params["w_x"] + params["b"], 3, axis=1)
        h = carry["h"]
        r_t, z_t = jax.nn.sigmoid(z_r + h @ w_r), jax.nn.sigmoid(z_z + h @ w_z)
        n_t = jnp.tanh(z_n + (r_t * h) @ w_n + params["b_n"])
        h_t = (1 - z_t) * n_t + z_t * h
        return {"h": h_t}, h_t


def reset_before():
    return ResetBefore(Scheme("orthogonal", 1.0, None))


def halved(z):
    return jnp.tanh(z.astype(jnp.float16)).astype(z.dtype)


def single(z):
    return jnp.tanh(z.astype(jnp.float32)).astype(z.dtype)


class Shipped(NamedTuple):
    """A faulty cell, the finding that must name the fault, and words of it."""

    make: type
    finding: str
    words: str


SHIPPED = {
    "batch statistics": Shipped(BatchNormalised, "examples", "batch statistics"),
    "batch statistics, stopped": Shipped(BatchNormalisedBehindStop, "examples", "batch statistics"),
    "mask of timestep 1": Shipped(FirstMask, "random numbers", "the mask of timestep 1"),
    "own key": Shipped(OwnKey, "random numbers", "the mask of timestep 1"),
    "mask in Python": Shipped(KeptMask, "determinism", "keeps in Python"),
    "one mask for all": Shipped(SharedMask, "random numbers", "one mask for all examples"),
    "wrong derivative": Shipped(lambda: Squashed(doubled), "derivative", "2 times the finite difference"),
    "clipped": Shipped(lambda: Squashed(lambda z: jnp.tanh(clipped(z))), "linear", "clips or rescales"),
    "detached state": Shipped(Detached, "state", "leaf `h` of the state is detached"),
    "detached carry": Shipped(DetachedCarry, "state", "leaf `h` of the state is detached"),
    "no stabiliser": Shipped(Unstable, "extremes", "a stabiliser"),
    "unused parameter": Shipped(Unused, "parameters", "parameter `spare` does not matter"),
    "untrained parameter": Shipped(Untrained, "parameters", "parameter `spare` is detached"),
    "float16 inside": Shipped(lambda: Squashed(halved), "casts", "float16"),
    "float32 inside": Shipped(lambda: Squashed(single), "casts", "float32 what comes in as float64"),
    "constant leaf": Shipped(Constant, "state changes", "`m` of the state never changes"),
    "counter": Shipped(Counting, "determinism", "a counter"),
    "numpy's random numbers": Shipped(Noisy, "determinism", "a random generator"),
    "root at zero": Shipped(RootAtZero, "zero", "an input of zero"),
}
