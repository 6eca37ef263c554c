"""Long sequences in segments, which bounds the memory of a backward pass.

Only the state at the start of each segment is kept, and each segment is recomputed on the way back: √T segments
need the least memory, for one more forward pass (Chen et al. 2016, "Training deep nets with sublinear memory
cost", section 4, https://arxiv.org/abs/1604.06174).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from gradlab.gradient.adjoint import MEMORY_BUDGET


def segment_length(timesteps: int, step_bytes: int, budget: int = MEMORY_BUDGET) -> int:
    """Timesteps of a segment: all T where `step_bytes` for each fit into the budget, else √T.

    Example:
        >>> segment_length(1000, 1), segment_length(1000, 2**20), segment_length(1001, 2**20)
        (1000, 32, 32)
    """
    return timesteps if timesteps * step_bytes <= budget else math.ceil(math.sqrt(timesteps))


def cut(rows: Any, size: int) -> tuple[Any, Any]:
    """Arrays (T, ...) as a head of 1..size timesteps and the rest as (n, size, ...).

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
    """The inverse of `cut`: arrays (T, ...)."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b.reshape(-1, *b.shape[2:])]), head, rest)
