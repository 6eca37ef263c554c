"""gradlab as its command line trains one run: the batch split over the cores, many training steps in a call."""

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bench.case import CLIP_NORM, LEARNING_RATE, Case, Weights, initial_weights, steps_per_call
from bench.problem import Problem, errors
from bench.reference import SEED
from gradlab.cells import CELLS
from gradlab.gradient.program import Program
from gradlab.runs.devices import devices_for
from gradlab.tasks.adding import adding
from gradlab.training.jit_cache import wait_for
from gradlab.training.model import Model
from gradlab.training.optimizers import Clip, adam
from gradlab.training.step import Plan, chunk_program, start_state

PROBE_RATE = 1024.0
"""Learning rate of the step that shows the gradient: large, so that rounding of the weights does not hide it."""


def make(case: Case, problem: str, measure: str) -> "Ours":
    return Ours(case, problem, measure)


class Ours:
    def __init__(self, case: Case, problem: str, measure: Any) -> None:
        self.problem = Problem.load(case, problem) if problem else None
        shards = devices_for(case.batch)  # before anything else of jax
        self.model, self.plan = model_of(case), plan_of(case, measure, shards)
        self.case, self.call = case, steps_per_call(case)
        self.start = to_params(case, initial_weights(case))
        self.state = start_state(self.model, self.plan, self.start)
        self.program = Program(chunk_program(self.model, self.plan))
        self.program.compiled(self.state, self.state.step)

    def train(self, steps: int) -> None:
        until = int(self.state.step) + steps
        while int(self.state.step) < until:
            stop = min(until, int(self.state.step) + self.call)
            self.state, _ = wait_for(self.program(self.state, jnp.int32(stop)))
            if int(self.state.step) != stop:
                raise RuntimeError(f"training broke at step {int(self.state.step)}")

    def check(self) -> dict[str, float]:
        """The timed program itself, with an update that is the gradient: plain descent instead of Adam."""
        assert self.problem is not None
        return errors(self.problem.truth, first_step(self.case, self.model, self.plan, self.start))


def model_of(case: Case) -> Model:
    return Model(CELLS[case.cell](), adding(), case.hidden)


def plan_of(case: Case, measure: Any, shards: int) -> Plan:
    return Plan(
        length=case.length,
        batch=case.batch,
        seed=SEED,
        steps=10**9,
        stop="never",
        optimizer=adam(LEARNING_RATE),
        clip=Clip("norm", CLIP_NORM),
        measure=measure,
        measure_batch=64,
        shards=shards,
    )


def first_step(case: Case, model: Model, plan: Plan, start: Any) -> dict[str, Any]:
    """Loss, gradients and norms of the first training step, each by its name in the reference."""
    plan = replace(plan, optimizer=optax.sgd(PROBE_RATE), clip=Clip("none"))
    state = start_state(model, plan, start)
    after, rows = wait_for(Program(chunk_program(model, plan))(state, jnp.int32(1)))
    moved = jax.tree.map(lambda old, new: (np.asarray(old) - np.asarray(new)) / PROBE_RATE, start, after.params)
    found = {name: moved["cell"][name] for name in ("w_x", "w_h", "b")}
    found |= {"out_w": moved["readout"]["w"], "out_b": moved["readout"]["b"], "loss": rows.loss[0]}
    return found | norms_of(case, rows)


def norms_of(case: Case, rows: Any) -> dict[str, np.ndarray]:
    """Norms of the first training step as the reference states them.

    gradlab gives log10 of the root mean square over examples of dL_b/ds by lag; the reference gives the norm of
    the gradient of the mean loss by timestep.
    """
    by_timestep = {
        leaf: np.asarray(rows_of_leaf[0], np.float64)[::-1] for leaf, rows_of_leaf in rows.norms.items()
    }
    return {f"norm_{leaf}": 10.0**row / math.sqrt(case.batch) for leaf, row in by_timestep.items()}


def to_params(case: Case, weights: Weights) -> Any:
    cell = {name: jnp.asarray(weights[name]) for name in ("w_x", "w_h", "b")}
    if case.cell == "gru":
        cell["b_n"] = jnp.zeros(case.hidden)
    return {"cell": cell, "readout": {"w": jnp.asarray(weights["out_w"]), "b": jnp.asarray(weights["out_b"])}}
