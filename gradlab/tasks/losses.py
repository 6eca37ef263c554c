"""What the losses of tasks share."""

import math

import jax
import jax.numpy as jnp
from jax import Array

CLASSIFIED = 0.01 * math.log(2)
"""A mean cross entropy at which at least 99 % of the answers are right.

A wrong answer costs ln 2 or more, because it leaves the right class a probability of 1/2 or less; so the share of
wrong answers is at most the mean cross entropy over ln 2.
"""


def cross_entropy(logits: Array, targets: Array) -> Array:
    """-ln p(target), of logits (..., C) and the numbers of the right classes (...)."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]


def outputs_at(outputs: Array, index: Array) -> Array:
    """The output (B, O) of each example at an index of its own, of outputs (T, B, O) and indices (B,)."""
    return jnp.take_along_axis(outputs, index[None, :, None], axis=0)[0]
