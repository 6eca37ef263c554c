"""From a cell and a loss to a `GradientCurve`: run the adjoint, take logarithms, check them against float64."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells import Carry, Cell, Params
from gradlab.errors import GradlabError, unknown
from gradlab.gradient.adjoint import Kind, Loss, Reverse, adjoint, leaf_names, reverse
from gradlab.gradient.assumptions import check_own_cell
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.passes import Adjoints, Passes, Sample, measured, rows_of
from gradlab.gradient.pullback import BY_MAGNITUDE, ONE_GROUP, Method


def gradient_curve(
    cell: Cell,
    params: Params,
    inputs: Array,
    loss: Loss,
    carry: Carry | None = None,
    *,
    kind: Kind = "total",
    at: int | None = None,
) -> GradientCurve:
    """How much of a loss's gradient reaches each earlier state of a recurrent cell.

    λₜ₋₁ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ + (∂sₜ/∂sₜ₋₁)ᵀ λₜ with gₜ = dL/dyₜ; the curve is log10 |λ_{T-k}| by lag k = 1..T.

    Args:
        cell: any object with `step(params, carry, x_t) -> (carry, y_t)`, and `carry(params, batch_size)`
            where no `carry` is given.
        params: the parameters of the cell, any pytree.
        inputs: (T, B, I).
        loss: maps the outputs (T, B, O) of the cell to a loss (B,) for each example, never divided by B.
        carry: the initial state s₀, whose leaves have the batch as their first axis.
        kind: `total` for the adjoint, `direct` for its first term alone.
        at: a timestep t' in 1..T: the single-step gradient, from the output of t' alone; lags are 1..t'.

    Returns:
        The curve of every float leaf and of all together; where the cell has `measured_leaves`, a tuple of names,
        of those alone. Lags count from the last output that the loss of each example reads. It is measured in
        float64 too: where the arithmetic of the arguments is imprecise or reads 0, the value of float64 stands
        and `saturated` says from which lag; where rounding decides the value, `noise` says so.

    Raises:
        GradlabError: `inputs` or the loss have the wrong shape, `kind` or `at` is out of range, or the state
            has no float leaf.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from gradlab.cells import rnn
        >>> cell = rnn(gain=0.5)
        >>> params = cell.init(jax.random.key(0), 2, 8)
        >>> inputs = jnp.zeros((400, 3, 2))
        >>> curve = gradient_curve(cell, params, inputs, lambda outputs: outputs[-1].sum(axis=-1))
        >>> round(curve.span(), 3)  # 399 timesteps of a halving, log10(2) decades each
        -120.111
    """
    if isinstance(cell, type):
        raise GradlabError(f"`{cell.__name__}` is a class: give an object of it, `{cell.__name__}(...)`")
    _refuse_tracers(params, inputs, carry)
    params, carry = jax.tree.map(_as_array, (params, carry))
    inputs = inputs if hasattr(inputs, "dtype") else jnp.asarray(inputs)
    _check(inputs, kind, at)
    start = jax.tree.map(_as_array, cell.carry(params, inputs.shape[1])) if carry is None else carry
    check_own_cell(cell, params, inputs, start)

    def program(method: Method) -> Callable[..., Adjoints]:
        def measure(params: Params, inputs: Array, start: Carry) -> Adjoints:
            found = adjoint(cell, params, inputs, _checked(loss), start, kind=kind, at=at, method=method)
            return {"curve": found}

        return jax.jit(measure)

    def part(sample: Sample, params: Params, inputs: Array, start: Carry) -> tuple[Any, ...]:
        states = rows_of(start, sample.examples, inputs.shape[1])
        return params, inputs[:, sample.examples], states, sample.g["curve"]

    def back(params: Params, inputs: Array, start: Carry, g: Array) -> dict[str, Reverse]:
        return {"curve": reverse(cell, params, inputs, g, start, kind=kind, at=at)}

    # Compiled anew on every call: a cached program would keep the arrays that an earlier `loss` closed over.
    passes = Passes(program(ONE_GROUP), program(BY_MAGNITUDE), jax.jit(back), part)
    names, others = leaf_names(start)
    counted = counted_leaves(cell, names)
    curve = measured(passes, params, inputs, start, leaves=counted)["curve"]
    return replace(curve, unmeasured=(*others, *(name for name in names if name not in counted)))


def counted_leaves(cell: Cell, names: Sequence[str]) -> tuple[str, ...]:
    """The leaves of a state that count as memory: those that the cell names as `measured_leaves`, else all.

    Raises:
        GradlabError: the cell names one that its state does not have.
    """
    wanted = getattr(cell, "measured_leaves", None)
    if wanted is None:
        return tuple(names)
    for name in wanted:
        if name not in names:
            raise unknown(f"leaf in {type(cell).__name__}.measured_leaves", name, names)
    return tuple(name for name in names if name in wanted)


def _as_array(leaf: Any) -> Any:
    """A number of Python as an array; arrays and keys as they are."""
    return leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)


def _refuse_tracers(*arguments: Any) -> None:
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arguments)):
        raise GradlabError(
            "gradient_curve was called inside jax.jit, vmap or grad, and gives numbers of NumPy: "
            "call it outside; it compiles what it runs by itself"
        )


def _check(inputs: Array, kind: str, at: int | None) -> None:
    if kind not in ("total", "direct"):
        raise unknown("kind", kind, ("total", "direct"))
    if inputs.ndim != 3 or 0 in inputs.shape[:2]:
        raise GradlabError(f"inputs have shape {inputs.shape}: give (T, B, I) with T and B of at least 1")
    if at is not None and not (isinstance(at, SupportsIndex) and 1 <= at.__index__() <= len(inputs)):
        raise GradlabError(f"at={at} is no timestep of a sequence of {len(inputs)}: give 1..{len(inputs)}")


def _checked(loss: Loss) -> Loss:
    """The loss, refused unless it gives one number for each example."""

    def checked(outputs: Array) -> Array:
        losses = jnp.asarray(loss(outputs))
        if losses.shape != outputs.shape[1:2]:
            raise GradlabError(
                f"loss has shape {losses.shape}: give one loss for each example, shape {outputs.shape[1:2]}"
            )
        return losses

    return checked
