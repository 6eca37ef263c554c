"""The sLSTM: an LSTM with an exponential input gate, a normaliser, and a stabiliser of both.

    preₜ = xₜ Wₓ + hₜ₋₁ Wₕ + b,  gate order i, f, g, o
    mₜ = max(log fₜ + mₜ₋₁, pre_i)        log fₜ = log σ(pre_f), or pre_f with `forget=exp`
    iₜ = exp(pre_i - mₜ)   fₜ' = exp(log fₜ + mₜ₋₁ - mₜ)   gₜ = tanh(pre_g)   oₜ = σ(pre_o)
    cₜ = fₜ' ⊙ cₜ₋₁ + iₜ ⊙ gₜ
    nₜ = fₜ' ⊙ nₜ₋₁ + iₜ
    hₜ = oₜ ⊙ cₜ / nₜ

The stabiliser m moves no output: c and n are stored divided by exp(m), in the timestep and in what is measured, so
the norms of `c` and `n` are of these. m itself is a scale, not counted as memory. The first timestep has
m₁ = pre_i, as in the code of the authors.

Source: Beck et al. (2024), "xLSTM: Extended long short-term memory",
https://arxiv.org/abs/2405.04517 (one head: Wₕ is a full matrix)
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import Carry, Params, zero_state
from gradlab.cells.initializers import Scheme
from gradlab.cells.literature.options import check_finite, checked_scheme
from gradlab.errors import unknown

_LOG_FORGET = {"sigmoid": jax.nn.log_sigmoid, "exp": lambda pre_f: pre_f}


@dataclass(frozen=True)
class SLSTM:
    """cₜ = fₜ' ⊙ cₜ₋₁ + iₜ ⊙ gₜ, nₜ = fₜ' ⊙ nₜ₋₁ + iₜ, hₜ = oₜ ⊙ cₜ / nₜ, yₜ = hₜ. Made by `slstm`."""

    measured_leaves: ClassVar[tuple[str, ...]] = ("h", "c", "n")

    forget: str
    forget_bias: float
    scheme: Scheme

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`w_x` (I, 4H), `w_h` (H, 4H) and `b` (4H,), zero but for the forget block."""
        bias = jnp.zeros(4 * hidden_size).at[hidden_size : 2 * hidden_size].set(self.forget_bias)
        return self.scheme.weights(key, input_size, hidden_size, blocks=4) | {"b": bias}

    def carry(self, params: Params, batch_size: int) -> Carry:
        """s₀ = 0."""
        return zero_state(("h", "c", "n", "m"), batch_size, params["w_h"].shape[0], params["w_h"].dtype)

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, hₜ)."""
        pre_t = x_t @ params["w_x"] + carry["h"] @ params["w_h"] + params["b"]
        pre_i, pre_f, pre_g, pre_o = jnp.split(pre_t, 4, axis=-1)
        kept = _LOG_FORGET[self.forget](pre_f) + carry["m"]
        # n is 0 before the first timestep alone: afterwards the larger of the two gates is 1. There kept - mₜ may
        # be positive, and what exp makes of it, multiplied by c₀ = 0, has to be finite.
        m_t = jnp.where(carry["n"] == 0, pre_i, jnp.maximum(kept, pre_i))
        i_t, f_t = jnp.exp(pre_i - m_t), jnp.exp(jnp.minimum(kept - m_t, 40))
        c_t, n_t = f_t * carry["c"] + i_t * jnp.tanh(pre_g), f_t * carry["n"] + i_t
        h_t = jax.nn.sigmoid(pre_o) * c_t / n_t
        return {"h": h_t, "c": c_t, "n": n_t, "m": m_t}, h_t


def slstm(forget: str = "sigmoid", forget_bias: float = 1.0, init: str = "orthogonal", gain: float = 1.0) -> SLSTM:
    """An sLSTM with its stabiliser: cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ, nₜ = fₜ ⊙ nₜ₋₁ + iₜ, hₜ = oₜ ⊙ cₜ / nₜ.

    Args:
        forget: sigmoid or exp, how the forget gate is squashed; the input gate is exp.
        forget_bias: initial bias of the forget gate.
        init: orthogonal, glorot, identity or gaussian recurrent weights.
        gain: multiplies the recurrent weights.

    Raises:
        GradlabError: an option out of range.

    Example:
        >>> params = slstm().init(jax.random.key(0), 2, 4)
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'w_x': (2, 16), 'w_h': (4, 16), 'b': (16,)}

    Source: Beck et al. (2024), https://arxiv.org/abs/2405.04517
    """
    if forget not in _LOG_FORGET:
        raise unknown("forget", forget, _LOG_FORGET)
    check_finite(forget_bias=forget_bias)
    return SLSTM(forget, forget_bias, checked_scheme(init, gain))
