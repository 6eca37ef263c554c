"""What is looked at when a checkpoint comes: gradient curves and gates on held-out examples."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.cells import Carry, Params
from gradlab.cells.base import is_gated, pre_activation
from gradlab.gradient.adjoint import Adjoint, adjoint, leaf_names
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.measure import Passes, counted_leaves, measured, to_curve, widened
from gradlab.gradient.pullback import BY_MAGNITUDE, ONE_GROUP, Method
from gradlab.tasks import Batch
from gradlab.training.model import Model
from gradlab.training.programs import Program, in_float64

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
            passes(lambda method: curves_program(model, length, method)),
            Program(gates_program(model)),
            direct_passes(model),
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
        wide = in_float64(lambda: self.curves.one_group.compiled(*jax.tree.map(widened, given)))
        return [*native, wide]

    @property
    def compile_seconds(self) -> float:
        """Time spent compiling so far."""
        programs = [*self.curves, self.gates, *(self.direct or ())]
        return sum(program.compile_seconds for program in programs)


def passes(measure: Callable[[Method], Callable[..., Any]]) -> Passes[Program]:
    """The compiled programs of a measurement by each method."""
    return Passes(Program(measure(ONE_GROUP)), Program(measure(BY_MAGNITUDE)))


def memory_leaves(model: Model) -> tuple[str, ...]:
    """The leaves of the state that count as memory."""
    carry = jax.eval_shape(lambda: model.cell.carry(model.init(0)["cell"], 1))
    return counted_leaves(model.cell, leaf_names(carry)[0])


def curves_program(
    model: Model, length: int, method: Method = ONE_GROUP
) -> Callable[[Params, Batch], dict[str, Adjoint]]:
    """(params, batch) -> the adjoint of the `task` curve, and of the `total` one where it differs."""
    at = model.task.task_curve(length)

    def program(params: Params, batch: Batch) -> dict[str, Adjoint]:
        def curve(at: int | None) -> Adjoint:
            def loss(outputs: Array) -> Array:
                return model.read(params, outputs, batch)

            last = model.task.readout == "last"
            return adjoint(model.cell, params["cell"], batch.inputs, loss, at=at, last=last, method=method)

        return {"task": curve(at)} | ({} if at is None else {"total": curve(None)})

    return program


def direct_program(model: Model, method: Method = ONE_GROUP) -> Callable[[Params, Batch], dict[str, Adjoint]]:
    """(params, batch) -> the first term of the adjoint alone, as `direct`."""

    def program(params: Params, batch: Batch) -> dict[str, Adjoint]:
        def loss(outputs: Array) -> Array:
            return model.read(params, outputs, batch)

        found = adjoint(model.cell, params["cell"], batch.inputs, loss, kind="direct", method=method)
        return {"direct": found}

    return program


def direct_passes(model: Model) -> Passes[Program] | None:
    """The compiled programs of the direct gradient; None where the loss reads the last output alone.

    There it is the total at lag 1 and zero beyond.
    """
    return None if model.task.readout == "last" else passes(partial(direct_program, model))


def gates_program(model: Model) -> Callable[[Params, Batch], dict[str, Array]]:
    """(params, batch) -> mean and saturation of every gate, as an array of two."""
    cell = model.cell

    def program(params: Params, batch: Batch) -> dict[str, Array]:
        if not is_gated(cell):
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


def _stats(value: Array, low: float, high: float) -> Array:
    near = (value < low + SATURATION_MARGIN) | (value > high - SATURATION_MARGIN)
    return jnp.stack([jnp.mean(value), jnp.mean(near.astype(value.dtype))])
