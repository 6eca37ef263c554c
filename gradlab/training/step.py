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

from gradlab.cells import Carry, Params
from gradlab.cells.base import is_network
from gradlab.cells.stacked import dropout_of
from gradlab.gradient.state import as_arrays as as_state
from gradlab.gradient.state import leaf_names
from gradlab.tasks import Batch, Task
from gradlab.tasks.base import DataTask, Part, carries_state, training_length
from gradlab.training.keys import stream
from gradlab.training.model import Model
from gradlab.training.optimizers import Clip
from gradlab.training.state_grad_norms import Sinks, combined, log10_rms, zero_sinks
from gradlab.training.weights import as_arrays, weights, with_weights

TEST_EXAMPLES = 1024
TEST_BATCHES = 8
TEST_EVERY = 50
"""Training steps between tests, and the most that a chunk has."""
BAD = ("loss", "gradient", "parameters", "optimizer state")
"""What can be not finite, in the order in which it is checked."""
AXIS = "batch"
"""The mesh axis that a batch is split over."""


@dataclass(frozen=True)
class Plan:
    """How to train: everything the loop needs beside the model.

    Args:
        length: length of the sequences, as the task counts it.
        batch: B, examples in a training step.
        seed: of weights and data.
        steps: training steps at most; 0 measures the initial weights alone.
        stop: `solved` ends a run when the task is solved, `never` goes on to the last training step.
        optimizer: an optax optimiser; its updates are multiplied by the learning rate.
        clip: what is done to the gradient before the optimiser sees it.
        measure: curves at all `checkpoints` or at the `ends` only; `every` adds the norms of each training step.
        measure_batch: examples on which curves are measured.
        measure_inputs: `yes` measures the gradient at the inputs beside that at the states.
        window: timesteps that training goes back, as `unroll.unroll_from`; 0 for all.
        learning_rate: positive.
        shards: devices that a batch is split over.
    """

    length: int
    batch: int
    seed: int
    steps: int
    stop: Literal["solved", "never"]
    optimizer: optax.GradientTransformation
    clip: Clip
    measure: Literal["checkpoints", "ends", "every"]
    measure_batch: int
    measure_inputs: Literal["no", "yes"] = "no"
    window: int = 0
    learning_rate: float = 1.0
    shards: int = 1


class Row(NamedTuple):
    """The numbers of one training step, or with a leading axis of many; jax arrays in a program, numpy outside.

    Attributes:
        loss: the mean loss of its batch.
        log10_grad_norm: of the gradient of the parameters, before it was clipped.
        clipped: the share of it that was clipped.
        norms: for each float leaf of the state, `state_grad_norms.log10_rms` by lag (T,); empty unless
            `Plan.measure` is `every`.
    """

    loss: Any
    log10_grad_norm: Any
    clipped: Any
    norms: dict[str, Any]


class State(NamedTuple):
    """Carried from one training step to the next.

    Attributes:
        bad: 0, or 1 + the index in `BAD` of what is not finite.
        seed: uint32. Like the learning rate an argument and no constant, so that runs which differ in these
            alone share one compiled program.
        carry: of the cell at the end of the batch, from which the next one goes on; None where it does not.
    """

    params: Params
    optimizer: Any
    step: Array
    bad: Array
    seed: Array
    learning_rate: Array
    carry: Carry | None


def start_state(model: Model, plan: Plan, params: Params) -> State:
    """The state before the first training step, on every device of the plan."""
    params = as_arrays(params)
    numbers = (jnp.int32(0), jnp.int32(0), jnp.uint32(plan.seed), jnp.asarray(plan.learning_rate, float))
    state = State(params, plan.optimizer.init(weights(params)), *numbers, start_carry(model, params, plan.batch))
    return state if plan.shards == 1 else jax.device_put(state, NamedSharding(mesh_of(plan), PartitionSpec()))


def start_carry(model: Model, params: Params, examples: int) -> Carry | None:
    """The initial state of the cell where the state is carried on from batch to batch; else None."""
    if is_network(model.cell) or not carries_state(model.task):
        return None
    return as_state(model.cell.carry(params["cell"], examples))


def chunk_program(model: Model, plan: Plan) -> Callable[[State, Array], tuple[State, Row]]:
    """(state, until) -> the state after training step `until`, and the row of each training step."""

    def chunk(start: State, until: Array) -> tuple[State, Row]:
        def more(loop: tuple[State, Row]) -> Array:
            return (loop[0].step < until) & (loop[0].bad == 0)

        def body(loop: tuple[State, Row]) -> tuple[State, Row]:
            state, rows = loop
            after, row = _training_step(model, plan, state)
            at = state.step - start.step
            return after, jax.tree.map(lambda all_rows, value: all_rows.at[at].set(value), rows, row)

        row = jax.eval_shape(lambda state: _training_step(model, plan, state)[1], start)
        zeros = jax.tree.map(lambda value: jnp.zeros((TEST_EVERY, *value.shape), value.dtype), row)
        return lax.while_loop(more, body, (start, zeros))

    if plan.shards == 1:
        return chunk
    replicated = PartitionSpec()
    return jax.shard_map(chunk, mesh=mesh_of(plan), in_specs=replicated, out_specs=replicated, check_vma=False)


def test_program(model: Model, plan: Plan) -> Callable[[Params, Array], Array]:
    """(params, seed) -> the mean loss on held-out examples that training never draws."""

    def test(params: Params, seed: Array) -> Array:
        # A batch at a time, so that memory stays that of a training batch or so.
        def one(key: Array) -> Array:
            batch = model.task.sample(key, TEST_EXAMPLES // TEST_BATCHES, plan.length)
            return jnp.mean(model.losses(params, batch))

        return jnp.mean(lax.map(one, jax.random.split(stream(seed, "test"), TEST_BATCHES)))

    return test


def evaluation_program(model: Model, task: DataTask, part: Part, length: int) -> Callable[[Params, Array], Array]:
    """(params, seed) -> the mean loss on another part of the data; the state goes on as in training."""

    def evaluate(params: Params, seed: Array) -> Array:
        del seed
        windows = task.evaluation(part, length)

        def one(carry: Carry | None, batch: Batch) -> tuple[Carry | None, Array]:
            losses, end = model.losses_from(carry, params, batch)
            return end, jnp.mean(losses)

        start = start_carry(model, params, windows.inputs.shape[2])
        return jnp.mean(lax.scan(one, start, windows)[1])

    return evaluate


def mesh_of(plan: Plan) -> Mesh:
    """The devices of a plan, in one row."""
    return Mesh(np.array(jax.devices()[: plan.shards]), (AXIS,))


def _training_step(model: Model, plan: Plan, state: State) -> tuple[State, Row]:
    loss, gradients, norms, carry = _loss_and_gradients(model, plan, state)
    clipped = plan.clip.apply(gradients)
    trained = weights(state.params)
    updates, optimizer = plan.optimizer.update(clipped.gradients, state.optimizer, trained)
    updates = jax.tree.map(lambda update: update * state.learning_rate, updates)
    params = optax.apply_updates(trained, updates)
    lost = _any_lost(state.optimizer, optimizer)
    good = jnp.stack([jnp.isfinite(loss), _all_finite(gradients), _all_finite(params), ~lost])
    bad = jnp.where(jnp.all(good), 0, jnp.argmin(good) + 1).astype(jnp.int32)
    params = with_weights(state.params, params)
    new = state._replace(params=params, optimizer=optimizer, step=state.step + 1, carry=carry)
    # A bad update is not applied: the last finite weights stay and the loop ends.
    kept = jax.tree.map(lambda after, before: jnp.where(bad == 0, after, before), new, state)
    return kept._replace(bad=bad), Row(loss, clipped.log10_norm, clipped.share, norms)


def _drawn(task: Task, plan: Plan, state: State) -> Batch:
    """The batch of this training step."""
    key, length = stream(state.seed, "train"), training_length(task, plan.length)
    if state.carry is not None and carries_state(task):
        return task.stream(key, state.step, plan.batch, length)
    return task.sample(jax.random.fold_in(key, state.step), plan.batch, length)


def _loss_and_gradients(
    model: Model, plan: Plan, state: State
) -> tuple[Array, Params, dict[str, Array], Carry | None]:
    """The mean loss of this training step's batch, its gradient, and the norms by lag, over all devices.

    Last, the state at the end of the batch where it is carried on.
    """
    batch = _drawn(model.task, plan, state)
    part = batch if plan.shards == 1 else _own_part(model.task, plan, batch)

    masks = jax.random.fold_in(stream(state.seed, "dropout"), state.step) if dropout_of(model.cell) else None

    def share_of_mean(trained: Params, sinks: Sinks | None) -> tuple[Array, Carry | None]:
        params = with_weights(state.params, trained)
        losses, end = model.losses_from(state.carry, params, part, sinks, masks, plan.window)
        return jnp.sum(losses) / plan.batch, end

    own, examples = state.params["cell"], part.inputs.shape[1]
    carry = {} if is_network(model.cell) else jax.eval_shape(lambda: model.cell.carry(own, examples))
    sinks = zero_sinks(carry, len(part.inputs)) if plan.measure == "every" else None
    differentiated = jax.value_and_grad(share_of_mean, argnums=(0, 1), has_aux=True)
    (loss, end), (gradients, by_unit) = differentiated(weights(state.params), sinks)
    # jax returns dL/dRe c - i dL/dIm c of a complex number; the direction of descent is minus its conjugate.
    gradients = jax.tree.map(jnp.conj, gradients)
    loss, gradients, by_leaf = _all_reduce(plan, (loss, gradients, [combined(leaf) for leaf in by_unit or []]))
    norms = [log10_rms(leaf, plan.batch) for leaf in by_leaf]
    # Without sinks there are no norms to name.
    return loss, gradients, dict(zip(leaf_names(carry)[0], norms, strict=False)), end


def _all_reduce(plan: Plan, result: tuple[Array, Params, list[Array]]) -> tuple[Array, Params, list[Array]]:
    """Loss and gradients summed, and statistics (T, 2) combined, over devices."""
    if plan.shards == 1:
        return result
    loss, gradients, statistics = result
    place = lax.axis_index(AXIS)
    stacks = [jnp.zeros((*leaf.shape, plan.shards), leaf.dtype).at[..., place].set(leaf) for leaf in statistics]
    # One collective for everything: each has its own latency.
    flat, unravel = ravel_pytree((loss, gradients, stacks))
    loss, gradients, stacks = unravel(lax.psum(flat, AXIS))
    return loss, gradients, [combined(leaf) for leaf in stacks]


def _own_part(task: Task, plan: Plan, batch: Batch) -> Batch:
    """The examples of one device; each draws the whole batch, whatever the number of devices."""
    size = plan.batch // plan.shards
    first = lax.axis_index(AXIS) * size

    def cut(whole: Array, axis: int) -> Array:
        return lax.dynamic_slice_in_dim(whole, first, size, axis)

    return jax.tree.map(cut, batch, batch_axes(task, plan.batch, plan.length))


def batch_axes(task: Task, batch_size: int, length: int) -> Batch:
    """For every array of a batch, the axis whose size is the batch."""
    one, more = (
        jax.eval_shape(lambda key, size=size: task.sample(key, size, length), jax.random.key(0))
        for size in (batch_size, batch_size + 1)
    )
    return jax.tree.map(axis_that_differs, one, more)


def axis_that_differs(one: Any, other: Any) -> int:
    """The first axis whose sizes differ; -1 if none does."""
    return next((i for i, (n, m) in enumerate(zip(one.shape, other.shape, strict=True)) if n != m), -1)


def _any_lost(before: Any, after: Any) -> Array:
    """Whether a number of the optimiser's state is no longer finite: its weight would stand still from now on."""
    pairs = zip(*(jax.tree.leaves(weights(state)) for state in (before, after)), strict=True)
    lost = [jnp.any(jnp.isfinite(old) & ~jnp.isfinite(new)) for old, new in pairs]
    return jnp.any(jnp.stack([jnp.zeros((), bool), *lost]))


def _all_finite(tree: Any) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))
