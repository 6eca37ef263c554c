"""What a lesson measures: the probes of its grid, a worked example, a summed loss, and a float32 training pass."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Cell, Params
from gradlab.cells.base import is_network
from gradlab.cells.traced import traced_step
from gradlab.errors import GradlabError, described
from gradlab.gradient.adjoint import Loss, leaf_names, split
from gradlab.gradient.chain import chain
from gradlab.gradient.curve import GradientCurve
from gradlab.lesson.axes import GATED, SweepAxis, family_of, with_options
from gradlab.lesson.commands import lesson_commands
from gradlab.lesson.records import GridPoint, Lesson, SummedLoss, TrainingPass, WorkedExample
from gradlab.runs.execute import run, usable_shards
from gradlab.runs.result import RunResult
from gradlab.runs.spec import RunSpec
from gradlab.tasks import Batch
from gradlab.training.checkpoint_metrics import CheckpointPrograms
from gradlab.training.jit_cache import compile_in_parallel, programs_for
from gradlab.training.loop import held_out, initial_params
from gradlab.training.model import Model
from gradlab.training.numerics import numerics
from gradlab.training.step import Plan, start_state

OnProgress = Callable[[str], None]

SMALL_LENGTH, SMALL_HIDDEN = 6, 2
SUMMED_TASK, SUMMED_LENGTH = "copy:symbols=4", 20
"""A task with a loss at every output."""


def check_has_state(spec: RunSpec) -> None:
    """Refuse a network, which has no state, by a GradlabError."""
    if is_network(spec.build_cell()):
        raise GradlabError(f"{spec.cell} has no state: a lesson follows the gradient from state to state")


def measure_lesson(
    base: RunSpec, axis: SweepAxis, lengths: Sequence[int], shards: int, on_progress: OnProgress
) -> Lesson:
    """Measure everything that a lesson shows; nothing is stored.

    Args:
        base: task, cell, hidden size and seed; the rest is a probe's default.
        axis: the hyperparameter. lengths: of the sequences, in rising order.
        shards: devices over which `gradlab run` would split a batch.

    Raises:
        GradlabError: the cell fails.
    """
    check_has_state(base)
    family = family_of(base.cell)
    prober = Prober(base)
    grid = prober.grid(axis, lengths, on_progress)
    missing: dict[str, str] = {}

    def attempt(name: str, about: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, or None with the reason in `missing`: a user's cell need not fit every example."""
        on_progress(f"lesson: {about}")
        try:
            return make()
        except GradlabError as error:
            missing[name] = str(error)
            return None

    cell = base.build_cell()
    lesson = Lesson(
        task=base.task,
        cell=base.cell,
        hidden=base.hidden,
        examples=base.measure_batch,
        family=family,
        activation=getattr(cell, "activation", "") if family else "",
        forget_gate=bool(getattr(cell, "forget_gate", False)),
        readout=base.build_task().readout,
        axis=axis,
        lengths=tuple(lengths),
        grid=grid,
        ungated=None,
        example=attempt("example", "a network small enough to write down", lambda: _example(base)),
        summed=attempt("summed", "the sum of many losses", lambda: _summed(base)),
        underflow=attempt("underflow", "one training step in float32", lambda: _underflow(base, grid, shards)),
        missing=missing,
        commands={},
    )
    if family in GATED:
        spec = replace(base, cell=with_options(base.cell, {"gain": "0"}), length=lengths[lesson.middle])
        lesson = replace(lesson, ungated=prober.probe(spec, "0"))
    return replace(lesson, commands=lesson_commands(base, lesson))


def _example(base: RunSpec) -> WorkedExample:
    """Two units and six timesteps in float64, as a product of Jacobians and as a probe."""
    length = max(SMALL_LENGTH, base.build_task().min_length)
    spec = replace(base, length=length, hidden=SMALL_HIDDEN, measure_batch=1, dtype="float64")
    with jax.enable_x64(True):
        _refuse_complex(spec.model(), spec.seed)
    curves, cell, params, inputs, loss = _probed(spec)
    with jax.enable_x64(True):
        try:
            found = chain(cell, params, inputs, loss, spec.build_task().task_curve(length))
        except (TypeError, ValueError) as error:
            raise GradlabError(_why_no_jacobians(error)) from error
    return WorkedExample(found, curves["task"], SMALL_HIDDEN, spec.command())


def _probed(spec: RunSpec) -> tuple[Mapping[str, GradientCurve], Cell, Params, Array, Loss]:
    """The curves of a probe, and the cell, parameters, inputs and loss that they are of."""
    model = spec.model()
    if family_of(spec.cell):
        params, drawn = drawn_params(spec), held_out_of(spec)
        with numerics(spec.dtype):
            metrics = _compiled(model, spec.plan(), params, drawn).measure(params, drawn)
    else:
        result = measured(spec)
        assert result.outcome is not None
        params, metrics, drawn = result.outcome.params, result.checkpoints[0].metrics, held_out_of(spec)
    with numerics(spec.dtype):
        batch = model.embedded(params, drawn)

    def loss(outputs: Array) -> Array:
        return model.read(params, outputs, batch)

    return metrics.curves, model.cell, params["cell"], batch.inputs, loss


def _refuse_complex(model: Model, seed: int) -> None:
    """The product is written out for real states only."""
    start = jax.eval_shape(lambda: model.cell.carry(model.init(seed)["cell"], 1))
    leaves = zip(leaf_names(start)[0], split(start)[0], strict=True)
    found = [name for name, leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.complexfloating)]
    if found:
        raise GradlabError(f"its state holds complex numbers ({', '.join(found)}), and this shows real matrices")


def _why_no_jacobians(error: Exception) -> str:
    """The end of a sentence."""
    if "custom_vjp" in str(error):
        return (
            "a part of its step has a backward pass of its own (jax.custom_vjp), and the matrices are formed by "
            "differentiating forwards"
        )
    return f"its matrices could not be formed ({described(error).rstrip('.')})"


def _summed(base: RunSpec) -> SummedLoss:
    spec = replace(base, task=SUMMED_TASK, length=SUMMED_LENGTH)
    curves = _probed(spec)[0]
    total, last, direct = (curves[name] for name in ("total", "task", "direct"))
    return SummedLoss(spec.task, total, last, direct, spec.command(), _snippet(spec))


def _snippet(spec: RunSpec) -> str:
    """Python that measures the direct gradient again."""
    fields = {name: getattr(spec, name) for name in ("hidden", "seed", "dtype", "measure_batch")}
    given = "".join(f", {name}={it!r}" for name, it in fields.items() if it != getattr(RunSpec, name))
    return f"""import gradlab
from gradlab.training.loop import held_out

spec = gradlab.RunSpec(task={spec.task!r}, cell={spec.cell!r}, length={spec.length}, steps=0{given})
model, params = spec.model(), gradlab.run(spec).outcome.params
batch = model.embedded(params, held_out(model, spec.plan()))
curve = gradlab.gradient_curve(model.cell, params["cell"], batch.inputs,
                               lambda y: model.read(params, y, batch), kind="direct")
print(curve.typical().round(3))"""


def _underflow(base: RunSpec, grid: Sequence[Sequence[GridPoint]], shards: int) -> TrainingPass | None:
    """One training step at the shortest point whose curve leaves float32; None if none does."""
    if base.dtype != "float32":
        raise GradlabError(f"This lesson was measured in {base.dtype}, so it has nothing to show of float32.")
    if base.build_task().readout != "last":
        raise GradlabError(
            f"In {base.task} the loss reads other outputs than the last, and so does a training pass. It cannot "
            "be compared with the curves above, which begin at one output of each example."
        )
    below = [
        point
        for row in grid
        for point in row
        if not point.curve.float32_horizon().reached
        and np.isfinite(point.curve.typical()).all()
        and point.curve.span() < 0
    ]
    if not below:
        return None
    point = min(below, key=lambda one: (one.length, one.curve.float32_horizon().lag))
    spec = replace(base, cell=point.cell, length=point.length, steps=1, measure="every")
    rms = {leaf: np.asarray(rows, np.float64)[0] for leaf, rows in _norms_of_training(spec, shards).items()}
    return TrainingPass(point, rms, spec.batch, spec.command()) if all(map(len, rms.values())) else None


def _norms_of_training(spec: RunSpec, shards: int) -> Mapping[str, Any]:
    """The norms (1, T) at every state of the first training step, by leaf."""
    if not family_of(spec.cell):
        return measured(spec, shards).trace.norms
    # One training step alone, without the tests and the curves that a run has before and after it.
    model, plan = spec.model(), spec.plan(usable_shards(spec, shards))
    with numerics(spec.dtype):
        _, rows = programs_for(model, plan).chunk(start_state(model, plan, drawn_params(spec)), jnp.int32(1))
    norms: Mapping[str, Any] = rows.norms
    return norms


class Prober:
    """Probes of built-in cells, which share compiled programs where only their initialisation differs.

    Args:
        base: task, hidden size and seed of all probes.
    """

    def __init__(self, base: RunSpec) -> None:
        self.base = base
        self.models: dict[str, Model] = {}
        self.programs: dict[tuple[int, int], CheckpointPrograms] = {}
        self.params = lru_cache(maxsize=None)(lambda cell: drawn_params(replace(base, cell=cell)))
        self.examples = lru_cache(maxsize=None)(lambda length: held_out_of(replace(base, length=length)))
        self._model = lru_cache(maxsize=None)(self._same_step)

    def grid(
        self, axis: SweepAxis, lengths: Sequence[int], on_progress: OnProgress
    ) -> tuple[tuple[GridPoint, ...], ...]:
        """A point [value][length], measured length by length, as each length compiles anew."""
        columns, count = [], 0
        for length in lengths:
            column = []
            for value, cell in zip(axis.values, axis.cells, strict=True):
                count += 1
                on_progress(f"lesson: probe {count} of {len(axis.cells) * len(lengths)}, {cell}, T = {length}")
                column.append(self.probe(replace(self.base, cell=cell, length=length), value))
            columns.append(column)
        return tuple(zip(*columns, strict=True))

    def probe(self, spec: RunSpec, value: str) -> GridPoint:
        """What `gradlab probe` measures of this spec."""
        if not family_of(spec.cell):
            metrics = measured(spec).checkpoints[0].metrics
        else:
            with numerics(spec.dtype):
                model, params = self._model(spec.cell), self.params(spec.cell)
                at = id(model), spec.length  # a custom task may have no hash
                if at not in self.programs:
                    self.programs[at] = _compiled(model, spec.plan(), params, self.examples(spec.length))
                metrics = self.programs[at].measure(params, self.examples(spec.length))
        gates = {name: gate.mean for name, gate in metrics.gates.items()}
        return GridPoint(value, spec.length, spec.cell, spec.command(), metrics.curves["task"], gates)

    def _same_step(self, cell: str) -> Model:
        """The first model with the same step, which has its programs compiled already."""
        model = replace(self.base, cell=cell).model()
        x_t = jnp.zeros((self.base.measure_batch, model.task.input_size))
        return self.models.setdefault(traced_step(model.cell, model.hidden, x_t), model)


def drawn_params(spec: RunSpec) -> Params:
    """The parameters that a run of a built-in cell starts from."""
    with numerics(spec.dtype):
        # Drawn without compiling, which would take longer than all probes of one length; of these schemes the
        # bits are the same, because nothing is multiplied twice.
        if "init=" in spec.cell and "init=chrono" not in spec.cell:
            return initial_params(spec.model(), spec.plan())
        return spec.model().init(jnp.uint32(spec.seed))


def held_out_of(spec: RunSpec) -> Batch:
    """The examples on which a probe is measured, whatever its cell."""
    with numerics(spec.dtype):
        return held_out(spec.model(), spec.plan())


def _compiled(model: Model, plan: Plan, params: Params, batch: Batch) -> CheckpointPrograms:
    """What measures a built-in cell, compiled for parameters and examples like these."""
    programs = programs_for(model, plan).metrics
    assert isinstance(programs, CheckpointPrograms)
    compile_in_parallel(*programs.compilations(params, batch))
    return programs


def measured(spec: RunSpec, shards: int = 1) -> RunResult:
    """A run that is not stored.

    Raises:
        GradlabError: it failed; the reason is in it.
    """
    result = run(spec, shards=shards)
    if result.status == "failed":
        raise GradlabError(f"cell `{spec.cell}` cannot be measured: {result.reason}", exit_code=1)
    return result
