"""What is looked at when a checkpoint comes: gradient curves and gates on held-out examples."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.cells import Carry, GatedCell, Params
from gradlab.cells.base import pre_activation
from gradlab.gradient.convert import to_curve
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.passes import SAMPLE, Passes, Sample, measured, widened
from gradlab.tasks import Batch
from gradlab.training.measuring import curves_passes, direct_passes, memory_leaves
from gradlab.training.model import Model
from gradlab.training.programs import Program, in_float64
from gradlab.training.unroll import takes_fast_path

SATURATION_MARGIN = 0.01


class Gate(NamedTuple):
    """Over timesteps, examples and units: the mean value, and the share within 0.01 of a bound."""

    mean: float
    saturation: float


class Observation(NamedTuple):
    """The curves by name (`task`, `total` where it differs, `direct` where more than one output is read), the mean
    loss, and every gate.
    """

    curves: dict[str, GradientCurve]
    loss: float
    gates: dict[str, Gate]


@dataclass(frozen=True)
class Observer:
    """Measures parameters on one fixed batch, with the programs of this file, compiled.

    Attributes:
        leaves: of the state, those that count as memory.
    """

    batch: Batch
    curves: Passes[Program]
    gates: Program
    direct: Passes[Program] | None
    leaves: tuple[str, ...]

    @classmethod
    def of(cls, model: Model, length: int, batch: Batch) -> "Observer":
        """An observer of a model on `batch`, whose sequences have the task's `length`."""
        return cls(
            batch,
            curves_passes(model, length),
            Program(gates_program(model)),
            None if model.task.readout == "last" else direct_passes(model),
            memory_leaves(model),
        )

    def observe(self, params: Params) -> Observation:
        """Measure these parameters."""
        curves = measured(self.curves, params, self.batch, leaves=self.leaves)
        if self.direct is not None:
            # One step of the chain cannot underflow, so a zero is a zero: an output that the loss does not read.
            curves["direct"] = to_curve(self.direct(params, self.batch)["direct"], self.leaves)
        gates = {name: Gate(*map(float, stats)) for name, stats in self.gates(params, self.batch).items()}
        return Observation(curves, float(np.mean(curves["task"].losses)), gates)

    def compilations(self, params: Params) -> list[Callable[[], Any]]:
        """What compiles everything that `observe` is sure to call, one program each."""
        given = (params, self.batch)
        first = [self.curves.one_group, self.gates, *(() if self.direct is None else (self.direct.one_group,))]
        native = [partial(program.compiled, *given) for program in first]
        return [*native, in_float64(lambda: self.curves.reverse.compiled(*self.sample_of(params)))]

    def sample_of(self, params: Params) -> Any:
        """What the float64 pass over some examples will be given, with zeros for gradients."""
        count = min(SAMPLE, self.batch.inputs.shape[1])
        results = jax.eval_shape(self.curves.one_group.function, params, self.batch)
        g = {name: jnp.zeros((*found.g.shape[:-1], count)) for name, found in results.items()}
        return jax.tree.map(widened, self.curves.part(Sample(np.arange(count), g), params, self.batch))

    @property
    def programs(self) -> list[Program]:
        """Everything that `observe` may call."""
        each = (self.curves,) if self.direct is None else (self.curves, self.direct)
        return [self.gates, *(program for passes in each for program in passes.programs)]

    @property
    def compile_seconds(self) -> float:
        """Time spent compiling so far."""
        return sum(program.compile_seconds for program in self.programs)


def gates_program(model: Model) -> Callable[[Params, Batch], dict[str, Array]]:
    """(params, batch) -> mean and saturation of every gate, as an array of two.

    Nothing of a cell whose `step` does more than its parts say: its gates are not those of the parts.
    """
    cell = model.cell

    def program(params: Params, batch: Batch) -> dict[str, Array]:
        if not takes_fast_path(cell, params["cell"], batch.inputs) or not _states_gates(cell):
            return {}
        bounds = cell.gate_bounds()

        def timestep(s_tm1: Carry, x_t: Array) -> tuple[Carry, dict[str, Array]]:
            pre_t = pre_activation(cell, params["cell"], s_tm1, x_t)
            values = cell.gate_values(pre_t)
            stats = {name: _stats(value, *bounds[name]) for name, value in values.items()}
            return cell.gates(pre_t, s_tm1), stats

        start = cell.carry(params["cell"], batch.inputs.shape[1])
        _, stats = lax.scan(timestep, start, batch.inputs)
        return jax.tree.map(lambda rows: jnp.mean(rows, axis=0), stats)

    return program


def _states_gates(cell: GatedCell) -> bool:
    # What training needs of a cell of one's own is less than this.
    return hasattr(cell, "gate_values") and hasattr(cell, "gate_bounds")


def _stats(value: Array, low: float, high: float) -> Array:
    near = (value < low + SATURATION_MARGIN) | (value > high - SATURATION_MARGIN)
    return jnp.stack([jnp.mean(value), jnp.mean(near.astype(value.dtype))])
