"""minGRU: a GRU whose gate and candidate do not see the state, so that hₜ is linear in hₜ₋₁.

    zₜ = σ(xₜ W_z + b_z)    gₜ = xₜ W_g + b_g          gate order z, g
    hₜ = (1 - zₜ) ⊙ hₜ₋₁ + zₜ ⊙ gₜ

The gradient of hₜ with respect to hₜ₋ₖ is ∏ (1 - z), exactly.

Source: Feng et al. (2024), "Were RNNs all we needed?", section 3, https://arxiv.org/abs/2410.01201
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import Carry, Params, zero_state
from gradlab.cells.initializers import glorot
from gradlab.cells.literature.options import check_finite


@dataclass(frozen=True)
class MinGRU:
    """hₜ = (1 - zₜ) ⊙ hₜ₋₁ + zₜ ⊙ gₜ, yₜ = hₜ. Made by `mingru`."""

    z_bias: float

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`w_x` (I, 2H), Glorot in each block, and `b` (2H,), zero but for the block z."""
        w_x = [glorot(own, input_size, hidden_size) for own in jax.random.split(key)]
        bias = jnp.zeros(2 * hidden_size).at[:hidden_size].set(self.z_bias)
        return {"w_x": jnp.concatenate(w_x, axis=1), "b": bias}

    def carry(self, params: Params, batch_size: int) -> Carry:
        """s₀ = 0."""
        return zero_state(("h",), batch_size, params["b"].shape[0] // 2, params["b"].dtype)

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, hₜ)."""
        pre_z, g_t = jnp.split(x_t @ params["w_x"] + params["b"], 2, axis=-1)
        h_t = jax.nn.sigmoid(-pre_z) * carry["h"] + jax.nn.sigmoid(pre_z) * g_t
        return {"h": h_t}, h_t


def mingru(z_bias: float = 0.0) -> MinGRU:
    """A minGRU: hₜ = (1 - zₜ) ⊙ hₜ₋₁ + zₜ ⊙ gₜ, where zₜ and gₜ see xₜ alone; gate order z, g.

    Args:
        z_bias: initial bias of z, which writes; a negative one keeps the state longer.

    Raises:
        GradlabError: the bias is not finite.

    Example:
        >>> params = mingru().init(jax.random.key(0), 2, 4)
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'w_x': (2, 8), 'b': (8,)}

    Source: Feng et al. (2024), section 3, https://arxiv.org/abs/2410.01201
    """
    check_finite(z_bias=z_bias)
    return MinGRU(z_bias)
