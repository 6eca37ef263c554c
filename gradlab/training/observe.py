"""What is looked at when a checkpoint comes: gradient curves and gates on held-out examples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.cells import Carry, GatedCell, Params
from gradlab.cells.base import pre_activation
from gradlab.gradient.adjoint import Adjoint, adjoint
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.measure import measured, to_curve
from gradlab.tasks import Batch
from gradlab.training.model import Model
from gradlab.training.programs import Program
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
    """Measures parameters on one fixed batch, with the programs of this file, compiled."""

    batch: Batch
    curves: Program
    gates: Program
    direct: Program | None = None

    @classmethod
    def of(cls, model: Model, length: int, batch: Batch) -> "Observer":
        """An observer of a model on `batch`, whose sequences have the task's `length`."""
        direct = direct_program(model)
        programs = Program(curves_program(model, length)), Program(gates_program(model))
        return cls(batch, *programs, None if direct is None else Program(direct))

    def observe(self, params: Params) -> Observation:
        """Measure these parameters."""
        curves = measured(self.curves, params, self.batch)
        if self.direct is not None:
            # One step of the chain cannot underflow, so a zero is a zero: an output that the loss does not read.
            curves["direct"] = to_curve(self.direct(params, self.batch))
        gates = {name: Gate(*map(float, stats)) for name, stats in self.gates(params, self.batch).items()}
        return Observation(curves, float(np.mean(curves["task"].losses)), gates)

    @property
    def programs(self) -> tuple[Program, ...]:
        """What `observe` calls, each with the parameters and the batch."""
        return (self.curves, self.gates) if self.direct is None else (self.curves, self.gates, self.direct)

    @property
    def compile_seconds(self) -> float:
        """Time spent compiling so far."""
        return sum(program.compile_seconds for program in self.programs)


def curves_program(model: Model, length: int) -> Callable[[Params, Batch], dict[str, Adjoint]]:
    """(params, batch) -> the adjoint of the `task` curve, and of the `total` one where it differs."""
    at = model.task.task_curve(length)

    def program(params: Params, batch: Batch) -> dict[str, Adjoint]:
        def curve(at: int | None) -> Adjoint:
            def loss(outputs: Array) -> Array:
                return model.read(params, outputs, batch)

            last = model.task.readout == "last"
            return adjoint(model.cell, params["cell"], batch.inputs, loss, at=at, last=last)

        return {"task": curve(at)} | ({} if at is None else {"total": curve(None)})

    return program


def direct_program(model: Model) -> Callable[[Params, Batch], Adjoint] | None:
    """(params, batch) -> the first term of the adjoint alone; None where the loss reads the last output alone.

    There it is the total at lag 1 and zero beyond.
    """
    if model.task.readout == "last":
        return None

    def program(params: Params, batch: Batch) -> Adjoint:
        def loss(outputs: Array) -> Array:
            return model.read(params, outputs, batch)

        return adjoint(model.cell, params["cell"], batch.inputs, loss, kind="direct")

    return program


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
