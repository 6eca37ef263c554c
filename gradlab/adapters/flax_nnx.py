"""Cells of flax nnx: `Cell(input_size, hidden_size, rngs=rngs)`, `cell(carry, x) -> (carry, y)`.

The carry of an LSTM is (c, h). `initialize_carry` needs `rngs`, whatever it draws.
Source: https://flax.readthedocs.io/en/latest/api_reference/flax.nnx/nn/recurrent.html
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from gradlab.adapters.base import LibraryCell, initial_state

CONVENTION = ("in_features", "hidden_features", "rngs")
"""Arguments of the constructor that gradlab gives, by name or, of the sizes, by position."""


def made(factory: Callable[..., Any], options: dict[str, Any], input_size: int, hidden_size: int) -> LibraryCell:
    """The network of a class."""
    return _network(lambda key: factory(input_size, hidden_size, **options, rngs=nnx.Rngs(key)), input_size)


def given(cell: Any, input_size: int) -> LibraryCell:
    """The network of an object, with its weights."""
    return _network(lambda key: cell, input_size)


def _network(build: Callable[[Array], Any], input_size: int) -> LibraryCell:
    graph: list[Any] = []

    def split(key: Array) -> tuple[Any, Any]:
        definition, weights, rest = nnx.split(build(key), nnx.Param, ...)
        graph[:] = [definition]
        return weights, rest

    key = jax.random.key(0)
    rest = jax.eval_shape(lambda: split(key)[1])
    if jax.tree.leaves(rest):  # keys of dropout, statistics: constants, as at inference
        with jax.ensure_compile_time_eval():
            rest = jax.jit(lambda key: split(key)[1])(key)

    def cell(weights: Any) -> Any:
        merged = nnx.merge(graph[0], weights, rest)
        for _, module in nnx.iter_modules(merged):
            # SimpleCell computes in float32 by default; without a dtype a module takes that of its weights.
            if getattr(module, "dtype", None) == jnp.float32:
                module.dtype = None
        return merged

    return LibraryCell(
        init=lambda key: split(key)[0],
        carry=lambda weights, batch_size: initial_state(cell(weights), (batch_size, input_size), nnx.Rngs(0)),
        step=lambda weights, state, x_t: cell(weights)(state, x_t),
        pair=("c", "h"),
    )
