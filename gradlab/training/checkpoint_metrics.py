"""What is measured at a checkpoint, on held-out examples: gradient curves and the statistics of gates."""

import contextlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.cells import Carry, Cell, Params
from gradlab.cells.base import GatedCell, is_network, pre_activation
from gradlab.gradient.adjoint import (
    KINDS,
    Adjoint,
    Curves,
    Reverse,
    adjoints,
    compilations,
    outputs_of,
    reverse,
    segment_arguments,
    walk,
)
from gradlab.gradient.assumptions import check_custom_cell
from gradlab.gradient.convert import to_curve
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.inputs import INPUT, InputsAsState, check_inputs, with_own_names
from gradlab.gradient.network import check_network
from gradlab.gradient.program import Program
from gradlab.gradient.segments import Segments, Split, segments_of
from gradlab.gradient.state import as_arrays, counted_leaves, initial_shapes, leaf_names, on_host
from gradlab.gradient.verified import SAMPLE, Passes, in_dtype, measured
from gradlab.tasks import Batch
from gradlab.training.fast_path import takes_fast_path
from gradlab.training.model import Model
from gradlab.training.task_programs import loss_gradient

SATURATION_MARGIN = 0.01
_TRACED = 2
"""Examples of which the passes of a cell are told apart."""


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
        segments: the passes through the cell; `alone` on one device, of a few examples.
        source: `loss_gradient`.
        gates: sums over a segment, as `gate_sums`; None of a cell that does not state its gates.
        leaves: of the state, those that count as memory. inputs: whether the inputs are measured beside them.
    """

    model: Model
    length: int
    segments: Segments
    alone: Segments
    source: Program
    gates: Program | None
    leaves: tuple[str, ...]
    inputs: bool = False

    @classmethod
    def of(
        cls,
        model: Model,
        length: int,
        split: Split | None = None,
        where: Hashable = None,
        *,
        measure_inputs: bool = False,
    ) -> Self:
        """The programs for sequences of the task's `length`.

        Args:
            split, where: what spreads the examples over devices, and its name; None for one device.
            measure_inputs: measure the gradient at the inputs too.
        """
        params = model.params_shape()["cell"]
        inputs = model.inputs_shape(_TRACED, length)
        carry = initial_shapes(model.cell, params, _TRACED)

        def passes(cell: Any, carry: Carry) -> tuple[Segments, Segments]:
            alone = segments_of(cell, params, carry, inputs)
            return alone, alone if split is None else segments_of(cell, params, carry, inputs, split, where)

        alone, segments = passes(model.cell, carry)
        gates = segments.more("gates", gate_sums) if states_gates(model.cell, params, inputs) else None
        if measure_inputs:
            check_inputs(inputs.dtype, leaf_names(carry)[0])
            cell = InputsAsState(model.cell)
            alone, segments = passes(
                cell, jax.eval_shape(lambda carry, inputs: cell.start(carry, inputs[0]), carry, inputs)
            )
        source, leaves = loss_gradient(model.task, length), memory_leaves(model)
        return cls(model, length, segments, alone, source, gates, leaves, measure_inputs)

    @property
    def beside(self) -> tuple[str, ...]:
        """The leaves that are no part of `state`."""
        return (INPUT,) if self.inputs else ()

    @property
    def last(self) -> bool:
        """Whether the loss reads the last output alone: the direct gradient is then zero beyond lag 1."""
        return self.model.task.readout == "last"

    def measure(self, params: Params, batch: Batch) -> CheckpointMetrics:
        """Measure these parameters."""
        curves = self.measure_curves(params, batch)
        return CheckpointMetrics(curves, float(np.mean(curves["task"].losses)), self.measure_gates(params, batch))

    def measure_curves(self, params: Params, batch: Batch) -> dict[str, GradientCurve]:
        """Every curve by name."""
        batch = self.model.embedded(params, batch)
        asked = task_curves(self.model, self.length)
        passes = Passes(partial(self.adjoints, asked), partial(self._reverse, asked), part_of_examples)
        curves = measured(passes, params, batch, leaves=self.leaves, beside=self.beside)
        if not self.last:
            # One step of the chain cannot underflow, so a zero is an output that the loss does not read.
            found = self.adjoints({"direct": ("direct", None)}, params, batch)
            curves["direct"] = to_curve(found["direct"], self.leaves, self.beside)
        return curves

    def adjoints(self, asked: Curves, params: Params, batch: Batch) -> dict[str, Adjoint]:
        """The adjoints of these curves."""
        found = adjoints(
            self.segments,
            params["cell"],
            batch.inputs,
            self._measured_start(params["cell"], batch.inputs),
            lambda outputs: self.source(params["readout"], outputs, batch),
            asked,
            last=self.last,
        )
        return {name: self._named(each) for name, each in found.items()}

    def measure_gates(self, params: Params, batch: Batch) -> dict[str, Gate]:
        """Mean and saturation of every gate; none of a cell whose `step` does more than its parts."""
        if self.gates is None:
            return {}
        batch = self.model.embedded(params, batch)
        start = self._start(params["cell"], batch.inputs)
        sums = walk(self.gates, params["cell"], batch.inputs, start)
        total = jax.tree.map(lambda *each: np.sum(np.asarray(each, np.float64), axis=(0, 1)), *sums)
        count = batch.inputs.shape[0] * batch.inputs.shape[1]
        return {name: Gate(*(values / count).tolist()) for name, values in total.items()}

    def compilations(self, params: Params, batch: Batch) -> list[Callable[[], Any]]:
        """What compiles everything that `measure` is sure to call, one program each."""
        batch = self.model.embedded(params, batch)
        own, start = params["cell"], self._start(params["cell"], batch.inputs)
        measured_start = self._measured_start(own, batch.inputs)
        calls = compilations(
            self.segments, own, batch.inputs, measured_start, kinds=["total"] if self.last else KINDS
        )
        if self.gates is not None:
            calls.append(partial(self.gates.compiled, *segment_arguments(own, batch.inputs, start)))

        def source() -> None:
            count = 1 if self.last else len(batch.inputs)
            outputs = outputs_of(self.model.cell, own, start, batch.inputs, count)
            self.source.compiled(params["readout"], outputs, batch)

        def in_float64(index: int) -> None:
            # The passes over some examples, at any parameters; an error is reported where they run.
            with jax.enable_x64(True), contextlib.suppress(Exception):
                rows = np.arange(min(SAMPLE, batch.inputs.shape[1]))
                own, inputs, _ = in_dtype(part_of_examples(rows, {}, params, batch), jnp.float64)
                compilations(self.alone, own, inputs, self._measured_start(own, inputs), kinds=["total"])[index]()

        return [*calls, source, partial(in_float64, 0), partial(in_float64, 1)]

    @property
    def programs(self) -> list[Program]:
        """Everything that `measure` may call."""
        gates = [] if self.gates is None else [self.gates]
        found = [self.source, *gates, *self.segments.programs, *self.alone.programs]
        return list(dict.fromkeys(found))

    @property
    def compile_seconds(self) -> float:
        """Time spent compiling so far, by whatever used these programs."""
        return sum(program.compile_seconds for program in self.programs)

    def _start(self, params: Params, inputs: Array) -> Carry:
        """The initial state, on no device in particular."""
        params = jax.tree.map(jnp.asarray, params)  # a cell may use what arrays of NumPy do not have
        return jax.tree.map(on_host, as_arrays(self.model.cell.carry(params, inputs.shape[1])))

    def _measured_start(self, params: Params, inputs: Array) -> Carry:
        start = self._start(params, inputs)
        if not self.inputs:
            return start
        # On no device in particular either, and of the shape of an input that may be given as its shape alone.
        return InputsAsState(self.model.cell).start(start, np.zeros(inputs.shape[1:], inputs.dtype))

    def _named(self, found: Any) -> Any:
        return with_own_names(found) if self.inputs else found

    def _reverse(self, asked: Curves, params: Params, inputs: Array, g: dict[str, Any]) -> dict[str, Reverse]:
        timesteps, start = len(inputs), self._measured_start(params, inputs)
        given = self.alone, params, inputs, start
        return {
            name: self._named(reverse(*given, g[name], kind=kind, at=timesteps if self.last else at))
            for name, (kind, at) in asked.items()
        }


def memory_leaves(model: Model) -> tuple[str, ...]:
    """The leaves of the state that count as memory."""
    carry = initial_shapes(model.cell, model.params_shape()["cell"], 1)
    return counted_leaves(model.cell, leaf_names(carry)[0])


def check_assumptions(model: Model, params: Params, batch: Batch) -> None:
    """Refuse a custom cell that cannot be measured, at these parameters and examples.

    Raises:
        GradlabError: as `assumptions.check_cell`.
    """
    batch = model.embedded(params, batch)
    if is_network(model.cell):
        check_network(model.cell, *on_one_device((params["cell"], batch.inputs)))
        return
    own, inputs = on_one_device(params["cell"]), on_host(batch.inputs)[:, : SAMPLE + 1]
    check_custom_cell(model.cell, own, inputs, model.cell.carry(own, inputs.shape[1]))


def task_curves(model: Model, length: int) -> Curves:
    """The `task` curve, and the `total` one where it differs."""
    at = model.task.task_curve(length)
    return {"task": ("total", at)} if at is None else {"task": ("total", at), "total": ("total", None)}


def states_gates(cell: Cell, params: Params, inputs: Any) -> bool:
    """Whether a cell states the values of its gates, and its `step` is its parts and nothing more."""
    # A custom cell may be trained by its parts without stating the values of its gates.
    stated = hasattr(cell, "gate_values") and hasattr(cell, "gate_bounds")
    return stated and takes_fast_path(cell, params, inputs)


def gate_sums(
    cell: GatedCell, params: Params, state: Carry, inputs: Array, count: Array
) -> tuple[Carry, dict[str, Array]]:
    """Sums over the timesteps of a segment of mean and saturation (B, 2) of every gate.

    Args:
        params, state, inputs, count: as in `segments.forward`.
    """
    bounds = cell.gate_bounds()

    def timestep(s_tm1: Carry, x_t: Array) -> tuple[Carry, dict[str, Array]]:
        pre_t = pre_activation(cell, params, s_tm1, x_t)
        values = cell.gate_values(pre_t)
        return cell.gates(pre_t, s_tm1), {name: _stats(value, *bounds[name]) for name, value in values.items()}

    def body(t: Array, loop: tuple[Carry, dict[str, Array]]) -> tuple[Carry, dict[str, Array]]:
        s_t, stats = timestep(loop[0], lax.dynamic_index_in_dim(inputs, t, 0, keepdims=False))
        return s_t, jax.tree.map(jnp.add, loop[1], stats)

    _, shapes = jax.eval_shape(timestep, state, inputs[0])
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    found: tuple[Carry, dict[str, Array]] = lax.fori_loop(0, count, body, (state, zero))
    return found


def _stats(value: Array, low: float, high: float) -> Array:
    near = (value < low + SATURATION_MARGIN) | (value > high - SATURATION_MARGIN)
    return jnp.stack([jnp.mean(value, axis=-1), jnp.mean(near.astype(value.dtype), axis=-1)], axis=-1)


def part_of_examples(rows: np.ndarray, g: dict[str, np.ndarray], params: Params, batch: Batch) -> tuple[Any, ...]:
    """Some examples, on one device: the parameters of the cell, inputs, and gradients of the outputs."""
    return on_one_device(params["cell"]), on_host(batch.inputs)[:, rows], g


def on_one_device(tree: Any) -> Any:
    """Replicated or sharded arrays on one device."""

    def gathered(leaf: Array) -> Array:
        if len(leaf.devices()) == 1:
            return leaf
        return leaf.addressable_data(0) if leaf.is_fully_replicated else jnp.asarray(np.asarray(leaf))

    return jax.tree.map(gathered, tree)
