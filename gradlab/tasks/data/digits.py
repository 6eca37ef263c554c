"""Sequential digits: tell which digit an image shows whose pixels come one at a time.

    pixel    0 0 5 13 9 1 0 0 | 0 0 13 15 ...  (64 of them, row by row) then 0 until the end      target    0

Source of the data: Alpaydin & Kaynak (1998), "Optical recognition of handwritten digits", UCI repository, as
scikit-learn brings it along (1,797 images of 8 x 8); of the task: Le, Jaitly & Hinton (2015), "A simple way to
initialize recurrent networks of rectified linear units", section 4.2, https://arxiv.org/abs/1504.00941
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.tasks.base import Batch, Part
from gradlab.tasks.data.parts import Parts, contiguous, digest_of, lacks_extra
from gradlab.tasks.losses import cross_entropy

PIXELS, CLASSES = 64, 10


@dataclass(frozen=True)
class Digits:
    """Inputs (T, B, 1) of pixels / 16, zero after the 64th; target (B,) the digit.

    The loss is the cross entropy of the last output (10 logits), in nats; with T above 64 the image has to be
    remembered. 60 % of the images train, the next 20 % validate, the last 20 %, of other writers, test.
    """

    input_size: ClassVar[int] = 1
    output_size: ClassVar[int] = CLASSES
    min_length: ClassVar[int] = PIXELS
    readout: ClassVar[Literal["last", "all"]] = "last"

    @property
    def digest(self) -> str:
        """Of pixels and digits."""
        return _images()[1]

    def steps(self, length: int) -> int:
        """T = length."""
        return length

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """Images of the training part, drawn with replacement."""
        return _drawn(_images()[0].train, key, batch_size, length)

    def held_out(self, part: Part, key: Array, batch_size: int, length: int) -> Batch:
        """Images of another part, drawn with replacement."""
        return _drawn(getattr(_images()[0], part), key, batch_size, length)

    def evaluation(self, part: Part, length: int) -> Batch:
        """All images of another part, as one batch."""
        rows = getattr(_images()[0], part)
        return jax.tree.map(lambda array: array[None], _batch(jnp.asarray(rows), length))

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """-log p(digit), (B,)."""
        return cross_entropy(outputs[-1], batch.targets)

    def chance(self, length: int) -> float:
        """Ln 10: all digits are equally frequent."""
        del length
        return math.log(CLASSES)

    def solved(self, length: int) -> float:
        """A tenth of chance."""
        return 0.1 * self.chance(length)

    def task_curve(self, length: int) -> int | None:
        """None: the loss is at the last timestep."""
        return None


@lru_cache
def _images() -> tuple[Parts, str]:
    """Rows of 64 pixels and a digit, in whole numbers, and their digest."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise lacks_extra("scikit-learn", "task digits") from error
    found = load_digits()
    rows = np.column_stack([found.data, found.target]).astype(np.uint8)
    return contiguous(rows, 0.6, 0.2), digest_of(rows)


def _drawn(rows: np.ndarray, key: Array, batch_size: int, length: int) -> Batch:
    return _batch(jnp.asarray(rows)[jax.random.randint(key, (batch_size,), 0, len(rows))], length)


def _batch(rows: Array, length: int) -> Batch:
    pixels = rows[:, :PIXELS].T / jnp.asarray(16, float)
    inputs = jnp.concatenate([pixels, jnp.zeros((length - PIXELS, len(rows)), pixels.dtype)])
    return Batch(inputs[..., None], rows[:, PIXELS].astype(int))


def digits() -> Digits:
    """Sequential 8 x 8 digits: an image pixel by pixel, then zeros up to the length (extra `data`)."""
    return Digits()
