"""A cell over time, for training."""

from typing import Any

import jax
from jax import Array, lax

from gradlab.cells import Carry, Cell, Params


def unroll(cell: Cell, params: Params, inputs: Array, *, last: bool = False) -> Array:
    """The outputs (T, B, Y) of a cell for inputs (T, B, I), or the last of them (1, B, Y)."""

    def timestep(s_tm1: Carry, x_t: Array) -> tuple[Carry, Any]:
        s_t, y_t = cell.step(params, s_tm1, x_t)
        return s_t, y_t

    _, outputs = lax.scan(timestep, cell.carry(params, inputs.shape[1]), inputs)
    return jax.tree.map(lambda y: y[-1:], outputs) if last else outputs
