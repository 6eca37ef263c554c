"""The gradient of a loss at the inputs of a network without a state, and at the states of a bidirectional one.

|dL_b/dx_{T-k+1}| at lag k, from plain reverse differentiation of the whole network: nothing need be
multiplied from timestep to timestep, so it has no exponent but one for each norm. What is zero or imprecise in
float32 is measured in float64, as any curve is. A bidirectional network has no floor (`directions.py`).

A network may read inputs behind the output too, so that a curve has two sides. Lags of the past side count back
from the last output that the loss reads, those of the future side on from the first one.
"""

import re
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Network, Params
from gradlab.cells.bidirectional import Bidirectional
from gradlab.cells.traced import TraceCache, traced
from gradlab.errors import GradlabError
from gradlab.gradient import scaled
from gradlab.gradient.adjoint import Adjoint, Curves, Reverse, Source, coarsest, last_read
from gradlab.gradient.assumptions import check_custom_cell
from gradlab.gradient.directions import ByTimestep, direction_norms
from gradlab.gradient.inputs import INPUT
from gradlab.gradient.program import Program
from gradlab.gradient.scaled import Scaled, log10
from gradlab.gradient.state import counted_leaves, initial_shapes, leaf_names

Side = Literal["past", "future"]
FUTURE = "_future"
"""Ends the name of a curve of the future side."""
_PLACE = re.compile(r"(?:layer(\d+)\.)?(forward|backward)\.")
_shared = TraceCache(8)
_EXAMPLES = 3
"""On which a network is tried."""


class NetworkPasses(NamedTuple):
    """The compiled passes of a network.

    Attributes:
        outputs: (params, inputs) -> outputs (T, B, O).
        pull: (params, inputs, g (T, B, O)) -> of each leaf the scaled norm by timestep, (T, B), and whether the
            state is finite.
    """

    outputs: Program
    pull: Program

    @classmethod
    def of(cls, network: Network) -> "NetworkPasses":
        """Those of a network."""

        def outputs(params: Params, inputs: Array) -> Array:
            with jax.default_matmul_precision("highest"):
                return network.apply(params, inputs)

        def pull(params: Params, inputs: Array, g: Array) -> ByTimestep:
            with jax.default_matmul_precision("highest"):
                if isinstance(network, Bidirectional):
                    return direction_norms(network, params, inputs, g)
                _, pullback = jax.vjp(lambda inputs: network.apply(params, inputs), inputs)
                return {INPUT: _norm_by_timestep(pullback(g)[0])}, {}

        return cls(Program(outputs), Program(pull))


def passes_of(network: Network, params: Params, inputs: Any) -> NetworkPasses:
    """The passes of a network, shared by all calls for networks that compute the same."""
    made = NetworkPasses.of(network)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (params, inputs))
    outputs = jax.eval_shape(made.outputs.function, *shapes)
    found: NetworkPasses = _shared.get(traced(made.pull.function, *shapes, outputs), lambda: made)
    return found


def has_future(network: Network) -> bool:
    """Whether a run stores the future side."""
    return isinstance(network, Bidirectional)


def network_leaves(network: Network, params: Params) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The leaves that are its state, which of a network without one are the inputs, and those beside it.

    Args:
        params: parameters, or their shapes.
    """
    if not isinstance(network, Bidirectional):
        return (INPUT,), ()
    leaves = tuple(
        f"{prefix}{direction}.{leaf}"
        for prefix, layer in network.layers_of(params)
        for direction, own in layer.items()
        for leaf in counted_leaves(network.cell, leaf_names(initial_shapes(network.cell, own, 1))[0])
    )
    return leaves, (INPUT,)


def network_adjoints(
    passes: NetworkPasses, params: Params, inputs: Any, source: Source, curves: Curves, *, last: bool = False
) -> dict[str, Adjoint]:
    """The log10 norm at every lag of every curve, as `adjoints` has that of the state.

    Args:
        passes, params, inputs: of the network, (T, B, I).
        source: the loss and its gradient with respect to the outputs. curves: `total` ones.
        last: the loss reads the last output alone and is given that, (1, B, O).
    """
    outputs = np.asarray(passes.outputs(params, inputs))
    timesteps = len(outputs)
    losses, g = map(np.asarray, source(jnp.asarray(outputs[-1:] if last else outputs)))
    finite_outputs = np.isfinite(outputs).all(axis=tuple(range(2, outputs.ndim)))
    found = {}
    for name, (_, at) in curves.items():
        own = np.moveaxis(g if last or at is None else g[at - 1 : at], 1, -1)
        order = -1 if name.endswith(FUTURE) else 1
        read = timesteps if last else at
        part, finite = _reverse(passes, params, inputs, own, name, read)
        if read is not None:
            ends = np.full(len(losses), len(part.lossy))
        else:
            ends = last_read(g[::order], timesteps, None, last)
        found[name] = Adjoint(*part, ends, losses, finite, finite_outputs[::order], own)
    return found


def network_reverse(
    passes: NetworkPasses, params: Params, inputs: Any, g: np.ndarray, name: str, at: int | None = None
) -> Reverse:
    """The norms by lag from given gradients of the outputs.

    Args:
        g: as in `Adjoint`. name: of the curve. at: the timestep of the one output that it is of; None where it is
            of all.
    """
    return _reverse(passes, params, inputs, g, name, at)[0]


def _reverse(
    passes: NetworkPasses, params: Params, inputs: Any, g: np.ndarray, name: str, at: int | None
) -> tuple[Reverse, dict[str, np.ndarray]]:
    """The norms by lag, and whether each state is finite, in the order of timesteps that the side has."""
    own = np.moveaxis(np.asarray(g), -1, 1)
    if at is not None:
        whole = np.zeros((len(inputs), *own.shape[1:]), own.dtype)
        whole[at - 1] = own[0]
        own = whole
    future = name.endswith(FUTURE)
    norms, finite = jax.tree.map(np.asarray, passes.pull(params, inputs, own))
    # Lags count from the output that is read: what is on the other side of it belongs to none.
    lags = slice(at and at - 1, None) if future else slice(None if at is None else at - 1, None, -1)
    reached = _reached(list(norms), future=future)
    by_lag = {leaf: log10(Scaled(*(part[lags] for part in norms[leaf]))) for leaf in reached}
    order = -1 if future else 1
    finite = {leaf: finite[leaf][::order] for leaf in reached if leaf in finite}
    lossy = np.zeros(next(iter(by_lag.values())).shape, bool)
    return Reverse(by_lag, lossy, coarsest(norms[leaf] for leaf in reached)), finite


def _reached(leaves: list[str], *, future: bool) -> list[str]:
    """The leaves that a side reaches: of the top layer not those of the direction that reads the other side."""
    places = {leaf: (int(found[1] or 0), found[2]) for leaf in leaves if (found := _PLACE.match(leaf))}
    unreached = max((layer for layer, _ in places.values()), default=0), "forward" if future else "backward"
    return [leaf for leaf in leaves if places.get(leaf) != unreached]


def check_network(network: Network, params: Params, inputs: Any) -> None:
    """Refuse a network whose examples influence each other, or whose outputs have the wrong shape.

    Raises:
        GradlabError: what is wrong.
    """
    network_width(network, params, inputs)
    if isinstance(network, Bidirectional):
        own = network.layers_of(params)[0][1]["forward"]
        check_custom_cell(network.cell, own, inputs, network.cell.carry(own, inputs.shape[1]))
    few = inputs[:, :_EXAMPLES]
    outputs, pullback = jax.vjp(jax.jit(lambda inputs: network.apply(params, inputs)), few)
    draws = np.random.RandomState(0).standard_normal(outputs.shape)
    draws[:, 1:] = 0
    gradient = np.asarray(pullback(jnp.asarray(draws, outputs.dtype))[0])
    if np.any(gradient[:, 1:] != 0):
        raise GradlabError(
            f"examples meet in {type(network).__name__}.apply: the gradient of one example reaches the inputs of "
            "another (batch statistics?), so that no example has a curve of its own: normalise within each example"
        )


def network_width(network: Network, params: Params, inputs: Any) -> int:
    """The size of an output.

    Raises:
        GradlabError: the outputs are not (T, B, O) of floats.
    """
    found = jax.eval_shape(network.apply, params, inputs)
    shape: tuple[int, ...] = getattr(found, "shape", ())
    if len(shape) != 3 or shape[:2] != inputs.shape[:2] or not jnp.issubdtype(found.dtype, jnp.floating):
        raise GradlabError(
            f"{type(network).__name__}.apply returns {getattr(found, 'dtype', 'no array')} {shape} from inputs "
            f"{inputs.shape}: return floats (T, B, O)"
        )
    return int(shape[2])


def _norm_by_timestep(gradient: Array) -> Scaled:
    """Scaled norms (T, B) from (T, B, ...)."""
    flat = gradient.reshape(gradient.shape[0] * gradient.shape[1], -1)
    (mantissa,), power = scaled.normalise([flat], scaled.sizes([flat]).top)
    return Scaled(*(part.reshape(gradient.shape[:2]) for part in (scaled.norm(mantissa), power)))
