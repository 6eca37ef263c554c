"""The gated recurrent unit, with the reset gate applied after the matrix product.

    rₜ, zₜ = σ(xₜ Wₓ + hₜ₋₁ Wₕ + b)          blocks r, z
    nₜ = tanh(xₜ Wₓ + b + rₜ ⊙ (hₜ₋₁ Wₕ + b_n))   block n
    hₜ = (1 - zₜ) ⊙ nₜ + zₜ ⊙ hₜ₋₁

The paper multiplies the reset gate into hₜ₋₁ before the product; cuDNN, and this cell, after it.

Source: Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder", section 2.3,
https://arxiv.org/abs/1406.1078; the form used here: NVIDIA cuDNN, `CUDNN_GRU`.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import BuiltIn, Carry, Params, steps_by_parts
from gradlab.cells.initializers import Scheme, chrono_bias


@steps_by_parts
@dataclass(frozen=True)
class GRU(BuiltIn):
    """hₜ = (1 - zₜ) ⊙ nₜ + zₜ ⊙ hₜ₋₁, yₜ = hₜ. Made by `gru`."""

    scheme: Scheme

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`w_x` (I, 3H), `w_h` (H, 3H), `b` (3H,) and `b_n` (H,); biases zero, or of chrono or a library."""
        if self.scheme.is_library:
            return self.scheme.library_params("gru", key, input_size, hidden_size)
        key_weights, key_bias = jax.random.split(key)
        zeros = jnp.zeros(hidden_size)
        keep = zeros if self.scheme.t_max is None else chrono_bias(key_bias, hidden_size, self.scheme.t_max)
        weights = self.scheme.weights(key_weights, input_size, hidden_size, blocks=3)
        return weights | {"b": jnp.concatenate([zeros, keep, zeros]), "b_n": zeros}

    def recurrent_bias(self, params: Params) -> Array | None:
        """b_r = (0, 0, b_n), (3H,)."""
        b_n = params["b_n"]
        return jnp.pad(b_n, (2 * b_n.shape[0], 0))

    def join(self, z_t: Array, r_t: Array) -> Array:
        """preₜ (B, 4H): r and z summed, then the two parts of n kept apart for the reset gate."""
        hidden = z_t.shape[-1] // 3
        gates = (z_t + r_t)[..., : 2 * hidden]
        return jnp.concatenate([gates, z_t[..., 2 * hidden :], r_t[..., 2 * hidden :]], axis=-1)

    def gates(self, pre_t: Array, carry: Carry) -> Carry:
        """hₜ from the pre-activations and hₜ₋₁."""
        gate = self.gate_values(pre_t)
        return {"h": (1.0 - gate["z"]) * gate["n"] + gate["z"] * carry["h"]}

    def gate_values(self, pre_t: Array) -> dict[str, Array]:
        """rₜ, zₜ and nₜ, each (B, H)."""
        pre_r, pre_z, pre_nx, pre_nh = jnp.split(pre_t, 4, axis=-1)
        r_t = jax.nn.sigmoid(pre_r)
        return {"r": r_t, "z": jax.nn.sigmoid(pre_z), "n": jnp.tanh(pre_nx + r_t * pre_nh)}

    def gate_bounds(self) -> dict[str, tuple[float, float]]:
        """(0, 1) for r and z, (-1, 1) for the candidate n."""
        return {"r": (0.0, 1.0), "z": (0.0, 1.0), "n": (-1.0, 1.0)}


def gru(init: str = "orthogonal", gain: float = 1.0, t_max: int | None = None) -> GRU:
    """A GRU: hₜ = (1 - zₜ) ⊙ nₜ + zₜ ⊙ hₜ₋₁, gate order r, z, n, reset after the matrix product.

    Args:
        init: orthogonal, glorot, identity, gaussian, chrono (needs `t_max`, sets the bias of z), or the default
            of a library: torch, keras, flax, equinox, haiku or tensorflow.
        gain: multiplies the recurrent weights.
        t_max: the longest lag in timesteps for chrono initialisation.

    Raises:
        GradlabError: an unknown init, a gain that is not finite, `t_max` missing or without effect.

    Example:
        >>> import jax
        >>> params = gru().init(jax.random.key(0), 2, 4)
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'w_x': (2, 12), 'w_h': (4, 12), 'b': (12,), 'b_n': (4,)}

    Source: Cho et al. (2014), section 2.3, https://arxiv.org/abs/1406.1078
    """
    return GRU(Scheme(init, gain, t_max))
