"""The linear recurrent unit: a complex diagonal state and a real output.

    λ = exp(-exp(ν) + i exp(θ)),   |λ| < 1
    hₜ = λ ⊙ hₜ₋₁ + exp(γ) ⊙ (xₜ Wₓ)          Wₓ complex
    yₜ = Re(hₜ W_y) + xₜ D                     W_y complex

The gradient of unit j over k timesteps is |λ_j|^k, exactly. One LRU is linear in its inputs; the paper puts a
nonlinearity between layers, here `residual:lru:norm=true` puts a normalisation there.

Source: Orvieto et al. (2023), "Resurrecting recurrent neural networks for long sequences",
https://arxiv.org/abs/2303.06349 (there D is diagonal, as inputs and outputs have one size)
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import Carry, Params
from gradlab.cells.literature.options import check_range
from gradlab.errors import GradlabError


@dataclass(frozen=True)
class LRU:
    """hₜ = λ ⊙ hₜ₋₁ + exp(γ) ⊙ (xₜ Wₓ), yₜ = Re(hₜ W_y) + xₜ D. Made by `lru`."""

    r_min: float
    r_max: float
    max_phase: float

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`nu`, `theta`, `gamma` (H,), complex `w_x` (I, H) and `w_y` (H, H), and `d` (I, H).

        |λ|² is uniform on [r_min², r_max²], the phase on [0, max_phase], and exp(γ) = √(1 - |λ|²).
        """
        keys = jax.random.split(key, 5)
        # Not from 0, whose logarithm is infinite.
        u_r, u_phase = (jax.random.uniform(own, (hidden_size,), minval=1e-6) for own in keys[:2])
        log_square = jnp.log(u_r * (self.r_max**2 - self.r_min**2) + self.r_min**2)
        return {
            "nu": jnp.log(-0.5 * log_square),
            "theta": jnp.log(self.max_phase * u_phase),
            "gamma": 0.5 * jnp.log(-jnp.expm1(log_square)),
            "w_x": _complex_normal(keys[2], input_size, hidden_size) / math.sqrt(2 * input_size),
            "w_y": _complex_normal(keys[3], hidden_size, hidden_size) / math.sqrt(hidden_size),
            "d": jax.random.normal(keys[4], (input_size, hidden_size)) / math.sqrt(input_size),
        }

    def carry(self, params: Params, batch_size: int) -> Carry:
        """s₀ = 0, complex."""
        return {"h": jnp.zeros((batch_size, params["nu"].shape[0]), params["w_x"].dtype)}

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, yₜ)."""
        decay = jnp.exp(-jnp.exp(params["nu"]) + 1j * jnp.exp(params["theta"]))
        h_t = decay * carry["h"] + jnp.exp(params["gamma"]) * (x_t @ params["w_x"])
        return {"h": h_t}, (h_t @ params["w_y"]).real + x_t @ params["d"]


def _complex_normal(key: Array, rows: int, columns: int) -> Array:
    """Real and imaginary part N(0, 1) each."""
    real, imaginary = jax.random.normal(key, (2, rows, columns))
    return real + 1j * imaginary


def lru(r_min: float = 0.0, r_max: float = 1.0, max_phase: float = 6.28) -> LRU:
    """A linear recurrent unit: hₜ = λ ⊙ hₜ₋₁ + exp(γ) ⊙ (xₜ Wₓ), yₜ = Re(hₜ W_y) + xₜ D, with complex λ.

    Args:
        r_min, r_max: the range of |λ| at the start; r_min near 1 makes a long memory.
        max_phase: the largest phase of λ at the start, in radians.

    Raises:
        GradlabError: not 0 ≤ r_min < r_max ≤ 1, or a phase that is not from 0 to 2π.

    Example:
        >>> params = lru(r_min=0.9).init(jax.random.key(0), 2, 4)
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'nu': (4,), 'theta': (4,), 'gamma': (4,), 'w_x': (2, 4), 'w_y': (4, 4), 'd': (2, 4)}
        >>> bool(jnp.all(jnp.exp(-jnp.exp(params["nu"])) >= 0.9))
        True

    Source: Orvieto et al. (2023), https://arxiv.org/abs/2303.06349
    """
    if not 0 <= r_min < r_max <= 1:
        raise GradlabError(f"r_min is {r_min:g} and r_max {r_max:g}: give 0 ≤ r_min < r_max ≤ 1")
    check_range("max_phase", max_phase, 1e-6, 2 * math.pi)
    return LRU(r_min, r_max, max_phase)
