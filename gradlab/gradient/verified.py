"""A measurement checked against float64.

1. In the arithmetic of the run, in one group of magnitude; where that may have lost an entry, by magnitude.
2. In float64 on a few examples: those whose gradient at the last lag is smallest (the most saturated) and largest,
   and two more. Where they agree with the first and no gradient is zero, the first is right.
3. Else in float64 on all examples, once as they are and once moved by a rounding error (`noise.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.gradient.adjoint import Adjoint, Reverse
from gradlab.gradient.convert import to_curve
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.noise import differs, disagree, mark_noise, reconcile

SAMPLE = 4
"""Examples that are measured in float64 first."""

Adjoints = dict[str, Adjoint]
_NONE = np.empty((0, 0), bool)


class Passes(NamedTuple):
    """The passes of one measurement.

    Attributes:
        adjoints: arguments -> the adjoint of every curve.
        reverse: the result of `part` -> the backward passes of some examples.
        part: (indices of examples, their part of `Adjoint.g` by curve, arguments) -> the arguments of `reverse`.
    """

    adjoints: Callable[..., Adjoints]
    reverse: Callable[..., dict[str, Reverse]]
    part: Callable[..., tuple[Any, ...]]


def measured(
    passes: Passes, *arguments: Any, leaves: Sequence[str], beside: Sequence[str] = ()
) -> dict[str, GradientCurve]:
    """The curves of a measurement, checked against float64 and corrected where that is right.

    Args:
        passes: functions of `arguments` that may be called in float64 too.
        arguments: pytrees of arrays.
        leaves: the leaves of the state that count. beside: further ones, that are no part of `state`.
    """

    def curves(results: Adjoints) -> dict[str, GradientCurve]:
        return {name: to_curve(result, leaves, beside) for name, result in results.items()}

    def in_float64(arguments: tuple[Any, ...]) -> dict[str, GradientCurve]:
        with jax.enable_x64(True):
            return curves(passes.adjoints(*in_dtype(arguments, jnp.float64)))

    results = passes.adjoints(*arguments)
    native = curves(results)
    # Its flags by timestep and example take room that the examples in float64 need.
    results = {name: result._replace(finite_states={}, finite_outputs=_NONE) for name, result in results.items()}
    dtype = min((jnp.dtype(curve.dtype) for curve in native.values()), key=lambda dtype: dtype.itemsize)
    is_float64 = dtype == jnp.float64
    try:
        if _sample_agrees(passes, results, native, _moved(arguments, dtype) if is_float64 else arguments):
            return native
        replica = in_float64(_moved(arguments, dtype))
        if not is_float64:
            precise = in_float64(arguments)
            return {name: reconcile(curve, precise[name], replica[name]) for name, curve in native.items()}
    except Exception as error:
        # A cell may do anything in float64, which the run did not ask of it.
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return {name: replace(curve, unverified=reason) for name, curve in native.items()}
    if not any(disagree(curve, replica[name]) for name, curve in native.items()):
        return native
    try:
        coarse = curves(passes.adjoints(*in_dtype(arguments, jnp.float32)))
    except Exception:  # a cell that computes in float64 alone: only what float64 itself moves by is known
        coarse = replica
    return {name: mark_noise(curve, replica[name], coarse[name]) for name, curve in native.items()}


def _sample_agrees(
    passes: Passes, results: Adjoints, native: dict[str, GradientCurve], arguments: tuple[Any, ...]
) -> bool:
    """Whether no gradient is zero, and float64 gives the same norms on a few examples."""
    if any(np.isneginf(leaf).any() for curve in native.values() for leaf in curve.log10_norm.values()):
        return False
    index = _extremes(next(iter(native.values())))
    part = passes.part(index, {name: result.g[..., index] for name, result in results.items()}, *arguments)
    with jax.enable_x64(True):
        precise = passes.reverse(*in_dtype(part, jnp.float64))
    return not any(
        bool(found.lossy.any())
        or any(differs(results[name].norms[leaf][:, index], norm).any() for leaf, norm in found.norms.items())
        for name, found in precise.items()
    )


def _extremes(curve: GradientCurve) -> np.ndarray:
    """The examples with the smallest and the largest gradient at the last lag, and some between."""
    values = curve.log10_norm["state"]
    ends = len(values) - 1 if curve.lengths is None else curve.lengths - 1
    order = np.argsort(values[ends, np.arange(values.shape[1])], kind="stable")
    places = np.linspace(0, len(order) - 1, min(SAMPLE, len(order))).astype(int)
    return np.asarray(order[places])


def _moved(arguments: tuple[Any, ...], dtype: np.dtype) -> tuple[Any, ...]:
    """Arguments in float64 whose every number is moved by about one rounding error of a dtype."""
    draws = np.random.RandomState(0)

    def move(leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        values = np.asarray(leaf).astype(np.complex128 if jnp.iscomplexobj(leaf) else np.float64)
        values = values * (1 + float(jnp.finfo(dtype).eps) * draws.standard_normal(leaf.shape))
        if not isinstance(leaf, Array):
            return values
        # On the same devices, or another program would be compiled.
        return jax.device_put(values, leaf.sharding) if leaf.committed else jnp.asarray(values)

    with jax.enable_x64(True):
        return jax.tree.map(move, arguments)


def in_dtype(tree: Any, dtype: Any) -> Any:
    """A tree with its float arrays in a dtype, complex ones in the complex dtype of that precision."""

    def cast(leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        if not (isinstance(leaf, Array) and leaf.committed):
            leaf = np.asarray(leaf)
        with np.errstate(over="ignore", invalid="ignore"):
            return leaf.astype(jnp.result_type(dtype, jnp.complex64) if jnp.iscomplexobj(leaf) else dtype)

    return jax.tree.map(cast, tree)
