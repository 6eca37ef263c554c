"""Cells of other libraries with the weights of gradlab's own cells."""

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import keras
from flax import nnx

from gradlab.cells import gru, lstm, rnn

INPUTS, HIDDEN = 2, 4


def blocks(array, count):
    return jnp.split(array, count, axis=-1)


def joined(*parts):
    return jnp.concatenate(parts, axis=-1)


def nnx_lstm(w):
    parts = zip("ifgo", blocks(w["w_x"], 4), blocks(w["w_h"], 4), blocks(w["b"], 4), strict=True)
    return {
        name: value
        for gate, w_x, w_h, b in parts
        for name, value in {
            f"{'if_' if gate == 'f' else 'i' + gate}.kernel": w_x,
            f"h{gate}.kernel": w_h,
            f"h{gate}.bias": b,
        }.items()
    }


def nnx_gru(w):  # its recurrent product has no bias
    assert not w["b_n"].any()
    return {"dense_i.kernel": w["w_x"], "dense_i.bias": w["b"], "dense_h.kernel": w["w_h"]}


def linen_lstm(w):
    return {f"params.{name.replace('_', '')}": value for name, value in nnx_lstm(w).items()}


def linen_gru(w):
    gates = zip("rzn", blocks(w["w_x"], 3), blocks(w["w_h"], 3), blocks(w["b"], 3), strict=True)
    return {
        name: value
        for gate, w_x, w_h, b in gates
        for name, value in {
            f"params.i{gate}.kernel": w_x,
            f"params.i{gate}.bias": b,
            f"params.h{gate}.kernel": w_h,
        }.items()
    } | {"params.hn.bias": w["b_n"]}


def equinox_cell(w):
    found = {"weight_ih": w["w_x"].T, "weight_hh": w["w_h"].T, "bias": w["b"]}
    return found | ({"bias_n": w["b_n"]} if "b_n" in w else {})


def haiku_lstm(w):  # gates i, g, f, o; the forget bias is 1 more than its parameter
    i, f, g, o = zip(*(blocks(w[name], 4) for name in ("w_x", "w_h", "b")), strict=True)
    w_x, w_h, b = (joined(*parts) for parts in zip(i, g, (f[0], f[1], f[2] - 1), o, strict=True))
    return {"lstm/linear.w": jnp.concatenate([w_x, w_h]), "lstm/linear.b": b}


def haiku_rnn(w):
    return {
        "vanilla_rnn/linear.w": w["w_x"],
        "vanilla_rnn/linear.b": w["b"],
        "vanilla_rnn/linear_1.w": w["w_h"],
        "vanilla_rnn/linear_1.b": jnp.zeros(HIDDEN),
    }


def keras_cell(w):
    return {"kernel": w["w_x"], "recurrent_kernel": w["w_h"], "bias": w["b"]}


def keras_gru(w):  # gates z, r, h; two biases
    def ordered(array):
        r, z, n = blocks(array, 3)
        return joined(z, r, n)

    inside = joined(jnp.zeros(2 * HIDDEN), w["b_n"])
    return {
        "kernel": ordered(w["w_x"]),
        "recurrent_kernel": ordered(w["w_h"]),
        "bias": jnp.stack([ordered(w["b"]), inside]),
    }


def dense(w, x="dense_i", h="dense_h", prefix=""):
    return {f"{prefix}{x}.kernel": w["w_x"], f"{prefix}{x}.bias": w["b"], f"{prefix}{h}.kernel": w["w_h"]}


def optimized(w):
    return {"dense_i.kernel": w["w_x"], "dense_h.kernel": w["w_h"], "dense_h.bias": w["b"]}


CELLS = {
    "nnx-lstm": (nnx.LSTMCell, lstm(), nnx_lstm),
    "nnx-optimized": (nnx.OptimizedLSTMCell, lstm(), optimized),
    "nnx-gru": (nnx.GRUCell, gru(), nnx_gru),
    "nnx-rnn": (nnx.SimpleCell, rnn(), dense),
    "linen-lstm": (nn.LSTMCell, lstm(), linen_lstm),
    "linen-gru": (nn.GRUCell, gru(), linen_gru),
    "linen-rnn": (nn.SimpleCell, rnn(), lambda w: dense(w, "i", "h", "params.")),
    "equinox-lstm": (eqx.nn.LSTMCell, lstm(), equinox_cell),
    "equinox-gru": (eqx.nn.GRUCell, gru(), equinox_cell),
    "haiku-lstm": (hk.LSTM, lstm(), haiku_lstm),
    "haiku-rnn": (hk.VanillaRNN, rnn(activation="relu"), haiku_rnn),
    "keras-lstm": (keras.layers.LSTMCell, lstm(), keras_cell),
    "keras-gru": (keras.layers.GRUCell, gru(), keras_gru),
    "keras-rnn": (keras.layers.SimpleRNNCell, rnn(), keras_cell),
}
"""A class, gradlab's cell with the same equations, and its weights under the names of the class."""


def weights(cell):
    """Weights of one of gradlab's cells with biases drawn too."""
    params = cell.init(jax.random.key(3), INPUTS, HIDDEN)
    return params | {"b": 0.3 * jax.random.normal(jax.random.key(4), params["b"].shape)}


def inputs(timesteps=12):
    return jax.random.normal(jax.random.key(5), (timesteps, 3, INPUTS))


def last_output(outputs):
    """A loss of the last output."""
    return outputs[-1].sum(axis=-1)
