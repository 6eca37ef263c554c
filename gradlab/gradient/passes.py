"""One measurement as several passes: cheap first, and again by other means where something may be wrong.

1. In the arithmetic of the run, in one group of magnitude; where that may have lost an entry, by magnitude.
2. In float64 on a few examples: those whose gradient at the last lag is smallest (the most saturated) and largest,
   and two more. Where they agree with the first and no gradient is zero, there is nothing to mend.
3. Else in float64 on all examples, once as they are and once moved by a rounding error (`opinion.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.gradient.adjoint import Adjoint, Reverse
from gradlab.gradient.convert import log10, to_curve
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.opinion import apart, disagrees, marked, reconciled

SAMPLE = 4
"""Examples on which float64 is asked first."""

Adjoints = dict[str, Adjoint]
Pass = TypeVar("Pass", bound=Callable[..., Any])


class Sample(NamedTuple):
    """Some examples of a measurement: which they are (n,), and of each curve their part of `Adjoint.g`."""

    examples: np.ndarray
    g: dict[str, Array]


class Passes(NamedTuple, Generic[Pass]):
    """The compiled programs of one measurement, functions of the same arguments.

    Attributes:
        one_group, by_magnitude: arguments -> the adjoints by each method of `pullback.py`.
        reverse: (what `part` gives) -> the backward passes of some examples.
        part: (sample, arguments) -> the arguments of `reverse`.
    """

    one_group: Pass
    by_magnitude: Pass
    reverse: Pass
    part: Callable[..., tuple[Any, ...]]

    @property
    def programs(self) -> tuple[Pass, ...]:
        """The compiled ones."""
        return self.one_group, self.by_magnitude, self.reverse

    def __call__(self, *arguments: Any) -> Adjoints:
        """The adjoints of these arguments, by the cheaper method that loses nothing."""
        found: Adjoints = self.one_group(*arguments)
        lossy = any(bool(jnp.any(each.lossy)) for each in found.values())
        return self.by_magnitude(*arguments) if lossy else found

    def again(self, sample: Sample, arguments: tuple[Any, ...]) -> dict[str, Reverse]:
        """The backward passes of a sample in float64."""
        with jax.enable_x64(True):
            found: dict[str, Reverse] = self.reverse(*jax.tree.map(widened, self.part(sample, *arguments)))
        return found


def measured(
    passes: Passes[Any], *arguments: Any, leaves: Sequence[str] | None = None
) -> dict[str, GradientCurve]:
    """The curves of a measurement, checked against float64 and corrected where that is right.

    Args:
        passes: functions of `arguments` that may be called in float64 too.
        arguments: pytrees of arrays.
        leaves: the leaves of the state that count; all where None.
    """
    results = passes(*arguments)
    native = _curves(results, leaves)
    dtype = min((jnp.dtype(curve.dtype) for curve in native.values()), key=lambda dtype: dtype.itemsize)
    wide = dtype == jnp.float64
    try:
        if _sample_agrees(passes, results, native, moved(arguments, dtype) if wide else arguments):
            return native
        replica = _in_float64(passes, moved(arguments, dtype), leaves)
        if not wide:
            precise = _in_float64(passes, arguments, leaves)
            return {name: reconciled(curve, precise[name], replica[name]) for name, curve in native.items()}
    except Exception as error:
        # A cell may do anything when it is given float64, which the run did not ask of it.
        return {name: replace(curve, unverified=_reason(error)) for name, curve in native.items()}
    return _of_float64(passes, arguments, leaves, native, replica)


def _sample_agrees(
    passes: Passes[Any], results: Adjoints, native: dict[str, GradientCurve], arguments: tuple[Any, ...]
) -> bool:
    """Whether no gradient is zero, and float64 gives the same norms on a few examples."""
    if any(np.isneginf(leaf).any() for curve in native.values() for leaf in curve.log10_norm.values()):
        return False
    index = suspects(next(iter(native.values())))
    sample = Sample(index, {name: result.g[..., index] for name, result in results.items()})
    for name, found in passes.again(sample, arguments).items():
        if bool(jnp.any(found.lossy)):
            return False
        for leaf, norm in found.norms.items():
            if apart(log10(results[name].norms[leaf])[:, index], log10(norm)).any():
                return False
    return True


def suspects(curve: GradientCurve) -> np.ndarray:
    """The examples to ask first: with the smallest and the largest gradient at the last lag, and between."""
    values = curve.log10_norm["state"]
    ends = len(values) - 1 if curve.lengths is None else curve.lengths - 1
    order = np.argsort(values[ends, np.arange(values.shape[1])], kind="stable")
    places = np.linspace(0, len(order) - 1, min(SAMPLE, len(order))).astype(int)
    return np.asarray(order[places])


def _of_float64(
    passes: Passes[Any],
    arguments: tuple[Any, ...],
    leaves: Sequence[str] | None,
    native: dict[str, GradientCurve],
    replica: dict[str, GradientCurve],
) -> dict[str, GradientCurve]:
    """Curves of a float64 run, marked where rounding decides them; float32 says by how much."""
    if not any(disagrees(curve, replica[name]) for name, curve in native.items()):
        return native
    try:
        coarse = _curves(passes(*jax.tree.map(_narrowed, arguments)), leaves)
    except Exception:  # a cell that computes in float64 alone: what float64 itself moves by is what is known
        coarse = replica
    return {name: marked(curve, replica[name], coarse[name]) for name, curve in native.items()}


def _curves(results: Adjoints, leaves: Sequence[str] | None) -> dict[str, GradientCurve]:
    return {name: to_curve(result, leaves) for name, result in results.items()}


def _in_float64(
    passes: Passes[Any], arguments: tuple[Any, ...], leaves: Sequence[str] | None
) -> dict[str, GradientCurve]:
    with jax.enable_x64(True):
        return _curves(passes(*jax.tree.map(widened, arguments)), leaves)


def moved(arguments: tuple[Any, ...], dtype: np.dtype) -> tuple[Any, ...]:
    """Arguments in float64 whose every number is moved by about one rounding error of a dtype."""
    draws = np.random.RandomState(0)

    def move(leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        values = np.asarray(leaf).astype(np.complex128 if jnp.iscomplexobj(leaf) else np.float64)
        values = values * (1 + float(jnp.finfo(dtype).eps) * draws.standard_normal(leaf.shape))
        # On the devices where it was, or the program would be another one.
        return jax.device_put(values, leaf.sharding) if isinstance(leaf, Array) else values

    with jax.enable_x64(True):
        return jax.tree.map(move, arguments)


def rows_of(tree: Any, index: Any, batch_size: int) -> Any:
    """Some examples of a state: their rows of every leaf that has a row for each."""
    return jax.tree.map(lambda leaf: leaf[index] if leaf.shape[:1] == (batch_size,) else leaf, tree)


def widened(leaf: Any) -> Any:
    """A float array as float64 (complex as complex128); other arrays as they are."""
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        return leaf.astype(jnp.complex128)
    return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def _narrowed(leaf: Any) -> Any:
    """A float array as float32 (complex as complex64); other arrays as they are."""
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        return leaf.astype(jnp.complex64)
    return leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
