"""From a cell and a loss to a `GradientCurve`: run the adjoint, take logarithms, repair what saturated."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Carry, Cell, Params
from gradlab.errors import GradlabError, unknown
from gradlab.gradient.adjoint import Adjoint, Kind, Loss, adjoint, leaf_names
from gradlab.gradient.curve import GradientCurve, repaired
from gradlab.gradient.summary import NonFinite

_LOG10_2 = np.log10(2.0)


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
        The curve of every float leaf and of all together. Where the arithmetic of the arguments reads exactly
        0, the curve is measured again in float64 and marked as saturated.

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
    _check(inputs, kind, at)
    start = cell.carry(params, inputs.shape[1]) if carry is None else carry

    def program(params: Params, inputs: Array, start: Carry) -> dict[str, Adjoint]:
        return {"curve": adjoint(cell, params, inputs, _checked(loss), start, kind=kind, at=at)}

    # Compiled anew on every call: a cached program would keep the arrays that an earlier `loss` closed over.
    curve = measured(jax.jit(program), params, inputs, start)["curve"]
    return replace(curve, unmeasured=tuple(leaf_names(start)[1]))


def measured(program: Callable[..., dict[str, Adjoint]], *arguments: Any) -> dict[str, GradientCurve]:
    """The curves of a program that returns adjoints, measured again in float64 where they read 0.

    Args:
        program: a compiled function of `arguments` that may be called in float64 too.
        arguments: pytrees of arrays.
    """
    curves = {name: to_curve(result) for name, result in program(*arguments).items()}
    if not any(_reads_zero(curve) for curve in curves.values()):
        return curves
    with jax.enable_x64(True):
        try:
            precise = program(*jax.tree.map(_widened, arguments))
        except TypeError:
            return curves  # a cell that fixes its dtype has no float64 value to offer: its zeros stay
        return {name: repaired(curve, to_curve(precise[name])) for name, curve in curves.items()}


def to_curve(result: Adjoint) -> GradientCurve:
    """A `GradientCurve` from the scaled norms of an adjoint pass."""
    leaves = {}
    for name, (norm, exponent) in result.norms.items():
        with np.errstate(divide="ignore"):
            leaves[name] = np.log10(np.asarray(norm, np.float64)) + np.asarray(exponent) * _LOG10_2
    dtype = min((norm.dtype for norm, _ in result.norms.values()), key=lambda dtype: dtype.itemsize)
    findings = (*_forward_findings(result), *_backward_findings(leaves))
    losses = np.asarray(result.loss, np.float64)
    return GradientCurve.of(leaves, dtype=dtype.name, non_finite=findings, losses=losses)


def _reads_zero(curve: GradientCurve) -> bool:
    return curve.dtype != "float64" and any(np.isneginf(leaf).any() for leaf in curve.log10_norm.values())


def _forward_findings(result: Adjoint) -> list[NonFinite]:
    """For each quantity of the forward pass that is not finite, the smallest t where that is so."""
    timesteps = len(result.finite_outputs)
    flags = {name: np.asarray(finite) for name, finite in result.finite_states.items()}
    findings = [_first(name, finite) for name, finite in flags.items() if not finite.all()]
    outputs, losses = np.asarray(result.finite_outputs), np.isfinite(np.asarray(result.loss))
    if not outputs.all():
        findings.append(_first("output", outputs))
    if not losses.all():
        findings.append(NonFinite("loss", timesteps, int((~losses).sum())))
    return findings


def _first(where: str, finite: np.ndarray) -> NonFinite:
    """The finding for flags (T, B) that are not all true."""
    return NonFinite(where, int(np.argmin(finite.all(axis=1))) + 1, int((~finite).any(axis=0).sum()))


def _backward_findings(leaves: dict[str, np.ndarray]) -> list[NonFinite]:
    """For each leaf, the largest t whose entering state has a gradient that is not finite."""
    findings = []
    for name, values in leaves.items():
        bad = np.isnan(values) | np.isposinf(values)
        if bad.any():
            lag = int(np.argmax(bad.any(axis=1))) + 1
            findings.append(NonFinite(f"gradient {name}", len(values) - lag + 1, int(bad.any(axis=0).sum())))
    return findings


def _widened(leaf: Array) -> Array:
    """A float array as float64 (complex as complex128); other arrays as they are."""
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        return leaf.astype(jnp.complex128)
    return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


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
        losses = loss(outputs)
        if losses.shape != outputs.shape[1:2]:
            raise GradlabError(
                f"loss has shape {losses.shape}: give one loss for each example, shape {outputs.shape[1:2]}"
            )
        return losses

    return checked
