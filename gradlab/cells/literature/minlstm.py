"""minLSTM: an LSTM whose gates do not see the state and sum to one, so that hₜ is linear in hₜ₋₁.

    fₜ = σ(xₜ W_f + b_f)   iₜ = σ(xₜ W_i + b_i)   gₜ = xₜ W_g + b_g       gate order f, i, g
    hₜ = fₜ / (fₜ + iₜ) ⊙ hₜ₋₁ + iₜ / (fₜ + iₜ) ⊙ gₜ

The gradient of hₜ with respect to hₜ₋ₖ is ∏ f / (f + i), exactly.

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
class MinLSTM:
    """hₜ = fₜ / (fₜ + iₜ) ⊙ hₜ₋₁ + iₜ / (fₜ + iₜ) ⊙ gₜ, yₜ = hₜ. Made by `minlstm`."""

    forget_bias: float

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`w_x` (I, 3H), Glorot in each block, and `b` (3H,), zero but for the forget block."""
        w_x = [glorot(own, input_size, hidden_size) for own in jax.random.split(key, 3)]
        bias = jnp.zeros(3 * hidden_size).at[:hidden_size].set(self.forget_bias)
        return {"w_x": jnp.concatenate(w_x, axis=1), "b": bias}

    def carry(self, params: Params, batch_size: int) -> Carry:
        """s₀ = 0."""
        return zero_state(("h",), batch_size, params["b"].shape[0] // 3, params["b"].dtype)

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, hₜ)."""
        pre_f, pre_i, g_t = jnp.split(x_t @ params["w_x"] + params["b"], 3, axis=-1)
        # f / (f + i) as a sigmoid: the quotient itself is 0 / 0 where both gates are closed.
        log_ratio = jax.nn.log_sigmoid(pre_f) - jax.nn.log_sigmoid(pre_i)
        h_t = jax.nn.sigmoid(log_ratio) * carry["h"] + jax.nn.sigmoid(-log_ratio) * g_t
        return {"h": h_t}, h_t


def minlstm(forget_bias: float = 1.0) -> MinLSTM:
    """A minLSTM: hₜ = (fₜ ⊙ hₜ₋₁ + iₜ ⊙ gₜ) / (fₜ + iₜ), where the gates see xₜ alone; gate order f, i, g.

    Args:
        forget_bias: initial bias of the forget gate.

    Raises:
        GradlabError: the bias is not finite.

    Example:
        >>> params = minlstm().init(jax.random.key(0), 2, 4)
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'w_x': (2, 12), 'b': (12,)}

    Source: Feng et al. (2024), section 3, https://arxiv.org/abs/2410.01201
    """
    check_finite(forget_bias=forget_bias)
    return MinLSTM(forget_bias)
