"""From a cell and a loss to `GradientCurve`s: adjoint passes, checked against float64.

1. In the arithmetic of the run, in one group of magnitude; where that may have lost an entry, by magnitude.
2. In float64 on a few examples: those whose gradient at the last lag is smallest (the most saturated) and largest,
   and two more. Where they agree with the first and no gradient is zero, the first is right.
3. Else in float64 on all examples, once as they are and once moved by a rounding error (`noise.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.adapters import adapted, is_own_network
from gradlab.cells import Carry, Cell, Network, Params
from gradlab.errors import GradlabError, described, unknown
from gradlab.gradient.adjoint import Adjoint, Kind, Loss, Reverse, Source, adjoints, reverse
from gradlab.gradient.assumptions import check_custom_cell, refuse
from gradlab.gradient.convert import log10, to_curve
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.network import (
    INPUT,
    InputsAsState,
    NetworkPasses,
    check_network,
    network_adjoints,
    network_reverse,
)
from gradlab.gradient.noise import differs, disagree, mark_noise, reconcile
from gradlab.gradient.segments import segments_of
from gradlab.gradient.state import as_arrays, drifting_leaves, leaf_names, step_of

Of = Literal["state", "inputs"]
SAMPLE = 4
"""Examples that are measured in float64 first."""

Adjoints = dict[str, Adjoint]
Curves = dict[str, GradientCurve]


def gradient_curve(
    cell: Any,
    params: Params,
    inputs: Array,
    loss: Loss,
    carry: Carry | None = None,
    *,
    kind: Kind = "total",
    at: int | None = None,
    of: Of = "state",
) -> GradientCurve:
    """How much of a loss's gradient reaches each earlier state of a recurrent cell.

    λₜ₋₁ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ + (∂sₜ/∂sₜ₋₁)ᵀ λₜ with gₜ = dL/dyₜ; the curve is log10 |λ_{T-k}| by lag k = 1..T.

    Args:
        cell: any object with `step(params, carry, x_t) -> (carry, y_t)`, and `carry(params, batch_size)`
            where no `carry` is given; or a cell of flax, equinox, haiku or Keras, or a function like `step`;
            or a network without a state, `apply(params, inputs) -> outputs`, which is measured at its inputs, `x`.
        params: the parameters of the cell, any pytree; None for the own weights of an object of a library.
        inputs: (T, B, I).
        loss: maps the outputs (T, B, O) of the cell to a loss (B,) for each example, never divided by B.
        carry: the initial state s₀, whose leaves have the batch as their first axis.
        kind: `total` for the adjoint, `direct` for its first term alone.
        at: a timestep t' in 1..T: the single-step gradient, from the output of t' alone; lags are 1..t'.
        of: `state`, or `inputs` for |dL_b/dx_{T-k+1}| at lag k, the leaf `x`: the input that enters the same
            timestep as the state of that lag. A network without a state has this one alone.

    Returns:
        The curve of every float leaf and of all together; where the cell has `measured_leaves`, a tuple of names,
        of those alone. Lags count from the last output that the loss of each example reads. It is measured in
        float64 too: where the arithmetic of the arguments is imprecise or reads 0, the value of float64 stands
        and `saturated` says from which lag; where rounding decides the value, `noise` says so.

    Raises:
        GradlabError: `cell` is none of these, `inputs` or the loss have the wrong shape, `kind` or `at` is out of
            range, or the state has no float leaf.

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
    if isinstance(cell, type) and callable(getattr(cell, "step", None)):
        raise GradlabError(f"`{cell.__name__}` is a class: give an object of it, `{cell.__name__}(...)`")
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((params, inputs, carry))):
        raise GradlabError(
            "gradient_curve was called inside jax.jit, vmap or grad, and gives numbers of NumPy: "
            "call it outside; it compiles what it runs by itself"
        )
    if type(inputs).__module__.partition(".")[0] == "torch":
        raise GradlabError(
            "inputs are a tensor of PyTorch: give inputs.numpy(), or measure by gradlab.torch.watch"
        )
    inputs = inputs if hasattr(inputs, "dtype") else jnp.asarray(inputs)
    _check(inputs, loss, kind, at, of)
    if is_own_network(cell):
        return _at_the_inputs(cell, as_arrays(params), inputs, loss, kind, at)
    given, params, carry = adapted(cell, params, inputs, carry)
    params = as_arrays(params)
    start = _started(given, params, inputs, carry)
    cell = given
    if of == "inputs":
        cell, start = InputsAsState(given), {"state": start, INPUT: jnp.zeros_like(inputs[0])}
    check_custom_cell(cell, params, inputs, start)

    segments = segments_of(cell, params, start, inputs)
    curves = {"curve": (kind, at)}

    def measure(params: Params, inputs: Array, start: Carry) -> Adjoints:
        return adjoints(segments, params, inputs, start, with_gradient(loss), curves)

    def part(rows: np.ndarray, g: dict[str, np.ndarray], params: Params, inputs: Array, start: Carry) -> Any:
        size = inputs.shape[1]
        few = jax.tree.map(lambda leaf: leaf[rows] if leaf.shape[:1] == (size,) else leaf, start)
        return params, inputs[:, rows], few, g["curve"]

    def back(params: Params, inputs: Array, start: Carry, g: np.ndarray) -> dict[str, Reverse]:
        return {"curve": reverse(segments, params, inputs, start, g, kind=kind, at=at)}

    passes = Passes(measure, back, part)
    names, others = leaf_names(start)
    counted = counted_leaves(cell, names)
    curve = measured(passes, params, inputs, start, leaves=counted)["curve"]
    return replace(curve, unmeasured=(*others, *(name for name in names if name not in counted)))


def _started(cell: Cell, params: Params, inputs: Array, carry: Carry | None) -> Carry:
    """The initial state, from which one timestep was tried.

    Raises:
        GradlabError: these parameters, inputs and state do not fit the cell.
    """
    try:
        start = as_arrays(cell.carry(params, inputs.shape[1]) if carry is None else carry)
        if leaf_names(start)[0]:
            refuse(*drifting_leaves(cell, params, start, inputs[0]).values())
    except GradlabError:
        raise
    except Exception as error:  # whatever arrays of other shapes, or None, lead to
        raise GradlabError(
            f"{step_of(cell)} cannot be called with these params, and inputs {inputs.dtype} {inputs.shape}: "
            f"{described(error)}"
        ) from error
    return start


def _at_the_inputs(network: Network, params: Params, inputs: Array, loss: Loss, kind: Kind, at: int | None) -> Any:
    """The curve of a network without a state."""
    if kind != "total":
        raise GradlabError(f"{type(network).__name__} has no state, and so no direct gradient: give kind=total")
    check_network(network, params, inputs)
    found, curves = NetworkPasses.of(network), {"curve": (kind, at)}

    def measure(params: Params, inputs: Array) -> Adjoints:
        return network_adjoints(found, params, inputs, with_gradient(loss), curves)

    def part(rows: np.ndarray, g: dict[str, np.ndarray], params: Params, inputs: Array) -> Any:
        return params, inputs[:, rows], g["curve"]

    def back(params: Params, inputs: Array, g: np.ndarray) -> dict[str, Reverse]:
        return {"curve": network_reverse(found, params, inputs, g, at)}

    return measured(Passes(measure, back, part), params, inputs, leaves=(INPUT,))["curve"]


def counted_leaves(cell: Cell, names: Sequence[str]) -> tuple[str, ...]:
    """The leaves of a state that count as memory.

    Those that the cell names as `measured_leaves`, else all but those that it names as `unmeasured_leaves`.

    Raises:
        GradlabError: the cell names one that its state does not have.
    """
    wanted = getattr(cell, "measured_leaves", None)
    if wanted is None:
        return tuple(name for name in names if name not in getattr(cell, "unmeasured_leaves", ()))
    for name in wanted:
        if name not in names:
            raise unknown(f"leaf in {type(cell).__name__}.measured_leaves", name, names)
    return tuple(name for name in names if name in wanted)


def _check(inputs: Array, loss: Any, kind: str, at: int | None, of: str) -> None:
    if of not in ("state", "inputs"):
        raise unknown("of", of, ("state", "inputs"))
    if of == "inputs" and not jnp.issubdtype(inputs.dtype, jnp.inexact):
        raise GradlabError(f"inputs are of {inputs.dtype}: only floats have a gradient")
    if not callable(loss):
        raise GradlabError(f"loss is {loss!r}: give a function of the outputs (T, B, O) that returns losses (B,)")
    if kind not in ("total", "direct"):
        raise unknown("kind", kind, ("total", "direct"))
    if inputs.ndim != 3 or 0 in inputs.shape[:2]:
        raise GradlabError(f"inputs have shape {inputs.shape}: give (T, B, I) with T and B of at least 1")
    if at is not None and not (isinstance(at, SupportsIndex) and 1 <= at.__index__() <= len(inputs)):
        raise GradlabError(f"at={at} is no timestep of a sequence of {len(inputs)}: give 1..{len(inputs)}")


def with_gradient(loss: Loss) -> Source:
    """The loss and its gradient, refused unless it gives one number for each example."""

    def checked(outputs: Array) -> Array:
        losses = jnp.asarray(loss(outputs))
        if losses.shape != outputs.shape[1:2]:
            raise GradlabError(
                f"loss has shape {losses.shape}: give one loss for each example, shape {outputs.shape[1:2]}"
            )
        return losses

    def source(outputs: Array) -> tuple[Array, Array]:
        with jax.default_matmul_precision("highest"):
            losses, pullback = jax.vjp(checked, outputs)
            return losses, pullback(jnp.ones_like(losses))[0]

    return source


# ---------------------------------------------------------------- passes of different precision


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


def measured(passes: Passes, *arguments: Any, leaves: Sequence[str]) -> Curves:
    """The curves of a measurement, checked against float64 and corrected where that is right.

    Args:
        passes: functions of `arguments` that may be called in float64 too.
        arguments: pytrees of arrays.
        leaves: the leaves of the state that count.
    """

    def curves(results: Adjoints) -> Curves:
        return {name: to_curve(result, leaves) for name, result in results.items()}

    def in_float64(arguments: tuple[Any, ...]) -> Curves:
        with jax.enable_x64(True):
            return curves(passes.adjoints(*in_dtype(arguments, jnp.float64)))

    results = passes.adjoints(*arguments)
    native = curves(results)
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


def _sample_agrees(passes: Passes, results: Adjoints, native: Curves, arguments: tuple[Any, ...]) -> bool:
    """Whether no gradient is zero, and float64 gives the same norms on a few examples."""
    if any(np.isneginf(leaf).any() for curve in native.values() for leaf in curve.log10_norm.values()):
        return False
    index = _extremes(next(iter(native.values())))
    part = passes.part(index, {name: result.g[..., index] for name, result in results.items()}, *arguments)
    with jax.enable_x64(True):
        precise = passes.reverse(*in_dtype(part, jnp.float64))
    return not any(
        bool(found.lossy.any())
        or any(
            differs(log10(results[name].norms[leaf])[:, index], log10(norm)).any()
            for leaf, norm in found.norms.items()
        )
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
        return leaf.astype(jnp.result_type(dtype, jnp.complex64) if jnp.iscomplexobj(leaf) else dtype)

    return jax.tree.map(cast, tree)
