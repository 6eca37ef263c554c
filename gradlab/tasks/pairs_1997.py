"""Adding and multiplication as in 1997: random lengths, and an answer that is due where the sequence ends.

Two example rows of adding, T = 20, of which one has 20 and the other 22 timesteps (value above marker; the first
and the last marker are -1, one of the first ten values is marked and one more in the first half):

    value   -0.31  0.87 -0.12 ...  0.55 ... -0.92  0.04                target  0.5 + (0.87 + 0.55) / 4 = 0.855
    marker     -1     1     0 ...     1 ...     0    -1     (padding)

    value    0.75 -0.20 -0.48 ...  0.09 ...  0.33 -0.81  0.57 -0.64    target  0.5 + (-0.48 + 0.09) / 4 = 0.4025
    marker     -1     0     1 ...     1 ...     0     0     0    -1

Source: Hochreiter & Schmidhuber (1997), "Long short-term memory", sections 5.4 and 5.5.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.tasks.base import Batch
from gradlab.tasks.losses import outputs_at

FIRST = 10
"""The first mark is on one of so many pairs."""


@dataclass(frozen=True)
class Pairs1997:
    """Inputs (T + ⌊T/10⌋, B, 2) of value and marker, zero after the end; targets the answer and where the end is.

    A sequence has T to T + ⌊T/10⌋ timesteps. X₁ is one of the first ten values, X₂ one of the first ⌊T/2⌋ - 1 that
    are still unmarked. The loss is the squared error of the output at the end of the sequence.

    The first marker is -1 even if X₁ or X₂ stands there, which then counts as 0 in a sum and as 1 in a product;
    the probability of that is p = 1/10 + 9/10 / (⌊T/2⌋ - 1). The best answer without memory is the mean, and costs
    the variance of the target: (2 - p) / 48 for the sum and (1 + 2p) / 9 - (1 + p)² / 16 for the product.

    Args:
        product: the target is X₁ X₂, of values in [0, 1]; else 0.5 + (X₁ + X₂) / 4, of values in [-1, 1].

    Example:
        >>> import jax
        >>> batch = Pairs1997().sample(jax.random.key(0), batch_size=3, length=20)
        >>> batch.inputs.shape, batch.targets["answer"].shape, int(batch.inputs[1:, 0, 1].sum())
        ((22, 3, 2), (3,), 1)
    """

    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 1
    min_length: ClassVar[int] = 2 * FIRST
    readout: ClassVar[Literal["last", "all"]] = "all"

    product: bool = False

    def steps(self, length: int) -> int:
        """T + ⌊T/10⌋, the longest sequence."""
        return length + length // 10

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """`batch_size` sequences, padded with zeros after their ends."""
        keys = jax.random.split(key, 4)
        steps, of_each = self.steps(length), (batch_size,)
        values = jax.random.uniform(keys[0], (steps, batch_size), minval=0.0 if self.product else -1.0)
        first = jax.random.randint(keys[1], of_each, 0, FIRST)
        second = jax.random.randint(keys[2], of_each, 0, length // 2 - 1)
        end = jax.random.randint(keys[3], of_each, length - 1, steps)
        index = jnp.arange(steps)[:, None]
        marked = (index == first) | (index == second + (second >= first))
        marker = jnp.where((index == 0) | (index == end), -1.0, marked)
        inputs = jnp.where((index <= end)[..., None], jnp.stack([values, marker], axis=-1), 0.0)
        answer = self._answer(values, marked & (index > 0))
        return Batch(inputs, {"answer": answer, "end": end})

    def _answer(self, values: Array, counted: Array) -> Array:
        if self.product:
            return jnp.prod(jnp.where(counted, values, 1.0), axis=0)
        return 0.5 + jnp.sum(jnp.where(counted, values, 0.0), axis=0) / 4

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """(y - target)² at the end of each sequence, (B,)."""
        return (outputs_at(outputs, batch.targets["end"])[:, 0] - batch.targets["answer"]) ** 2

    def chance(self, length: int) -> float:
        """The variance of the target."""
        p = 0.1 + 0.9 / (length // 2 - 1)
        return (1 + 2 * p) / 9 - (1 + p) ** 2 / 16 if self.product else (2 - p) / 48

    def solved(self, length: int) -> float:
        """0.04², the square of the error below which the source counts an answer as right, at any length."""
        del length
        return 0.04**2

    def task_curve(self, length: int) -> int | None:
        """None: one output of each example is read, that at its end."""
        return None
