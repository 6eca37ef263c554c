"""Measuring with the examples split over the devices of a plan: each is measured alone, so a split is exact."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from gradlab.cells import Params
from gradlab.tasks import Batch, Task
from gradlab.training.step import AXIS, Plan, batch_axes, mesh_of

Measure = Callable[[Params, Batch], Any]


def splits(plan: Plan) -> bool:
    """Whether the held-out examples of a plan are split over its devices: where they can be, evenly."""
    return plan.shards > 1 and plan.measure_batch % plan.shards == 0


def over_devices(program: Measure, task: Task, plan: Plan, *, mean: bool = False) -> Measure:
    """The same function of parameters, which every device has, and examples, of which each has its part.

    Args:
        program: its results have the examples as their last axis, or are means over them.
        mean: which of the two.
    """
    if not splits(plan):
        return program

    def part(params: Params, batch: Batch) -> Any:
        result = program(params, batch)
        return lax.pmean(result, AXIS) if mean else result

    def whole(params: Params, batch: Batch) -> Any:
        results = PartitionSpec() if mean else jax.tree.map(_last, jax.eval_shape(program, params, batch))
        given = (PartitionSpec(), _parts(task, plan))
        return jax.shard_map(part, mesh=mesh_of(plan), in_specs=given, out_specs=results, check_vma=False)(
            params, batch
        )

    return whole


def placed(batch: Batch, task: Task, plan: Plan) -> Batch:
    """Held-out examples where `over_devices` wants them."""
    if not splits(plan):
        return batch
    shardings = jax.tree.map(lambda part: NamedSharding(mesh_of(plan), part), _parts(task, plan))
    return jax.device_put(batch, shardings)


def _parts(task: Task, plan: Plan) -> Batch:
    axes = batch_axes(task, plan.measure_batch, plan.length)
    return jax.tree.map(lambda axis: PartitionSpec(*(None,) * axis, AXIS), axes)


def _last(leaf: Any) -> PartitionSpec:
    return PartitionSpec(*(None,) * (leaf.ndim - 1), AXIS)
