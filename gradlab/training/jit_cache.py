"""The compiled programs of a run, shared by all runs that differ in seed and learning rate alone.

A custom cell or task may be equal to another one and compute something else, so what they compute is compared too
(`cells/traced.py`).
"""

import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import is_network
from gradlab.cells.traced import TraceCache, traced, traced_step, with_pullback
from gradlab.errors import GradlabError
from gradlab.gradient.program import Program, product_precision, x64
from gradlab.tasks.base import Part, is_data_task
from gradlab.tasks.contract import is_custom_task
from gradlab.training.checkpoint_metrics import CheckpointPrograms, memory_leaves
from gradlab.training.model import Model
from gradlab.training.network_metrics import NetworkPrograms
from gradlab.training.sharding import spread
from gradlab.training.step import Plan, chunk_program, evaluation_program, test_program
from gradlab.training.task_programs import draw_program

_CHECKED, _TRACED = 8, 2
"""Examples on which a custom task is checked, at most; and on which it is traced."""
_ODD = (ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError)
"""What tracing may raise; a timeout of the run is none of these."""
_shared = TraceCache(8)  # each holds compiled code, tens of MB
_inits = TraceCache(32)


class Programs(NamedTuple):
    """Everything that a run calls.

    Attributes:
        init: seed -> initial parameters.
        draw: seed -> the held-out examples that are measured.
        chunk, test: of `step.py`; chunks: `chunk` of many runs at once, every argument with a leading axis.
        final: loss on the test part of recorded data, where `test` is that on the validation part; else None.
        metrics: of `checkpoint_metrics.py`.
    """

    init: Program
    draw: Program
    chunk: Program
    chunks: Program
    test: Program
    final: Program | None
    metrics: CheckpointPrograms | NetworkPrograms


def programs_for(model: Model, plan: Plan) -> Programs:
    """The programs of a model and a plan, the same ones for every seed and learning rate; compiled when called."""
    # What is an argument, or used by the loop alone, would tell apart programs that are the same.
    plan = replace(plan, seed=0, learning_rate=1.0, steps=0, stop="never")
    try:
        batch = jax.eval_shape(lambda key: model.task.sample(key, _TRACED, plan.length), jax.random.key(0))
        inputs = model.inputs_shape(_TRACED, plan.length)
        content = _traced_cell(model, inputs), _traced_task(model, batch, plan.length)
    except _ODD:  # a cell that fails at these shapes alone, or fails again, with a message, where it is used
        return _programs(model, plan, Program(model.init))
    settings = jax.config.jax_threefry_partitionable, jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]

    def make() -> Programs:
        # Where a run starts depends on no length.
        sizes = model.task.input_size, model.task.output_size
        init = _inits.get((_name(model), content[0], sizes, settings), lambda: Program(model.init))
        return _programs(model, plan, init)

    found: Programs = _shared.get((_name(model), plan, content, settings), make)
    return found


def _name(model: Model) -> Hashable:
    """The model, or the identity of what it is made of where a custom cell or task has no hash."""
    try:
        hash(model)
    except TypeError:
        return id(model.cell), id(model.task), model.hidden
    return model


def _traced_cell(model: Model, inputs: Any) -> str:
    """What a custom cell computes; those of gradlab are frozen, and equal where they compute the same."""
    cell, size = model.cell, model.task.input_size
    if type(cell).__module__.startswith("gradlab.cells."):
        return ""
    start = traced(lambda key: cell.init(key, size, model.hidden), jax.random.key(0))
    if is_network(cell):
        params = jax.eval_shape(lambda key: cell.init(key, size, model.hidden), jax.random.key(0))
        return f"{start} {traced(with_pullback(cell.apply), params, inputs)}"
    x_t = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
    return f"{start} {traced_step(cell, model.hidden, x_t)} {memory_leaves(model)}"


def _traced_task(model: Model, batch: Any, length: int) -> str:
    """What a custom task computes, and its numbers."""
    task = model.task
    if not is_custom_task(task):
        return ""

    def loss(outputs: Array, batch: Any) -> Any:
        return with_pullback(lambda outputs: task.loss(outputs, batch))(outputs)

    timesteps = 1 if task.readout == "last" else batch.inputs.shape[0]
    outputs = jax.ShapeDtypeStruct((timesteps, _TRACED, task.output_size), jnp.result_type(float))

    def examples(key: Array) -> Any:
        others = [task.evaluation(part, length) for part in get_args(Part)] if is_data_task(task) else []
        return task.sample(key, _TRACED, length), *others

    sampled = traced(examples, jax.random.key(0))
    sizes = task.input_size, task.output_size
    numbers = f"{sizes} {task.readout} {task.steps(length)} {task.task_curve(length)}"
    return f"{numbers} {sampled} {traced(loss, outputs, batch)}"


def metrics_of(model: Model, plan: Plan) -> CheckpointPrograms | NetworkPrograms:
    """What measures a model; the examples of a network are not split over devices."""
    if is_network(model.cell):
        return NetworkPrograms.of(model, plan.length)
    return CheckpointPrograms.of(model, plan.length, *spread(plan), measure_inputs=plan.measure_inputs == "yes")


def _programs(model: Model, plan: Plan, init: Program) -> Programs:
    model.check(plan.length, min(max(plan.measure_batch, 2), _CHECKED))
    if is_network(model.cell) and plan.measure == "every":
        raise GradlabError(
            f"measure=every keeps the norm at every state, and {type(model.cell).__name__} has none: give "
            "measure=checkpoints"
        )

    chunk, test, final = chunk_program(model, plan), test_program(model, plan), None
    if is_data_task(task := model.task):
        test = evaluation_program(model, task, "validation", plan.length)
        final = Program(evaluation_program(model, task, "test", plan.length))
    return Programs(
        init,
        draw_program(model.task, plan.measure_batch, plan.length),
        Program(chunk),
        Program(jax.vmap(chunk)),
        Program(test),
        final,
        metrics_of(model, plan),
    )


def compile_in_parallel(*compilations: Callable[[], Any]) -> float:
    """Do compilations in parallel; returns the seconds it took.

    Args:
        compilations: each compiles one program, such as `partial(program.compiled, *arguments)`.
    """
    # Context managers of jax are per thread, so the threads that compile enter them too.
    wide, precision = x64(), product_precision()

    def compile_one(compilation: Callable[[], Any]) -> None:
        with jax.enable_x64(wide), jax.default_matmul_precision(precision):
            compilation()

    started = time.perf_counter()
    with ThreadPoolExecutor() as threads:
        list(threads.map(compile_one, compilations))
    return time.perf_counter() - started


def wait_for(result: Any) -> Any:
    """Block until arrays are ready, yet react to Ctrl-C at once, which waiting inside XLA does not."""
    for leaf in jax.tree.leaves(result):
        while not getattr(leaf, "is_ready", lambda: True)():  # a key comes with the arrays beside it
            time.sleep(0.001)
    return result
