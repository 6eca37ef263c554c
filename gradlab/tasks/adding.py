"""The adding problem: add the two marked numbers of a long sequence; and the multiplication problem.

Two example rows, T = 8 (value above marker; one mark in each half, the target is the sum of the marked):

    value   0.31  0.87  0.12  0.55 | 0.92  0.04  0.66  0.27      target  0.87 + 0.66 = 1.53
    marker     0     1     0     0 |    0     0     1     0

    value   0.75  0.20  0.48  0.09 | 0.33  0.81  0.57  0.64      target  0.75 + 0.33 = 1.08
    marker     1     0     0     0 |    1     0     0     0

The targets of the same rows in the multiplication problem are 0.87 x 0.66 = 0.5742 and 0.75 x 0.33 = 0.2475.

Sources: Hochreiter & Schmidhuber (1997), sections 5.4 and 5.5, whose variant is in `pairs_1997.py`; this variant:
Arjovsky, Shah & Bengio (2016), "Unitary evolution recurrent neural networks", section 5.2,
https://arxiv.org/abs/1511.06464
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.errors import unknown
from gradlab.tasks.base import Batch
from gradlab.tasks.pairs_1997 import Pairs1997

_MARKERS = ("halves", "anywhere")


@dataclass(frozen=True)
class Adding:
    """Inputs (T, B, 2) of value ~ U[0, 1] and marker; target (B,) the sum or product of the two marked values.

    The loss is the squared error of the last output. Of the sum, answering 1 always costs Var(U + U) = 1/6, and
    knowing one of the two marked values exactly costs 1/12. Of the product, answering 1/4 always costs
    Var(UV) = 1/9 - 1/16 = 7/144, and knowing one of the two costs E[U²] / 12 = 1/36.

    Args:
        markers: `halves` marks one value in timesteps 1..⌊T/2⌋ and one in the rest; `anywhere` marks any two.
        product: the target is the product of the two, not their sum.

    Raises:
        GradlabError: an unknown value of `markers`.

    Example:
        >>> import jax
        >>> batch = Adding().sample(jax.random.key(0), batch_size=3, length=10)
        >>> batch.inputs.shape, batch.targets.shape, float(batch.inputs[:, 0, 1].sum())
        ((10, 3, 2), (3,), 2.0)
    """

    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 1
    min_length: ClassVar[int] = 2
    readout: ClassVar[Literal["last", "all"]] = "last"

    markers: str = "halves"
    product: bool = False

    def __post_init__(self) -> None:
        if self.markers not in _MARKERS:
            raise unknown("markers", self.markers, _MARKERS)

    def steps(self, length: int) -> int:
        """T = length."""
        return length

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """`batch_size` sequences of `length` timesteps."""
        key_value, key_first, key_second = jax.random.split(key, 3)
        values = jax.random.uniform(key_value, (length, batch_size))
        first, second = self._marks(key_first, key_second, batch_size, length)
        timestep = jnp.arange(length)[:, None]
        marker = ((timestep == first) | (timestep == second)).astype(values.dtype)
        inputs = jnp.stack([values, marker], axis=-1)
        if self.product:
            return Batch(inputs, jnp.prod(jnp.where(marker == 1, values, 1.0), axis=0))
        return Batch(inputs, jnp.sum(values * marker, axis=0))

    def _marks(self, key_first: Array, key_second: Array, batch_size: int, length: int) -> tuple[Array, Array]:
        if self.markers == "halves":
            half = length // 2
            return (
                jax.random.randint(key_first, (batch_size,), 0, half),
                jax.random.randint(key_second, (batch_size,), half, length),
            )
        first = jax.random.randint(key_first, (batch_size,), 0, length)
        second = jax.random.randint(key_second, (batch_size,), 0, length - 1)
        return first, second + (second >= first)

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """(y_T - target)², (B,)."""
        return (outputs[-1, :, 0] - batch.targets) ** 2

    def chance(self, length: int) -> float:
        """1/6, the variance of the sum of two uniform values, or 7/144, that of their product, at any length."""
        del length
        return 7 / 144 if self.product else 1.0 / 6.0

    def solved(self, length: int) -> float:
        """0.01, or of the product 0.04², at any length.

        An error of 0.04 is the one below which Hochreiter & Schmidhuber count an answer as right.
        """
        del length
        return 0.04**2 if self.product else 0.01

    def task_curve(self, length: int) -> int | None:
        """None: the loss is at the last timestep, so the total gradient is the one that needs the memory."""
        return None


def adding(markers: str = "halves") -> Adding | Pairs1997:
    """The adding problem; `markers`: `halves` (one in each half), `anywhere` (any two timesteps) or `1997`.

    `1997` is that of Hochreiter & Schmidhuber: random lengths, values in [-1, 1], a scaled target.
    """
    return _marked(markers, product=False)


def multiplication(markers: str = "halves") -> Adding | Pairs1997:
    """The multiplication problem: multiply the two marked values; `markers` as of adding."""
    return _marked(markers, product=True)


def _marked(markers: str, *, product: bool) -> Adding | Pairs1997:
    if markers == "1997":
        return Pairs1997(product)
    if markers not in _MARKERS:
        raise unknown("markers", markers, (*_MARKERS, "1997"))
    return Adding(markers, product)
