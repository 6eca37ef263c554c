"""The coupled oscillatory network: damped, driven oscillators, one per unit, coupled through their inputs.

    zₜ = zₜ₋₁ + Δt (tanh(xₜ Wₓ + hₜ₋₁ Wₕ + zₜ₋₁ W_z + b) - γ hₜ₋₁ - ε zₜ₋₁)
    hₜ = hₜ₋₁ + Δt zₜ

h are the positions, y in the paper, and z the velocities.

Source: Rusch & Mishra (2021), "Coupled oscillatory recurrent neural network (coRNN)", eq. 3,
https://arxiv.org/abs/2010.00951 (explicit in the damping, as in its code)
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import Carry, Params, zero_state
from gradlab.cells.literature.options import check_finite
from gradlab.errors import GradlabError


@dataclass(frozen=True)
class CoRNN:
    """zₜ = zₜ₋₁ + Δt (tanh(preₜ) - γ hₜ₋₁ - ε zₜ₋₁), hₜ = hₜ₋₁ + Δt zₜ, yₜ = hₜ. Made by `cornn`."""

    dt: float
    gamma: float
    epsilon: float

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`w_x` (I, H), `w_h` (H, H), `w_z` (H, H) and `b` (H,), all uniform on ±1/√(I + 2H) as in its code."""
        bound = 1.0 / math.sqrt(input_size + 2 * hidden_size)
        shapes = {"w_x": (input_size, hidden_size), "b": (hidden_size,)}
        shapes |= dict.fromkeys(("w_h", "w_z"), (hidden_size, hidden_size))
        keys = jax.random.split(key, len(shapes))
        return {
            name: jax.random.uniform(own, shape, minval=-bound, maxval=bound)
            for own, (name, shape) in zip(keys, shapes.items(), strict=True)
        }

    def carry(self, params: Params, batch_size: int) -> Carry:
        """s₀ = 0."""
        return zero_state(("h", "z"), batch_size, params["b"].shape[0], params["b"].dtype)

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, hₜ)."""
        h_tm1, z_tm1 = carry["h"], carry["z"]
        pre_t = x_t @ params["w_x"] + h_tm1 @ params["w_h"] + z_tm1 @ params["w_z"] + params["b"]
        z_t = z_tm1 + self.dt * (jnp.tanh(pre_t) - self.gamma * h_tm1 - self.epsilon * z_tm1)
        h_t = h_tm1 + self.dt * z_t
        return {"h": h_t, "z": z_t}, h_t


def cornn(dt: float = 0.06, gamma: float = 66.0, epsilon: float = 15.0) -> CoRNN:
    """A coupled oscillatory network: z' = tanh(x Wₓ + h Wₕ + z W_z + b) - γ h - ε z, h' = z, in steps of Δt.

    The defaults are those of its code for the adding problem; for sequential MNIST it has 0.042, 2.7 and 4.7.

    Args:
        dt: Δt, the step of time. gamma: γ, the square of the frequency. epsilon: ε, the damping.

    Raises:
        GradlabError: an option that is not finite, or dt not above 0.

    Example:
        >>> params = cornn().init(jax.random.key(0), 2, 4)
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'w_x': (2, 4), 'b': (4,), 'w_h': (4, 4), 'w_z': (4, 4)}

    Source: Rusch & Mishra (2021), eq. 3, https://arxiv.org/abs/2010.00951; https://github.com/tk-rusch/coRNN
    """
    check_finite(dt=dt, gamma=gamma, epsilon=epsilon)
    if dt <= 0:
        raise GradlabError(f"dt is {dt:g}: give a step of time above 0")
    return CoRNN(dt, gamma, epsilon)
