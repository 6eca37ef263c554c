"""Cores of haiku: `Core(hidden_size)` inside `hk.transform`, `core(x, state) -> (y, state)`.

The state of an LSTM is `LSTMState(hidden, cell)`, and 1 is added to its forget gate where it is called: that is no
parameter. `VanillaRNN` is a network of ReLU.
Source: https://dm-haiku.readthedocs.io/en/latest/api.html#recurrent
"""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
from jax import Array

from gradlab.adapters.base import LibraryCell

CONVENTION = ("hidden_size",)


def made(factory: Callable[..., Any], options: dict[str, Any], input_size: int, hidden_size: int) -> LibraryCell:
    """The network of a class, or of a function that makes a core."""

    def timestep(x_t: Array, state: Any) -> tuple[Any, Any]:
        return factory(hidden_size, **options)(x_t, state)

    net = hk.without_apply_rng(hk.transform(timestep))
    initial = hk.transform(lambda batch_size: factory(hidden_size, **options).initial_state(batch_size))

    def carry(weights: Any, batch_size: int) -> Any:
        return initial.apply({}, jax.random.key(0), batch_size)

    def step(weights: Any, state: Any, x_t: Array) -> tuple[Any, Array]:
        y_t, state = net.apply(weights, x_t, state)
        return state, y_t

    return LibraryCell(lambda key: net.init(key, jnp.zeros((1, input_size)), carry(None, 1)), carry, step, None)
