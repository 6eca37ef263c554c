"""The latch problem: the first inputs decide between two classes, and nothing that follows matters.

Two example rows, T = 8, without noise and with noise of standard deviation 0.5:

    input     1     0     0     0     0     0     0     0        target   0.8
    input    -1  0.21 -0.64  0.05  0.38 -0.12  0.71 -0.33        target  -0.8

Sources: Bengio, Simard & Frasconi (1994), "Learning long-term dependencies with gradient descent is difficult",
where the first inputs are learned too. That they are 1 or -1, and noise of variance 0.2 (`noise=0.447`): the
two-sequence problem of Hochreiter & Schmidhuber (1997), "Long short-term memory", section 5.3.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.errors import GradlabError
from gradlab.tasks.base import Batch

TARGET = 0.8


@dataclass(frozen=True)
class Latch:
    """Inputs (T, B, 1): N times 1 or N times -1, then noise ~ N(0, s²); target (B,) 0.8 or -0.8.

    The loss is the squared error of the last output. The best answer without memory is 0, which costs 0.8².

    Args:
        first: N, how many inputs tell the class.
        noise: s, the standard deviation of all that follow; without noise they are 0.

    Raises:
        GradlabError: fewer than 1 such input, or noise below 0.

    Example:
        >>> import jax
        >>> batch = Latch().sample(jax.random.key(0), batch_size=3, length=10)
        >>> batch.inputs.shape, batch.targets.shape, float(abs(batch.inputs[1:]).max())
        ((10, 3, 1), (3,), 0.0)
    """

    input_size: ClassVar[int] = 1
    output_size: ClassVar[int] = 1
    readout: ClassVar[Literal["last", "all"]] = "last"

    first: int = 1
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.first < 1:
            raise GradlabError(f"first is {self.first}: give a whole number of at least 1")
        if not 0 <= self.noise < math.inf:
            raise GradlabError(f"noise is {self.noise}: give a standard deviation of at least 0")

    @property
    def min_length(self) -> int:
        """N + 1."""
        return self.first + 1

    def steps(self, length: int) -> int:
        """T = length."""
        return length

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """`batch_size` sequences of `length` timesteps."""
        key_class, key_noise = jax.random.split(key)
        sign = jax.random.rademacher(key_class, (batch_size,), dtype=float)
        noise = self.noise * jax.random.normal(key_noise, (length, batch_size))
        inputs = jnp.where(jnp.arange(length)[:, None] < self.first, sign, noise)
        return Batch(inputs[..., None], TARGET * sign)

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """(y_T - target)², (B,)."""
        return (outputs[-1, :, 0] - batch.targets) ** 2

    def chance(self, length: int) -> float:
        """0.8² = 0.64, at any length."""
        del length
        return TARGET**2

    def solved(self, length: int) -> float:
        """0.0064: an answer of the wrong sign costs 0.64 or more, so that at least 99 % have the right one."""
        del length
        return 0.01 * TARGET**2

    def task_curve(self, length: int) -> int | None:
        """None: the loss is at the last timestep."""
        return None


def latch(first: int = 1, noise: float = 0.0) -> Latch:
    """Keep the sign of the first inputs, `first` of them, through noise of standard deviation `noise`."""
    return Latch(first, noise)
