"""The minimal gated unit: a GRU whose one gate resets and updates.

    fₜ = σ(xₜ W_f + hₜ₋₁ U_f + b_f)                  block f
    gₜ = tanh(xₜ W_g + (fₜ ⊙ hₜ₋₁) U_g + b_g)         block g
    hₜ = (1 - fₜ) ⊙ hₜ₋₁ + fₜ ⊙ gₜ

Source: Zhou et al. (2016), "Minimal gated unit for recurrent neural networks",
https://arxiv.org/abs/1603.09420
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import Carry, Params, zero_state
from gradlab.cells.initializers import Scheme
from gradlab.cells.literature.options import check_finite, checked_scheme


@dataclass(frozen=True)
class MGU:
    """hₜ = (1 - fₜ) ⊙ hₜ₋₁ + fₜ ⊙ gₜ, yₜ = hₜ. Made by `mgu`."""

    forget_bias: float
    scheme: Scheme

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`w_x` (I, 2H), `w_h` (H, 2H) and `b` (2H,), zero but for the block f."""
        bias = jnp.zeros(2 * hidden_size).at[:hidden_size].set(self.forget_bias)
        return self.scheme.weights(key, input_size, hidden_size, blocks=2) | {"b": bias}

    def carry(self, params: Params, batch_size: int) -> Carry:
        """s₀ = 0."""
        return zero_state(("h",), batch_size, params["w_h"].shape[0], params["w_h"].dtype)

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, hₜ)."""
        h_tm1 = carry["h"]
        z_f, z_g = jnp.split(x_t @ params["w_x"] + params["b"], 2, axis=-1)
        u_f, u_g = jnp.split(params["w_h"], 2, axis=-1)
        f_t = jax.nn.sigmoid(z_f + h_tm1 @ u_f)
        h_t = (1.0 - f_t) * h_tm1 + f_t * jnp.tanh(z_g + (f_t * h_tm1) @ u_g)
        return {"h": h_t}, h_t


def mgu(forget_bias: float = 0.0, init: str = "orthogonal", gain: float = 1.0) -> MGU:
    """A minimal gated unit: hₜ = (1 - fₜ) ⊙ hₜ₋₁ + fₜ ⊙ gₜ, with fₜ ⊙ hₜ₋₁ in gₜ; gate order f, g.

    Args:
        forget_bias: initial bias of f, which writes: a negative one keeps the state longer.
        init: orthogonal, glorot, identity or gaussian recurrent weights.
        gain: multiplies the recurrent weights.

    Raises:
        GradlabError: an option out of range.

    Example:
        >>> params = mgu().init(jax.random.key(0), 2, 4)
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'w_x': (2, 8), 'w_h': (4, 8), 'b': (8,)}

    Source: Zhou et al. (2016), https://arxiv.org/abs/1603.09420
    """
    check_finite(forget_bias=forget_bias)
    return MGU(forget_bias, checked_scheme(init, gain))
