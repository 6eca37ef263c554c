"""Cells of equinox: `Cell(input_size, hidden_size, key=key)`, `cell(x, state) -> state` of one example.

The state of an LSTM is (h, c). A cell of the user's may return (state, y) too, and may state its own initial state
as `initial_state()`; else the state is tried as zeros h and as zeros (h, c) of `hidden_size`.
Source: https://docs.kidger.site/equinox/api/nn/rnn/
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from gradlab.adapters.base import LibraryCell
from gradlab.errors import GradlabError, described

CONVENTION = ("input_size", "hidden_size", "key")


def made(factory: Callable[..., Any], options: dict[str, Any], input_size: int, hidden_size: int) -> LibraryCell:
    """The network of a class."""
    return _network(lambda key: factory(input_size, hidden_size, **options, key=key), input_size, hidden_size)


def given(cell: Any, input_size: int) -> LibraryCell:
    """The network of an object, with its weights."""
    return _network(lambda key: cell, input_size, 0)


def _network(build: Callable[[Array], Any], input_size: int, hidden_size: int) -> LibraryCell:
    with jax.ensure_compile_time_eval():
        example = build(jax.random.key(0))
        static = eqx.partition(example, eqx.is_inexact_array)[1]
        start = _start(example, input_size, getattr(example, "hidden_size", hidden_size))

    def carry(weights: Any, batch_size: int) -> Any:
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch_size, *leaf.shape)), start)

    def step(weights: Any, state: Any, x_t: Array) -> tuple[Any, Array]:
        cell = eqx.combine(weights, static)
        return jax.vmap(lambda x, state: _state_and_output(cell(x, state), state))(x_t, state)

    return LibraryCell(lambda key: eqx.partition(build(key), eqx.is_inexact_array)[0], carry, step, ("h", "c"))


def _start(cell: Any, input_size: int, hidden_size: int) -> Any:
    """The initial state of one example."""
    if hasattr(cell, "initial_state"):
        return cell.initial_state()
    h = jnp.zeros(hidden_size)
    failure = ""
    for state in (h, (h, h)):
        try:
            _state_and_output(eqx.filter_eval_shape(cell, jnp.zeros(input_size), state), state)
        except Exception as error:
            failure = described(error)
        else:
            return state
    raise GradlabError(
        f"{type(cell).__name__} takes neither h nor (h, c) of size {hidden_size} as its state: give it a method "
        f"initial_state(), the state of one example: {failure}"
    )


def _state_and_output(found: Any, state: Any) -> tuple[Any, Any]:
    """What a cell returns as (state, y): the state alone, whose first array is then the output, or both."""
    form: Any = jax.tree.structure(state)
    if jax.tree.structure(found) == form:
        return found, jax.tree.leaves(found)[0]
    if isinstance(found, tuple) and len(found) == 2 and jax.tree.structure(found[0]) == form:
        return found
    raise TypeError(f"it returns {jax.tree.structure(found)} for the state {form}")
