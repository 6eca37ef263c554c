"""The gradient of a loss at the inputs of a network that has no state.

|dL_b/dx_{T-k+1}| at lag k, from plain reverse differentiation of the whole network: nothing need be
multiplied from timestep to timestep, so it has no exponent but one for each norm. What is zero or imprecise in
float32 is measured in float64, as any curve is.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Carry, Network, Params
from gradlab.errors import GradlabError
from gradlab.gradient import scaled
from gradlab.gradient.adjoint import Adjoint, Curves, Reverse, Source
from gradlab.gradient.program import Program
from gradlab.gradient.scaled import Scaled

INPUT = "x"
"""The leaf that is measured."""
_EXAMPLES = 3
"""On which a network is tried."""


class InputsAsState:
    """A cell whose state has a leaf `x` that is added to the input of a timestep and is zero.

    The gradient with respect to that leaf, where it enters timestep t, is the one with respect to xₜ, so the
    instrument measures inputs as it measures states, without a floor.
    """

    measured_leaves = (INPUT,)

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, yₜ)."""
        s_t, y_t = self.cell.step(params, carry["state"], x_t + carry[INPUT])
        return {"state": s_t, INPUT: jnp.zeros_like(x_t)}, y_t


class NetworkPasses(NamedTuple):
    """The compiled passes of a network.

    Attributes:
        outputs: (params, inputs) -> outputs (T, B, O).
        pull: (params, inputs, g (T, B, O)) -> the scaled norm of dL_b/dxₜ, (T, B).
    """

    outputs: Program
    pull: Program

    @classmethod
    def of(cls, network: Network) -> "NetworkPasses":
        """Those of a network."""

        def outputs(params: Params, inputs: Array) -> Array:
            with jax.default_matmul_precision("highest"):
                return network.apply(params, inputs)

        def pull(params: Params, inputs: Array, g: Array) -> Scaled:
            with jax.default_matmul_precision("highest"):
                _, pullback = jax.vjp(lambda inputs: network.apply(params, inputs), inputs)
                return _norm_by_timestep(pullback(g)[0])

        return cls(Program(outputs), Program(pull))


def network_adjoints(
    passes: NetworkPasses, params: Params, inputs: Any, source: Source, curves: Curves, *, last: bool = False
) -> dict[str, Adjoint]:
    """The scaled norm of dL_b/dxₜ at every lag of every curve, as `adjoints` has that of the state.

    Args:
        passes, params, inputs: of the network, (T, B, I).
        source: the loss and its gradient with respect to the outputs. curves: `total` ones.
        last: the loss reads the last output alone and is given that, (1, B, O).
    """
    outputs = np.asarray(passes.outputs(params, inputs))
    timesteps = len(outputs)
    losses, g = map(np.asarray, source(jnp.asarray(outputs[-1:] if last else outputs)))
    finite = np.isfinite(outputs).all(axis=tuple(range(2, outputs.ndim)))
    found = {}
    for name, (_, at) in curves.items():
        read = timesteps if last else at
        own = g if last or at is None else g[at - 1 : at]
        norms, lossy = network_reverse(passes, params, inputs, np.moveaxis(own, 1, -1), read)
        ends = np.full(len(losses), timesteps if at is None else at)
        found[name] = Adjoint(norms, lossy, ends, losses, {}, finite, np.moveaxis(own, 1, -1))
    return found


def network_reverse(
    passes: NetworkPasses, params: Params, inputs: Any, g: np.ndarray, at: int | None = None
) -> Reverse:
    """The norms by lag from given gradients of the outputs.

    Args:
        g: as in `Adjoint`. at: the timestep of the one output that it is of; None where it is of all.
    """
    own = np.moveaxis(np.asarray(g), -1, 1)
    if at is not None:
        whole = np.zeros((len(inputs), *own.shape[1:]), own.dtype)
        whole[at - 1] = own[0]
        own = whole
    norms = passes.pull(params, inputs, own)
    end = len(inputs) if at is None else at
    # Lags count from the output that is read: inputs after it belong to none.
    by_lag = jax.tree.map(lambda part: np.asarray(part)[:end][::-1], norms)
    return Reverse({INPUT: by_lag}, np.zeros(by_lag.mantissa.shape, bool))


def check_network(network: Network, params: Params, inputs: Any) -> None:
    """Refuse a network whose examples influence each other, or whose outputs have the wrong shape.

    Raises:
        GradlabError: what is wrong.
    """
    network_width(network, params, inputs)
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
