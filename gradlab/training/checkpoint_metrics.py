"""What is measured at a checkpoint, on held-out examples: gradient curves and the statistics of gates."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.cells import Carry, Params
from gradlab.cells.base import pre_activation
from gradlab.gradient.adjoint import Adjoint, Kind, Reverse, adjoint, reverse
from gradlab.gradient.assumptions import check_custom_cell
from gradlab.gradient.convert import to_curve
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.measure import SAMPLE, Passes, counted_leaves, in_dtype, measured
from gradlab.gradient.pullback import BY_MAGNITUDE, ONE_GROUP, Method
from gradlab.gradient.state import leaf_names
from gradlab.tasks import Batch
from gradlab.training.fast_path import takes_fast_path
from gradlab.training.model import Model

SATURATION_MARGIN = 0.01

Curves = dict[str, tuple[Kind, int | None]]
"""By name of a curve, `kind` and `at` of its adjoint."""


class Gate(NamedTuple):
    """Over timesteps, examples and units: the mean value, and the share within 0.01 of a bound."""

    mean: float
    saturation: float


class CheckpointMetrics(NamedTuple):
    """The curves by name (`task`, `total` where it differs, `direct` where more than one output is read), the mean
    loss, and every gate.
    """

    curves: dict[str, GradientCurve]
    loss: float
    gates: dict[str, Gate]


@dataclass(frozen=True)
class CheckpointPrograms:
    """The compiled programs that measure a model.

    Attributes:
        curves: the `task` curve, and the `total` one where it differs.
        direct: the `direct` curve, None where the loss reads the last output alone: it is then the total at lag 1
            and zero beyond.
        leaves: of the state, those that count as memory.
    """

    curves: Passes
    gates: Any
    direct: Passes | None
    leaves: tuple[str, ...]

    @classmethod
    def of(
        cls, model: Model, length: int, jit: Callable[[Callable[..., Any]], Any], shard: Any = None
    ) -> "CheckpointPrograms":
        """The programs for sequences of the task's `length`.

        Args:
            jit: compiles a function, such as `jit_cache.Program`.
            shard: splits the examples of a function over devices, as `sharding.over_devices`; None for one device.
        """
        shard = shard or (lambda program, mean=False: program)
        last = model.task.readout == "last"

        def passes(curves: Curves) -> Passes:
            def back(params: Params, inputs: Array, g: dict[str, Array]) -> dict[str, Reverse]:
                return {
                    name: reverse(
                        model.cell, params, inputs, g[name], kind=kind, at=model.task.steps(length) if last else at
                    )
                    for name, (kind, at) in curves.items()
                }

            one_group, by_magnitude = (
                jit(shard(adjoint_program(model, curves, method))) for method in (ONE_GROUP, BY_MAGNITUDE)
            )
            return Passes(one_group, by_magnitude, jit(back), _part_of_examples)

        return cls(
            passes(task_curves(model, length)),
            jit(shard(gates_program(model), mean=True)),
            None if last else passes({"direct": ("direct", None)}),
            memory_leaves(model),
        )

    def measure(self, params: Params, batch: Batch) -> CheckpointMetrics:
        """Measure these parameters."""
        curves = self.measure_curves(params, batch)
        gates = {name: Gate(*map(float, stats)) for name, stats in self.gates(params, batch).items()}
        return CheckpointMetrics(curves, float(np.mean(curves["task"].losses)), gates)

    def measure_curves(self, params: Params, batch: Batch) -> dict[str, GradientCurve]:
        """Every curve by name."""
        curves = measured(self.curves, params, batch, leaves=self.leaves)
        if self.direct is not None:
            # One step of the chain cannot underflow, so a zero is an output that the loss does not read.
            curves["direct"] = to_curve(self.direct(params, batch)["direct"], self.leaves)
        return curves

    def compilations(self, params: Params, batch: Batch) -> list[Callable[[], Any]]:
        """What compiles everything that `measure` is sure to call, one program each."""
        first = [self.curves.one_group, self.gates, *(() if self.direct is None else (self.direct.one_group,))]

        def reverse_in_float64() -> None:
            # The float64 pass over some examples, with zeros for gradients; an error is reported where it runs.
            with jax.enable_x64(True), contextlib.suppress(Exception):
                count = min(SAMPLE, batch.inputs.shape[1])
                results = jax.eval_shape(self.curves.one_group.function, params, batch)
                g = {name: jnp.zeros((*found.g.shape[:-1], count)) for name, found in results.items()}
                part = self.curves.part(np.arange(count), g, params, batch)
                self.curves.reverse.compiled(*in_dtype(part, jnp.float64))

        return [*(partial(program.compiled, params, batch) for program in first), reverse_in_float64]

    @property
    def programs(self) -> list[Any]:
        """Everything that `measure` may call."""
        return [self.gates, *self.curves[:3], *(() if self.direct is None else self.direct[:3])]

    @property
    def compile_seconds(self) -> float:
        """Time spent compiling so far."""
        return sum(program.compile_seconds for program in self.programs)


def memory_leaves(model: Model) -> tuple[str, ...]:
    """The leaves of the state that count as memory."""
    carry = jax.eval_shape(lambda: model.cell.carry(model.init(0)["cell"], 1))
    return counted_leaves(model.cell, leaf_names(carry)[0])


def check_assumptions(model: Model, params: Params, batch: Batch) -> None:
    """Refuse a custom cell that cannot be measured, at these parameters and examples.

    Raises:
        GradlabError: as `assumptions.check_cell`.
    """
    own, inputs = on_one_device((params["cell"], batch.inputs[:, : SAMPLE + 1]))
    check_custom_cell(model.cell, own, inputs, model.cell.carry(own, inputs.shape[1]))


def task_curves(model: Model, length: int) -> Curves:
    """The `task` curve, and the `total` one where it differs."""
    at = model.task.task_curve(length)
    curves: Curves = {"task": ("total", at)}
    return curves if at is None else curves | {"total": ("total", None)}


def adjoint_program(model: Model, curves: Curves, method: Method) -> Callable[[Params, Batch], dict[str, Adjoint]]:
    """(params, batch) -> the adjoint of each curve."""
    last = model.task.readout == "last"

    def program(params: Params, batch: Batch) -> dict[str, Adjoint]:
        loss = partial(model.read, params, batch=batch)
        given = model.cell, params["cell"], batch.inputs, loss
        return {
            name: adjoint(*given, kind=kind, at=at, last=last, method=method)
            for name, (kind, at) in curves.items()
        }

    return program


def gates_program(model: Model) -> Callable[[Params, Batch], dict[str, Array]]:
    """(params, batch) -> mean and saturation of every gate, as an array of two.

    None of a cell whose `step` does more than its parts: its gates are not those of the parts.
    """
    cell = model.cell

    def program(params: Params, batch: Batch) -> dict[str, Array]:
        # A custom cell may be trained by its parts without stating the values of its gates.
        states_gates = hasattr(cell, "gate_values") and hasattr(cell, "gate_bounds")
        if not takes_fast_path(cell, params["cell"], batch.inputs) or not states_gates:
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


def _part_of_examples(rows: np.ndarray, g: dict[str, Array], params: Params, batch: Batch) -> tuple[Any, ...]:
    """Some examples, on one device: the parameters of the cell, inputs, and gradients of the outputs."""
    return on_one_device((params["cell"], batch.inputs[:, rows], g))


def on_one_device(tree: Any) -> Any:
    """Replicated or sharded arrays on one device."""

    def gathered(leaf: Array) -> Array:
        if len(leaf.devices()) == 1:
            return leaf
        return leaf.addressable_data(0) if leaf.is_fully_replicated else jnp.asarray(np.asarray(leaf))

    return jax.tree.map(gathered, tree)
