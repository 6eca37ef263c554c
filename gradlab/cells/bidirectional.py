"""Two directions of a cell: one reads the sequence from its start, the other from its end.

    y_t = [forward(x₁..x_t), backward(x_T..x_t)]

The output of a timestep reads all inputs, so no state carries the gradient of one output alone: it is measured at
its inputs.

Source: Schuster & Paliwal (1997), "Bidirectional recurrent neural networks", section III,
https://doi.org/10.1109/78.650093
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array, lax

from gradlab.cells.base import Cell, Params


@dataclass(frozen=True)
class Bidirectional:
    """A cell forwards and one of its own weights backwards. Made by `bidirectional`."""

    cell: Cell

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`forward` and `backward`, as the cell makes them."""
        keys = jax.random.split(key)
        names = ("forward", "backward")
        return {name: self.cell.init(own, input_size, hidden_size) for name, own in zip(names, keys, strict=True)}

    def apply(self, params: Params, inputs: Array) -> Array:
        """(T, B, I) -> (T, B, 2 Y)."""
        found = [
            self._outputs(params["forward"], inputs, reverse=False),
            self._outputs(params["backward"], inputs, reverse=True),
        ]
        return jnp.concatenate(found, axis=-1)

    def _outputs(self, params: Params, inputs: Array, *, reverse: bool) -> Array:
        start = jax.tree.map(jnp.asarray, self.cell.carry(params, inputs.shape[1]))
        outputs: Array = lax.scan(lambda s, x_t: self.cell.step(params, s, x_t), start, inputs, reverse=reverse)[1]
        return outputs


def bidirectional(cell: Cell) -> Bidirectional:
    """A cell in both directions, y_t = [forward, backward].

    Args:
        cell: of each direction, with weights of its own.

    Example:
        >>> from gradlab.cells.gru import gru
        >>> network = bidirectional(gru())
        >>> params = network.init(jax.random.key(0), 2, 8)
        >>> network.apply(params, jnp.ones((5, 3, 2))).shape
        (5, 3, 16)

    Source: Schuster & Paliwal (1997), section III, https://doi.org/10.1109/78.650093
    """
    return Bidirectional(cell)
