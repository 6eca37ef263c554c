"""Cells of the literature, written from their equations: what a person may hand to gradlab beside its own."""

import jax
import jax.numpy as jnp
from jax.nn import sigmoid, softplus


def dense(key, rows, columns):
    return jax.random.normal(key, (rows, columns)) / jnp.sqrt(rows)


class Plain:
    """hₜ = tanh(hₜ₋₁ U + xₜ W): what the others differ from."""

    def init(self, key, input_size, hidden_size):
        recurrent, into = jax.random.split(key)
        return {"u": dense(recurrent, hidden_size, hidden_size), "w": dense(into, input_size, hidden_size)}

    def carry(self, params, batch_size):
        return {"h": jnp.zeros((batch_size, params["u"].shape[0]), params["u"].dtype)}

    def step(self, params, s, x_t):
        h_t = jnp.tanh(s["h"] @ params["u"] + x_t @ params["w"])
        return {**s, "h": h_t}, h_t


class LinearRecurrentUnit(Plain):
    """Orvieto et al. (2023): a complex diagonal state."""

    def init(self, key, input_size, hidden_size):
        k = jax.random.split(key, 4)
        rate = jnp.log(jax.random.uniform(k[0], (hidden_size,), minval=0.01, maxval=0.1))
        return {
            "rate": rate,
            "phase": jax.random.uniform(k[1], (hidden_size,), maxval=6.28),
            "b": dense(k[2], input_size, hidden_size) + 1j * dense(k[3], input_size, hidden_size),
        }

    def carry(self, params, batch_size):
        return jnp.zeros((batch_size, params["rate"].shape[0]), params["b"].dtype)

    def step(self, params, s, x_t):
        s = jnp.exp(-jnp.exp(params["rate"]) + 1j * params["phase"]) * s + x_t @ params["b"]
        return s, jnp.concatenate([s.real, s.imag], axis=-1)


class Exponential(Plain):
    """Beck et al. (2024), sLSTM: exponential gates and a stabiliser m, whose gradient is zero but for rounding."""

    def __init__(self, m_0=0.0):
        self.m_0 = m_0

    def init(self, key, input_size, hidden_size):
        into, recurrent = jax.random.split(key)
        forget = jnp.zeros((4, hidden_size)).at[1].set(3.0).reshape(-1)
        return {
            "w": dense(into, input_size, 4 * hidden_size),
            "r": dense(recurrent, hidden_size, 4 * hidden_size),
            "b": forget,
        }

    def carry(self, params, batch_size):
        zeros = jnp.zeros((batch_size, params["r"].shape[0]), params["r"].dtype)
        return {"c": zeros, "n": zeros, "h": zeros, "m": zeros + self.m_0}

    def step(self, params, s, x_t):
        i, f, z, o = jnp.split(x_t @ params["w"] + s["h"] @ params["r"] + params["b"], 4, axis=-1)
        m_t = jnp.maximum(f + s["m"], i)
        i, f = jnp.exp(i - m_t), jnp.exp(f + s["m"] - m_t)
        c_t, n_t = f * s["c"] + i * jnp.tanh(z), f * s["n"] + i
        h_t = sigmoid(o) * c_t / n_t
        return {"c": c_t, "n": n_t, "h": h_t, "m": m_t}, h_t


class LayerNormed(Plain):
    """Ba et al. (2016): normalised over the units of one example."""

    def step(self, params, s, x_t):
        z = s["h"] @ params["u"] + x_t @ params["w"]
        h_t = jnp.tanh((z - z.mean(axis=-1, keepdims=True)) / jnp.sqrt(z.var(axis=-1, keepdims=True) + 1e-5))
        return {"h": h_t}, h_t


@jax.custom_jvp
def spike(v):
    return (v > 0).astype(v.dtype)


@spike.defjvp
def _surrogate(primals, tangents):
    return spike(primals[0]), tangents[0] / (1 + 10 * jnp.abs(primals[0])) ** 2


class Spiking(Plain):
    """Leaky integrate and fire with a surrogate gradient: a backward pass of its own, and a linear one."""

    def carry(self, params, batch_size):
        zeros = super().carry(params, batch_size)["h"]
        return {"v": zeros, "z": zeros}

    def step(self, params, s, x_t):
        v_t = 0.9 * s["v"] + 2 * x_t @ params["w"] + 0.5 * s["z"] @ params["u"] - jax.lax.stop_gradient(s["z"])
        z_t = spike(v_t - 1.0)
        return {"v": v_t, "z": z_t}, z_t


class LogSpace(Plain):
    """Feng et al. (2024), minGRU with a state that is a logarithm."""

    def carry(self, params, batch_size):
        return {"log_h": jnp.full((batch_size, params["u"].shape[0]), -2.0, params["u"].dtype)}

    def step(self, params, s, x_t):
        k = x_t @ params["w"]
        log_h = jnp.logaddexp(s["log_h"] - softplus(k), jnp.log(softplus(k) + 0.5) - softplus(-k))
        return {"log_h": log_h}, jnp.exp(log_h)


class Dropped(Plain):
    """Recurrent dropout whose key travels in the state: one mask is drawn for the whole batch."""

    def __init__(self, raw=False):
        self.raw = raw

    def carry(self, params, batch_size):
        return super().carry(params, batch_size) | {
            "key": jax.random.PRNGKey(0) if self.raw else jax.random.key(0)
        }

    def step(self, params, s, x_t):
        key, own = jax.random.split(s["key"])
        keep = jax.random.bernoulli(own, 0.7, s["h"].shape) / 0.7
        h_t = jnp.tanh((keep * s["h"]) @ params["u"] + x_t @ params["w"])
        return {"h": h_t, "key": key}, h_t


class Clockwork(Plain):
    """Koutník et al. (2014): an integer timestep in the state, and integers in the parameters."""

    def init(self, key, input_size, hidden_size):
        return super().init(key, input_size, hidden_size) | {"period": 2 ** (jnp.arange(hidden_size) % 3)}

    def carry(self, params, batch_size):
        return super().carry(params, batch_size) | {"t": 0}

    def step(self, params, s, x_t):
        h_t = jnp.tanh(s["h"] @ params["u"] + x_t @ params["w"])
        return {"h": jnp.where(s["t"] % params["period"] == 0, h_t, s["h"]), "t": s["t"] + 1}, h_t


class Narrow(Plain):
    """Float32 parameters, and everything that moves in bfloat16 or float16."""

    def __init__(self, dtype="bfloat16"):
        self.dtype = dtype

    def carry(self, params, batch_size):
        return jax.tree.map(lambda leaf: leaf.astype(self.dtype), super().carry(params, batch_size))

    def step(self, params, s, x_t):
        return super().step(jax.tree.map(lambda w: w.astype(self.dtype), params), s, x_t.astype(self.dtype))


class Embedded(Plain):
    """Inputs are token ids, which have no gradient."""

    def init(self, key, input_size, hidden_size):
        own, table = jax.random.split(key)
        return super().init(own, hidden_size, hidden_size) | {"e": dense(table, 10, hidden_size)}

    def step(self, params, s, x_t):
        return super().step(params, s, params["e"][x_t[:, 0].astype(int)])


class Stacked(Plain):
    """Two layers in a list, saturated at times."""

    def init(self, key, input_size, hidden_size):
        first, second = jax.random.split(key)
        layer = super().init
        return [layer(first, input_size, hidden_size), layer(second, hidden_size, hidden_size)]

    def carry(self, params, batch_size):
        return [Plain.carry(self, layer, batch_size)["h"] for layer in params]

    def step(self, params, s, x_t):
        states = []
        for layer, h_tm1 in zip(params, s, strict=True):
            x_t = jnp.tanh(20 * (h_tm1 @ layer["u"] + x_t @ layer["w"]))
            states.append(x_t)
        return states, x_t


ZOO = {
    "plain": Plain(),
    "lru": LinearRecurrentUnit(),
    "slstm": Exponential(),
    "slstm-inf": Exponential(-jnp.inf),
    "layernorm": LayerNormed(),
    "spiking": Spiking(),
    "log-space": LogSpace(),
    "dropout": Dropped(),
    "dropout-raw": Dropped(raw=True),
    "clockwork": Clockwork(),
    "bfloat16": Narrow(),
    "float16": Narrow("float16"),
    "tokens": Embedded(),
    "stacked": Stacked(),
}
