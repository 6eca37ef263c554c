"""flax.nnx.RNN on one GPU: a run alone, and many runs by `jax.vmap` of the same training steps."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.case import Case
from bench.contenders import flax_peer

APART = 10**6
"""Between the training steps that two runs begin at, and so between their data."""


def make(case: Case, problem: str, runs: int) -> "FlaxMany":
    return FlaxMany(case, problem, runs)


class FlaxMany:
    def __init__(self, case: Case, problem: str, runs: int) -> None:
        self.one = flax_peer.make(case, problem)
        params, moments, step = self.one.state
        steps = step + APART * jnp.arange(runs, dtype=step.dtype)
        same = jax.tree.map(lambda leaf: jnp.stack([leaf] * runs), (params, moments))
        self.states = (*same, steps)
        many = jax.jit(jax.vmap(self.one.many_steps, in_axes=(0, None)), donate_argnums=0)
        started = time.perf_counter()
        self.many = many.lower(self.states, jnp.int32(0)).compile()
        self.compile_seconds = time.perf_counter() - started

    def train(self, steps: int, way: str) -> None:
        """So many training steps, of one run or of every one."""
        if way == "one":
            self.one.train(steps)
            return
        for done in range(0, steps, self.one.call):
            count = jnp.int32(min(self.one.call, steps - done))
            self.states, rows = jax.block_until_ready(self.many(self.states, count))
        if not np.isfinite(np.asarray(rows["loss"])).all():
            raise RuntimeError("training broke")

    def check(self) -> dict[str, float]:
        return self.one.check()

    def about(self) -> dict[str, Any]:
        """By way: MB of arguments, results and all between, as the compiler planned them; seconds to compile."""
        return {
            "one": {"planned_mb": planned_mb(self.one.program)},
            "many": {"planned_mb": planned_mb(self.many), "compile_s": self.compile_seconds},
        }


def planned_mb(executable: Any) -> float:
    plan = executable.memory_analysis()
    total = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    return float(total - plan.alias_size_in_bytes) / 1e6
