"""Selective copy: repeat the symbols that are scattered among blanks, in their order.

Two example rows, K = 3 symbols of A = 4, length T = 5, so T + 2K = 11 timesteps (`_` blank, `?` marker):

    input    _ 4 _ _ 1 _ _ 2 ? ? ?       input    3 3 _ _ _ _ 1 _ ? ? ?
    target                   4 1 2       target                   3 3 1

The network must decide by what it sees which timesteps to remember: no fixed delay repeats the symbols.

Source: Gu & Dao (2023), "Mamba: linear-time sequence modeling with selective state spaces", section 4.1.1,
https://arxiv.org/abs/2312.00752
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.tasks.base import Batch
from gradlab.tasks.copy import check_symbols
from gradlab.tasks.losses import CLASSIFIED, cross_entropy


@dataclass(frozen=True)
class SelectiveCopy:
    """Inputs one-hot (T + 2K, B, A + 2) of blank, A symbols, marker; targets (K, B) in 0..A-1.

    The loss is the cross entropy averaged over the K timesteps of the markers, the last ones. The best answer
    without memory is a guess there: ln A.

    Args:
        symbols: K, how many symbols there are among the T blanks, at any of the first T + K timesteps.
        alphabet: A, how many different symbols there are.

    Raises:
        GradlabError: fewer than 1 symbol or an alphabet of fewer than 2.

    Example:
        >>> import jax
        >>> batch = SelectiveCopy(symbols=3).sample(jax.random.key(0), batch_size=2, length=5)
        >>> batch.inputs.shape, batch.targets.shape, int((batch.inputs[:, 0].argmax(-1) == 0).sum())
        ((11, 2, 6), (3, 2), 5)
    """

    min_length: ClassVar[int] = 1
    readout: ClassVar[Literal["last", "all"]] = "all"

    symbols: int = 4
    alphabet: int = 4

    def __post_init__(self) -> None:
        check_symbols(self.symbols, self.alphabet)

    @property
    def input_size(self) -> int:
        """A + 2: blank, the symbols, the marker."""
        return self.alphabet + 2

    @property
    def output_size(self) -> int:
        """A, the symbols."""
        return self.alphabet

    def steps(self, length: int) -> int:
        """T + 2K."""
        return length + 2 * self.symbols

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """`batch_size` sequences of `length` + 2K timesteps."""
        key_place, key_symbol = jax.random.split(key)
        shape = (length + self.symbols, batch_size)
        order = jnp.argsort(jax.random.uniform(key_place, shape), axis=0)
        places = jnp.sort(order[: self.symbols], axis=0)
        symbols = jax.random.randint(key_symbol, (self.symbols, batch_size), 1, self.alphabet + 1)
        scattered = jnp.zeros(shape, symbols.dtype).at[places, jnp.arange(batch_size)].set(symbols)
        markers = jnp.full((self.symbols, batch_size), self.alphabet + 1, symbols.dtype)
        inputs = jax.nn.one_hot(jnp.concatenate([scattered, markers]), self.input_size)
        return Batch(inputs, symbols - 1)

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """Cross entropy of the last K logits (K, B, A), averaged over them; (B,)."""
        return jnp.mean(cross_entropy(outputs[-self.symbols :], batch.targets), axis=0)

    def chance(self, length: int) -> float:
        """The cost of a guess, ln A, at any length."""
        del length
        return math.log(self.alphabet)

    def solved(self, length: int) -> float:
        """0.01 ln 2: at least 99 % of the symbols are right, at any length."""
        del length
        return CLASSIFIED

    def task_curve(self, length: int) -> int | None:
        """T + K + 1, the first marker: its loss needs the first symbol, the one that is remembered longest."""
        return length + self.symbols + 1


def selective_copy(symbols: int = 4, alphabet: int = 4) -> SelectiveCopy:
    """Repeat `symbols` symbols of an alphabet of `alphabet` that are scattered among `length` blanks."""
    return SelectiveCopy(symbols, alphabet)
