"""Other questions about the two marked numbers of the adding problem: their product, or whether bits differ.

Two example rows of each, T = 6 (value or bit above marker):

    value   0.31  0.87  0.12 | 0.92  0.04  0.66      target  0.87 x 0.66 = 0.5742
    marker     0     1     0 |    0     0     1

    value   0.75  0.20  0.48 | 0.33  0.81  0.57      target  0.75 x 0.33 = 0.2475
    marker     1     0     0 |    1     0     0

    bit     0  1  1 | 0  1  0      target  1 (1 and 0 differ)
    marker  0  1  0 | 0  0  1

    bit     1  0  0 | 1  1  0      target  0 (1 and 1 do not)
    marker  1  0  0 | 1  0  0

Sources: multiplication: Hochreiter & Schmidhuber (1997), section 5.5, whose variant is in `pairs_1997.py`. XOR:
Martens & Sutskever (2011), "Learning recurrent neural networks with Hessian-free optimization", where it is one of
the pathological synthetic problems. Marks in each half or anywhere: as in `adding.py`.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax.numpy as jnp
from jax import Array

from gradlab.errors import unknown
from gradlab.tasks.adding import MARKERS, adding
from gradlab.tasks.base import Batch
from gradlab.tasks.losses import CLASSIFIED, cross_entropy
from gradlab.tasks.pairs_1997 import Pairs1997


@dataclass(frozen=True)
class Multiplication:
    """Inputs (T, B, 2) of value ~ U[0, 1] and marker; target (B,) the product of the two marked values.

    The loss is the squared error of the last output. Answering 1/4 always costs Var(UV) = 7/144, and knowing one
    of the two marked values exactly costs E[U²] / 12 = 1/36.

    Args:
        markers: `halves` or `anywhere`, as of `adding`.

    Raises:
        GradlabError: an unknown value of `markers`.

    Example:
        >>> import jax
        >>> batch = Multiplication().sample(jax.random.key(0), batch_size=3, length=10)
        >>> batch.inputs.shape, batch.targets.shape
        ((10, 3, 2), (3,))
    """

    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 1
    min_length: ClassVar[int] = 2
    readout: ClassVar[Literal["last", "all"]] = "last"

    markers: str = "halves"

    def __post_init__(self) -> None:
        _check(self.markers)

    def steps(self, length: int) -> int:
        """T = length."""
        return length

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """`batch_size` sequences of `length` timesteps."""
        inputs = adding(self.markers).sample(key, batch_size, length).inputs
        values, marker = inputs[..., 0], inputs[..., 1]
        return Batch(inputs, jnp.prod(jnp.where(marker == 1, values, 1.0), axis=0))

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """(y_T - target)², (B,)."""
        return (outputs[-1, :, 0] - batch.targets) ** 2

    def chance(self, length: int) -> float:
        """7/144 = 1/9 - 1/16, the variance of the product of two uniform values, at any length."""
        del length
        return 7 / 144

    def solved(self, length: int) -> float:
        """0.04², the square of the error below which the source counts an answer as right, at any length."""
        del length
        return 0.04**2

    def task_curve(self, length: int) -> int | None:
        """None: the loss is at the last timestep."""
        return None


@dataclass(frozen=True)
class DelayedXor:
    """Inputs (T, B, 2) of a random bit and marker; target (B,) 1 where the two marked bits differ, else 0.

    The loss is the cross entropy of the last output. Knowing one of the two bits costs ln 2 as knowing none does:
    there is nothing to gain before both are remembered.

    Args:
        markers: `halves` or `anywhere`, as of `adding`.

    Raises:
        GradlabError: an unknown value of `markers`.

    Example:
        >>> import jax
        >>> batch = DelayedXor().sample(jax.random.key(0), batch_size=3, length=10)
        >>> batch.inputs.shape, batch.targets.shape
        ((10, 3, 2), (3,))
    """

    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 2
    min_length: ClassVar[int] = 2
    readout: ClassVar[Literal["last", "all"]] = "last"

    markers: str = "halves"

    def __post_init__(self) -> None:
        _check(self.markers)

    def steps(self, length: int) -> int:
        """T = length."""
        return length

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """`batch_size` sequences of `length` timesteps."""
        inputs = adding(self.markers).sample(key, batch_size, length).inputs
        bits, marker = inputs[..., 0] >= 0.5, inputs[..., 1]
        different = jnp.sum(bits & (marker == 1), axis=0) == 1
        return Batch(jnp.stack([bits, marker], axis=-1), different.astype(int))

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """Cross entropy of the last logits (B, 2); (B,)."""
        return cross_entropy(outputs[-1], batch.targets)

    def chance(self, length: int) -> float:
        """The cost of a guess, ln 2, at any length."""
        del length
        return math.log(2)

    def solved(self, length: int) -> float:
        """0.01 ln 2: at least 99 % of the answers are right, at any length."""
        del length
        return CLASSIFIED

    def task_curve(self, length: int) -> int | None:
        """None: the loss is at the last timestep."""
        return None


def _check(markers: str) -> None:
    if markers not in MARKERS[:2]:
        raise unknown("markers", markers, MARKERS)


def multiplication(markers: str = "halves") -> Multiplication | Pairs1997:
    """Multiply the two marked values; `markers`: `halves`, `anywhere` or `1997`, as of adding."""
    return Pairs1997(product=True) if markers == "1997" else Multiplication(markers)


def delayed_xor(markers: str = "halves") -> DelayedXor:
    """Whether the two marked bits differ; `markers`: `halves` or `anywhere`, as of adding."""
    return DelayedXor(markers)
