"""One forward and backward pass over a long sequence, split over the cores as a run is, with a memory budget."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bench.case import Case, initial_weights
from bench.contenders.ours import to_params
from bench.peak import MB, growth_mb
from bench.reference import first_batch
from gradlab.cells import CELLS
from gradlab.gradient.adjoint import MEMORY_BUDGET
from gradlab.runs.devices import devices_for
from gradlab.training.unroll import unroll


def make(case: Case, problem: str, stored: bool) -> "LongPass":
    return LongPass(case, 2**60 if stored else MEMORY_BUDGET)


class LongPass:
    def __init__(self, case: Case, budget: int) -> None:
        shards = devices_for(case.batch)
        cell: Any = CELLS[case.cell]()
        mesh = Mesh(np.array(jax.devices()[:shards]), ("batch",))
        parts = (PartitionSpec(), PartitionSpec(None, "batch"), PartitionSpec("batch"))

        def gradients(params: Any, inputs: Array, targets: Array) -> Any:
            def share_of_mean(params: Any) -> Array:
                outputs = unroll(cell, params["cell"], inputs, last=True, budget=budget)[-1]
                read = outputs @ params["readout"]["w"] + params["readout"]["b"]
                return jnp.sum((read[:, 0] - targets) ** 2) / case.batch

            return lax.psum(jax.value_and_grad(share_of_mean)(params), "batch")

        split = jax.shard_map(gradients, mesh=mesh, in_specs=parts, out_specs=PartitionSpec(), check_vma=False)
        given = (to_params(case, initial_weights(case)), *first_batch(case))
        self.given = [
            jax.device_put(array, NamedSharding(mesh, part)) for array, part in zip(given, parts, strict=True)
        ]
        self.compiled = jax.jit(split).lower(*self.given).compile()

    def train(self, steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(self.compiled(*self.given))

    def growth(self) -> float:
        """MB, of one pass, beyond the parameters and the data."""
        return growth_mb(lambda: self.train(1))

    def planned(self) -> float:
        """MB of temporary buffers on all devices, as the compiler has planned them."""
        plan: Any = self.compiled.memory_analysis()
        return len(self.given[1].devices()) * plan.temp_size_in_bytes / MB
