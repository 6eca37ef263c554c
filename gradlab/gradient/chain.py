"""The chain of Jacobians of one example, written out: what the adjoint is a product of.

    λₜ₋₁ = dₜ + Jₜᵀ λₜ    Jₜ = ∂sₜ/∂sₜ₋₁    dₜ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ    gₜ = dL/dyₜ

The slow way to what `adjoint.py` measures, sharing no code with it: every Jacobian is formed by forward
differentiation, and the products are taken in NumPy. Without a separate exponent it is for short sequences.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from gradlab.cells import Carry, Cell, Params
from gradlab.gradient.adjoint import Loss
from gradlab.gradient.reductions import Floats
from gradlab.gradient.state import leaf_names, split


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

    def timestep(s_tm1: Carry, x_t: Array) -> tuple[Carry, tuple[Array, Carry]]:
        s_t, y_t = cell.step(params, s_tm1, x_t)
        return s_t, (y_t, s_tm1)

    with jax.default_matmul_precision("highest"):
        outputs, states = lax.scan(timestep, start, inputs)[1]
        (g,) = jax.vjp(loss, outputs)[1](jnp.ones(1, outputs.dtype))
        size = sum(leaf.size for leaf in split(start)[0])
        jacobians, to_output = _jacobians(cell, params, inputs, states, size)
    g_t = np.asarray(g, np.float64)[:, 0]
    if at is not None:
        g_t = np.where((np.arange(len(g_t)) == at - 1)[:, None], g_t, 0.0)
    direct = np.einsum("ton,to->tn", to_output, g_t)
    adjoint, carried = np.zeros_like(direct), np.zeros(direct.shape[1])
    for t in reversed(range(len(direct))):
        carried = direct[t] + jacobians[t].T @ carried
        adjoint[t] = carried
    named = zip(leaf_names(start)[0], split(start)[0], strict=True)
    entries = tuple(f"{name}{entry + 1}" for name, leaf in named for entry in range(leaf.size))
    return Chain(entries, jacobians, direct, adjoint)


def _jacobians(cell: Cell, params: Params, inputs: Array, states: Carry, size: int) -> tuple[Floats, Floats]:
    """∂sₜ/∂sₜ₋₁ (T, N, N) and ∂yₜ/∂sₜ₋₁ (T, O, N)."""

    def at_timestep(s_tm1: Carry, x_t: Array) -> Any:
        floats, rebuild = split(s_tm1)
        flat, unravel = ravel_pytree(floats)

        def flat_step(flat: Array) -> Array:
            s_t, y_t = cell.step(params, rebuild(unravel(flat)), x_t)
            return jnp.concatenate([*(leaf.ravel() for leaf in split(s_t)[0]), y_t.ravel()])

        return jax.jacfwd(flat_step)(flat)

    both = np.asarray(jax.jit(jax.vmap(at_timestep))(states, inputs), np.float64)
    return both[:, :size], both[:, size:]
