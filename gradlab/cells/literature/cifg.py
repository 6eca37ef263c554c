"""The LSTM whose input and forget gate are coupled: what is written replaces what is forgotten.

    preₜ = xₜ Wₓ + hₜ₋₁ Wₕ + b,  gate order f, g, o
    fₜ, oₜ = σ(pre)   gₜ = tanh(pre)
    cₜ = fₜ ⊙ cₜ₋₁ + (1 - fₜ) ⊙ gₜ
    hₜ = oₜ ⊙ tanh(cₜ)

Source: Greff et al. (2017), "LSTM: A search space odyssey" (variant CIFG),
https://arxiv.org/abs/1503.04069 (there with peepholes)
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import BuiltIn, Carry, Params, steps_by_parts
from gradlab.cells.initializers import Scheme
from gradlab.cells.literature.options import check_finite, checked_scheme


@steps_by_parts
@dataclass(frozen=True)
class CIFG(BuiltIn):
    """cₜ = fₜ ⊙ cₜ₋₁ + (1 - fₜ) ⊙ gₜ, hₜ = oₜ ⊙ tanh(cₜ), yₜ = hₜ. Made by `cifg`."""

    leaves: ClassVar[tuple[str, ...]] = ("h", "c")

    forget_bias: float
    scheme: Scheme

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`w_x` (I, 3H), `w_h` (H, 3H) and `b` (3H,), zero but for the forget block."""
        bias = jnp.zeros(3 * hidden_size).at[:hidden_size].set(self.forget_bias)
        return self.scheme.weights(key, input_size, hidden_size, blocks=3) | {"b": bias}

    def gates(self, pre_t: Array, carry: Carry) -> Carry:
        """cₜ and hₜ from the pre-activations and cₜ₋₁."""
        gate = self.gate_values(pre_t)
        c_t = gate["f"] * carry["c"] + (1.0 - gate["f"]) * gate["g"]
        return {"h": gate["o"] * jnp.tanh(c_t), "c": c_t}

    def gate_values(self, pre_t: Array) -> dict[str, Array]:
        """fₜ, gₜ and oₜ, each (B, H)."""
        pre_f, pre_g, pre_o = jnp.split(pre_t, 3, axis=-1)
        return {"f": jax.nn.sigmoid(pre_f), "g": jnp.tanh(pre_g), "o": jax.nn.sigmoid(pre_o)}

    def gate_bounds(self) -> dict[str, tuple[float, float]]:
        """(0, 1) for the gates and (-1, 1) for the candidate g."""
        return {"f": (0.0, 1.0), "g": (-1.0, 1.0), "o": (0.0, 1.0)}


def cifg(forget_bias: float = 1.0, init: str = "orthogonal", gain: float = 1.0) -> CIFG:
    """An LSTM with a coupled input and forget gate: cₜ = fₜ ⊙ cₜ₋₁ + (1 - fₜ) ⊙ gₜ, gate order f, g, o.

    Args:
        forget_bias: initial bias of the forget gate.
        init: orthogonal, glorot, identity or gaussian recurrent weights.
        gain: multiplies the recurrent weights.

    Raises:
        GradlabError: an option out of range.

    Example:
        >>> params = cifg(forget_bias=2.0).init(jax.random.key(0), 2, 4)
        >>> {name: leaf.shape for name, leaf in params.items()}, params["b"][:4].tolist()
        ({'w_x': (2, 12), 'w_h': (4, 12), 'b': (12,)}, [2.0, 2.0, 2.0, 2.0])

    Source: Greff et al. (2017), https://arxiv.org/abs/1503.04069
    """
    check_finite(forget_bias=forget_bias)
    return CIFG(forget_bias, checked_scheme(init, gain))
