"""A cell, a linear readout and the loss of a task: what is trained."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.cells import Carry, Params
from gradlab.cells.base import is_built_in, is_network
from gradlab.cells.initializers import glorot
from gradlab.cells.stacked import StackInTraining, dropout_of
from gradlab.cells.traced import is_reproducible
from gradlab.errors import GradlabError
from gradlab.gradient.assumptions import losses_meet, refuse
from gradlab.gradient.network import network_width
from gradlab.gradient.program import x64
from gradlab.gradient.state import drifting_leaves, initial_shapes, leaves_without_batch, output_shape, step_of
from gradlab.tasks import Batch, Task
from gradlab.tasks.base import token_count
from gradlab.tasks.contract import check_batch, check_length, is_custom_task, name_of
from gradlab.training.keys import stream
from gradlab.training.state_grad_norms import Sinks
from gradlab.training.task_programs import read_out
from gradlab.training.unroll import unroll_from
from gradlab.training.weights import as_arrays

_EXAMPLES = 5
"""Examples of which shapes are computed."""


@dataclass(frozen=True)
class Model:
    """The cell unrolled over time, read out by one linear layer, and judged by the task.

    Args:
        cell: what is measured, or a network without a state.
        task: what it is trained on.
        hidden: H, the size that the cell is initialised with.
    """

    cell: Any
    task: Task
    hidden: int

    def init(self, seed: int | Array) -> Params:
        """`{"cell": ..., "readout": {"w": (Y, O), "b": (O,)}}`: Glorot weights, zero bias.

        Of a task whose inputs are token ids also `embedding` (V, I), the vectors of the tokens, normal.
        """
        cell = as_arrays(self.cell.init(stream(seed, "cell"), self.task.input_size, self.hidden))
        width = self._output_width(cell)
        readout = {
            "w": glorot(stream(seed, "readout"), width, self.task.output_size),
            "b": jnp.zeros(self.task.output_size),
        }
        params = {"cell": cell, "readout": readout}
        if tokens := token_count(self.task):
            params["embedding"] = jax.random.normal(stream(seed, "embedding"), (tokens, self.task.input_size))
        return params

    def params_shape(self) -> Params:
        """The shapes of the parameters."""
        if is_custom_task(self.task) or not is_built_in(self.cell):
            return jax.eval_shape(self.init, 0)
        return _known_params_shape(self, x64())

    def embedded(self, params: Params, batch: Batch) -> Batch:
        """The batch with the inputs (T, B, I) that the cell reads: of token ids, their vectors."""
        if "embedding" not in params:
            return batch
        return batch._replace(inputs=params["embedding"][batch.inputs[..., 0]])

    def losses(
        self, params: Params, batch: Batch, sinks: Sinks | None = None, masks: Array | None = None
    ) -> Array:
        """The loss (B,) of each example; the gradient of `sinks` is that of `unroll`.

        Args:
            masks: the key of the dropout masks of a training step; None for none.
        """
        return self.losses_from(None, params, batch, sinks, masks)[0]

    def losses_from(
        self,
        start: Carry | None,
        params: Params,
        batch: Batch,
        sinks: Sinks | None = None,
        masks: Array | None = None,
        window: int = 0,
    ) -> tuple[Array, Carry | None]:
        """The loss (B,) of each example from a state, to which no gradient goes back, and the state at the end.

        Args:
            start: None for the initial state; the state at the end is None too then.
            window: as of `unroll_from`.
        """
        own, inputs = params["cell"], self.embedded(params, batch).inputs
        if is_network(self.cell):
            return self.read(params, self.cell.apply(own, inputs), batch), None
        cell: Any = self.cell
        state = cell.carry(own, inputs.shape[1]) if start is None else lax.stop_gradient(start)
        if masks is not None and dropout_of(cell):
            cell, state = StackInTraining(cell, masks), (jnp.int32(0), state)
        last = self.task.readout == "last"
        end, outputs = unroll_from(state, cell, own, inputs, last=last, sinks=sinks, window=window)
        if isinstance(cell, StackInTraining):
            _, end = end
        return self.read(params, outputs, batch), None if start is None else end

    def inputs_shape(self, examples: int, length: int) -> jax.ShapeDtypeStruct:
        """The shape and dtype of the inputs (T, B, I) that the cell reads."""
        inputs = self._batch_shape(examples, length).inputs
        if token_count(self.task):
            return jax.ShapeDtypeStruct((*inputs.shape[:2], self.task.input_size), jnp.result_type(float))
        return jax.ShapeDtypeStruct(inputs.shape, inputs.dtype)

    def read(self, params: Params, outputs: Array, batch: Batch) -> Array:
        """The loss (B,) from the outputs (T, B, Y) of the cell, or from the last of them."""
        return read_out(self.task, params["readout"], outputs, batch)

    def check(self, length: int, examples: int) -> None:
        """Refuse a cell or a task that cannot be trained and measured on sequences of a length.

        Args:
            examples: on which a custom task is tried, at least 2.

        Raises:
            GradlabError: what is wrong with the task's numbers, batch or losses, or the cell's state or output.
        """
        check_length(self.task, length)
        check_batch(self.task, length)
        params = self.params_shape()
        self._check_init()
        if not is_network(self.cell):
            self._check_cell(params["cell"], length)
        losses = [self._losses_of(params, size, length) for size in (_EXAMPLES, _EXAMPLES + 1)]
        if [given.shape for given in losses] != [(_EXAMPLES,), (_EXAMPLES + 1,)]:
            raise GradlabError(
                f"{name_of(self.task)}.loss has shape {losses[0].shape} for {_EXAMPLES} examples: give one loss "
                f"for each example, shape ({_EXAMPLES},), and no mean over them"
            )
        if not jnp.issubdtype(losses[0].dtype, jnp.floating):
            raise GradlabError(f"{name_of(self.task)}.loss is of {losses[0].dtype}: give losses of floats")
        if is_custom_task(self.task):
            self._check_loss(length, examples)

    def _check_cell(self, params: Params, length: int) -> None:
        x_t = self._input_shape(_EXAMPLES, length)
        carry = initial_shapes(self.cell, params, _EXAMPLES)
        refuse(*leaves_without_batch(self.cell, params, _EXAMPLES).values())
        refuse(*drifting_leaves(self.cell, params, carry, x_t).values())
        output_shape(self.cell, params, carry, x_t)

    def _check_init(self) -> None:
        """Refuse a custom cell or network whose key does not decide its weights."""

        def weights(key: Array) -> Params:
            return self.cell.init(key, self.task.input_size, self.hidden)

        if not is_built_in(self.cell) and not is_reproducible(weights, jax.eval_shape(jax.random.key, 0)):
            raise GradlabError(
                f"init of {name_of(self.cell)} gives other weights whenever it is called with one key (does "
                "it draw from NumPy?): draw them from its key, jax.random.normal(key, shape)"
            )

    def _input_shape(self, examples: int, length: int) -> Any:
        """The input of one timestep; of whole numbers where the task gives such."""
        inputs = self.inputs_shape(examples, length)
        return jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)

    def _batch_shape(self, examples: int, length: int) -> Any:
        if is_custom_task(self.task):
            return _batch_shape(self.task, examples, length)
        return _known_batch_shape(self.task, examples, length, x64())  # type: ignore[arg-type]

    def _read_timesteps(self, length: int) -> int:
        return 1 if self.task.readout == "last" else self.task.steps(length)

    def _losses_of(self, params: Params, examples: int, length: int) -> Any:
        """The shape and dtype of the losses."""
        width, dtype = params["readout"]["w"].shape[0], jnp.result_type(float)
        outputs = jax.ShapeDtypeStruct((self._read_timesteps(length), examples, width), dtype)
        found = jax.eval_shape(self.read, params, outputs, self._batch_shape(examples, length))
        return found if hasattr(found, "shape") else jax.ShapeDtypeStruct((), dtype)

    def _check_loss(self, length: int, examples: int) -> None:
        """Refuse a loss that reads other examples, or an output that it is not given, at random outputs."""
        # The examples that a run of seed 0 measures: a check draws no others, so that streams stay what they are.
        batch = self.task.sample(stream(0, "measure"), examples, length)
        shape = (self._read_timesteps(length), examples, self.task.output_size)
        outputs = jax.random.normal(stream(0, "answers"), shape)
        if reason := losses_meet(lambda y: self.task.loss(y, batch), outputs):
            raise GradlabError(f"{name_of(self.task)}.loss: {reason}")
        if self.task.readout == "last" and self._reads_another_output(length, examples, batch):
            raise GradlabError(
                f"{name_of(self.task)}.loss reads an output that it is not given: with readout = 'last' it gets "
                "the last alone, (1, B, O); give readout = 'all' to read others"
            )

    def _reads_another_output(self, length: int, examples: int, batch: Batch) -> bool:
        """Whether the loss of the last output alone fails, where that of all outputs is a number."""
        shape = (self.task.steps(length), examples, self.task.output_size)
        outputs = np.random.RandomState(0).standard_normal(shape).astype(jnp.result_type(float))
        loss: Any = self.task.loss
        try:
            # Arrays of NumPy, because those of jax take an index beyond their end for the last.
            alone, among = (np.asarray(loss(given, batch)) for given in (outputs[-1:], outputs))
        except IndexError:
            return True
        except Exception:  # a loss may be written for arrays of jax alone, which are tried elsewhere
            return False
        return bool(np.isnan(alone).all() and np.isfinite(among).all())

    def _output_width(self, cell: Params) -> int:
        """Y, the size of one output of the cell."""
        if is_network(self.cell):
            return network_width(self.cell, cell, self.inputs_shape(1, self.task.min_length))
        carry, x_t = initial_shapes(self.cell, cell, 1), self._input_shape(1, self.task.min_length)
        y_t = output_shape(self.cell, cell, carry, x_t)
        if jnp.issubdtype(y_t.dtype, jnp.complexfloating):
            raise GradlabError(
                f"{step_of(self.cell)} returns a complex output: return its real part, or both parts side by side"
            )
        if len(y_t.shape) != 2:
            hint = "; y.reshape(len(y), -1) makes it so" if len(y_t.shape) > 2 else ""
            raise GradlabError(
                f"{step_of(self.cell)} returns the output {y_t.shape}, with a batch of 1: it must be (batch, "
                f"size){hint}"
            )
        refuse(*drifting_leaves(self.cell, cell, carry, x_t).values())
        return int(y_t.shape[1])


def _batch_shape(task: Task, examples: int, length: int) -> Any:
    return jax.eval_shape(lambda key: task.sample(key, examples, length), jax.random.key(0))


# Asked for a dozen times a run. What is not of this package may say something else the next time.


@lru_cache(maxsize=256)
def _known_batch_shape(task: Task, examples: int, length: int, wide: bool) -> Any:
    return _batch_shape(task, examples, length)


@lru_cache(maxsize=256)
def _known_params_shape(model: Model, wide: bool) -> Params:
    return jax.eval_shape(model.init, 0)
