"""Long sequences in segments, so that what a backward pass needs of the forward one is not all kept at once.

Only the state at the start of each segment is kept, and a segment is run again on the way back: with √T segments
that is the least memory, for one more forward pass (Chen et al. 2016, "Training deep nets with sublinear memory
cost", section 4, https://arxiv.org/abs/1604.06174).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

MEMORY_BUDGET = 256 * 2**20
"""Bytes kept for a backward pass, above which segments are run again."""


def segment_length(timesteps: int, step_bytes: int, budget: int = MEMORY_BUDGET) -> int:
    """Timesteps in a segment: all of them where they fit into the budget, else √T.

    Args:
        timesteps: T.
        step_bytes: kept for each timestep.
        budget: bytes.

    Example:
        >>> segment_length(1000, 1), segment_length(1000, 2**20), segment_length(1001, 2**20)
        (1000, 32, 32)
    """
    return timesteps if timesteps * step_bytes <= budget else math.ceil(math.sqrt(timesteps))


def cut(rows: Any, size: int) -> tuple[Any, Any]:
    """Arrays of timesteps (T, ...) as a head of 1..size of them and the rest as (n, size, ...).

    Example:
        >>> head, rest = cut(jnp.arange(7), 3)
        >>> head.tolist(), rest.tolist()
        ([0], [[1, 2, 3], [4, 5, 6]])
    """
    head = (len(jax.tree.leaves(rows)[0]) - 1) % size + 1
    return (
        jax.tree.map(lambda leaf: leaf[:head], rows),
        jax.tree.map(lambda leaf: leaf[head:].reshape(-1, size, *leaf.shape[1:]), rows),
    )


def join(head: Any, rest: Any) -> Any:
    """What `cut` cut, as (T, ...) again."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b.reshape(-1, *b.shape[2:])]), head, rest)
