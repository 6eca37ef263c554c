"""From a cell and a loss to a `GradientCurve`: run the adjoint, take logarithms, check them against float64."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Generic, NamedTuple, SupportsIndex, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Carry, Cell, Params
from gradlab.errors import GradlabError, unknown
from gradlab.gradient.adjoint import Adjoint, Kind, Loss, adjoint, leaf_names
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.opinion import disagrees, marked, reconciled
from gradlab.gradient.pullback import BY_MAGNITUDE, ONE_GROUP, Method
from gradlab.gradient.summary import Kind as FindingKind
from gradlab.gradient.summary import NonFinite

_LOG10_2 = np.log10(2.0)
Adjoints = dict[str, Adjoint]


Pass = TypeVar("Pass", bound=Callable[..., Adjoints])


class Passes(NamedTuple, Generic[Pass]):
    """The same measurement by both methods of `pullback.py`: the second where the first may have lost an entry."""

    one_group: Pass
    by_magnitude: Pass

    def __call__(self, *arguments: Any) -> Adjoints:
        """The adjoints of these arguments, by the cheaper method that loses nothing."""
        found = self.one_group(*arguments)
        lossy = any(bool(jnp.any(each.lossy)) for each in found.values())
        return self.by_magnitude(*arguments) if lossy else found


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
    _refuse_tracers(params, inputs, carry)
    params, inputs, carry = jax.tree.map(_as_array, (params, inputs, carry))
    _check(inputs, kind, at)
    start = jax.tree.map(_as_array, cell.carry(params, inputs.shape[1])) if carry is None else carry

    def program(method: Method) -> Callable[..., Adjoints]:
        def measure(params: Params, inputs: Array, start: Carry) -> Adjoints:
            found = adjoint(cell, params, inputs, _checked(loss), start, kind=kind, at=at, method=method)
            return {"curve": found}

        return jax.jit(measure)

    # Compiled anew on every call: a cached program would keep the arrays that an earlier `loss` closed over.
    passes = Passes(program(ONE_GROUP), program(BY_MAGNITUDE))
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


def measured(
    passes: Passes[Any], *arguments: Any, leaves: Sequence[str] | None = None
) -> dict[str, GradientCurve]:
    """The curves of a measurement, checked against float64 and corrected where that is right.

    Args:
        passes: compiled functions of `arguments` that may be called in float64 too.
        arguments: pytrees of arrays.
        leaves: the leaves of the state that count; all where None.
    """
    native = _curves(passes(*arguments), leaves)
    wide = all(curve.dtype == "float64" for curve in native.values())
    moved = _moved(arguments, _narrowest(native))
    try:
        precise = native if wide else _in_float64(passes, arguments, leaves)
        if wide or any(disagrees(curve, precise[name]) for name, curve in native.items()):
            replica = _in_float64(passes, moved, leaves)
        else:
            return native
    except Exception as error:
        # A cell may do anything when it is given float64, which the run did not ask of it.
        return {name: replace(curve, unverified=_reason(error)) for name, curve in native.items()}
    if wide:
        return _of_float64(passes, arguments, leaves, native, replica)
    return {name: reconciled(curve, precise[name], replica[name]) for name, curve in native.items()}


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


def _moved(arguments: tuple[Any, ...], dtype: np.dtype) -> tuple[Any, ...]:
    """Arguments in float64 whose every number is moved by about one rounding error of a dtype."""
    draws = np.random.RandomState(0)

    def move(leaf: Array) -> Any:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        values = np.asarray(leaf).astype(np.complex128 if jnp.iscomplexobj(leaf) else np.float64)
        return values * (1 + float(jnp.finfo(dtype).eps) * draws.standard_normal(leaf.shape))

    return jax.tree.map(move, arguments)


def _narrowest(curves: dict[str, GradientCurve]) -> np.dtype:
    return min((jnp.dtype(curve.dtype) for curve in curves.values()), key=lambda dtype: dtype.itemsize)


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def to_curve(result: Adjoint, leaves: Sequence[str] | None = None) -> GradientCurve:
    """A `GradientCurve` from the scaled norms of an adjoint pass, of all leaves or of those that count."""
    found = {}
    for name, (norm, exponent) in result.norms.items():
        with np.errstate(divide="ignore"):
            found[name] = np.log10(np.asarray(norm, np.float64)) + np.asarray(exponent) * _LOG10_2
    dtype = min((norm.dtype for norm, _ in result.norms.values()), key=lambda dtype: dtype.itemsize)
    findings = (*_forward_findings(result), *_backward_findings(found))
    losses = np.asarray(result.loss, np.float64)
    counted = {name: values for name, values in found.items() if leaves is None or name in leaves}
    counted, lengths = _from_last_read(counted, np.asarray(result.last_read, np.int64))
    return GradientCurve.of(
        counted,
        dtype=dtype.name,
        lengths=lengths,
        non_finite=findings,
        losses=losses,
    )


def _from_last_read(
    leaves: dict[str, np.ndarray], last_read: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Rows by lag from the end of each sequence as rows by lag from the last output that its loss reads.

    The lags before are zero by construction. How many lags each example has is None where all have all.
    """
    timesteps = len(next(iter(leaves.values())))
    if (last_read == timesteps).all():
        return leaves, None
    rows = np.arange(last_read.max())[:, None] + (timesteps - last_read)[None, :]
    absent = rows >= timesteps
    return {
        name: np.where(absent, np.nan, np.take_along_axis(values, np.minimum(rows, timesteps - 1), axis=0))
        for name, values in leaves.items()
    }, last_read


def _forward_findings(result: Adjoint) -> list[NonFinite]:
    """For each quantity of the forward pass that is not finite, the smallest t where that is so.

    What comes after the last output that an example's loss reads has no part in its curve.
    """
    timesteps = len(result.finite_outputs)
    after = np.arange(1, timesteps + 1)[:, None] > np.asarray(result.last_read)[None, :]
    findings: list[NonFinite] = []

    def look(where: str, finite: Array, kind: FindingKind) -> None:
        flags = np.asarray(finite) | after
        if not flags.all():
            findings.append(_first(where, flags, kind))

    for name, finite in result.finite_states.items():
        look(name, finite, "state")
    look("output", result.finite_outputs, "output")
    losses = np.isfinite(np.asarray(result.loss))
    if not losses.all():
        findings.append(NonFinite("loss", timesteps, int((~losses).sum()), "loss"))
    return findings


def _first(where: str, finite: np.ndarray, kind: FindingKind) -> NonFinite:
    """The finding for flags (T, B) that are not all true."""
    return NonFinite(where, int(np.argmin(finite.all(axis=1))) + 1, int((~finite).any(axis=0).sum()), kind)


def _backward_findings(leaves: dict[str, np.ndarray]) -> list[NonFinite]:
    """For each leaf, the largest t whose entering state has a gradient that is not finite."""
    findings = []
    for name, values in leaves.items():
        bad = np.isnan(values) | np.isposinf(values)
        if bad.any():
            lag = int(np.argmax(bad.any(axis=1))) + 1
            findings.append(
                NonFinite(f"gradient {name}", len(values) - lag + 1, int(bad.any(axis=0).sum()), "gradient")
            )
    return findings


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
        losses = loss(outputs)
        if losses.shape != outputs.shape[1:2]:
            raise GradlabError(
                f"loss has shape {losses.shape}: give one loss for each example, shape {outputs.shape[1:2]}"
            )
        return losses

    return checked
