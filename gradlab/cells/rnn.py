"""The vanilla recurrent network.

    hₜ = φ(xₜ Wₓ + hₜ₋₁ Wₕ + b),   φ = tanh, relu, sigmoid or linear, which is no squashing at all

Source: Elman (1990), "Finding structure in time", https://doi.org/10.1207/s15516709cog1402_1
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import BuiltIn, Carry, Params, steps_by_parts
from gradlab.cells.initializers import Scheme
from gradlab.errors import GradlabError, unknown

_ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "linear": lambda x: x}
_INF = float("inf")
_BOUNDS = {"tanh": (-1.0, 1.0), "relu": (0.0, _INF), "sigmoid": (0.0, 1.0), "linear": (-_INF, _INF)}


@steps_by_parts
@dataclass(frozen=True)
class RNN(BuiltIn):
    """hₜ = φ(preₜ), preₜ = zₜ + rₜ, yₜ = hₜ; one gate block. Made by `rnn`."""

    activation: str
    scheme: Scheme

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`w_x` (I, H), `w_h` (H, H) and a bias `b` (H,) of zeros, but for that of torch."""
        if self.scheme.is_library:
            return self.scheme.library_params("rnn", key, input_size, hidden_size)
        weights = self.scheme.weights(key, input_size, hidden_size, blocks=1)
        return weights | {"b": jnp.zeros(hidden_size)}

    def gates(self, pre_t: Array, carry: Carry) -> Carry:
        """hₜ = φ(preₜ)."""
        del carry
        return {"h": _ACTIVATIONS[self.activation](pre_t)}

    def gate_values(self, pre_t: Array) -> dict[str, Array]:
        """The activation itself, by the name `h`."""
        return self.gates(pre_t, None)

    def gate_bounds(self) -> dict[str, tuple[float, float]]:
        """The range of φ."""
        return {"h": _BOUNDS[self.activation]}


def rnn(activation: str = "tanh", init: str = "orthogonal", gain: float = 1.0) -> RNN:
    """A vanilla RNN: hₜ = φ(xₜ Wₓ + hₜ₋₁ Wₕ + b), with yₜ = hₜ.

    Args:
        activation: φ, one of tanh, relu, sigmoid, linear. relu with `init=identity` is the IRNN.
        init: orthogonal, glorot, identity or gaussian recurrent weights, or the default of a library: torch,
            keras, flax, haiku or tensorflow.
        gain: multiplies the recurrent weights.

    Raises:
        GradlabError: an unknown activation or init, a gain that is not finite.

    Example:
        >>> import jax
        >>> params = rnn(activation="relu", init="identity").init(jax.random.key(0), 2, 4)
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'w_x': (2, 4), 'w_h': (4, 4), 'b': (4,)}

    Source: Elman (1990), "Finding structure in time", https://doi.org/10.1207/s15516709cog1402_1
    """
    if activation not in _ACTIVATIONS:
        raise unknown("activation", activation, _ACTIVATIONS)
    if init == "chrono":
        raise GradlabError("init=chrono sets gate biases and an rnn has no gate: use lstm or gru")
    if init == "equinox":
        raise GradlabError("init=equinox has no rnn: equinox has LSTMCell and GRUCell, use lstm or gru")
    return RNN(activation, Scheme(init, gain))
