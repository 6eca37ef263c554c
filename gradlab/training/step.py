"""One training step, many of them in one jitted call, and the test on held-out examples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gradlab.cells import Params
from gradlab.tasks import Batch, Task
from gradlab.training.keys import stream
from gradlab.training.model import Model
from gradlab.training.optimizers import Clip

TEST_EXAMPLES = 1024
TEST_EVERY = 50
"""Training steps between tests, and the most that a chunk has."""
BAD = ("loss", "gradient", "parameters")
"""What can be not finite, in the order in which it is looked for."""


@dataclass(frozen=True)
class Plan:
    """How to train: everything the loop needs beside the model.

    Args:
        length: length of the sequences, as the task counts it.
        batch: B, examples in a training step.
        seed: of weights and data.
        steps: training steps at most; 0 measures the initial weights alone.
        stop: `solved` ends a run when the task is solved, `never` goes on to the last training step.
        optimizer: an optax optimiser.
        clip: what is done to the gradient before the optimiser sees it.
        measure: curves at all `checkpoints` or at the `ends` only.
        measure_batch: examples on which curves are measured.
        shards: devices that a batch is split over.
    """

    length: int
    batch: int
    seed: int
    steps: int
    stop: Literal["solved", "never"]
    optimizer: optax.GradientTransformation
    clip: Clip
    measure: Literal["checkpoints", "ends"]
    measure_batch: int
    shards: int = 1


class State(NamedTuple):
    """Carried from one training step to the next; `bad` is 0, or 1 + the index in `BAD` of what is not finite."""

    params: Params
    optimizer: Any
    step: Array
    bad: Array


def start_state(plan: Plan, params: Params) -> State:
    """The state before the first training step, on every device of the plan."""
    state = State(params, plan.optimizer.init(params), jnp.int32(0), jnp.int32(0))
    return state if plan.shards == 1 else jax.device_put(state, NamedSharding(_mesh(plan), PartitionSpec()))


def chunk_program(model: Model, plan: Plan) -> Callable[[State, Array], tuple[State, Any]]:
    """(state, until) -> the state after training step `until`, and loss, log10 norm and clipped share of each."""

    def chunk(start: State, until: Array) -> tuple[State, Any]:
        def more(loop: tuple[State, Any]) -> Array:
            return (loop[0].step < until) & (loop[0].bad == 0)

        def body(loop: tuple[State, Any]) -> tuple[State, Any]:
            state, rows = loop
            after, row = _training_step(model, plan, state)
            at = state.step - start.step
            return after, tuple(all_rows.at[at].set(value) for all_rows, value in zip(rows, row, strict=True))

        nothing = jnp.zeros(TEST_EVERY, jnp.result_type(float))
        return lax.while_loop(more, body, (start, (nothing,) * 3))

    if plan.shards == 1:
        return chunk
    everywhere = PartitionSpec()
    return jax.shard_map(chunk, mesh=_mesh(plan), in_specs=everywhere, out_specs=everywhere, check_vma=False)


def test_program(model: Model, plan: Plan) -> Callable[[Params], Array]:
    """Params -> the mean loss on held-out examples that training never draws."""
    keys = jax.random.split(stream(plan.seed, "test"), 8)

    def test(params: Params) -> Array:
        # A batch at a time, so that memory stays that of a training batch or so.
        def one(key: Array) -> Array:
            return jnp.mean(model.losses(params, model.task.sample(key, TEST_EXAMPLES // len(keys), plan.length)))

        return jnp.mean(lax.map(one, keys))

    return test


def _training_step(model: Model, plan: Plan, state: State) -> tuple[State, tuple[Array, Array, Array]]:
    loss, gradients = _loss_and_gradients(model, plan, state)
    clipped = plan.clip.apply(gradients)
    updates, optimizer = plan.optimizer.update(clipped.gradients, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    good = jnp.stack([jnp.isfinite(loss), _all_finite(gradients), _all_finite(params)])
    bad = jnp.where(jnp.all(good), 0, jnp.argmin(good) + 1).astype(jnp.int32)
    new = State(params, optimizer, state.step + 1, bad)
    # A bad update is not applied: the last finite weights stay and the loop ends.
    kept = jax.tree.map(lambda after, before: jnp.where(bad == 0, after, before), new, state)
    return kept._replace(bad=bad), (loss, clipped.log10_norm, clipped.share)


def _loss_and_gradients(model: Model, plan: Plan, state: State) -> tuple[Array, Params]:
    """The mean loss of this training step's batch and its gradient, summed over devices."""
    key = jax.random.fold_in(stream(plan.seed, "train"), state.step)
    batch = model.task.sample(key, plan.batch, plan.length)
    part = batch if plan.shards == 1 else _own_part(model.task, plan, batch)

    def share_of_mean(params: Params) -> Array:
        return jnp.sum(model.losses(params, part)) / plan.batch

    result = jax.value_and_grad(share_of_mean)(state.params)
    if plan.shards == 1:
        return result
    flat, unravel = ravel_pytree(result)
    return unravel(lax.psum(flat, "batch"))


def _own_part(task: Task, plan: Plan, batch: Batch) -> Batch:
    """The examples of one device; each draws the whole batch, so that data do not depend on their number."""
    size = plan.batch // plan.shards
    first = lax.axis_index("batch") * size

    def cut(whole: Array, axis: int) -> Array:
        return lax.dynamic_slice_in_dim(whole, first, size, axis)

    return jax.tree.map(cut, batch, _batch_axes(task, plan))


def _batch_axes(task: Task, plan: Plan) -> Batch:
    """For every array of a batch, the axis whose size is the batch."""

    def shapes(batch_size: int) -> Batch:
        return jax.eval_shape(lambda key: task.sample(key, batch_size, plan.length), jax.random.key(0))

    def axis(one: Any, other: Any) -> int:
        return next(i for i, sizes in enumerate(zip(one.shape, other.shape, strict=True)) if sizes[0] != sizes[1])

    return jax.tree.map(axis, shapes(plan.batch), shapes(plan.batch + 1))


def _mesh(plan: Plan) -> Mesh:
    return Mesh(np.array(jax.devices()[: plan.shards]), ("batch",))


def _all_finite(tree: Any) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))
