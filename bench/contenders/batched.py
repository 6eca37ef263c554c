"""gradlab on one GPU: a run alone, and many runs as one program, as `gradlab sweep --together` trains them."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from bench.case import Case, initial_weights
from bench.contenders.ours import first_step, model_of, plan_of, to_params
from bench.problem import Problem, errors
from gradlab.gradient.program import Program
from gradlab.training import unroll
from gradlab.training.jit_cache import wait_for
from gradlab.training.loop import CHUNK_FLOPS
from gradlab.training.step import TEST_EVERY, State, chunk_program, start_state


def make(
    case: Case, problem: str, ways: Mapping[str, Mapping[str, Any]], timesteps: int = 1, stretch_bytes: int = 0
) -> "Batched":
    patch(timesteps, stretch_bytes)
    return Batched(case, problem, ways)


def patch(timesteps: int, stretch_bytes: int) -> None:
    """Train with so many timesteps in a round of a loop, and weight gradients of as many as fit into these bytes.

    What gradlab has no option for, to see what it would give.
    """
    if stretch_bytes:
        unroll.STRETCH_BYTES = stretch_bytes
    if timesteps > 1:

        def scan(function: Any, *given: Any, **options: Any) -> Any:
            inner = function.__name__ in ("body", "timestep")  # not the loop over stretches of timesteps
            return lax.scan(function, *given, **options | {"unroll": timesteps if inner else 1})

        unroll.lax = SimpleNamespace(**vars(lax) | {"scan": scan})  # type: ignore[assignment]


@dataclass
class Lane:
    """One way to train: its program, compiled, and how far it is; `alone` where there is no axis of runs."""

    program: Program
    executable: Any
    state: State
    alone: bool
    compile_seconds: float


class Batched:
    """Args: ways: by name, `runs`, `measure`, and `precision` of matrix products (None is gradlab's own)."""

    def __init__(self, case: Case, problem: str, ways: Mapping[str, Mapping[str, Any]]) -> None:
        self.case, self.model = case, model_of(case)
        self.problem = Problem.load(case, problem) if problem else None
        self.start = to_params(case, initial_weights(case))
        self.call = chunk_steps(case, self.start)
        with ThreadPoolExecutor() as threads:
            lanes = threads.map(lambda way: self.lane(**way), ways.values())
            self.lanes = dict(zip(ways, lanes, strict=True))

    def lane(self, runs: int, measure: str, precision: str | None) -> Lane:
        plans = [replace(plan_of(self.case, measure, shards=1), seed=seed) for seed in range(runs)]
        states = [start_state(self.model, plan, self.start) for plan in plans]
        chunk = chunk_program(self.model, plans[0])
        program = Program(chunk if runs == 1 else jax.vmap(chunk))
        state = states[0] if runs == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        started = time.perf_counter()
        with jax.default_matmul_precision(precision):
            executable = program.compiled(state, state.step)
        return Lane(program, executable, state, runs == 1, time.perf_counter() - started)

    def train(self, steps: int, way: str) -> None:
        """So many training steps of every run."""
        lane = self.lanes[way]
        for done in range(0, steps, self.call):
            until = lane.state.step + jnp.int32(min(self.call, steps - done))
            lane.state, _ = wait_for(lane.executable(lane.state, until))
            if int(jnp.max(lane.state.bad)) or not bool(jnp.all(lane.state.step == until)):
                raise RuntimeError("training broke")

    def check(self) -> dict[str, float]:
        """The first training step of one run, in gradlab's own precision; that many equal it is for the tests."""
        assert self.problem is not None
        plan = plan_of(self.case, "every", shards=1)
        return errors(self.problem.truth, first_step(self.case, self.model, plan, self.start))

    def about(self) -> dict[str, Any]:
        """By way: seconds to compile, and MB of arguments, results and all between, as planned."""
        return {
            way: {"compile_s": lane.compile_seconds, "planned_mb": (lane.program.bytes or 0) / 1e6}
            for way, lane in self.lanes.items()
        }

    def kernels(self, way: str) -> str:
        """The compiled program as text."""
        return str(self.lanes[way].executable.as_text())


def chunk_steps(case: Case, params: Any) -> int:
    """Training steps in a call, as the training loop chooses them."""
    flops = 6 * case.length * case.batch * sum(leaf.size for leaf in jax.tree.leaves(params))
    return max(1, min(TEST_EVERY, int(CHUNK_FLOPS / flops)))
