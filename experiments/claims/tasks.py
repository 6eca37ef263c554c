"""A task that only claims need, in sweeps as `./experiments/claims/tasks.py:Ahead`."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from gradlab.tasks import Batch


@dataclass(frozen=True)
class Ahead:
    """At every timestep say the symbol that comes `ahead` timesteps later; what no input tells is not asked.

    Inputs one-hot (T, B, A), targets (T, B). The loss is the cross entropy, averaged over the first T - ahead
    timesteps. Without the future it is ln A: the symbols are independent.
    """

    min_length: ClassVar[int] = 2
    readout: ClassVar[str] = "all"

    ahead: int = 5
    symbols: int = 4

    @property
    def input_size(self):
        """A."""
        return self.symbols

    @property
    def output_size(self):
        """A."""
        return self.symbols

    def steps(self, length):
        """T = length."""
        return length

    def sample(self, key, batch_size, length):
        """Independent symbols."""
        symbols = jax.random.randint(key, (length, batch_size), 0, self.symbols)
        return Batch(jax.nn.one_hot(symbols, self.symbols), symbols)

    def loss(self, outputs, batch):
        """Cross entropy of the first T - ahead outputs; (B,)."""
        asked = jax.nn.log_softmax(outputs[: -self.ahead])
        hit = jnp.take_along_axis(asked, batch.targets[self.ahead :, :, None], axis=-1)
        return -jnp.mean(hit[..., 0], axis=0)

    def chance(self, length):
        """The cross entropy of a guess, ln A."""
        return float(jnp.log(self.symbols))

    def solved(self, length):
        """A tenth of chance."""
        return 0.1 * self.chance(length)

    def task_curve(self, length):
        """The first timestep, whose answer lies in the future alone."""
        return 1
