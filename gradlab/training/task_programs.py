"""Compiled programs that depend on a task and a length alone, shared by all cells."""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells import Params
from gradlab.cells.traced import TraceCache
from gradlab.gradient.program import Program
from gradlab.tasks import Batch, Task
from gradlab.tasks.base import held_out
from gradlab.tasks.contract import is_custom_task
from gradlab.training.keys import stream

_shared = TraceCache(64)


def draw_program(task: Task, examples: int, length: int) -> Program:
    """Seed -> the held-out examples that are measured."""

    def draw(seed: Array) -> Batch:
        return held_out(task, "validation", stream(seed, "measure"), examples, length)

    return _of_task(task, ("draw", examples, length), draw)


def loss_gradient(task: Task, length: int) -> Program:
    """(readout, outputs, batch) -> the losses, and their gradient with respect to the outputs."""

    def source(readout: Params, outputs: Array, batch: Batch) -> tuple[Array, Array]:
        with jax.default_matmul_precision("highest"):
            losses, pullback = jax.vjp(partial(read_out, task, readout, batch=batch), outputs)
            return losses, pullback(jnp.ones_like(losses))[0]

    return _of_task(task, ("loss", length), source)


def read_out(task: Task, readout: Params, outputs: Array, batch: Batch) -> Array:
    """The loss (B,) of each example from the outputs (T, B, Y) of the cell, or from the last of them."""
    if task.readout == "last":
        outputs = outputs[-1:]
    return task.loss(outputs @ readout["w"] + readout["b"], batch)


def _of_task(task: Task, name: Hashable, function: Callable[..., Any]) -> Program:
    # A custom task may be equal to another one, or to itself, and compute something else than it did.
    if is_custom_task(task):
        return Program(function)
    settings = jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    found: Program = _shared.get((task, name, settings), lambda: Program(function))
    return found
