"""How a lesson is measured: the probes of its sliders, and examples small enough to read."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.cells import CELLS
from gradlab.errors import GradlabError
from gradlab.gradient.chain import chain
from gradlab.gradient.measure import gradient_curve
from gradlab.gradient.state import leaf_names, split
from gradlab.runs.knobs import with_options
from gradlab.runs.lesson import Example, Floor, Knob, Lesson, Position, Sum, few_rows, middle_length
from gradlab.runs.positions import Prober, measured
from gradlab.runs.spec import RunSpec
from gradlab.tasks import Batch
from gradlab.training.jit_cache import programs_for
from gradlab.training.model import Model

Tell = Callable[[str], None]

LENGTHS = (25, 50, 100, 200, 400)
SMALL_LENGTH, SMALL_HIDDEN = 6, 2
SPOKEN = "copy:symbols=4"
SPOKEN_LENGTH = 20
GATED = ("lstm", "gru")
_TRAITS = ("activation", "forget_gate", "forget_bias")
"""The task whose every output has a loss, for what the sum of many losses hides."""


def measure_lesson(base: RunSpec, knob: Knob, lengths: Sequence[int], shards: int, tell: Tell) -> Lesson:
    """Measure everything that a lesson shows; nothing is stored.

    Args:
        base: task, cell, hidden size and seed; the rest is a probe's default.
        knob: what is turned.
        lengths: of the sequences, in rising order.
        shards: devices over which `gradlab run` would split a batch. tell: hears how far it got.

    Raises:
        GradlabError: the cell fails.
    """
    family = _family(base)
    prober = Prober(base, bool(family))
    positions = prober.grid(knob, lengths, tell)
    missing: dict[str, str] = {}
    alone = None
    if family in GATED:
        silent = replace(base, cell=silenced(base.cell), length=lengths[middle_length(lengths)])
        alone = prober.probe(silent, "0")
    tell("lesson: a network small enough to write down")
    example = _or_why(missing, "example", lambda: _example(base))
    tell("lesson: the sum of many losses")
    summed = _or_why(missing, "sum", lambda: _sum(base))
    tell("lesson: one training step in plain float32")
    floor = _or_why(missing, "floor", lambda: _floor(base, positions, shards))
    cell = base.build_cell()
    return Lesson(
        task=base.task,
        cell=base.cell,
        hidden=base.hidden,
        seed=base.seed,
        examples=base.measure_batch,
        family=family,
        traits={name: getattr(cell, name) for name in _TRAITS if hasattr(cell, name)}
        | {"readout": base.build_task().readout},
        knob=knob,
        lengths=tuple(lengths),
        positions=positions,
        alone=alone,
        example=example,
        sum=summed,
        floor=floor,
        missing=missing,
        commands=_commands(base, knob, lengths),
    )


def _family(base: RunSpec) -> str:
    """The name of a built-in cell; nothing for one's own."""
    name = base.cell.split(":")[0]
    return name if name in CELLS else ""


def silenced(cell: str) -> str:
    """A gated cell with its recurrent weights at zero."""
    return with_options(cell, {"gain": "0"})


def _commands(base: RunSpec, knob: Knob, lengths: Sequence[int]) -> dict[str, str]:
    """The commands that repeat more than one probe, and those that train."""
    middle = lengths[middle_length(lengths)]
    few = [knob.cells[row] for row in few_rows(knob)]
    trained = replace(base, length=middle, steps=RunSpec.steps)
    return {
        "grid": _grid_command(base, knob.cells, lengths),
        "lengths": _grid_command(base, (base.cell,), lengths),
        "alone": _grid_command(base, (base.cell, silenced(base.cell)), (middle,))
        if _family(base) in GATED
        else "",
        "factors": _grid_command(base, few, (middle,)),
        "train": trained.command(),
        "then": shlex.join(["gradlab", "lesson", base.task, "--cell", base.cell, "--run", trained.id]),
    }


def _or_why(missing: dict[str, str], name: str, make: Callable[[], Any]) -> Any:
    """What `make` gives, or None with the reason kept: a cell of one's own need not fit every example."""
    try:
        return make()
    except GradlabError as error:
        missing[name] = str(error)
        return None


def _example(base: RunSpec) -> Example:
    """Two units and six timesteps in float64, as a product of Jacobians and as the instrument reads it."""
    length = max(SMALL_LENGTH, base.build_task().min_length)
    small: dict[str, Any] = {"length": length, "hidden": SMALL_HIDDEN, "measure_batch": 1, "dtype": "float64"}
    spec = replace(base, **small)
    model = spec.model()
    with jax.enable_x64(True):
        _refuse_complex(model, spec.seed)
    result = measured(spec)
    assert result.outcome is not None
    curve, params = result.checkpoints[0].metrics.curves["task"], result.outcome.params
    with jax.enable_x64(True):
        batch = _held_out(spec)
        try:
            found = chain(
                model.cell,
                params["cell"],
                batch.inputs,
                lambda outputs: model.read(params, outputs, batch),
                model.task.task_curve(length),
            )
        except (TypeError, ValueError) as error:
            raise GradlabError(_unformed(error)) from error
    return Example(found, curve, SMALL_HIDDEN, spec.command())


def _refuse_complex(model: Model, seed: int) -> None:
    """The product is written out for real states alone."""
    start = jax.eval_shape(lambda: model.cell.carry(model.init(seed)["cell"], 1))
    names, _ = leaf_names(start)
    leaves, _ = split(start)
    found = [
        name for name, leaf in zip(names, leaves, strict=True) if jnp.issubdtype(leaf.dtype, jnp.complexfloating)
    ]
    if found:
        raise GradlabError(f"its state holds complex numbers ({', '.join(found)}), and this shows real matrices")


def _unformed(error: Exception) -> str:
    """Why Jacobians could not be formed, as the end of a sentence."""
    if "custom_vjp" in str(error):
        return (
            "a part of its step has a backward pass of its own (jax.custom_vjp), and the matrices are formed by "
            "differentiating forwards"
        )
    return f"its matrices could not be formed ({type(error).__name__}: {' '.join(str(error).split()).rstrip('.')})"


def _sum(base: RunSpec) -> Sum:
    spec = replace(base, task=SPOKEN, length=SPOKEN_LENGTH)
    result = measured(spec)
    assert result.outcome is not None
    curves, params = result.checkpoints[0].metrics.curves, result.outcome.params
    model = spec.model()
    with jax.enable_x64(spec.dtype == "float64"):
        batch = _held_out(spec)

        def loss(outputs: Any) -> Any:
            return model.read(params, outputs, batch)

        direct = gradient_curve(model.cell, params["cell"], batch.inputs, loss, kind="direct")
    return Sum(spec.task, curves["total"], curves["task"], direct, spec.command(), _snippet(spec))


def _snippet(spec: RunSpec) -> str:
    """Python that measures the direct gradient again."""
    changed = {"hidden": spec.hidden, "seed": spec.seed, "dtype": spec.dtype, "measure_batch": spec.measure_batch}
    more = "".join(f", {name}={value!r}" for name, value in changed.items() if value != getattr(RunSpec, name))
    return "\n".join(
        (
            "import gradlab",
            "from gradlab.training.keys import stream",
            "",
            f"spec = gradlab.RunSpec(task={spec.task!r}, cell={spec.cell!r}, length={spec.length}, steps=0{more})",
            "model, params = spec.model(), gradlab.run(spec).outcome.params",
            f'batch = model.task.sample(stream({spec.seed}, "measure"), {spec.measure_batch}, {spec.length})',
            'curve = gradlab.gradient_curve(model.cell, params["cell"], batch.inputs,',
            '                               lambda y: model.read(params, y, batch), kind="direct")',
            "print(curve.typical().round(3))",
        )
    )


def _held_out(spec: RunSpec) -> Batch:
    """The examples that a probe of this spec is measured on."""
    batch: Batch = programs_for(spec.model(), spec.plan()).draw(jnp.uint32(spec.seed))
    return batch


def _floor(base: RunSpec, positions: Sequence[Sequence[Position]], shards: int) -> Floor | None:
    """One training step at the shortest position whose curve leaves float32; None where none of them does."""
    if base.dtype != "float32":
        raise GradlabError(f"This lesson was measured in {base.dtype}, so it has nothing to show of float32.")
    if base.build_task().task_curve(base.length) is not None:
        raise GradlabError(
            f"In {base.task} every output has a loss, and a training pass shows the gradient of their sum. So it "
            "cannot be laid beside the curves above, which are those of the last loss alone."
        )
    below = [
        position
        for row in positions
        for position in row
        if not position.curve.float32_horizon().reached
        and np.isfinite(position.curve.typical()).all()
        and position.curve.span() < 0
    ]
    if not below:
        return None
    position = min(below, key=lambda one: (one.length, one.curve.float32_horizon().lag))
    spec = replace(base, cell=position.cell, length=position.length, steps=1, measure="every")
    seen = measured(spec, shards).trace.norms
    rows = {leaf: np.asarray(row, np.float64)[0] for leaf, row in seen.items()}
    return Floor(position, rows, spec.batch, spec.command()) if all(len(row) for row in seen.values()) else None


def _grid_command(base: RunSpec, cells: Sequence[str], lengths: Sequence[int]) -> str:
    words = shlex.split(replace(base, length=lengths[0]).command())
    words[words.index("--cell") + 1] = ",".join(cells)
    words[words.index("--len") + 1] = ",".join(map(str, lengths))
    return shlex.join(words)
