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
    return _network(lambda key: factory(input_size, hidden_size, **options, key=key), input_size, [hidden_size])


def given(cell: Any, input_size: int) -> LibraryCell:
    """The network of an object, with its weights."""
    sizes = {size for leaf in jax.tree.leaves(cell) if eqx.is_array(leaf) for size in leaf.shape}
    return _network(lambda key: cell, input_size, sorted(sizes, reverse=True))


def _network(build: Callable[[Array], Any], input_size: int, sizes: list[int]) -> LibraryCell:
    with jax.ensure_compile_time_eval():
        example = build(jax.random.key(0))
        static = eqx.partition(example, eqx.is_inexact_array)[1]
        start = _start(example, input_size, [example.hidden_size] if hasattr(example, "hidden_size") else sizes)

    def carry(weights: Any, batch_size: int) -> Any:
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch_size, *leaf.shape)), start)

    def step(weights: Any, state: Any, x_t: Array) -> tuple[Any, Array]:
        cell = eqx.combine(weights, static)
        return jax.vmap(lambda x, state: _state_and_output(cell(x, state), state))(x_t, state)

    return LibraryCell(lambda key: eqx.partition(build(key), eqx.is_inexact_array)[0], carry, step, ("h", "c"))


def _start(cell: Any, input_size: int, sizes: list[int]) -> Any:
    """The initial state of one example: the first of h and (h, c) of these sizes that comes back as it was."""
    if hasattr(cell, "initial_state"):
        return cell.initial_state()
    failure = "it has no arrays"
    for h in map(jnp.zeros, sizes):
        for state in (h, (h, h)):
            try:
                found = eqx.filter_eval_shape(cell, jnp.zeros(input_size), state)
                after, _ = _state_and_output(found, state)
            except Exception as error:
                failure = described(error)
            else:
                if all(a.shape == h.shape for a in jax.tree.leaves(after)):
                    return state
                failure = "its state comes back in another size"
    called = f"{type(cell).__name__}, called as cell(x, state) with an input of size {input_size}"
    raise GradlabError(
        f"{called} and h or (h, c) of size {' or '.join(map(str, sizes)) or '?'} as its state, fails: "
        f"{failure.rstrip('.')}. Is the size of the inputs right, and is it recurrent? A layer without a state "
        "cannot be measured; a subclass of one that has a state says it by a method initial_state(), the state of "
        "one example, or an attribute hidden_size"
    )


def _state_and_output(found: Any, state: Any) -> tuple[Any, Any]:
    """What a cell returns as (state, y): the state alone, whose first array is then the output, or both."""
    form: Any = jax.tree.structure(state)
    if jax.tree.structure(found) == form:
        return found, jax.tree.leaves(found)[0]
    if isinstance(found, tuple) and len(found) == 2 and jax.tree.structure(found[0]) == form:
        return found
    raise TypeError(f"it returns {jax.tree.structure(found)} for the state {form}")
