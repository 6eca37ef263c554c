"""The training loop: Python over jitted chunks of training steps, with measurements of the gradient in between.

The loop is a generator of events, so that its caller can show progress, keep what was measured, and stop at any
time; it does no I/O.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Params
from gradlab.tasks import Batch
from gradlab.training.checkpoint_metrics import CheckpointMetrics, check_assumptions, on_one_device
from gradlab.training.jit_cache import compile_in_parallel, programs_for, wait_for
from gradlab.training.model import Model
from gradlab.training.sharding import is_sharded, placed
from gradlab.training.step import BAD, TEST_EVERY, Plan, Row, State, start_state

Status = Literal["measured", "solved", "trained", "diverged"]

NEAR = 2.0
"""Solving is tested when the mean training loss of the last chunk is below this multiple of the mark."""
CHUNK_FLOPS = 1.1e11
"""The work of a chunk is bounded by this, about a second on one core, so that Ctrl-C is answered soon."""


class Chunk(NamedTuple):
    """Event: training steps up to `step` are done, `rows` in numpy; `test_loss` where solving was tested."""

    step: int
    rows: Row
    test_loss: float | None


class Checkpoint(NamedTuple):
    """Event: the weights after training step `step` were measured."""

    step: int
    metrics: CheckpointMetrics


class Outcome(NamedTuple):
    """The last event.

    Attributes:
        status: measured, solved, trained or diverged.
        step: the last training step whose update was applied.
        params: the last finite parameters.
        test_loss: loss on the held-out test examples, where it was taken; of a task on recorded data, on its test
            part, at the weights whose validation loss is the lowest.
        validation_loss: that lowest loss; None of other tasks.
        solved_at: the training step of the first test that found the task solved.
        diverged: which training step was not finite and in what (`loss`, `gradient`, `parameters` or
            `optimizer state`).
        training_bytes: what the compiled training program takes; None where nothing was trained alone.
    """

    status: Status
    step: int
    params: Params
    test_loss: float | None
    solved_at: int | None
    diverged: tuple[int, str] | None
    compile_seconds: float
    measure_seconds: float
    train_seconds: float
    training_bytes: int | None
    validation_loss: float | None = None


class Advance(NamedTuple):
    """Request: training steps up to `until`, to be answered with the new state and its rows."""

    state: State
    until: Array


Event = Chunk | Checkpoint | Outcome
Course = Generator[Event | Advance, Any, None]
"""Training as a coroutine: yields events, and requests that its driver answers."""


def checkpoints(steps: int) -> list[int]:
    """0, 1, 2, 5, 10, 20, 50, ... and the last training step.

    Example:
        >>> checkpoints(60), checkpoints(0)
        ([0, 1, 2, 5, 10, 20, 50, 60], [0])
    """
    marks = {0, steps}
    decade = 1
    while decade <= steps:
        marks |= {decade * digit for digit in (1, 2, 5) if decade * digit <= steps}
        decade *= 10
    return sorted(marks)


def train(model: Model, plan: Plan, params: Params | None = None) -> Iterator[Event]:
    """Train a model as planned, and yield a `Chunk` or `Checkpoint` as each is done, last an `Outcome`.

    Args:
        params: where to start from; the model's own initial parameters of the plan's seed where None.
    """
    trainer = _Trainer(model, plan)
    course = trainer.course(initial_params(model, plan) if params is None else params)
    request = next(course)
    while not isinstance(request, Outcome):
        if isinstance(request, Advance):
            request = course.send(wait_for(trainer.programs.chunk(request.state, request.until)))
        else:
            yield request
            request = next(course)
    yield request


def train_together(
    model: Model, plans: Sequence[Plan], params: Sequence[Params | None]
) -> Iterator[tuple[int, Event]]:
    """Train runs that differ in seed and learning rate alone as one batched program; yields (run, event).

    A GPU trains many small runs in the time of one; a CPU core does not. The numbers are those of `train` but for
    rounding. Clocks run for all runs together.

    Args:
        plans: at least one; equal but for `seed` and `learning_rate`, and of one shard.
        params: where each starts from; its own initial parameters where None.

    Raises:
        ValueError: the plans differ in more than that.
    """
    if len({replace(plan, seed=0, learning_rate=1.0) for plan in plans}) > 1:
        raise ValueError("plans that are trained together differ in seed and learning rate alone")
    chunk = programs_for(model, plans[0]).chunks
    starts = [initial_params(model, plan) if own is None else own for plan, own in zip(plans, params, strict=True)]
    trainers = [_Trainer(model, plan, alone=False) for plan in plans]
    courses = [trainer.course(start) for trainer, start in zip(trainers, starts, strict=True)]
    waiting: list[Advance | None] = []
    for run, course in enumerate(courses):
        waiting.append((yield from _events(run, course, next(course))))
    while active := [request for request in waiting if request is not None]:
        # A run that has ended keeps its place and does no more training steps, so that nothing is recompiled.
        lanes = [request or active[0]._replace(until=active[0].state.step) for request in waiting]
        stacked: Advance = jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes)
        states, rows = wait_for(chunk(*stacked))
        for run, request in enumerate(waiting):
            if request is not None:
                reply = jax.tree.map(lambda leaf, run=run: leaf[run], (states, rows))
                waiting[run] = yield from _events(run, courses[run], courses[run].send(reply))


def _events(run: int, course: Course, request: Event | Advance) -> Generator[tuple[int, Event], None, Any]:
    """Pass the events of a course on, up to its next request, which is returned; None at its end."""
    while not isinstance(request, Advance):
        yield run, request
        if isinstance(request, Outcome):
            return None
        request = next(course)
    return request


def initial_params(model: Model, plan: Plan) -> Params:
    """The parameters that training with this plan's seed starts from, drawn in one compiled call."""
    params: Params = programs_for(model, plan).init(jnp.uint32(plan.seed))
    return params


def held_out(model: Model, plan: Plan) -> Batch:
    """The examples on which the weights of a plan's seed are measured."""
    drawn: Batch = programs_for(model, plan).draw(jnp.uint32(plan.seed))
    return drawn


class _Trainer:
    """The training of one plan; `alone` where no other run shares its program."""

    def __init__(self, model: Model, plan: Plan, *, alone: bool = True) -> None:
        self.model, self.plan, self.alone = model, plan, alone
        self.programs = programs_for(model, plan)
        self.held_out = placed(held_out(model, plan), model.task, plan)
        self.compile_seconds = self.measure_seconds = 0.0

    def course(self, params: Params) -> Course:
        """Training from these parameters: yields events, and requests training steps by an `Advance`."""
        plan = self.plan
        state = start_state(self.model, plan, params)
        marks = sorted({0, plan.steps}) if plan.measure == "ends" else checkpoints(plan.steps)
        check_assumptions(self.model, state.params, self.held_out)
        self.warm_up(state)
        yield self.measure(state)
        measured_at = 0
        started = time.perf_counter()
        test_loss, solved_at, best = None, None, None
        while int(state.step) < plan.steps and not int(state.bad):
            before, until = int(state.step), self.until(state, marks)
            state, padded = yield Advance(state, jnp.int32(until))
            step = int(state.step)
            rows = jax.tree.map(lambda row, n=step - before + bool(state.bad): np.asarray(row)[:n], padded)
            tested = self.test(state, rows) if step % TEST_EVERY == 0 or step == plan.steps else None
            yield Chunk(step, rows, tested)
            if tested is not None and self.programs.final and tested < (best[0] if best else np.inf):
                best = tested, on_one_device(state.params)
            test_loss = test_loss if tested is None else tested
            if solved_at is None and tested is not None and tested <= self.model.task.solved(plan.length):
                solved_at = step
            if solved_at is not None and plan.stop == "solved":
                break
            if step in marks and step < plan.steps and not int(state.bad):
                yield self.measure(state)
                measured_at = step
        train_seconds = time.perf_counter() - started
        if int(state.step) > measured_at:
            yield self.measure(state)
        if best and self.programs.final:
            test_loss = float(wait_for(self.programs.final(best[1], on_one_device(state.seed))))
        outcome = self.outcome(state, test_loss, solved_at, train_seconds)
        yield outcome._replace(validation_loss=best[0] if best else None)

    def warm_up(self, state: State) -> None:
        """Compile before the clocks start, and choose how many training steps a chunk has."""
        size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        flops = 6 * self.model.task.steps(self.plan.length) * self.plan.batch * size
        self.chunk_steps = max(1, min(TEST_EVERY, int(CHUNK_FLOPS / flops)))
        calls = self.programs.metrics.compilations(self.measured_params(state), self.held_out)
        if self.plan.steps:
            tests = filter(None, (self.programs.test, self.programs.final))
            calls += [partial(test.compiled, *on_one_device((state.params, state.seed))) for test in tests]
        if self.plan.steps and self.alone:
            calls.append(partial(self.programs.chunk.compiled, state, state.step))
        self.compile_seconds = compile_in_parallel(*calls)

    def measure(self, state: State) -> Checkpoint:
        """Measure the weights of a state."""
        metrics = self.programs.metrics
        started, compiled = time.perf_counter(), metrics.compile_seconds
        found = metrics.measure(self.measured_params(state), self.held_out)
        late = metrics.compile_seconds - compiled  # what few runs need: pulling back by magnitude
        self.compile_seconds += late
        self.measure_seconds += time.perf_counter() - started - late
        return Checkpoint(int(state.step), found)

    def measured_params(self, state: State) -> Params:
        """The weights of a state where they are measured: on every device, or on one."""
        params: Params = state.params
        return params if is_sharded(self.plan) else on_one_device(params)

    def until(self, state: State, marks: list[int]) -> int:
        """The next checkpoint, test or end of a chunk, whichever comes first."""
        step = int(state.step)
        stops = [step + self.chunk_steps, (step // TEST_EVERY + 1) * TEST_EVERY, self.plan.steps, *marks]
        return min(stop for stop in stops if stop > step)

    def test(self, state: State, rows: Row) -> float | None:
        """The loss on held-out examples; of recorded data always, else if the training loss is near the mark."""
        if not self.programs.final and not np.mean(rows.loss) <= NEAR * self.model.task.solved(self.plan.length):
            return None
        return float(wait_for(self.programs.test(*on_one_device((state.params, state.seed)))))

    def outcome(
        self, state: State, test_loss: float | None, solved_at: int | None, train_seconds: float
    ) -> Outcome:
        """The last event, from the last state."""
        step, bad = int(state.step), int(state.bad)
        status: Status = "trained" if self.plan.steps else "measured"
        return Outcome(
            "diverged" if bad else "solved" if solved_at is not None else status,
            step,
            on_one_device(state.params),
            test_loss,
            solved_at,
            (step + 1, BAD[bad - 1]) if bad else None,
            self.compile_seconds,
            self.measure_seconds,
            train_seconds,
            self.programs.chunk.bytes if self.alone else None,
        )
