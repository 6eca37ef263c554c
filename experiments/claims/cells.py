"""Cells that only claims need, in sweeps as `./experiments/claims/cells.py:NAME`."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.cells import lstm
from gradlab.cells.base import pre_activation
from gradlab.cells.initializers import glorot, orthogonal


@dataclass(frozen=True)
class FrozenLSTM:
    """An LSTM of which one gate sees neither input nor state and stays as it starts.

    That is 1/2 for i and o, and σ(1) for f, whose bias is 1, unless a value is given; weights as of `lstm`.
    The value is a parameter, so that all these cells share their programs.
    """

    gate: str
    value: float | None = None

    def init(self, key, input_size, hidden_size):
        """As of `lstm`, and `fixed` (3,): the values of i, f and o, negative where a gate is not frozen."""
        start = {"i": 0.5, "f": float(1 / (1 + np.exp(-1.0))), "o": 0.5}
        value = start[self.gate] if self.value is None else self.value
        fixed = jnp.array([value if name == self.gate else -1.0 for name in start])
        return lstm().init(key, input_size, hidden_size) | {"fixed": fixed}

    def carry(self, params, batch_size):
        """s₀ = 0."""
        return lstm().carry(params, batch_size)

    def step(self, params, carry, x_t):
        """(sₜ₋₁, xₜ) -> (sₜ, hₜ)."""
        cell = lstm()
        gate = cell.gate_values(pre_activation(cell, params, carry, x_t))
        i, f, o = (
            jnp.where(value < 0, gate[name], value) for name, value in zip("ifo", params["fixed"], strict=True)
        )
        c_t = f * carry["c"] + i * gate["g"]
        h_t = o * jnp.tanh(c_t)
        return {"h": h_t, "c": c_t}, h_t


@dataclass(frozen=True)
class UnitaryRNN:
    """hₜ = modReLU(W hₜ₋₁ + V xₜ), W = D₃ R₂ F⁻¹ D₂ Π R₁ F D₁, complex; yₜ = [Re hₜ, Im hₜ].

    D: diagonal with entries e^{iω}, R: reflections, F: the Fourier transform, Π: a permutation, all unitary.
    Initial values: ω ~ U[-π, π], the vectors of R and the parts of V uniform, b ~ U[-0.01, 0.01].

    Source: Arjovsky, Shah & Bengio (2016), "Unitary evolution recurrent neural networks", section 4
    """

    measured_leaves: ClassVar[tuple[str, ...]] = ("h",)

    def init(self, key, input_size, hidden_size):
        """`omega` (3, H), `reflect` (2, 2, H), `v` (2, I, H) and `b` (H,); `order` (H,) is not trained."""
        keys = jax.random.split(key, 5)
        v = jnp.stack([glorot(k, input_size, hidden_size) for k in jax.random.split(keys[2])])
        return {
            "omega": jax.random.uniform(keys[0], (3, hidden_size), minval=-jnp.pi, maxval=jnp.pi),
            "reflect": jax.random.uniform(keys[1], (2, 2, hidden_size), minval=-1.0, maxval=1.0),
            "v": v,
            "b": jax.random.uniform(keys[4], (hidden_size,), minval=-0.01, maxval=0.01),
            "order": jax.random.permutation(keys[3], hidden_size),
        }

    def carry(self, params, batch_size):
        """s₀ = 0, complex."""
        size = len(params["b"])
        return {"h": jnp.zeros((batch_size, size), jnp.result_type(params["b"], jnp.complex64))}

    def step(self, params, carry, x_t):
        """(sₜ₋₁, xₜ) -> (sₜ, [Re hₜ, Im hₜ])."""
        d1, d2, d3 = jnp.exp(1j * params["omega"])
        r1, r2 = jax.lax.complex(params["reflect"][:, 0], params["reflect"][:, 1])
        z = _reflected(r1, jnp.fft.fft(d1 * carry["h"], norm="ortho"))
        z = d3 * _reflected(r2, jnp.fft.ifft(d2 * z[:, params["order"]], norm="ortho"))
        z = z + jax.lax.complex(x_t @ params["v"][0], x_t @ params["v"][1])
        size = jnp.sqrt(z.real**2 + z.imag**2 + 1e-12)
        h_t = z * jnp.maximum(1 + params["b"] / size, 0)
        return {"h": h_t}, jnp.concatenate([h_t.real, h_t.imag], axis=-1)


def _reflected(v, z):
    """(I - 2 v v* / |v|²) z for each row of z."""
    return z - 2 * v * (z @ v.conj())[:, None] / jnp.sum(jnp.abs(v) ** 2)


@dataclass(frozen=True)
class ModReLU:
    """hₜ = modReLU(xₜ Wₓ + hₜ₋₁ Wₕ), Wₕ orthogonal when it starts and then trained freely; b = 0 when it starts.

    Source: the "RNN Orth" of Kerg et al. (2019), "Non-normal recurrent neural network (nnRNN)", supplement
    """

    def init(self, key, input_size, hidden_size):
        """`w_x` (I, H), Glorot, `w_h` (H, H) and `b` (H,)."""
        key_x, key_h = jax.random.split(key)
        w_h = orthogonal(key_h, hidden_size)
        return {"w_x": glorot(key_x, input_size, hidden_size), "w_h": w_h, "b": jnp.zeros(hidden_size)}

    def carry(self, params, batch_size):
        """s₀ = 0."""
        return {"h": jnp.zeros((batch_size, len(params["b"])), params["b"].dtype)}

    def step(self, params, carry, x_t):
        """(sₜ₋₁, xₜ) -> (sₜ, hₜ)."""
        z = x_t @ params["w_x"] + carry["h"] @ params["w_h"]
        h_t = jnp.where(jnp.abs(z) + params["b"] >= 0, z + params["b"] * jnp.sign(z), 0)
        return {"h": h_t}, h_t


@dataclass(frozen=True)
class Blocks1997:
    """The network of the adding experiment of 1997: memory blocks of two cells that share their gates, 93 weights.

    Cells and gates see the input and the outputs of all cells and gates at the timestep before:

        cₜ = cₜ₋₁ + i g(net),  yₜ = o h(cₜ),  g = 4σ - 2,  h = 2σ - 1

    Two blocks have 8 units: 16 weights of inputs, 64 recurrent ones, 8 biases; 5 of the readout make 93. Weights
    and biases ~ U[-0.1, 0.1], the biases of the input gates -3 and -6. `hidden` is the number of cells.

    Source: Hochreiter & Schmidhuber (1997), "Long short-term memory", section 5.4. There the gradient is truncated
    at the gates and the output unit is squashed; here neither is.
    """

    measured_leaves: ClassVar[tuple[str, ...]] = ("c", "y")

    def init(self, key, input_size, hidden_size):
        """`w_x` (I, 2H), `w_y` (2H, 2H) and `b` (2H,): H cells, H/2 input gates, H/2 output gates."""
        keys = jax.random.split(key, 3)
        units, gates = 2 * hidden_size, hidden_size // 2
        shapes = {"w_x": (input_size, units), "w_y": (units, units), "b": (units,)}
        drawn = {
            name: jax.random.uniform(k, shape, minval=-0.1, maxval=0.1)
            for k, (name, shape) in zip(keys, shapes.items(), strict=True)
        }
        closed = -3.0 * jnp.arange(1, gates + 1)
        return drawn | {"b": drawn["b"].at[hidden_size : hidden_size + gates].set(closed)}

    def carry(self, params, batch_size):
        """s₀ = 0; `y` are the outputs of cells and gates."""
        units = len(params["b"])
        zeros = jnp.zeros((batch_size, units), params["b"].dtype)
        return {"c": zeros[:, : units // 2], "y": zeros}

    def step(self, params, carry, x_t):
        """(sₜ₋₁, xₜ) -> (sₜ, outputs of the cells)."""
        cells = carry["c"].shape[1]
        net = x_t @ params["w_x"] + carry["y"] @ params["w_y"] + params["b"]
        gates = jax.nn.sigmoid(net[:, cells:])
        i, o = (jnp.repeat(gate, 2, axis=1) for gate in jnp.split(gates, 2, axis=1))
        c_t = carry["c"] + i * (4 * jax.nn.sigmoid(net[:, :cells]) - 2)
        y_t = o * (2 * jax.nn.sigmoid(c_t) - 1)
        return {"c": c_t, "y": jnp.concatenate([y_t, gates], axis=1)}, y_t
