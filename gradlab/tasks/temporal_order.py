"""Temporal order: in which order did two relevant symbols come, among many that are not?

Two example rows of each variant, T = 20, shortened (A, B, X, Y: relevant; the class is 2 for the order BA):

    pascanu      d B c f e ... f A d ... c e          class  1 + 2 x 0 = 1
                 c f A e d ... d B c ... f f          class  0 + 2 x 1 = 2

    hochreiter   E Y c b a ... d X a ... b B          class  1 + 2 x 0 = 1
                 E c X b d ... a a Y ... d a c B      class  0 + 2 x 1 = 2

Sources: pascanu: Pascanu, Mikolov & Bengio (2013), "On the difficulty of training recurrent neural networks",
section 4.1, as in their code, https://github.com/pascanur/trainingRNNs (tempOrder.py, tempOrder3bit.py).
hochreiter: Hochreiter & Schmidhuber (1997), "Long short-term memory", section 5.6, experiments 6a and 6b.
"""

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.errors import GradlabError, unknown
from gradlab.tasks.base import Batch
from gradlab.tasks.losses import CLASSIFIED, cross_entropy, outputs_at

_STARTS = {
    ("pascanu", 2): (10, 50),
    ("pascanu", 3): (10, 30, 60),
    ("hochreiter", 2): (10, 50),
    ("hochreiter", 3): (10, 33, 66),
}
"""Where the windows of the relevant symbols begin, in percent of T; each is a tenth of T wide."""
_VARIANTS = ("pascanu", "hochreiter")
_BEGIN, _TRIGGER = 6, 7


@dataclass(frozen=True)
class TemporalOrder:
    """Inputs one-hot (T', B, 6 or 8): 2 relevant symbols, 4 others, and of `hochreiter` E, B; targets the class.

    With n relevant symbols v₁..v_n, each 0 or 1, the class is v₁ + 2v₂ + 4v₃, one of 2ⁿ. The loss is the cross
    entropy of the output at the end. The best answer without memory is a guess: n ln 2.

    Args:
        variant: `pascanu`: T' = T, vᵢ at an index in [aT, aT + T/10), with a = 0.1, 0.5, or 0.1, 0.3, 0.6.
            `hochreiter`: E at first, B at the end of T to T + ⌊T/10⌋ timesteps, zeros after it; vᵢ at a timestep
            from aT to aT + T/10, both included, with a = 0.1, 0.5, or 0.1, 0.33, 0.66.
        symbols: n, how many relevant symbols there are, 2 or 3.

    Raises:
        GradlabError: an unknown variant, or another number of symbols.

    Example:
        >>> import jax
        >>> batch = TemporalOrder().sample(jax.random.key(0), batch_size=3, length=20)
        >>> batch.inputs.shape, batch.targets["class"].shape, float(batch.inputs[:, 0, :2].sum())
        ((20, 3, 6), (3,), 2.0)
    """

    variant: str = "pascanu"
    symbols: int = 2

    def __post_init__(self) -> None:
        if self.variant not in _VARIANTS:
            raise unknown("variant", self.variant, _VARIANTS)
        if self.symbols not in (2, 3):
            raise GradlabError(f"symbols is {self.symbols}: give 2 or 3")

    @property
    def of_1997(self) -> bool:
        """Whether it is Hochreiter's variant, with a symbol at each end and random lengths."""
        return self.variant == "hochreiter"

    @property
    def input_size(self) -> int:
        """6, or 8 with those at the ends."""
        return 8 if self.of_1997 else 6

    @property
    def output_size(self) -> int:
        """2ⁿ, the classes."""
        return int(2**self.symbols)

    @property
    def min_length(self) -> int:
        """10, or 20 where the first window must begin after the first timestep."""
        return 20 if self.of_1997 else 10

    @property
    def readout(self) -> Literal["last", "all"]:
        """All where sequences end at different timesteps."""
        return "all" if self.of_1997 else "last"

    def steps(self, length: int) -> int:
        """T, or T + ⌊T/10⌋ for the longest sequence of random lengths."""
        return length + length // 10 if self.of_1997 else length

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """`batch_size` sequences, padded with zeros after their ends."""
        keys, of_each = jax.random.split(key, 4), (self.symbols, batch_size)
        steps, index = self.steps(length), jnp.arange(self.steps(length))[:, None]
        tokens = jax.random.randint(keys[0], (steps, batch_size), 2, 6)
        relevant = jax.random.randint(keys[1], of_each, 0, 2)
        # An index counts from 0, a timestep from 1; the last one of Hochreiter's windows belongs to them.
        shift, width = (1, length // 10 + 1) if self.of_1997 else (0, length // 10)
        starts = jnp.array([start * length // 100 - shift for start in _STARTS[self.variant, self.symbols]])
        places = starts[:, None] + jax.random.randint(keys[2], of_each, 0, width)
        for place, symbol in zip(places, relevant, strict=True):
            tokens = jnp.where(index == place, symbol, tokens)
        end = jnp.full(batch_size, steps - 1)
        if self.of_1997:
            end = jax.random.randint(keys[3], (batch_size,), length - 1, steps)
            tokens = jnp.where(index == 0, _BEGIN, jnp.where(index == end, _TRIGGER, tokens))
        inputs = jnp.where((index <= end)[..., None], jax.nn.one_hot(tokens, self.input_size), 0.0)
        weights = 2 ** jnp.arange(self.symbols)[:, None]
        return Batch(inputs, {"class": jnp.sum(relevant * weights, axis=0), "end": end})

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """Cross entropy of the logits at the end of each sequence; (B,)."""
        logits = outputs_at(outputs, batch.targets["end"]) if self.of_1997 else outputs[-1]
        return cross_entropy(logits, batch.targets["class"])

    def chance(self, length: int) -> float:
        """The cost of a guess, n ln 2, at any length."""
        del length
        return self.symbols * math.log(2)

    def solved(self, length: int) -> float:
        """0.01 ln 2: at least 99 % of the answers are right, as Pascanu et al. ask, at any length."""
        del length
        return CLASSIFIED

    def task_curve(self, length: int) -> int | None:
        """None: one output of each example is read, that at its end."""
        return None


def temporal_order(variant: str = "pascanu", symbols: int = 2) -> TemporalOrder:
    """In which order `symbols` relevant symbols came, 2 or 3; `variant`: `pascanu` or `hochreiter`."""
    return TemporalOrder(variant, symbols)
