"""A cell, a linear readout and the loss of a task: what is trained."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells import Cell, Params
from gradlab.cells.initializers import glorot
from gradlab.errors import GradlabError
from gradlab.tasks import Batch, Task
from gradlab.training.keys import stream
from gradlab.training.taps import Slots
from gradlab.training.unroll import unroll
from gradlab.training.weights import as_arrays


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
        cell = as_arrays(self.cell.init(stream(seed, "cell"), self.task.input_size, self.hidden))
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
        """The loss (B,) from the outputs (T, B, Y) of the cell, or from the last of them.

        Raises:
            GradlabError: the task does not give one real loss for each example.
        """
        if self.task.readout == "last":
            outputs = outputs[-1:]
        readout = params["readout"]
        losses = self.task.loss(outputs @ readout["w"] + readout["b"], batch)
        if losses.shape != outputs.shape[1:2] or not jnp.issubdtype(losses.dtype, jnp.floating):
            raise GradlabError(
                f"{type(self.task).__name__}.loss returns {losses.dtype} {losses.shape}: "
                f"give one real loss for each example, {outputs.shape[1:2]}"
            )
        return losses

    def _output_width(self, cell: Params) -> int:
        """Y, the size of one output of the cell; what a cell of one's own may get wrong in `step` is said here."""

        def first(params: Params) -> tuple[Any, Any]:
            carry = self.cell.carry(params, 1)
            return carry, self.cell.step(params, carry, jnp.zeros((1, self.task.input_size)))

        carry, found = jax.eval_shape(first, cell)
        step = f"{type(self.cell).__name__}.step"
        if not isinstance(found, tuple) or len(found) != 2:
            raise GradlabError(f"{step} returns {_shapes(found)}: return the next state and the output")
        state, output = found
        if _shapes(state) != _shapes(carry):
            raise GradlabError(
                f"{step} takes the state {_shapes(carry)} and returns {_shapes(state)}, with a batch of 1: "
                "the next state must look like the one that `carry` makes"
            )
        for (path, before), after in zip(
            jax.tree_util.tree_leaves_with_path(carry), jax.tree.leaves(state), strict=True
        ):
            if before.dtype != after.dtype:
                name = jax.tree_util.keystr(path, simple=True, separator=".") or "s"
                raise GradlabError(
                    f"leaf `{name}` of the state comes into {step} as {before.dtype} and leaves it as "
                    f"{after.dtype}: keep one dtype, that of the parameters and inputs"
                )
        if len(getattr(output, "shape", ())) != 2:
            raise GradlabError(
                f"{step} returns the output {_shapes(output)}, with a batch of 1: it must be (batch, size)"
            )
        if jnp.issubdtype(output.dtype, jnp.complexfloating):
            raise GradlabError(
                f"{step} returns a complex output: return its real part, or both parts side by side, as floats"
            )
        width: int = output.shape[-1]
        return width


def _shapes(tree: Any) -> str:
    return str(jax.tree.map(lambda leaf: leaf.shape, tree))
