"""The LSTM with layer normalisation of its two products and of the cell state.

    preₜ = LN(xₜ Wₓ) ⊙ α_x + LN(hₜ₋₁ Wₕ) ⊙ α_h + b,  gate order i, f, g, o
    iₜ, fₜ, oₜ = σ(pre)   gₜ = tanh(pre)
    cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ
    hₜ = oₜ ⊙ tanh(LN(cₜ) ⊙ α_c + β_c)

LN takes mean and variance over the units of one example, of a product over all 4H of them. At h₀ = 0 the variance
is 0 and the derivative of LN is 1/√(1e-5) = 316: the gradient at the initial `h` is that much larger.

Source: Ba, Kiros & Hinton (2016), "Layer normalization",
https://arxiv.org/abs/1607.06450 (the two shifts of the products there are one bias b here)
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import Carry, Params, layer_norm, zero_state
from gradlab.cells.initializers import Scheme
from gradlab.cells.literature.options import check_finite, checked_scheme


@dataclass(frozen=True)
class LayerNormLSTM:
    """cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ, hₜ = oₜ ⊙ tanh(LN(cₜ)), yₜ = hₜ. Made by `lstm_layernorm`."""

    forget_bias: float
    scheme: Scheme

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`w_x` (I, 4H), `w_h` (H, 4H), `b` (4H,), `gain_x`, `gain_h` (4H,), `gain_c` and `b_c` (H,)."""
        weights = self.scheme.weights(key, input_size, hidden_size, blocks=4)
        ones = jnp.ones(4 * hidden_size)
        bias = jnp.zeros(4 * hidden_size).at[hidden_size : 2 * hidden_size].set(self.forget_bias)
        norms = {"gain_x": ones, "gain_h": ones, "gain_c": ones[:hidden_size], "b_c": jnp.zeros(hidden_size)}
        return weights | {"b": bias} | norms

    def carry(self, params: Params, batch_size: int) -> Carry:
        """s₀ = 0."""
        return zero_state(("h", "c"), batch_size, params["w_h"].shape[0], params["w_h"].dtype)

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, hₜ)."""
        z_t = layer_norm(x_t @ params["w_x"], params["gain_x"], params["b"])
        pre_t = z_t + layer_norm(carry["h"] @ params["w_h"], params["gain_h"])
        pre_i, pre_f, pre_g, pre_o = jnp.split(pre_t, 4, axis=-1)
        c_t = jax.nn.sigmoid(pre_f) * carry["c"] + jax.nn.sigmoid(pre_i) * jnp.tanh(pre_g)
        h_t = jax.nn.sigmoid(pre_o) * jnp.tanh(layer_norm(c_t, params["gain_c"], params["b_c"]))
        return {"h": h_t, "c": c_t}, h_t


def lstm_layernorm(forget_bias: float = 1.0, init: str = "orthogonal", gain: float = 1.0) -> LayerNormLSTM:
    """An LSTM with layer normalisation: preₜ = LN(xₜ Wₓ) + LN(hₜ₋₁ Wₕ) + b, hₜ = oₜ ⊙ tanh(LN(cₜ)).

    Args:
        forget_bias: initial bias of the forget gate.
        init: orthogonal, glorot, identity or gaussian recurrent weights.
        gain: multiplies the recurrent weights, which the normalisation undoes but for its 1e-5.

    Raises:
        GradlabError: an option out of range.

    Example:
        >>> params = lstm_layernorm().init(jax.random.key(0), 2, 4)
        >>> params["gain_h"].shape, params["gain_c"].shape, params["b_c"].shape
        ((16,), (4,), (4,))

    Source: Ba, Kiros & Hinton (2016), https://arxiv.org/abs/1607.06450
    """
    check_finite(forget_bias=forget_bias)
    return LayerNormLSTM(forget_bias, checked_scheme(init, gain))
