"""What is measured of a network: the gradient at its inputs, and at the states of one that is bidirectional."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.cells import Params
from gradlab.gradient.adjoint import Adjoint, Curves, Reverse
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.network import (
    FUTURE,
    NetworkPasses,
    has_future,
    network_adjoints,
    network_leaves,
    network_reverse,
)
from gradlab.gradient.program import Program
from gradlab.gradient.verified import SAMPLE, Passes, in_dtype, measured
from gradlab.tasks import Batch
from gradlab.training.checkpoint_metrics import CheckpointMetrics, part_of_examples, task_curves
from gradlab.training.model import Model
from gradlab.training.task_programs import loss_gradient


@dataclass(frozen=True)
class NetworkPrograms:
    """The compiled programs that measure a network, as `CheckpointPrograms` those of a cell."""

    model: Model
    length: int
    passes: NetworkPasses
    source: Program
    leaves: tuple[str, ...]
    beside: tuple[str, ...]

    @classmethod
    def of(cls, model: Model, length: int) -> "NetworkPrograms":
        """The programs for sequences of the task's `length`."""
        leaves = network_leaves(model.cell, model.params_shape()["cell"])
        return cls(model, length, NetworkPasses.of(model.cell), loss_gradient(model.task, length), *leaves)

    @property
    def last(self) -> bool:
        """Whether the loss reads the last output alone."""
        return self.model.task.readout == "last"

    def measure(self, params: Params, batch: Batch) -> CheckpointMetrics:
        """Measure these parameters."""
        curves = self.measure_curves(params, batch)
        return CheckpointMetrics(curves, float(np.mean(curves["task"].losses)), {})

    def measure_curves(self, params: Params, batch: Batch) -> dict[str, GradientCurve]:
        """The `task` curve, the `total` one where it differs, and the future side of both where there is one."""
        batch = self.model.embedded(params, batch)
        asked = dict(task_curves(self.model, self.length))
        if has_future(self.model.cell):
            asked |= {f"{name}{FUTURE}": each for name, each in asked.items()}
        passes = Passes(partial(self.adjoints, asked), partial(self._reverse, asked), part_of_examples)
        return measured(passes, params, batch, leaves=self.leaves, beside=self.beside)

    def adjoints(self, asked: Curves, params: Params, batch: Batch) -> dict[str, Adjoint]:
        """The gradients of these curves."""
        own, inputs = params["cell"], batch.inputs
        return network_adjoints(
            self.passes,
            own,
            inputs,
            lambda outputs: self.source(params["readout"], outputs, batch),
            asked,
            last=self.last,
        )

    def compilations(self, params: Params, batch: Batch) -> list[Callable[[], Any]]:
        """What compiles everything that `measure` is sure to call, one program each."""
        batch = self.model.embedded(params, batch)
        own, inputs = params["cell"], batch.inputs
        outputs = jax.eval_shape(self.passes.outputs.function, own, inputs)
        read = jax.ShapeDtypeStruct((1 if self.last else len(outputs), *outputs.shape[1:]), outputs.dtype)

        def in_float64() -> None:
            with jax.enable_x64(True), contextlib.suppress(Exception):
                rows = np.arange(min(SAMPLE, inputs.shape[1]))
                few = in_dtype(part_of_examples(rows, {}, params, batch)[:2], jnp.float64)
                self.passes.pull.compiled(*few, jax.eval_shape(self.passes.outputs.function, *few))

        return [
            partial(self.passes.outputs.compiled, own, inputs),
            partial(self.passes.pull.compiled, own, inputs, outputs),
            partial(self.source.compiled, params["readout"], read, batch),
            in_float64,
        ]

    @property
    def programs(self) -> list[Program]:
        """Everything that `measure` may call."""
        return [*self.passes, self.source]

    @property
    def compile_seconds(self) -> float:
        """Time spent compiling so far."""
        return sum(program.compile_seconds for program in self.programs)

    def _reverse(self, asked: Curves, params: Params, inputs: Any, g: dict[str, Any]) -> dict[str, Reverse]:
        timesteps = len(inputs)
        return {
            name: network_reverse(self.passes, params, inputs, g[name], name, timesteps if self.last else at)
            for name, (_, at) in asked.items()
        }
