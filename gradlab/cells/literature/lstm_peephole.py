"""The LSTM with peepholes: its gates see the cell state.

    preₜ = xₜ Wₓ + hₜ₋₁ Wₕ + b,  gate order i, f, g, o;  peepholes p in the order i, f, o
    iₜ = σ(pre_i + p_i ⊙ cₜ₋₁)   fₜ = σ(pre_f + p_f ⊙ cₜ₋₁)   gₜ = tanh(pre_g)
    cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ
    oₜ = σ(pre_o + p_o ⊙ cₜ)
    hₜ = oₜ ⊙ tanh(cₜ)

Source: Gers, Schraudolph & Schmidhuber (2002), "Learning precise timing with LSTM recurrent networks",
https://www.jmlr.org/papers/v3/gers02a.html (there the gradient through the
peepholes is cut; here it is not)
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import Carry, Params, zero_state
from gradlab.cells.initializers import Scheme
from gradlab.cells.literature.options import check_finite, check_range, checked_scheme


@dataclass(frozen=True)
class PeepholeLSTM:
    """cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ, hₜ = oₜ ⊙ tanh(cₜ), yₜ = hₜ. Made by `lstm_peephole`."""

    forget_bias: float
    peephole: float
    scheme: Scheme

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`w_x` (I, 4H), `w_h` (H, 4H), `b` (4H,), zero but for the forget block, and `p` (3H,)."""
        key_weights, key_p = jax.random.split(key)
        bias = jnp.zeros(4 * hidden_size).at[hidden_size : 2 * hidden_size].set(self.forget_bias)
        p = self.peephole * jax.random.normal(key_p, (3 * hidden_size,))
        return self.scheme.weights(key_weights, input_size, hidden_size, blocks=4) | {"b": bias, "p": p}

    def carry(self, params: Params, batch_size: int) -> Carry:
        """s₀ = 0."""
        return zero_state(("h", "c"), batch_size, params["w_h"].shape[0], params["w_h"].dtype)

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, hₜ)."""
        pre_i, pre_f, pre_g, pre_o = jnp.split(
            x_t @ params["w_x"] + carry["h"] @ params["w_h"] + params["b"], 4, axis=-1
        )
        p_i, p_f, p_o = jnp.split(params["p"], 3)
        c_tm1 = carry["c"]
        i_t, f_t = jax.nn.sigmoid(pre_i + p_i * c_tm1), jax.nn.sigmoid(pre_f + p_f * c_tm1)
        c_t = f_t * c_tm1 + i_t * jnp.tanh(pre_g)
        h_t = jax.nn.sigmoid(pre_o + p_o * c_t) * jnp.tanh(c_t)
        return {"h": h_t, "c": c_t}, h_t


def lstm_peephole(
    forget_bias: float = 1.0, peephole: float = 0.1, init: str = "orthogonal", gain: float = 1.0
) -> PeepholeLSTM:
    """An LSTM with peepholes: iₜ and fₜ see cₜ₋₁ and oₜ sees cₜ, gate order i, f, g, o.

    Args:
        forget_bias: initial bias of the forget gate.
        peephole: standard deviation of the initial peepholes; 0 starts as the LSTM does.
        init: orthogonal, glorot, identity or gaussian recurrent weights.
        gain: multiplies the recurrent weights.

    Raises:
        GradlabError: an option out of range.

    Example:
        >>> params = lstm_peephole().init(jax.random.key(0), 2, 4)
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'w_x': (2, 16), 'w_h': (4, 16), 'b': (16,), 'p': (12,)}

    Source: Gers, Schraudolph & Schmidhuber (2002), https://www.jmlr.org/papers/v3/gers02a.html
    """
    check_finite(forget_bias=forget_bias, peephole=peephole)
    check_range("peephole", peephole, 0.0, math.inf)
    return PeepholeLSTM(forget_bias, peephole, checked_scheme(init, gain))
