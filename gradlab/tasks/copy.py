"""The copy task: repeat the first symbols after a long silence; and that with a silence of random length.

Two example rows, K = 3 symbols of A = 8, length T = 5, so T + 2K = 11 timesteps (`_` blank, `?` delimiter):

    input    5 1 7 _ _ _ _ ? _ _ _       input    2 2 8 _ _ _ _ ? _ _ _
    target   _ _ _ _ _ _ _ _ 5 1 7       target   _ _ _ _ _ _ _ _ 2 2 8

The symbols stand at timesteps 1..K, the delimiter at K + T, and recall starts at the timestep after it.

Two example rows of the variable copy task, where the symbols begin after a wait, so that their delay is 2 and 4:

    input    _ _ _ 5 1 7 _ ? _ _ _       input    _ 2 2 8 _ _ _ ? _ _ _
    target   _ _ _ _ _ _ _ _ 5 1 7       target   _ _ _ _ _ _ _ _ 2 2 8

Sources: Hochreiter & Schmidhuber (1997); this variant: Arjovsky, Shah & Bengio (2016), "Unitary evolution
recurrent neural networks", section 5.1, https://arxiv.org/abs/1511.06464. Variable: Henaff, Szlam & LeCun (2016),
"Recurrent orthogonal networks and long-memory tasks", https://arxiv.org/abs/1602.06662, as in Tallec & Ollivier
(2018), "Can recurrent neural networks warp time?", section 3.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.errors import GradlabError
from gradlab.tasks.base import Batch
from gradlab.tasks.losses import cross_entropy


def check_symbols(symbols: int, alphabet: int) -> None:
    """Refuse a sequence without a symbol, and symbols that cannot be told apart."""
    if symbols < 1:
        raise GradlabError(f"symbols is {symbols}: give a whole number of at least 1")
    if alphabet < 2:
        raise GradlabError(f"alphabet is {alphabet}: give a whole number of at least 2")


@dataclass(frozen=True)
class Copy:
    """Inputs one-hot (T + 2K, B, A + 2) of blank, A symbols, delimiter; targets (T + 2K, B) in 0..A.

    The loss is the cross entropy averaged over all T + 2K timesteps. The best answer without memory is blank
    for T + K timesteps and then a guess: K ln A / (T + 2K).

    Args:
        symbols: K, how many symbols are to be repeated.
        alphabet: A, how many different symbols there are.
        variable: the symbols begin after T - d timesteps; the delay d is uniform on 1..T, drawn for each example.

    Raises:
        GradlabError: fewer than 1 symbol or an alphabet of fewer than 2.

    Example:
        >>> import jax
        >>> batch = Copy(symbols=3).sample(jax.random.key(0), batch_size=2, length=5)
        >>> batch.inputs.shape, batch.targets.shape
        ((11, 2, 10), (11, 2))
        >>> bool((batch.targets[8:] == batch.inputs[:3].argmax(-1)).all())
        True
    """

    min_length: ClassVar[int] = 1
    readout: ClassVar[Literal["last", "all"]] = "all"

    symbols: int = 10
    alphabet: int = 8
    variable: bool = False

    def __post_init__(self) -> None:
        check_symbols(self.symbols, self.alphabet)

    @property
    def input_size(self) -> int:
        """A + 2: blank, the symbols, the delimiter."""
        return self.alphabet + 2

    @property
    def output_size(self) -> int:
        """A + 1: blank and the symbols."""
        return self.alphabet + 1

    def steps(self, length: int) -> int:
        """T + 2K."""
        return length + 2 * self.symbols

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """`batch_size` sequences of `length` + 2K timesteps."""
        key_symbols, key_wait = jax.random.split(key) if self.variable else (key, key)
        symbols = jax.random.randint(key_symbols, (self.symbols, batch_size), 1, self.alphabet + 1)
        recall = jnp.zeros((self.symbols, batch_size), symbols.dtype)
        silence = jnp.zeros((length - 1, batch_size), symbols.dtype)
        delimiter = jnp.full((1, batch_size), self.alphabet + 1, symbols.dtype)
        before = jnp.concatenate([symbols, silence])
        if self.variable:
            before = _later(before, jax.random.randint(key_wait, (batch_size,), 0, length))
        inputs = jnp.concatenate([before, delimiter, recall])
        targets = jnp.concatenate([jnp.zeros((length + self.symbols, batch_size), symbols.dtype), symbols])
        return Batch(jax.nn.one_hot(inputs, self.input_size), targets)

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """Cross entropy of the logits (T + 2K, B, A + 1), averaged over timesteps; (B,)."""
        return jnp.mean(cross_entropy(outputs, batch.targets), axis=0)

    def chance(self, length: int) -> float:
        """K ln A / (T + 2K)."""
        return self.symbols * math.log(self.alphabet) / self.steps(length)

    def solved(self, length: int) -> float:
        """A tenth of chance."""
        return 0.1 * self.chance(length)

    def task_curve(self, length: int) -> int | None:
        """The last timestep: its loss needs a symbol that was seen T + K timesteps before, or d + K."""
        return self.steps(length)


def _later(tokens: Array, wait: Array) -> Array:
    """Tokens (T, B) that begin after a wait (B,) of blanks; the last ones drop out."""
    index = jnp.arange(len(tokens))[:, None] - wait
    return jnp.where(index < 0, 0, jnp.take_along_axis(tokens, jnp.maximum(index, 0), axis=0))


def copy(symbols: int = 10, alphabet: int = 8) -> Copy:
    """The copy task: repeat `symbols` symbols of an alphabet of `alphabet` after `length` timesteps."""
    return Copy(symbols, alphabet)


def variable_copy(symbols: int = 10, alphabet: int = 8) -> Copy:
    """The copy task with a delay that is drawn anew for each example, uniformly from 1 to `length`."""
    return Copy(symbols, alphabet, variable=True)
