"""Associative recall: pairs of key and value, and at the end a key whose value is asked for.

Two example rows, 4 pairs, length T = 2, so 4 x 2 + T + 1 = 11 timesteps (26 keys a-z, 10 values 0-9, `?` blank):

    input    c 9 k 8 j 3 f 1 ? ? c       input    q 5 b 0 x 5 m 2 ? ? m
    target                       9       target                       2

Source: Ba, Hinton, Mnih, Leibo & Ionescu (2016), "Using fast weights to attend to the recent past", section 4.1,
https://arxiv.org/abs/1610.06258, where T = 2.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.errors import GradlabError
from gradlab.tasks.base import Batch
from gradlab.tasks.losses import CLASSIFIED, cross_entropy


@dataclass(frozen=True)
class AssociativeRecall:
    """Inputs one-hot (2P + T + 1, B, K + V + 1) of K keys, V values, blank; targets (B,) in 0..V-1.

    The keys of a sequence differ from one another; values are drawn independently. The loss is the cross entropy
    of the last output. The best answer without memory is a guess: ln V.

    Args:
        pairs: P, how many pairs there are to remember.
        keys: K, how many different keys there are.
        values: V, how many different values there are.

    Raises:
        GradlabError: no pair, fewer keys than pairs, or fewer than 2 values.

    Example:
        >>> import jax
        >>> batch = AssociativeRecall().sample(jax.random.key(0), batch_size=3, length=2)
        >>> batch.inputs.shape, batch.targets.shape
        ((11, 3, 37), (3,))
    """

    min_length: ClassVar[int] = 1
    readout: ClassVar[Literal["last", "all"]] = "last"

    pairs: int = 4
    keys: int = 26
    values: int = 10

    def __post_init__(self) -> None:
        if self.pairs < 1:
            raise GradlabError(f"pairs is {self.pairs}: give a whole number of at least 1")
        if self.keys < self.pairs:
            raise GradlabError(f"keys is {self.keys}: give at least as many as pairs, {self.pairs}")
        if self.values < 2:
            raise GradlabError(f"values is {self.values}: give a whole number of at least 2")

    @property
    def input_size(self) -> int:
        """K + V + 1: the keys, the values, the blank."""
        return self.keys + self.values + 1

    @property
    def output_size(self) -> int:
        """V, the values."""
        return self.values

    def steps(self, length: int) -> int:
        """2P + T + 1."""
        return 2 * self.pairs + length + 1

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """`batch_size` sequences of 2P + `length` + 1 timesteps."""
        key_keys, key_values, key_asked = jax.random.split(key, 3)
        order = jnp.argsort(jax.random.uniform(key_keys, (self.keys, batch_size)), axis=0)
        keys = order[: self.pairs]
        values = jax.random.randint(key_values, keys.shape, 0, self.values)
        asked = jax.random.randint(key_asked, (1, batch_size), 0, self.pairs)
        shown = jnp.stack([keys, self.keys + values], axis=1).reshape(2 * self.pairs, batch_size)
        blank = jnp.full((length, batch_size), self.keys + self.values)
        tokens = jnp.concatenate([shown, blank, jnp.take_along_axis(keys, asked, axis=0)])
        target = jnp.take_along_axis(values, asked, axis=0)[0]
        return Batch(jax.nn.one_hot(tokens, self.input_size), target)

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """Cross entropy of the last logits (B, V); (B,)."""
        return cross_entropy(outputs[-1], batch.targets)

    def chance(self, length: int) -> float:
        """The cost of a guess, ln V, at any length."""
        del length
        return math.log(self.values)

    def solved(self, length: int) -> float:
        """0.01 ln 2: at least 99 % of the answers are right, at any length."""
        del length
        return CLASSIFIED

    def task_curve(self, length: int) -> int | None:
        """None: the loss is at the last timestep, T + 1 to T + 2P - 1 timesteps after the key that it needs."""
        return None


def associative_recall(pairs: int = 4, keys: int = 26, values: int = 10) -> AssociativeRecall:
    """Remember `pairs` pairs of key and value for `length` timesteps, and give the value of one of the keys."""
    return AssociativeRecall(pairs, keys, values)
