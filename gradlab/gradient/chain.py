"""The chain of Jacobians of one example, written out: what the adjoint is a product of.

    λₜ₋₁ = dₜ + Jₜᵀ λₜ    Jₜ = ∂sₜ/∂sₜ₋₁    dₜ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ    gₜ = dL/dyₜ

It is the slow way to what `adjoint.py` measures, and shares no code with it: every Jacobian is formed, by forward
differentiation, and the products are taken in NumPy. Without an exponent of its own it is for short sequences.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from gradlab.cells import Carry, Cell, Params
from gradlab.gradient.adjoint import Loss, leaf_names, split

Floats = NDArray[np.float64]


class Chain(NamedTuple):
    """Row t - 1 belongs to timestep t = 1..T; N entries are all float leaves of the state, one after the other.

    Attributes:
        entries: the name of each, such as `h1`.
        jacobians: Jₜ, (T, N, N).
        direct: dₜ, (T, N).
        adjoint: λₜ₋₁, the gradient with respect to the state that enters timestep t, (T, N).
    """

    entries: tuple[str, ...]
    jacobians: Floats
    direct: Floats
    adjoint: Floats

    @property
    def norms(self) -> Floats:
        """|λₜ₋₁| (T,), in the order of timesteps."""
        return np.asarray(np.sqrt(np.sum(self.adjoint**2, axis=1)))

    @property
    def stretch(self) -> Floats:
        """The largest singular value of each Jₜ (T,): no gradient grows by more at that timestep."""
        return np.asarray(np.linalg.svd(self.jacobians, compute_uv=False)[:, 0])


def chain(cell: Cell, params: Params, inputs: Array, loss: Loss, at: int | None = None) -> Chain:
    """Every Jacobian along one example, and the gradient at every state as their product.

    Args:
        cell: as in `gradient_curve`, with real float leaves.
        params: its parameters.
        inputs: (T, 1, I), one example.
        loss: maps the outputs (T, 1, O) of the cell to the loss (1,).
        at: start from the output of this timestep alone; from all of them where None.

    Example:
        >>> import jax
        >>> from gradlab.cells import rnn
        >>> cell = rnn(gain=0.5)
        >>> params = cell.init(jax.random.key(0), 1, 2)
        >>> found = chain(cell, params, jnp.zeros((3, 1, 1)), lambda outputs: outputs[-1].sum(axis=-1))
        >>> (found.norms[1:] / found.norms[:-1]).round(4).tolist(), found.stretch.round(4).tolist()
        ([2.0, 2.0], [0.5, 0.5, 0.5])
    """
    start = cell.carry(params, 1)
    with jax.default_matmul_precision("highest"):
        outputs, states = _forward(cell, params, inputs, start)
        (g,) = jax.vjp(loss, outputs)[1](jnp.ones(1, outputs.dtype))
    used = np.asarray(g, np.float64)[:, 0]
    if at is not None:
        used = np.where((np.arange(len(used)) == at - 1)[:, None], used, 0.0)
    floats, _ = split(start)
    with jax.default_matmul_precision("highest"):
        jacobians, to_output = _jacobians(cell, params, inputs, states, sum(leaf.size for leaf in floats))
    direct = np.einsum("ton,to->tn", to_output, used)
    adjoint = np.zeros_like(direct)
    carried = np.zeros(direct.shape[1])
    for t in reversed(range(len(direct))):
        carried = direct[t] + jacobians[t].T @ carried
        adjoint[t] = carried
    return Chain(_entries(start), jacobians, direct, adjoint)


def _forward(cell: Cell, params: Params, inputs: Array, start: Carry) -> tuple[Array, Carry]:
    """The outputs (T, 1, O), and the state that enters each timestep."""

    def timestep(s_tm1: Carry, x_t: Array) -> tuple[Carry, tuple[Array, Carry]]:
        s_t, y_t = cell.step(params, s_tm1, x_t)
        return s_t, (y_t, s_tm1)

    outputs, states = lax.scan(timestep, start, inputs)[1]
    return outputs, states


def _jacobians(cell: Cell, params: Params, inputs: Array, states: Carry, size: int) -> tuple[Floats, Floats]:
    """∂sₜ/∂sₜ₋₁ (T, N, N) and ∂yₜ/∂sₜ₋₁ (T, O, N)."""

    def at_timestep(s_tm1: Carry, x_t: Array) -> Any:
        floats, rebuild = split(s_tm1)

        def flat_step(flat: Array) -> Array:
            ends = np.cumsum([leaf.size for leaf in floats])[:-1]
            parts = [part.reshape(leaf.shape) for part, leaf in zip(jnp.split(flat, ends), floats, strict=True)]
            s_t, y_t = cell.step(params, rebuild(parts), x_t)
            return jnp.concatenate([*(leaf.ravel() for leaf in split(s_t)[0]), y_t.ravel()])

        return jax.jacfwd(flat_step)(jnp.concatenate([leaf.ravel() for leaf in floats]))

    both = np.asarray(jax.jit(jax.vmap(at_timestep))(states, inputs), np.float64)
    return both[:, :size], both[:, size:]


def _entries(start: Carry) -> tuple[str, ...]:
    names, _ = leaf_names(start)
    leaves, _ = split(start)
    return tuple(f"{name}{at + 1}" for name, leaf in zip(names, leaves, strict=True) for at in range(leaf.size))
