"""Language modelling: at every timestep, say the next character or word of a text.

    input    T h e   q u i c      target    h e   q u i c k

Training is truncated backpropagation through time: a training step reads one window of each of B places of the
text, and the next one goes on where it ended, from the state at its end. Of that state no gradient goes back, so
nothing learns from what lies more than a window ahead, however far the state itself reaches.

Sources: Mikolov et al. (2010), "Recurrent neural network based language model", section 2; Williams & Peng (1990),
"An efficient gradient-based algorithm for on-line training of recurrent network trajectories", section 3; Zaremba,
Sutskever & Vinyals (2014), "Recurrent neural network regularization", section 4.1, https://arxiv.org/abs/1409.2329
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.errors import GradlabError, unknown
from gradlab.tasks.base import Batch, Part
from gradlab.tasks.data.parts import check_fits
from gradlab.tasks.data.text import Corpus, characters, words
from gradlab.tasks.losses import cross_entropy

_UNITS = ("char", "word")
_VOCABULARY = 5000
EVALUATED, PLACES = 1024, 32
"""Windows of a part that are evaluated at most, and the places of the text at which they begin."""


@dataclass(frozen=True)
class Language:
    """Inputs (T, B, 1), ids of characters or words, for which vectors are learned; targets (T, B) the next ones.

    The loss is the cross entropy in nats, averaged over timesteps. The first 80 % of the text train, the next 10 %
    validate, the last 10 % test; the vocabulary is that of the training part.

    Args:
        unit: `char` or `word`.
        vocabulary: words with an id of their own, and one id for all others.
        embedding: the size of the vectors.
        carry: whether a window starts from the state at the end of the one before it, or from the initial state at
            a place that is drawn.
        window: timesteps of a training step; 0 for the length of the sequences that are measured.

    Raises:
        GradlabError: an unknown unit, or a number out of range.
    """

    min_length: ClassVar[int] = 1
    readout: ClassVar[Literal["last", "all"]] = "all"

    unit: str = "char"
    vocabulary: int = _VOCABULARY
    embedding: int = 64
    carry: bool = True
    window: int = 0

    def __post_init__(self) -> None:
        if self.unit not in _UNITS:
            raise unknown("unit", self.unit, _UNITS)
        if not 100 <= self.vocabulary <= 50_000:
            raise GradlabError(f"vocabulary is {self.vocabulary}: give 100 to 50,000 words")
        if self.unit == "char" and self.vocabulary != _VOCABULARY:
            raise GradlabError(f"vocabulary is {self.vocabulary}: it is of unit=word, characters all have an id")
        if self.embedding < 1 or self.window < 0:
            raise GradlabError(
                f"embedding is {self.embedding} and window {self.window}: give at least 1, and 0 or more"
            )

    @property
    def _corpus(self) -> Corpus:
        return characters() if self.unit == "char" else words(self.vocabulary)

    @property
    def tokens(self) -> int:
        """The size of the vocabulary, with one id for everything else."""
        return self._corpus.size

    @property
    def input_size(self) -> int:
        """The size of the learned vectors."""
        return self.embedding

    @property
    def output_size(self) -> int:
        """As many logits as there are tokens."""
        return self.tokens

    @property
    def digest(self) -> str:
        """Of the text."""
        return self._corpus.digest

    def steps(self, length: int) -> int:
        """T = length; GradlabError if a part is too short for as many places."""
        shortest = min(map(len, self._corpus.parts))
        check_fits(f"the text of {self.unit}s", max(length, self.window), shortest // PLACES - 1)
        return length

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """Windows of the training part, at places that are drawn."""
        return _drawn(self._corpus.parts.train, key, batch_size, length)

    def held_out(self, part: Part, key: Array, batch_size: int, length: int) -> Batch:
        """Windows of another part, at places that are drawn."""
        return _drawn(getattr(self._corpus.parts, part), key, batch_size, length)

    def evaluation(self, part: Part, length: int) -> Batch:
        """Consecutive windows (N, ...) at 32 places, of the whole part or 1,024 windows of it."""
        ids = getattr(self._corpus.parts, part)
        apart = (len(ids) - 1) // PLACES
        starts = jnp.arange(min(apart // length, EVALUATED // PLACES)) * length
        return jax.vmap(lambda start: _windows(ids, start + jnp.arange(PLACES) * apart, length))(starts)

    def stream(self, key: Array, step: Array, batch_size: int, length: int) -> Batch:
        """Places at equal distances in the training part, which is read in a circle, from one that is drawn."""
        ids = self._corpus.parts.train
        first = jax.random.randint(key, (), 0, len(ids)) + step * length
        return _windows(ids, first + jnp.arange(batch_size) * (len(ids) // batch_size), length)

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """-log p(next token), averaged over timesteps; (B,)."""
        return jnp.mean(cross_entropy(outputs, batch.targets), axis=0)

    def chance(self, length: int) -> float:
        """The cross entropy of the validation part by the frequencies of the training part, counted from 1."""
        del length
        train, validation = self._corpus.parts[:2]
        counts = np.bincount(train, minlength=self.tokens) + 1
        return float(np.mean(-np.log(counts / counts.sum())[validation]))

    def solved(self, length: int) -> float:
        """0: no loss counts as solved, and a run goes on to its last training step."""
        del length
        return 0.0

    def score(self, loss: float) -> str:
        """Bits per character, or perplexity per word."""
        if self.unit == "char":
            return f"{loss / math.log(2):.4g} bits per character"
        return f"perplexity {math.exp(min(loss, 700.0)):.4g}"

    def task_curve(self, length: int) -> int | None:
        """The last timestep: the sum over timesteps would look healthy where no credit crosses time."""
        return length


def _drawn(ids: np.ndarray, key: Array, batch_size: int, length: int) -> Batch:
    return _windows(ids, jax.random.randint(key, (batch_size,), 0, len(ids) - length), length)


def _windows(ids: np.ndarray, first: Array, length: int) -> Batch:
    """Windows that begin at these places; the text goes on at its beginning."""
    rows = jnp.asarray(ids)[(first + jnp.arange(length + 1)[:, None]) % len(ids)].astype(int)
    return Batch(rows[:-1, :, None], rows[1:])


def language(
    unit: str = "char",
    vocabulary: int = _VOCABULARY,
    embedding: int = 64,
    carry: bool = True,
    window: int = 0,
) -> Language:
    """Say the next character of Python's documentation, or word of the docstrings of installed packages."""
    return Language(unit, vocabulary, embedding, carry, window)
