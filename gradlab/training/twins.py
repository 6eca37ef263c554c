"""Twins: runs that are the same mathematics and other arithmetic, whose difference is what rounding does.

A built-in cell does not know the order of its units: weights whose units are permuted make the same curve, summed
in another order. Where no such symmetry holds, the examples of every batch are turned round and the inputs moved
by one unit in the last place. In both, the initial weights move by a few units in their last place too, because
the initialiser is arithmetic as well: the QR of an orthogonal matrix does that much on another processor.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Params
from gradlab.cells.base import is_gated
from gradlab.tasks import Batch, Task
from gradlab.training.keys import stream
from gradlab.training.model import Model
from gradlab.training.step import batch_axes

SAME = 1e-2
"""Losses that differ by less, relatively, are of the same mathematics."""
ORDERS = (1, 2)
"""Two of each, so that a lag where one of them happens to agree does not look free of rounding."""
ROUNDING = 4.0
"""How far weights move, in units of the last place of an array's root mean square."""


class Twin(NamedTuple):
    """What to change: the task of a model, and the parameters that it starts from."""

    name: str
    task: Callable[[Task], Task]
    params: Callable[[Params], Params]


def twins(model: Model, length: int) -> list[Twin]:
    """The twins of a model: two permutations of its units if those are a symmetry, else one that moves the data.

    Args:
        length: of the sequences on which the symmetry is tried.
    """
    if is_gated(model.cell) and _is_symmetric(model, length) and _steps_alike(model):
        permuted = [_both(_rounded(order), _permutation(model.hidden, order)) for order in ORDERS]
        return [Twin("hidden units permuted, weights rounded otherwise", _same, params) for params in permuted]
    name = "batch turned round, inputs moved by one unit in the last place, weights rounded otherwise"
    return [Twin(name, Moved, _rounded(order)) for order in ORDERS]


@dataclass(frozen=True)
class Moved:
    """A task whose batches are turned round and whose inputs are one unit in the last place larger."""

    task: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """The batch of the task, moved."""
        batch = self.task.sample(key, batch_size, length)
        turned: Batch = jax.tree.map(jnp.flip, batch, batch_axes(self.task, batch_size, length))
        if not jnp.issubdtype(turned.inputs.dtype, jnp.floating):
            return turned
        ulp = jnp.finfo(turned.inputs.dtype).eps
        return turned._replace(inputs=turned.inputs * (1 + ulp))


def _same(value: Any) -> Any:
    return value


def _both(first: Callable[[Params], Params], then: Callable[[Params], Params]) -> Callable[[Params], Params]:
    return lambda params: then(first(params))


def _rounded(order: int) -> Callable[[Params], Params]:
    """Move every weight by about `ROUNDING` units in the last place of its array."""

    def move(leaf: Array) -> Array:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact) or leaf.size == 0:
            return leaf
        peak = float(jnp.max(jnp.abs(leaf)))
        if not 0 < peak < np.inf:
            return leaf
        values = np.asarray(leaf) / peak
        size = ROUNDING * float(jnp.finfo(leaf.dtype).eps) * float(np.sqrt(np.mean(np.abs(values) ** 2)))
        random = np.random.RandomState(order)
        draws = random.standard_normal(leaf.shape)
        if np.iscomplexobj(values):
            draws = draws + 1j * random.standard_normal(leaf.shape)
        return jnp.asarray((values + size * draws) * peak, leaf.dtype)

    return lambda params: jax.tree.map(move, params)


def _permutation(hidden: int, order: int) -> Callable[[Params], Params]:
    """Permute the units in the parameters of a gated cell and of its readout."""
    units = np.random.RandomState(order).permutation(hidden)

    def columns(leaf: Array) -> Array:
        blocks = leaf.shape[-1] // hidden
        return leaf[..., np.concatenate([units + block * hidden for block in range(blocks)])]

    def permuted(params: Params) -> Params:
        cell = {name: columns(leaf) for name, leaf in params["cell"].items()}
        readout = params["readout"] | {"w": params["readout"]["w"][units]}
        return {"cell": cell | {"w_h": cell["w_h"][units]}, "readout": readout}

    return permuted


def _is_symmetric(model: Model, length: int) -> bool:
    """Whether permuted units give the same losses: a gated cell of one's own may well know its units apart."""
    with jax.threefry_partitionable(True):
        params = model.init(0)
        batch = model.task.sample(stream(0, "measure"), 2, length)
        try:
            other = _permutation(model.hidden, ORDERS[0])(params)
            found, expected = model.losses(other, batch), model.losses(params, batch)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return False  # parameters of another layout
    return bool(jnp.allclose(found, expected, rtol=SAME, atol=0))


def _steps_alike(model: Model) -> bool:
    """Whether a timestep from permuted units gives the permuted state, which losses tell only roughly."""
    hidden, cell, random = model.hidden, model.cell, np.random.RandomState(0)
    move = _permutation(hidden, ORDERS[0])
    units = np.random.RandomState(ORDERS[0]).permutation(hidden)
    with jax.threefry_partitionable(True), jax.enable_x64(True):
        try:
            params = model.init(0)
            params = jax.tree.map(lambda leaf: leaf + 0.1 * random.standard_normal(leaf.shape), params)
            state = jax.tree.map(
                lambda leaf: leaf + random.standard_normal(leaf.shape), cell.carry(params["cell"], 2)
            )
            x_t = jnp.asarray(random.standard_normal((2, model.task.input_size)))
            permuted = jax.tree.map(lambda leaf: leaf[..., units], state)
            found = cell.step(move(params)["cell"], permuted, x_t)
            expected = jax.tree.map(lambda leaf: leaf[..., units], cell.step(params["cell"], state, x_t))
            return bool(jax.tree.all(jax.tree.map(_rounded_alike, found, expected)))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return False  # a state of another layout


def _rounded_alike(one: Array, other: Array) -> bool:
    return bool(jnp.allclose(one, other, rtol=1e-9, atol=1e-9))
