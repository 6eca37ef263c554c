"""The compiled programs of a run, shared by all runs here that differ in seed and learning rate alone.

Cells and tasks of one's own may be equal and compute something else: their `__eq__` may leave a field out, and a
field or a constant of their module may have been set since. So what they compute is compared too.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.traced import traced, traced_step, with_backward
from gradlab.gradient.passes import Passes
from gradlab.training.keys import stream
from gradlab.training.measuring import curves_passes, direct_passes, memory_leaves
from gradlab.training.model import Model
from gradlab.training.observe import gates_program
from gradlab.training.programs import Program
from gradlab.training.spread import over_devices
from gradlab.training.step import Plan, chunk_program, test_program

_TRIED = 8
"""Examples on which a task of one's own is tried, at most."""
_EXAMPLES = 2
_ODD = (ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError)
"""What tracing may raise; that the time of a run is over is none of these."""


class Programs(NamedTuple):
    """Everything that a run calls.

    Attributes:
        init: seed -> initial parameters.
        draw: seed -> the held-out examples that are measured.
        chunk, test: of `step.py`; chunks: `chunk` of many runs at once, every argument with a leading axis.
        curves, direct, leaves: of `measuring.py`. gates: of `observe.py`.
    """

    init: Program
    draw: Program
    chunk: Program
    chunks: Program
    test: Program
    curves: Passes[Program]
    gates: Program
    direct: Passes[Program] | None
    leaves: tuple[str, ...]


def programs_for(model: Model, plan: Plan) -> Programs:
    """The programs of a model and a plan, the same ones for every seed and learning rate; compiled when called."""
    # What is an argument, or looked at by the loop alone, would tell apart programs that are the same.
    plan = replace(plan, seed=0, learning_rate=1.0, steps=0, stop="never")
    try:
        batch = jax.eval_shape(lambda key: model.task.sample(key, _EXAMPLES, plan.length), jax.random.key(0))
        content = _content_of_cell(model, batch), _content_of_task(model, batch, plan.length)
    except _ODD:  # a cell that fails of these shapes alone, or fails again where it is used and is told there
        return _programs(_Asked((), model, plan))
    settings = jax.config.jax_threefry_partitionable, jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return _shared(_Asked((_name(model), plan, content, settings), model, plan))


@dataclass(frozen=True)
class _Asked:
    """What programs are wanted for; `key` alone says whether two are the same."""

    key: tuple[Hashable, ...]
    model: Model = field(compare=False)
    plan: Plan = field(compare=False)


def _name(model: Model) -> Hashable:
    """The model, or which objects it is made of where a cell or task of one's own has no hash."""
    try:
        hash(model)
    except TypeError:
        return id(model.cell), id(model.task), model.hidden
    return model


def _content_of_cell(model: Model, batch: Any) -> str:
    """What a cell of one's own computes; those of gradlab are frozen, and equal where they compute the same."""
    cell, size = model.cell, model.task.input_size
    if type(cell).__module__.startswith("gradlab.cells."):
        return ""
    start = traced(lambda key: cell.init(key, size, model.hidden), jax.random.key(0))
    x_t = jax.ShapeDtypeStruct(batch.inputs.shape[1:], batch.inputs.dtype)
    return f"{start} {traced_step(cell, model.hidden, x_t)} {memory_leaves(model)}"


def _content_of_task(model: Model, batch: Any, length: int) -> str:
    """What a task of one's own computes, and what it says of itself."""
    task = model.task
    if type(task).__module__.startswith("gradlab.tasks."):
        return ""
    sizes = task.input_size, task.output_size

    def sample(key: Array) -> Any:
        return task.sample(key, _EXAMPLES, length)

    timesteps = 1 if task.readout == "last" else batch.inputs.shape[0]
    outputs = jax.ShapeDtypeStruct((timesteps, _EXAMPLES, task.output_size), jnp.result_type(float))

    def loss(outputs: Array, batch: Any) -> Any:
        return with_backward(lambda outputs: task.loss(outputs, batch))(outputs)

    said = f"{sizes} {task.readout} {task.steps(length)} {task.task_curve(length)}"
    return f"{said} {traced(sample, jax.random.key(0))} {traced(loss, outputs, batch)}"


def _programs(asked: _Asked) -> Programs:
    model, plan = asked.model, asked.plan
    model.check(plan.length, min(max(plan.measure_batch, 2), _TRIED))
    spread = partial(over_devices, task=model.task, plan=plan)

    def draw(seed: Array) -> object:
        return model.task.sample(stream(seed, "measure"), plan.measure_batch, plan.length)

    return Programs(
        Program(model.init),
        Program(draw),
        Program(chunk_program(model, plan)),
        Program(jax.vmap(chunk_program(model, plan))),
        Program(test_program(model, plan)),
        curves_passes(model, plan.length, spread),
        Program(spread(gates_program(model), mean=True)),
        None if model.task.readout == "last" else direct_passes(model, spread),
        memory_leaves(model),
    )


_shared = lru_cache(maxsize=8)(_programs)  # each holds compiled code, tens of MB
