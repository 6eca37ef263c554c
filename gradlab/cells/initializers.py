"""How weights start, each scheme with its paper.

Recurrent schemes fill one (H, H) block per gate; input weights are Glorot with the fans of one block.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.library_defaults import LIBRARIES, default_params
from gradlab.errors import GradlabError, unknown


def glorot(key: Array, fan_in: int, fan_out: int) -> Array:
    """Uniform on ±√(6 / (fan_in + fan_out)), shape (fan_in, fan_out).

    Source: Glorot & Bengio (2010), "Understanding the difficulty of training deep feedforward neural
    networks", eq. 16, https://proceedings.mlr.press/v9/glorot10a.html
    """
    bound = math.sqrt(6.0 / (fan_in + fan_out))
    return jax.random.uniform(key, (fan_in, fan_out), minval=-bound, maxval=bound)


def orthogonal(key: Array, size: int) -> Array:
    """A Haar-distributed orthogonal (H, H) matrix: QR of a Gaussian, signs taken from R's diagonal.

    Sources: Saxe, McClelland & Ganguli (2014), "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks", section 3, https://arxiv.org/abs/1312.6120; the signs are of Mezzadri
    (2007), "How to generate random matrices from the classical compact groups", section 5,
    https://arxiv.org/abs/math-ph/0609050
    """
    q, r = jnp.linalg.qr(jax.random.normal(key, (size, size)))
    return q * jnp.sign(jnp.diagonal(r))


def identity(key: Array, size: int) -> Array:
    """The (H, H) identity: the IRNN, where the units are ReLU.

    Source: Le, Jaitly & Hinton (2015), "A simple way to initialize recurrent networks of rectified linear
    units", section 2, https://arxiv.org/abs/1504.00941
    """
    del key
    return jnp.eye(size)


def gaussian(key: Array, size: int) -> Array:
    """Independent N(0, 1/H) entries (H, H); a gain σ makes them N(0, σ²/H).

    Source: Sompolinsky, Crisanti & Sommers (1988), "Chaos in random neural networks", eq. 2,
    https://doi.org/10.1103/PhysRevLett.61.259
    """
    return jax.random.normal(key, (size, size)) / math.sqrt(size)


def chrono_bias(key: Array, hidden_size: int, t_max: int) -> Array:
    """Biases log u, u ~ U[1, t_max - 1], of the gate that keeps the state; (H,).

    A gate σ(log u) forgets over about 1 + u timesteps. The gate that writes takes minus this.

    Source: Tallec & Ollivier (2018), "Can recurrent neural networks warp time?", section 2, eq. 16,
    https://arxiv.org/abs/1804.11188
    """
    return jnp.log(jax.random.uniform(key, (hidden_size,), minval=1.0, maxval=float(t_max - 1)))


RECURRENT = {
    "orthogonal": orthogonal,
    "glorot": lambda key, size: glorot(key, size, size),
    "identity": identity,
    "gaussian": gaussian,
    "chrono": orthogonal,
}


@dataclass(frozen=True)
class Scheme:
    """How the weights of a cell start.

    Args:
        init: orthogonal, glorot, identity, gaussian, chrono (orthogonal weights, chrono gate biases), or a library
            whose default it is: torch, keras, flax, equinox, haiku, tensorflow (`library_defaults.py`).
        gain: multiplies the recurrent blocks.
        t_max: the longest lag in timesteps that chrono biases are spread over; only with `init=chrono`.

    Raises:
        GradlabError: an unknown `init`, a gain that is not finite, `t_max` missing or without effect.

    Example:
        >>> Scheme("gaussian", gain=1.5)
        Scheme(init='gaussian', gain=1.5, t_max=None)
    """

    init: str = "orthogonal"
    gain: float = 1.0
    t_max: int | None = None

    def __post_init__(self) -> None:
        if self.init not in RECURRENT and not self.is_library:
            raise unknown("init", self.init, [*RECURRENT, *LIBRARIES])
        if not math.isfinite(self.gain):
            raise GradlabError(f"gain is {self.gain}: give a finite number")
        if self.init == "chrono" and (self.t_max is None or self.t_max < 3):
            raise GradlabError(f"init=chrono with t_max={self.t_max}: give t_max, the longest lag, at least 3")
        if self.init != "chrono" and self.t_max is not None:
            raise GradlabError(f"t_max={self.t_max} acts only with init=chrono; init is {self.init}")

    @property
    def is_library(self) -> bool:
        """Whether weights and biases are those of another library."""
        return self.init in LIBRARIES

    def library_params(self, cell: str, key: Array, input_size: int, hidden_size: int) -> dict[str, Array]:
        """All parameters of rnn, lstm or gru by the default of the library."""
        params = default_params(self.init, cell, key, input_size, hidden_size)
        return params | {"w_h": self.gain * params["w_h"]}

    def weights(self, key: Array, input_size: int, hidden_size: int, blocks: int) -> dict[str, Array]:
        """`w_x` (I, G·H) and `w_h` (H, G·H) of G = `blocks` gates, each block drawn from its own key."""
        if self.is_library:
            raise GradlabError(f"init={self.init} is a default of rnn, lstm and gru: give another init")
        key_x, key_h = jax.random.split(key)
        recurrent = RECURRENT[self.init]
        w_x = [glorot(k, input_size, hidden_size) for k in jax.random.split(key_x, blocks)]
        w_h = [self.gain * recurrent(k, hidden_size) for k in jax.random.split(key_h, blocks)]
        return {"w_x": jnp.concatenate(w_x, axis=1), "w_h": jnp.concatenate(w_h, axis=1)}
