"""Whether a batch may be split: whether an example has in a part of it the state, output and loss as in all of it.

Not where examples meet in a step, as by batch statistics, nor where what is drawn in a step depends on how many
there are, as a mask for the whole batch. Split over devices, that would be another network for each number.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.cells import Carry, Params
from gradlab.cells.base import is_built_in
from gradlab.training.keys import stream
from gradlab.training.model import Model
from gradlab.training.step import Plan, batch_axes

TIMESTEPS = 4
ROUNDING = 2.0**7
"""In distances from 1 to the next number: what differs by less, relative to the largest entry, is rounded only."""
_QUICK = {"xla_backend_optimization_level": 0}
"""What runs a few times on small arrays: a compiler that thinks longer costs more than it saves."""


def is_divisible(model: Model, plan: Plan, params: Callable[[], Params]) -> bool:
    """Whether the batches of a plan may be split over its devices; tried with one's own cells and tasks.

    Args:
        params: makes the parameters at which it is tried, for some timesteps of random inputs; asked if needed.
    """
    size = plan.batch // plan.shards
    own_cell = not is_built_in(model.cell)
    own_task = not type(model.task).__module__.startswith("gradlab.tasks.")
    if size == plan.batch or not (own_cell or own_task):
        return True
    at = params()
    return (not own_cell or _steps_alone(model, plan.batch, size, at["cell"])) and (
        not own_task or _lost_alone(model, plan, size, at)
    )


def _steps_alone(model: Model, batch: int, size: int, params: Params) -> bool:
    """The last examples, alone and among all, timestep for timestep from the states of all."""
    cell, random = model.cell, np.random.RandomState(0)
    step = jax.jit(cell.step, compiler_options=_QUICK)
    whole, part = (
        jax.eval_shape(lambda params, n=n: _step_from_start(model, n, params), params) for n in (batch, size)
    )
    (state_axes, output_axis) = jax.tree.map(_axis, whole, part)
    state: Carry = cell.carry(params, batch)
    for _ in range(TIMESTEPS):
        x_t = random.standard_normal((batch, model.task.input_size)).astype(jnp.result_type(float))
        found = step(params, state, x_t)
        alone = step(params, _last(state, state_axes, size), x_t[-size:])
        if not jax.tree.all(jax.tree.map(_same, _last(found, (state_axes, output_axis), size), alone)):
            return False
        state = found[0]
    return True


def _step_from_start(model: Model, batch: int, params: Params) -> Any:
    return model.cell.step(params, model.cell.carry(params, batch), jnp.zeros((batch, model.task.input_size)))


def _lost_alone(model: Model, plan: Plan, size: int, params: Params) -> bool:
    """The losses of the last examples, alone and among all, at random outputs."""
    task = model.task
    length = min(plan.length, max(TIMESTEPS, task.min_length))
    sample: Callable[..., Any] = jax.jit(lambda key: task.sample(key, plan.batch, length), compiler_options=_QUICK)
    batch = sample(stream(0, "test"))
    part = _last(batch, batch_axes(task, plan.batch, length), size)
    width = params["readout"]["w"].shape[0]
    shape = (len(batch.inputs), plan.batch, width)
    outputs = np.random.RandomState(0).standard_normal(shape).astype(jnp.result_type(float))
    whole = np.asarray(model.read(params, jnp.asarray(outputs), batch))
    return _same(whole[-size:], model.read(params, jnp.asarray(outputs[:, -size:]), part))


def _axis(whole: Any, part: Any) -> int:
    """The axis of the examples, -1 where there is none."""
    return next((at for at, (n, m) in enumerate(zip(whole.shape, part.shape, strict=True)) if n != m), -1)


def _last(tree: Any, axes: Any, size: int) -> Any:
    """The last examples of every array that has some."""

    def cut(leaf: Any, axis: int) -> Any:
        return leaf if axis < 0 else leaf[(slice(None),) * axis + (slice(-size, None),)]

    return jax.tree.map(cut, tree, axes)


def _same(one: Any, other: Any) -> bool:
    """Whether two arrays differ by rounding at most."""
    if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
        one, other = map(jax.random.key_data, (one, other))
    eps = float(jnp.finfo(one.dtype).eps) if jnp.issubdtype(one.dtype, jnp.inexact) else 0.0
    wide = complex if jnp.iscomplexobj(one) else float
    one, other = (np.asarray(leaf).astype(wide) for leaf in (one, other))
    return bool(np.all(np.abs(one - other) <= ROUNDING * eps * np.abs(one).max(initial=0.0)))
