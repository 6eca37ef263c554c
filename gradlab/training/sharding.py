"""Batches split over devices: where that may be done, and measuring with the held-out examples split.

An example must have in a part of its batch the state, output and loss that it has in all of it. It has not where
examples meet in a step, as by batch statistics, nor where what is drawn in a step depends on how many examples
there are, as a mask for the whole batch: each number of devices would train another network.
"""

from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from gradlab.cells import Cell, Params
from gradlab.cells.base import is_built_in, is_network
from gradlab.cells.stacked import dropout_of
from gradlab.gradient.segments import Split
from gradlab.gradient.trial import UNOPTIMISED
from gradlab.tasks import Batch, Task
from gradlab.tasks.base import carries_state
from gradlab.tasks.contract import is_custom_task
from gradlab.training.keys import stream
from gradlab.training.model import Model
from gradlab.training.step import AXIS, Plan, axis_that_differs, batch_axes, mesh_of

TIMESTEPS = 4
"""Timesteps of random inputs on which a custom cell is tried."""
ROUNDING = 2.0**7
"""Differences below this many units in the last place of the largest entry are rounding."""


def is_divisible(model: Model, plan: Plan, params: Callable[[], Params]) -> bool:
    """Whether the batches of a plan may be split over its devices; custom cells and tasks are tried.

    Args:
        params: makes the parameters at which they are tried; called only if needed.
    """
    size = plan.batch // plan.shards
    custom_cell, custom_task = not is_built_in(model.cell), is_custom_task(model.task)
    if size == plan.batch:
        return True
    if carries_state(model.task):  # the state of a part would have to stay on its device
        return False
    if not (custom_cell or custom_task):
        return True
    # The masks of a part of a batch would be others than those of that part of the whole.
    if is_network(model.cell) or dropout_of(model.cell):
        return False
    at = params()
    inputs = np.random.RandomState(0).standard_normal((TIMESTEPS, plan.batch, model.task.input_size))
    inputs = inputs.astype(jnp.result_type(float))
    return (not custom_cell or examples_step_alone(model.cell, at["cell"], inputs, size)) and (
        not custom_task or _examples_lose_alone(model, plan, size, at)
    )


def examples_step_alone(cell: Cell, params: Params, inputs: Any, size: int) -> bool:
    """Whether the last `size` examples have the same next state and output alone as among all, at every timestep.

    Args:
        inputs: (T, B, I).
    """
    step = jax.jit(cell.step, compiler_options=UNOPTIMISED)

    def shapes(batch: int) -> Any:
        return jax.eval_shape(
            lambda params: cell.step(params, cell.carry(params, batch), inputs[0, -batch:]), params
        )

    batch = inputs.shape[1]
    try:
        part = shapes(size)
    except Exception:  # whatever a custom step raises for a batch of that size: it needs the whole batch
        return False
    axes = jax.tree.map(axis_that_differs, shapes(batch), part)
    state = cell.carry(params, batch)
    for x_t in inputs:
        whole = step(params, state, x_t)
        alone = step(params, _last(state, axes[0], size), x_t[-size:])
        if not jax.tree.all(jax.tree.map(_equal_to_rounding, _last(whole, axes, size), alone)):
            return False
        state = whole[0]
    return True


def _examples_lose_alone(model: Model, plan: Plan, size: int, params: Params) -> bool:
    """Whether the last examples have the same losses alone as among all, at random outputs."""
    task = model.task
    length = min(plan.length, max(TIMESTEPS, task.min_length))
    sample: Callable[..., Any] = jax.jit(
        lambda key: task.sample(key, plan.batch, length), compiler_options=UNOPTIMISED
    )
    batch = sample(stream(0, "test"))
    part = _last(batch, batch_axes(task, plan.batch, length), size)
    shape = (len(batch.inputs), plan.batch, params["readout"]["w"].shape[0])
    outputs = jnp.asarray(np.random.RandomState(0).standard_normal(shape).astype(jnp.result_type(float)))
    whole, alone = model.read(params, outputs, batch), model.read(params, outputs[:, -size:], part)
    return _equal_to_rounding(np.asarray(whole)[-size:], alone)


def _last(tree: Any, axes: Any, size: int) -> Any:
    """The last examples of every array; -1 is the axis of an array that has none."""

    def cut(leaf: Any, axis: int) -> Any:
        return leaf if axis < 0 else leaf[(slice(None),) * axis + (slice(-size, None),)]

    return jax.tree.map(cut, tree, axes)


def _equal_to_rounding(one: Any, other: Any) -> bool:
    if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
        one, other = map(jax.random.key_data, (one, other))
    eps = float(jnp.finfo(one.dtype).eps) if jnp.issubdtype(one.dtype, jnp.inexact) else 0.0
    wide = complex if jnp.iscomplexobj(one) else float
    one, other = (np.asarray(leaf).astype(wide) for leaf in (one, other))
    return bool(np.all(np.abs(one - other) <= ROUNDING * eps * np.abs(one).max(initial=0.0)))


# ---------------------------------------------------------------- measuring; each example is measured alone


def is_sharded(plan: Plan) -> bool:
    """Whether the held-out examples of a plan are split over its devices: where they can be, evenly."""
    return plan.shards > 1 and plan.measure_batch % plan.shards == 0


def spread(plan: Plan) -> tuple[Split | None, Hashable]:
    """What splits the held-out examples over the devices of a plan, and its name; None where they stay whole."""
    if not is_sharded(plan):
        return None, None

    mesh = mesh_of(plan)

    def specs(axes: Any) -> Any:
        return jax.tree.map(_spec, axes, is_leaf=lambda axis: axis is None)

    def over_devices(function: Callable[..., Any], given: Any, found: Any) -> Callable[..., Any]:
        return jax.shard_map(function, mesh=mesh, in_specs=specs(given), out_specs=specs(found), check_vma=False)

    def shardings(axes: Any) -> Any:
        return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs(axes))

    return Split(over_devices, shardings), plan.shards


def _spec(axis: int | None) -> PartitionSpec:
    return PartitionSpec() if axis is None else PartitionSpec(*(None,) * axis, AXIS)


def placed(batch: Batch, task: Task, plan: Plan) -> Batch:
    """Held-out examples on the devices where `over_devices` reads them."""
    if not is_sharded(plan):
        return batch
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh_of(plan), spec), _specs(task, plan))
    return jax.device_put(batch, shardings)


def _specs(task: Task, plan: Plan) -> Batch:
    axes = batch_axes(task, plan.measure_batch, plan.length)
    return jax.tree.map(lambda axis: PartitionSpec(*(None,) * axis, AXIS), axes)
