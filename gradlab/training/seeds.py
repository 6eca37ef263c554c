"""Curves of single seeds before and after some training steps, and of many seeds at once before training.

The keys of every seed are threefry keys (`keys.py`), whose bits are fixed by the algorithm and, here, by the
layout in which they are counted: neither follows a default of jax that may change.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Params
from gradlab.cells.base import is_network
from gradlab.gradient.convert import to_curve
from gradlab.gradient.curve import GradientCurve
from gradlab.tasks import Batch
from gradlab.training.checkpoint_metrics import check_assumptions, task_curves
from gradlab.training.jit_cache import Programs, programs_for, wait_for
from gradlab.training.model import Model
from gradlab.training.perturbation import Perturbation
from gradlab.training.step import TEST_EVERY, Plan, start_state


class SeedMeasurement(NamedTuple):
    """One seed.

    Attributes:
        params: where it starts. batch: the held-out examples.
        initial: every curve at these weights. trained: after the plan's training steps, None where there are none.
        norms: for each float leaf the gradient norms of every training step by lag, (N, T), as `--measure every`.
    """

    params: Params
    batch: Batch
    initial: dict[str, GradientCurve]
    trained: dict[str, GradientCurve] | None
    norms: dict[str, np.ndarray]


def measure_seeds(
    model: Model, plan: Plan, seeds: Iterable[int], perturbation: Perturbation | None = None
) -> list[SeedMeasurement]:
    """Measure each seed, train it as planned, and measure it again.

    Args:
        plan: its `seed` and `measure` are not used; training stops only at its last step or where it diverges.
        perturbation: the same mathematics by another order of operations.
    """
    if perturbation is not None:
        model = Model(model.cell, perturbation.task(model.task), model.hidden)
    plan = replace(plan, measure=_norms_of(model))
    with jax.threefry_partitionable(True):
        programs = programs_for(model, plan)
        return [_measure_seed(model, programs, plan, jnp.uint32(seed), perturbation) for seed in seeds]


def _norms_of(model: Model) -> Literal["every", "ends"]:
    """Norms of every training step, but of a network, which has no state."""
    return "ends" if is_network(model.cell) else "every"


def _measure_seed(
    model: Model, programs: Programs, plan: Plan, seed: Array, perturbation: Perturbation | None
) -> SeedMeasurement:
    params, batch = programs.init(seed), programs.draw(seed)
    if perturbation is not None:
        params = perturbation.params(params)

    check_assumptions(model, params, batch)
    initial = programs.metrics.measure_curves(params, batch)
    if not plan.steps:
        return SeedMeasurement(params, batch, initial, None, {})
    trained, norms = _train(programs, plan, params, seed)
    return SeedMeasurement(params, batch, initial, programs.metrics.measure_curves(trained, batch), norms)


def measure_trained_plainly(model: Model, plan: Plan, seed: int) -> dict[str, GradientCurve]:
    """Every curve of a seed after training steps whose norms are not kept: another program trains."""
    plain, number = replace(plan, measure="ends"), jnp.uint32(seed)
    with jax.threefry_partitionable(True):
        programs = programs_for(model, replace(plan, measure=_norms_of(model)))
        params, _ = _train(programs_for(model, plain), plain, programs.init(number), number)
        return programs.metrics.measure_curves(params, programs.draw(number))


def _train(programs: Programs, plan: Plan, params: Params, seed: Array) -> tuple[Params, dict[str, np.ndarray]]:
    """The parameters after the training steps of a plan, and the norms of each step."""
    state, norms = start_state(programs.metrics.model, plan, params)._replace(seed=seed), []
    while int(state.step) < plan.steps and not int(state.bad):
        first = int(state.step)
        state, rows = wait_for(programs.chunk(state, jnp.int32(min(plan.steps, first + TEST_EVERY))))
        norms.append({leaf: np.asarray(each)[: int(state.step) - first] for leaf, each in rows.norms.items()})
    return state.params, {leaf: np.concatenate([each[leaf] for each in norms]) for leaf in norms[0]}


def measure_population(model: Model, plan: Plan, count: int) -> list[GradientCurve]:
    """The task curves of seeds 0..count-1 at initialisation."""
    asked = {"task": task_curves(model, plan.length)["task"]}
    with jax.threefry_partitionable(True):
        programs = programs_for(model, plan)
        metrics, found = programs.metrics, []
        for seed in map(jnp.uint32, range(count)):
            params = programs.init(seed)
            batch = model.embedded(params, programs.draw(seed))
            found.append(to_curve(metrics.adjoints(asked, params, batch)["task"], metrics.leaves, metrics.beside))
        return found
