"""Two directions of a cell: one reads the sequence from its start, the other from its end.

    y_t = [forward(x₁..x_t), backward(x_T..x_t)]          of layer k, whose x are the y of layer k - 1

The output of a timestep reads all inputs, so that its gradient has a past side and a future side: at the states of
`forward` before it and at those of `backward` behind it, and below the top layer at both on both sides.

Source: Schuster & Paliwal (1997), "Bidirectional recurrent neural networks", section III,
https://doi.org/10.1109/78.650093
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from gradlab.cells.base import Carry, Cell, Params, output_size
from gradlab.errors import GradlabError

DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True)
class Bidirectional:
    """`layers` layers of a cell forwards and one of its own weights backwards. Made by `bidirectional`."""

    cell: Cell
    layers: int = 1

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`forward` and `backward`, as the cell makes them; of several layers in `layer0`, `layer1`, ..."""
        size, found = input_size, []
        for own in [key] if self.layers == 1 else jax.random.split(key, self.layers):
            pair = zip(DIRECTIONS, jax.random.split(own), strict=True)
            found.append({name: self.cell.init(each, size, hidden_size) for name, each in pair})
            size = 2 * output_size(self.cell, found[-1]["forward"], size)
        return found[0] if self.layers == 1 else {f"layer{k}": layer for k, layer in enumerate(found)}

    def apply(self, params: Params, inputs: Array) -> Array:
        """(T, B, I) -> (T, B, 2 Y)."""
        for _, layer in self.layers_of(params):
            inputs = jnp.concatenate([self.run(layer, name, inputs)[1] for name in DIRECTIONS], axis=-1)
        return inputs

    def layers_of(self, params: Params) -> list[tuple[str, Params]]:
        """The parameters of each layer from the lowest up, after what the names of its leaves begin with."""
        return (
            [("", params)]
            if self.layers == 1
            else [(f"layer{k}.", params[f"layer{k}"]) for k in range(self.layers)]
        )

    def run(self, layer: Params, direction: str, inputs: Array) -> tuple[Carry, Array]:
        """The state that enters each timestep in the order of a direction, and the outputs; both (T, B, ...)."""
        params = layer[direction]
        start = jax.tree.map(jnp.asarray, self.cell.carry(params, inputs.shape[1]))

        def timestep(carry: Carry, x_t: Array) -> tuple[Carry, Any]:
            state, y_t = self.cell.step(params, carry, x_t)
            return state, (carry, y_t)

        found: tuple[Carry, Array] = lax.scan(timestep, start, inputs, reverse=direction == "backward")[1]
        return found


def bidirectional(cell: Cell, layers: int = 1) -> Bidirectional:
    """A cell in both directions, `bidirectional:lstm:layers=2`: y_t = [forward, backward].

    Args:
        cell: of each direction, with weights of its own.
        layers: how many; both directions of a layer read both outputs of the layer below.

    Raises:
        GradlabError: fewer than one layer.

    Example:
        >>> from gradlab.cells.gru import gru
        >>> network = bidirectional(gru())
        >>> params = network.init(jax.random.key(0), 2, 8)
        >>> network.apply(params, jnp.ones((5, 3, 2))).shape
        (5, 3, 16)

    Source: Schuster & Paliwal (1997), section III, https://doi.org/10.1109/78.650093
    """
    if layers < 1:
        raise GradlabError(f"bidirectional: layers is {layers}: give at least 1")
    return Bidirectional(cell, layers)
