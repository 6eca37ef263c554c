"""Perturbed replicas: runs of the same mathematics in other arithmetic, whose difference is what rounding does.

A built-in cell is equivariant to permutations of its units: permuted weights make the same curve, summed in
another order. Where that symmetry does not hold, the order of examples is reversed and the inputs are moved by one
unit in the last place. In both, the initial weights move by a few units in their last place too, because the
initialiser is arithmetic as well: the QR of an orthogonal matrix does that much on another processor.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Params
from gradlab.cells.base import is_gated
from gradlab.tasks import Batch, Task
from gradlab.tasks.base import Part, held_out
from gradlab.training.keys import stream
from gradlab.training.model import Model
from gradlab.training.step import batch_axes

SAME = 1e-2
"""Losses that differ by less, relatively, are of the same mathematics."""
ORDERS = (1, 2)
"""Two of each, so that a lag where one of them happens to agree does not look free of rounding."""
ROUNDING = 4.0
"""How far weights move, in units of the last place of an array's root mean square."""
_OTHER_LAYOUT = (AttributeError, IndexError, KeyError, TypeError, ValueError)


class Perturbation(NamedTuple):
    """What to change: the task of a model, and the parameters that it starts from."""

    name: str
    task: Callable[[Task], Task]
    params: Callable[[Params], Params]


def perturbations(model: Model, length: int) -> list[Perturbation]:
    """Permutations of the units of a model if those are a symmetry, else moved data.

    Args:
        length: of the sequences on which the symmetry is tried.
    """
    if is_gated(model.cell) and _same_losses(model, length) and _same_steps(model):
        name = "hidden units permuted, weights rounded otherwise"
        return [Perturbation(name, lambda task: task, _permuting(model.hidden, order)) for order in ORDERS]
    name = "batch turned round, inputs moved by one unit in the last place, weights rounded otherwise"
    return [Perturbation(name, MovedTask, partial(_rounded, order)) for order in ORDERS]


@dataclass(frozen=True)
class MovedTask:
    """A task whose examples come in reverse order and whose inputs are one unit in the last place larger."""

    task: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """The batch of the task, moved."""
        return self._moved(self.task.sample(key, batch_size, length), batch_size, length)

    def held_out(self, part: Part, key: Array, batch_size: int, length: int) -> Batch:
        """The held-out batch of the task, moved."""
        return self._moved(held_out(self.task, part, key, batch_size, length), batch_size, length)

    def stream(self, key: Array, step: Array, batch_size: int, length: int) -> Batch:
        """The batch of the task that goes on from the one before, moved."""
        return self._moved(self.task.stream(key, step, batch_size, length), batch_size, length)

    def _moved(self, batch: Batch, batch_size: int, length: int) -> Batch:
        reversed_: Batch = jax.tree.map(jnp.flip, batch, batch_axes(self.task, batch_size, length))
        if not jnp.issubdtype(reversed_.inputs.dtype, jnp.floating):
            return reversed_
        ulp = jnp.finfo(reversed_.inputs.dtype).eps
        return reversed_._replace(inputs=reversed_.inputs * (1 + ulp))


def _rounded(order: int, params: Params) -> Params:
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

    return jax.tree.map(move, params)


def _permutation(hidden: int, order: int) -> np.ndarray:
    return np.random.RandomState(order).permutation(hidden)


def _permuting(hidden: int, order: int) -> Callable[[Params], Params]:
    return lambda params: _permuted(_rounded(order, params), hidden, order)


def _permuted(params: Params, hidden: int, order: int) -> Params:
    """Permute the units in the parameters of a gated cell and of its readout."""
    units = _permutation(hidden, order)

    def columns(leaf: Array) -> Array:
        blocks = leaf.shape[-1] // hidden
        return leaf[..., np.concatenate([units + block * hidden for block in range(blocks)])]

    cell = {name: columns(leaf) for name, leaf in params["cell"].items()}
    readout = params["readout"] | {"w": params["readout"]["w"][units]}
    return params | {"cell": cell | {"w_h": cell["w_h"][units]}, "readout": readout}


def _same_losses(model: Model, length: int) -> bool:
    """Whether permuted units give the same losses: a custom gated cell need not be permutation-equivariant."""
    with jax.threefry_partitionable(True):
        params = model.init(0)
        batch = model.task.sample(stream(0, "measure"), 2, length)
        try:
            other = _permuted(params, model.hidden, ORDERS[0])
            found, expected = model.losses(other, batch), model.losses(params, batch)
        except _OTHER_LAYOUT:
            return False
    return bool(jnp.allclose(found, expected, rtol=SAME, atol=0))


def _same_steps(model: Model) -> bool:
    """Whether a timestep from permuted units gives the permuted state; losses show that only roughly."""
    cell, random, units = model.cell, np.random.RandomState(0), _permutation(model.hidden, ORDERS[0])
    with jax.threefry_partitionable(True), jax.enable_x64(True):
        try:
            params = model.init(0)
            params = jax.tree.map(lambda leaf: leaf + 0.1 * random.standard_normal(leaf.shape), params)
            start = cell.carry(params["cell"], 2)
            state = jax.tree.map(lambda leaf: leaf + random.standard_normal(leaf.shape), start)
            x_t = jnp.asarray(random.standard_normal((2, model.task.input_size)))
            permuted = jax.tree.map(lambda leaf: leaf[..., units], state)
            found = cell.step(_permuted(params, model.hidden, ORDERS[0])["cell"], permuted, x_t)
            expected = jax.tree.map(lambda leaf: leaf[..., units], cell.step(params["cell"], state, x_t))
            same = jax.tree.map(lambda a, b: bool(jnp.allclose(a, b, rtol=1e-9, atol=1e-9)), found, expected)
            return bool(jax.tree.all(same))
        except _OTHER_LAYOUT:
            return False
