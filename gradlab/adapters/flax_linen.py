"""Cells of flax linen: `Cell(features=hidden_size)`, `cell.apply(variables, carry, x) -> (carry, y)`.

The carry of an LSTM is (c, h).
Source: https://flax.readthedocs.io/en/latest/api_reference/flax.linen/layers.html#recurrent
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gradlab.adapters.base import LibraryCell, initial_state

CONVENTION = ("features", "hidden_size", "parent", "name")


def made(factory: Callable[..., Any], options: dict[str, Any], input_size: int, hidden_size: int) -> LibraryCell:
    """The network of a class."""
    names = {each.name for each in dataclasses.fields(factory)} if dataclasses.is_dataclass(factory) else set()
    size = "hidden_size" if "hidden_size" in names else "features"
    return given(factory(**{size: hidden_size}, **options), input_size)


def given(cell: Any, input_size: int) -> LibraryCell:
    """The network of an object, which has sizes and no weights."""

    def carry(weights: Any, batch_size: int) -> Any:
        return initial_state(cell, jax.random.key(0), (batch_size, input_size))

    return LibraryCell(
        init=lambda key: cell.init(key, carry(None, 1), jnp.zeros((1, input_size))),
        carry=carry,
        step=cell.apply,
        pair=("c", "h"),
    )
