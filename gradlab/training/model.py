"""A cell, a linear readout and the loss of a task: what is trained."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells import Cell, Params
from gradlab.cells.initializers import glorot
from gradlab.tasks import Batch, Task
from gradlab.training.keys import stream
from gradlab.training.taps import Slots
from gradlab.training.unroll import unroll


@dataclass(frozen=True)
class Model:
    """The cell unrolled over time, read out by one linear layer, and judged by the task.

    Args:
        cell: what is measured.
        task: what is asked of it.
        hidden: H, the size that the cell is initialised with.
    """

    cell: Cell
    task: Task
    hidden: int

    def init(self, seed: int | Array) -> Params:
        """`{"cell": ..., "readout": {"w": (Y, O), "b": (O,)}}`: Glorot weights, zero bias."""
        cell = self.cell.init(stream(seed, "cell"), self.task.input_size, self.hidden)
        width = self._output_width(cell)
        readout = {
            "w": glorot(stream(seed, "readout"), width, self.task.output_size),
            "b": jnp.zeros(self.task.output_size),
        }
        return {"cell": cell, "readout": readout}

    def losses(self, params: Params, batch: Batch, slots: Slots | None = None) -> Array:
        """The loss (B,) of each example; the gradient of `slots` is what `taps.py` says."""
        last = self.task.readout == "last"
        outputs = unroll(self.cell, params["cell"], batch.inputs, last=last, slots=slots)
        return self.read(params, outputs, batch)

    def read(self, params: Params, outputs: Array, batch: Batch) -> Array:
        """The loss (B,) from the outputs (T, B, Y) of the cell, or from the last of them."""
        if self.task.readout == "last":
            outputs = outputs[-1:]
        readout = params["readout"]
        return self.task.loss(outputs @ readout["w"] + readout["b"], batch)

    def _output_width(self, cell: Params) -> int:
        """Y, the size of one output of the cell."""

        def first_output(params: Params) -> Any:
            x_t = jnp.zeros((1, self.task.input_size))
            return self.cell.step(params, self.cell.carry(params, 1), x_t)[1]

        return jax.eval_shape(first_output, cell).shape[-1]
