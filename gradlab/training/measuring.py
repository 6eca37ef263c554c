"""The gradient curves of a model on a batch, as compiled programs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Params
from gradlab.gradient.adjoint import Adjoint, Reverse, adjoint, leaf_names, reverse
from gradlab.gradient.assumptions import check_own_cell
from gradlab.gradient.measure import counted_leaves
from gradlab.gradient.passes import SAMPLE, Passes, Sample
from gradlab.gradient.pullback import BY_MAGNITUDE, ONE_GROUP, Method
from gradlab.tasks import Batch
from gradlab.training.model import Model
from gradlab.training.programs import Program

Spread = Callable[[Callable[..., Any]], Callable[..., Any]]


def on_one_device(program: Callable[..., Any]) -> Callable[..., Any]:
    """A program as it is: its examples are not spread over devices."""
    return program


def memory_leaves(model: Model) -> tuple[str, ...]:
    """The leaves of the state that count as memory."""
    carry = jax.eval_shape(lambda: model.cell.carry(model.init(0)["cell"], 1))
    return counted_leaves(model.cell, leaf_names(carry)[0])


def check_assumptions(model: Model, params: Params, batch: Batch) -> None:
    """Refuse a cell of one's own that the instrument cannot measure, at these parameters and examples.

    Raises:
        GradlabError: as `assumptions.check_cell`.
    """
    own, inputs = jax.tree.map(_gathered, (params["cell"], batch.inputs[:, : SAMPLE + 1]))
    check_own_cell(model.cell, own, inputs, model.cell.carry(own, inputs.shape[1]))


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


def curves_passes(model: Model, length: int, spread: Spread = on_one_device) -> Passes[Program]:
    """The compiled programs of these curves; `spread` splits their examples over devices."""
    end = model.task.steps(length) if model.task.readout == "last" else None
    starts = {"task": end or model.task.task_curve(length), "total": end}

    def back(params: Params, inputs: Array, g: dict[str, Array]) -> dict[str, Reverse]:
        return {name: reverse(model.cell, params, inputs, g[name], at=starts[name]) for name in g}

    return Passes(
        Program(spread(curves_program(model, length))),
        Program(spread(curves_program(model, length, BY_MAGNITUDE))),
        Program(back),
        _part,
    )


def direct_passes(model: Model, spread: Spread = on_one_device) -> Passes[Program]:
    """The compiled programs of the `direct` gradient, for a loss that reads more than the last output.

    There it is the total at lag 1 and zero beyond.
    """

    def program(method: Method) -> Callable[[Params, Batch], dict[str, Adjoint]]:
        def direct(params: Params, batch: Batch) -> dict[str, Adjoint]:
            def loss(outputs: Array) -> Array:
                return model.read(params, outputs, batch)

            found = adjoint(model.cell, params["cell"], batch.inputs, loss, kind="direct", method=method)
            return {"direct": found}

        return direct

    def back(params: Params, inputs: Array, g: dict[str, Array]) -> dict[str, Reverse]:
        return {"direct": reverse(model.cell, params, inputs, g["direct"], kind="direct")}

    return Passes(
        Program(spread(program(ONE_GROUP))), Program(spread(program(BY_MAGNITUDE))), Program(back), _part
    )


def _part(sample: Sample, params: Params, batch: Batch) -> tuple[Any, ...]:
    """Some examples, on one device: the parameters of the cell, inputs, and gradients of the outputs."""
    return jax.tree.map(_gathered, (params["cell"], batch.inputs[:, sample.examples], sample.g))


def _gathered(leaf: Array) -> Array:
    if len(leaf.devices()) == 1:
        return leaf
    return leaf.addressable_data(0) if leaf.is_fully_replicated else jnp.asarray(np.asarray(leaf))
