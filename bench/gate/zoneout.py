"""A cell of one's own for the study: a vanilla RNN whose units keep their value at random timesteps.

Source: Krueger et al. (2017), "Zoneout: regularizing RNNs by randomly preserving hidden activations", section 3.2,
https://arxiv.org/abs/1606.01305
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.initializers import glorot, orthogonal

RATE = 0.2


class Zoneout:
    """hₜ = m ⊙ hₜ₋₁ + (1 - m) ⊙ tanh(xₜ Wₓ + hₜ₋₁ Wₕ), with a mask of units m drawn anew at each timestep."""

    def init(self, key: Array, input_size: int, hidden_size: int) -> Any:
        key_x, key_h = jax.random.split(key)
        return {"w_x": glorot(key_x, input_size, hidden_size), "w_h": orthogonal(key_h, hidden_size)}

    def carry(self, params: Any, batch_size: int) -> Any:
        hidden = len(params["w_h"])
        return {"h": jnp.zeros((batch_size, hidden), params["w_h"].dtype), "t": jnp.zeros(batch_size, jnp.int32)}

    def step(self, params: Any, carry: Any, x_t: Array) -> tuple[Any, Array]:
        h_tm1, t = carry["h"], carry["t"]
        key = jax.random.fold_in(jax.random.key(7), t[0])
        kept = jax.random.bernoulli(key, RATE, (h_tm1.shape[1],))
        h_t = jnp.where(kept, h_tm1, jnp.tanh(x_t @ params["w_x"] + h_tm1 @ params["w_h"]))
        return {"h": h_t, "t": t + 1}, h_t
