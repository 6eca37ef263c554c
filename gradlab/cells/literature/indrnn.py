"""The independently recurrent network: every unit sees its own past alone.

    hₜ = φ(xₜ Wₓ + u ⊙ hₜ₋₁ + b),   φ = relu or tanh

Where a unit stays active, its gradient over k timesteps is u^k.

Source: Li et al. (2018), "Independently recurrent neural network (IndRNN)",
https://arxiv.org/abs/1803.04831
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import Carry, Params, zero_state
from gradlab.cells.initializers import glorot
from gradlab.errors import GradlabError, unknown

_ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


@dataclass(frozen=True)
class IndRNN:
    """hₜ = φ(xₜ Wₓ + u ⊙ hₜ₋₁ + b), yₜ = hₜ. Made by `indrnn`."""

    activation: str
    t_max: int | None

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`w_x` (I, H), Glorot, `u` (H,) and a bias `b` (H,) of zeros."""
        key_x, key_u = jax.random.split(key)
        low, high = (0.0, 1.0) if self.t_max is None else (0.5 ** (1 / self.t_max), 2.0 ** (1 / self.t_max))
        u = jax.random.uniform(key_u, (hidden_size,), minval=low, maxval=high)
        return {"w_x": glorot(key_x, input_size, hidden_size), "u": u, "b": jnp.zeros(hidden_size)}

    def carry(self, params: Params, batch_size: int) -> Carry:
        """s₀ = 0."""
        return zero_state(("h",), batch_size, params["u"].shape[0], params["u"].dtype)

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, hₜ)."""
        pre_t = x_t @ params["w_x"] + params["u"] * carry["h"] + params["b"]
        h_t = _ACTIVATIONS[self.activation](pre_t)
        return {"h": h_t}, h_t


def indrnn(activation: str = "relu", t_max: int | None = None) -> IndRNN:
    """An independently recurrent network: hₜ = φ(xₜ Wₓ + u ⊙ hₜ₋₁ + b), u one weight per unit.

    Args:
        activation: φ, relu or tanh.
        t_max: the longest lag in timesteps, over which no unit loses or gains more than a factor of two:
            u ~ U[0.5^(1/t_max), 2^(1/t_max)]. Without it, u ~ U[0, 1].

    Raises:
        GradlabError: an unknown activation, or `t_max` below 1.

    Example:
        >>> params = indrnn(t_max=100).init(jax.random.key(0), 2, 4)
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'w_x': (2, 4), 'u': (4,), 'b': (4,)}

    Source: Li et al. (2018), the range of u too, https://arxiv.org/abs/1803.04831
    """
    if activation not in _ACTIVATIONS:
        raise unknown("activation", activation, _ACTIVATIONS)
    if t_max is not None and t_max < 1:
        raise GradlabError(f"t_max={t_max}: give the longest lag, at least 1")
    return IndRNN(activation, t_max)
