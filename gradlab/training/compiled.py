"""The compiled programs of a run, shared by all runs here that differ in seed and learning rate alone."""

from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple

import jax
from jax import Array

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
        return _shared(model, plan)
    except TypeError:  # a cell of one's own need not be hashable
        return _programs(model, plan)


def _programs(model: Model, plan: Plan) -> Programs:
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
