"""Delayed XOR: whether the two marked bits of a long sequence differ.

Two example rows, T = 8 (bit above marker; one mark in each half):

    bit     0  1  1  0 | 0  1  0  1      target  1 (1 and 0 differ)
    marker  0  1  0  0 | 0  0  1  0

    bit     1  0  0  1 | 1  1  0  0      target  0 (1 and 1 do not)
    marker  1  0  0  0 | 1  0  0  0

Source: Martens & Sutskever (2011), "Learning recurrent neural networks with Hessian-free optimization", where the
XOR problem is one of the pathological synthetic ones; the marks as in `adding.py`.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax.numpy as jnp
from jax import Array

from gradlab.tasks.adding import Adding
from gradlab.tasks.base import Batch
from gradlab.tasks.losses import CLASSIFIED, cross_entropy


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
        Adding(self.markers)  # refuses an unknown one

    def steps(self, length: int) -> int:
        """T = length."""
        return length

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """`batch_size` sequences of `length` timesteps."""
        inputs = Adding(self.markers).sample(key, batch_size, length).inputs
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


def delayed_xor(markers: str = "halves") -> DelayedXor:
    """Whether the two marked bits differ; `markers`: `halves` or `anywhere`, as of adding."""
    return DelayedXor(markers)
