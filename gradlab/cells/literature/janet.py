"""JANET, just another network: an LSTM with the forget gate alone.

    preₜ = xₜ Wₓ + hₜ₋₁ Wₕ + b,  gate order f, g
    fₜ = σ(pre_f)   iₜ = 1 - σ(pre_f - β)   gₜ = tanh(pre_g)
    hₜ = fₜ ⊙ hₜ₋₁ + iₜ ⊙ gₜ

Source: van der Westhuizen & Lasenby (2018), "The unreasonable effectiveness of the forget gate",
https://arxiv.org/abs/1804.04849; its initialisation is `init=chrono`
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import BuiltIn, Carry, Params, steps_by_parts
from gradlab.cells.initializers import Scheme, chrono_bias
from gradlab.cells.literature.options import check_finite, checked_scheme
from gradlab.errors import GradlabError


@steps_by_parts
@dataclass(frozen=True)
class JANET(BuiltIn):
    """hₜ = fₜ ⊙ hₜ₋₁ + iₜ ⊙ gₜ, yₜ = hₜ. Made by `janet`."""

    forget_bias: float
    beta: float
    scheme: Scheme

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`w_x` (I, 2H), `w_h` (H, 2H) and `b` (2H,), zero but for the forget block."""
        key_weights, key_bias = jax.random.split(key)
        keep = jnp.full(hidden_size, self.forget_bias)
        if self.scheme.t_max is not None:
            keep = chrono_bias(key_bias, hidden_size, self.scheme.t_max)
        weights = self.scheme.weights(key_weights, input_size, hidden_size, blocks=2)
        return weights | {"b": jnp.concatenate([keep, jnp.zeros(hidden_size)])}

    def gates(self, pre_t: Array, carry: Carry) -> Carry:
        """hₜ from the pre-activations and hₜ₋₁."""
        gate = self.gate_values(pre_t)
        return {"h": gate["f"] * carry["h"] + gate["i"] * gate["g"]}

    def gate_values(self, pre_t: Array) -> dict[str, Array]:
        """fₜ, iₜ and gₜ, each (B, H)."""
        pre_f, pre_g = jnp.split(pre_t, 2, axis=-1)
        # 1 - σ(z) = σ(-z), without the loss of digits where σ is near 1.
        return {"f": jax.nn.sigmoid(pre_f), "i": jax.nn.sigmoid(self.beta - pre_f), "g": jnp.tanh(pre_g)}

    def gate_bounds(self) -> dict[str, tuple[float, float]]:
        """(0, 1) for the gates and (-1, 1) for the candidate g."""
        return {"f": (0.0, 1.0), "i": (0.0, 1.0), "g": (-1.0, 1.0)}


def janet(
    forget_bias: float = 1.0,
    beta: float = 1.0,
    init: str = "orthogonal",
    gain: float = 1.0,
    t_max: int | None = None,
) -> JANET:
    """JANET, an LSTM with the forget gate alone: hₜ = fₜ ⊙ hₜ₋₁ + (1 - σ(pre_f - β)) ⊙ gₜ, gate order f, g.

    Args:
        forget_bias: initial bias of the forget gate.
        beta: β, by which the gate that writes is more open than 1 - fₜ.
        init: orthogonal, glorot, identity, gaussian, or chrono (needs `t_max`, sets the bias of f).
        gain: multiplies the recurrent weights.
        t_max: the longest lag in timesteps for chrono initialisation.

    Raises:
        GradlabError: an option out of range, or one that would have no effect.

    Example:
        >>> params = janet(init="chrono", t_max=100).init(jax.random.key(0), 2, 4)
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'w_x': (2, 8), 'w_h': (4, 8), 'b': (8,)}

    Source: van der Westhuizen & Lasenby (2018), https://arxiv.org/abs/1804.04849
    """
    check_finite(forget_bias=forget_bias, beta=beta)
    if init == "chrono" and forget_bias != 1.0:
        raise GradlabError(f"forget_bias={forget_bias:g} has no effect: init=chrono draws the forget biases")
    return JANET(forget_bias, beta, checked_scheme(init, gain, t_max, chrono=True))
