"""`gradient_curve`: from a cell or a network, and a loss, to a curve."""

from dataclasses import replace
from typing import Any, Literal, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.adapters import adapted, is_own_network
from gradlab.cells import Carry, Cell, Network, Params
from gradlab.errors import GradlabError, unknown
from gradlab.gradient.adjoint import Kind, Loss, Reverse, adjoints, reverse
from gradlab.gradient.assumptions import check_custom_cell, started
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.inputs import INPUT, InputsAsState, check_inputs, with_own_names
from gradlab.gradient.losses import with_gradient
from gradlab.gradient.network import (
    FUTURE,
    Side,
    check_network,
    has_future,
    network_adjoints,
    network_leaves,
    network_reverse,
    passes_of,
)
from gradlab.gradient.segments import segments_of
from gradlab.gradient.state import as_arrays, counted_leaves, leaf_names, on_host
from gradlab.gradient.verified import Adjoints, Passes, measured

Of = Literal["state", "inputs", "both"]


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
    side: Side = "past",
) -> GradientCurve:
    """How much of a loss's gradient reaches each earlier state of a recurrent cell.

    λₜ₋₁ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ + (∂sₜ/∂sₜ₋₁)ᵀ λₜ with gₜ = dL/dyₜ; the curve is log10 |λ_{T-k}| by lag k = 1..T.

    Args:
        cell: any object with `step(params, carry, x_t) -> (carry, y_t)`, and `carry(params, batch_size)`
            where no `carry` is given; or a cell of flax, equinox, haiku or Keras, or a function like `step`;
            or a network without a state, `apply(params, inputs) -> outputs`, which is measured at its inputs, `x`;
            a `bidirectional` one at the states of each direction too, `forward.h` and `backward.h`.
        params: the parameters of the cell, any pytree; None for the own weights of an object of a library.
        inputs: (T, B, I).
        loss: maps the outputs (T, B, O) of the cell to a loss (B,) for each example, never divided by B.
        carry: the initial state s₀, whose leaves have the batch as their first axis.
        kind: `total` for the adjoint, `direct` for its first term alone.
        at: a timestep t' in 1..T: the single-step gradient, from the output of t' alone; lags are 1..t'.
        of: `state`, or `inputs` for |dL_b/dx_{T-k+1}| at lag k, the leaf `x`: the input that enters the same
            timestep as the state of that lag; or `both`, where `x` is no part of `state`. A network without a
            state has its inputs alone.
        side: of a network, `past` for what comes before the outputs that are read, or `future` for what comes
            after them: lag k is then at timestep t' + k - 1, t' being the first timestep that is read.

    Returns:
        The curve of every float leaf and of all together; where the cell has `measured_leaves`, a tuple of names,
        of those alone. Lags count from the last output that the loss of each example reads. It is measured in
        float64 too: where the arithmetic of the arguments is imprecise or reads 0, the value of float64 stands
        and `saturated` says from which lag; where rounding decides the value, `noise` says so.

    Raises:
        GradlabError: `cell` is none of these, `inputs` have the wrong shape, the loss is not one float for each
            example from the outputs of that example alone, `kind` or `at` is out of range, or the state has no
            float leaf.

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
    if side not in ("past", "future"):
        raise unknown("side", side, ("past", "future"))
    if is_own_network(cell):
        return _of_network(cell, as_arrays(params), inputs, loss, kind, at, of, side)
    if side == "future":
        raise GradlabError("side=future is of networks: the outputs of a cell read nothing that comes after them")
    given, params, carry = adapted(cell, params, inputs, carry)
    params = as_arrays(params)
    return _of_cell(given, params, inputs, loss, started(given, params, inputs, carry), kind, at, of)


def _of_cell(
    given: Cell, params: Params, inputs: Array, loss: Loss, start: Carry, kind: Kind, at: int | None, of: Of
) -> GradientCurve:
    """The curve of a cell from an initial state."""
    names, others = leaf_names(start)
    counted = counted_leaves(given, names)
    cell: Any = given
    beside: tuple[str, ...] = ()
    if of != "state":
        cell = InputsAsState(given)
        check_inputs(inputs.dtype, names if of == "both" else ())
        start = cell.start(start, inputs[0])
        counted, beside = ((INPUT,), ()) if of == "inputs" else (counted, (INPUT,))
    check_custom_cell(cell, params, inputs, start)

    segments = segments_of(cell, params, start, inputs)
    curves = {"curve": (kind, at)}

    def measure(params: Params, inputs: Array, start: Carry) -> Adjoints:
        return own(adjoints(segments, params, inputs, start, with_gradient(loss), curves))

    def part(rows: np.ndarray, g: dict[str, np.ndarray], params: Params, inputs: Array, start: Carry) -> Any:
        size = inputs.shape[1]
        few = jax.tree.map(lambda leaf: on_host(leaf)[rows] if leaf.shape[:1] == (size,) else leaf, start)
        return params, on_host(inputs)[:, rows], few, g["curve"]

    def back(params: Params, inputs: Array, start: Carry, g: np.ndarray) -> dict[str, Reverse]:
        return own({"curve": reverse(segments, params, inputs, start, g, kind=kind, at=at)})

    def own(found: dict[str, Any]) -> dict[str, Any]:
        return found if of == "state" else {name: with_own_names(each) for name, each in found.items()}

    passes = Passes(measure, back, part)
    curve = measured(passes, params, inputs, start, leaves=counted, beside=beside)["curve"]
    return replace(curve, unmeasured=(*others, *(name for name in names if name not in counted)))


def _of_network(
    network: Network,
    params: Params,
    inputs: Array,
    loss: Loss,
    kind: Kind,
    at: int | None,
    of: Of,
    side: Side,
) -> GradientCurve:
    """A side of the curve of a network."""
    if kind != "total":
        what = "has no single state" if has_future(network) else "has no state"
        raise GradlabError(f"{type(network).__name__} {what}, and so no direct gradient: give kind=total")
    check_network(network, params, inputs)
    name = "curve" + (FUTURE if side == "future" else "")
    found, curves = passes_of(network, params, inputs), {name: (kind, at)}

    def measure(params: Params, inputs: Array) -> Adjoints:
        return network_adjoints(found, params, inputs, with_gradient(loss), curves)

    def part(rows: np.ndarray, g: dict[str, np.ndarray], params: Params, inputs: Array) -> Any:
        return params, inputs[:, rows], g[name]

    def back(params: Params, inputs: Array, g: np.ndarray) -> dict[str, Reverse]:
        return {name: network_reverse(found, params, inputs, g, name, at)}

    leaves, beside = network_leaves(network, params)
    leaves, beside = ((INPUT,), ()) if of == "inputs" else (leaves, beside if of == "both" else ())
    return measured(Passes(measure, back, part), params, inputs, leaves=leaves, beside=beside)[name]


def _check(inputs: Array, loss: Any, kind: str, at: int | None, of: str) -> None:
    if of not in ("state", "inputs", "both"):
        raise unknown("of", of, ("state", "inputs", "both"))
    if of != "state":
        check_inputs(inputs.dtype)
    if not callable(loss):
        raise GradlabError(f"loss is {loss!r}: give a function of the outputs (T, B, O) that returns losses (B,)")
    if kind not in ("total", "direct"):
        raise unknown("kind", kind, ("total", "direct"))
    if inputs.ndim != 3 or 0 in inputs.shape[:2]:
        raise GradlabError(f"inputs have shape {inputs.shape}: give (T, B, I) with T and B of at least 1")
    if at is not None and not (isinstance(at, SupportsIndex) and 1 <= at.__index__() <= len(inputs)):
        raise GradlabError(f"at={at} is no timestep of a sequence of {len(inputs)}: give 1..{len(inputs)}")
