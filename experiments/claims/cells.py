"""Cells that only claims need, in sweeps as `./experiments/claims/cells.py:NAME`."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.cells import lstm
from gradlab.cells.base import pre_activation
from gradlab.cells.initializers import glorot


@dataclass(frozen=True)
class FrozenLSTM:
    """An LSTM of which one gate sees neither input nor state and stays as it starts.

    That is 1/2 for i and o, and σ(1) for f, whose bias is 1, unless a value is given; weights are as of `lstm`.
    """

    gate: str
    value: float | None = None

    def init(self, key, input_size, hidden_size):
        """As of `lstm`."""
        return lstm().init(key, input_size, hidden_size)

    def carry(self, params, batch_size):
        """s₀ = 0."""
        return lstm().carry(params, batch_size)

    def step(self, params, carry, x_t):
        """(sₜ₋₁, xₜ) -> (sₜ, hₜ)."""
        cell = lstm()
        gate = cell.gate_values(pre_activation(cell, params, carry, x_t))
        start = {"i": 0.5, "f": float(1 / (1 + np.exp(-1.0))), "o": 0.5}[self.gate]
        gate[self.gate] = jnp.full_like(gate[self.gate], start if self.value is None else self.value)
        c_t = gate["f"] * carry["c"] + gate["i"] * gate["g"]
        h_t = gate["o"] * jnp.tanh(c_t)
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
