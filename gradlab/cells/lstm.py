"""The long short-term memory, with the forget gate of 2000 or without it as in 1997.

    preₜ = xₜ Wₓ + hₜ₋₁ Wₕ + b,  gate order i, f, g, o
    iₜ, fₜ, oₜ = σ(pre)   gₜ = tanh(pre)
    cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ
    hₜ = oₜ ⊙ tanh(cₜ)

Without a forget gate the order is i, g, o and cₜ = cₜ₋₁ + iₜ ⊙ gₜ, the constant error carousel.

Sources: Hochreiter & Schmidhuber (1997), "Long short-term memory", section 4,
https://doi.org/10.1162/neco.1997.9.8.1735 (there g lies in ±2 and inputs of the gates may be cells of other
blocks; here g = tanh and every gate sees all of hₜ₋₁); the forget gate: Gers, Schmidhuber & Cummins (2000),
"Learning to forget", section 3, https://doi.org/10.1162/089976600300015015
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import BuiltIn, Carry, Params, steps_by_parts
from gradlab.cells.initializers import Scheme, chrono_bias
from gradlab.errors import GradlabError


@steps_by_parts
@dataclass(frozen=True)
class LSTM(BuiltIn):
    """cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ, hₜ = oₜ ⊙ tanh(cₜ), yₜ = hₜ. Made by `lstm`."""

    leaves: ClassVar[tuple[str, ...]] = ("h", "c")

    forget_gate: bool
    forget_bias: float
    scheme: Scheme

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`w_x` (I, 4H), `w_h` (H, 4H) and `b` (4H,), zero but for the forget block (3H without it)."""
        if self.scheme.is_library:
            return self.scheme.library_params("lstm", key, input_size, hidden_size)
        key_weights, key_bias = jax.random.split(key)
        zeros = jnp.zeros(hidden_size)
        if not self.forget_gate:
            bias = [zeros] * 3
        elif self.scheme.t_max is None:
            bias = [zeros, zeros + self.forget_bias, zeros, zeros]
        else:
            keep = chrono_bias(key_bias, hidden_size, self.scheme.t_max)
            bias = [-keep, keep, zeros, zeros]
        weights = self.scheme.weights(key_weights, input_size, hidden_size, blocks=len(bias))
        return weights | {"b": jnp.concatenate(bias)}

    def gates(self, pre_t: Array, carry: Carry) -> Carry:
        """cₜ and hₜ from the pre-activations and cₜ₋₁."""
        gate = self.gate_values(pre_t)
        kept = gate["f"] * carry["c"] if self.forget_gate else carry["c"]
        c_t = kept + gate["i"] * gate["g"]
        return {"h": gate["o"] * jnp.tanh(c_t), "c": c_t}

    def gate_values(self, pre_t: Array) -> dict[str, Array]:
        """iₜ, fₜ (where there is one), gₜ and oₜ, each (B, H)."""
        names, squash = tuple(self.gate_bounds()), {"g": jnp.tanh}
        blocks = zip(names, jnp.split(pre_t, len(names), axis=-1), strict=True)
        return {name: squash.get(name, jax.nn.sigmoid)(block) for name, block in blocks}

    def gate_bounds(self) -> dict[str, tuple[float, float]]:
        """(0, 1) for the gates and (-1, 1) for the candidate g, in the order of the blocks."""
        bounds = {"i": (0.0, 1.0), "f": (0.0, 1.0), "g": (-1.0, 1.0), "o": (0.0, 1.0)}
        return bounds if self.forget_gate else {name: bounds[name] for name in ("i", "g", "o")}


def lstm(
    forget_bias: float = 1.0,
    forget_gate: bool = True,
    init: str = "orthogonal",
    gain: float = 1.0,
    t_max: int | None = None,
) -> LSTM:
    """An LSTM: cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ, hₜ = oₜ ⊙ tanh(cₜ), gate order i, f, g, o.

    Args:
        forget_bias: initial bias of the forget gate; σ(1) = 0.73 is kept per timestep at zero input.
        forget_gate: False gives the cell of 1997, cₜ = cₜ₋₁ + iₜ ⊙ gₜ.
        init: orthogonal, glorot, identity, gaussian, chrono (needs `t_max`, sets the biases of i and f), or the
            default of a library, which sets the biases too: torch, keras, flax, equinox, haiku or tensorflow.
        gain: multiplies the recurrent weights.
        t_max: the longest lag in timesteps for chrono initialisation.

    Raises:
        GradlabError: an option out of range, or one that would have no effect.

    Example:
        >>> import jax
        >>> params = lstm(forget_bias=3.0).init(jax.random.key(0), 2, 4)
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'w_x': (2, 16), 'w_h': (4, 16), 'b': (16,)}
        >>> params["b"][4:8].tolist()
        [3.0, 3.0, 3.0, 3.0]

    Sources: Hochreiter & Schmidhuber (1997), section 4, https://doi.org/10.1162/neco.1997.9.8.1735;
    Gers, Schmidhuber & Cummins (2000), section 3; the bias of 1: Jozefowicz, Zaremba & Sutskever (2015),
    "An empirical exploration of recurrent network architectures", section 5.
    """
    if not math.isfinite(forget_bias):
        raise GradlabError(f"forget_bias is {forget_bias}: give a finite number")
    scheme = Scheme(init, gain, t_max)
    sets_biases = init == "chrono" or scheme.is_library
    if forget_bias != 1.0 and (sets_biases or not forget_gate):
        reason = (
            f"init={init} sets the forget biases" if forget_gate else "forget_gate=false leaves no forget gate"
        )
        raise GradlabError(f"forget_bias={forget_bias:g} has no effect: {reason}")
    if not forget_gate and sets_biases:
        raise GradlabError(f"init={init} has no effect with forget_gate=false: there is no forget gate")
    return LSTM(forget_gate, forget_bias, scheme)
