"""Layers of one cell, each reading the output of the layer below at the same timestep.

    uₖ = m ⊙ yₖ₋₁, or LN(m ⊙ yₖ₋₁) with `norm`    k = 1, 2, ...;  u₀ = xₜ
    yₖ = cell(uₖ), or cell(uₖ) + yₖ₋₁ in `residual`
    yₜ = y of the top layer

m is 1; in training with `dropout` p it is 0 with probability p, else 1 / (1 - p), drawn for each timestep, example
and unit. What is measured and tested is the network without masks.

A stack is a cell: its state is {"layer0": ..., "layer1": ...}, so the leaves are `layer0.h`, `layer1.c`. The
lowest layer changes the size, from I to that of the output; its input is neither normalised nor added, which would
take a projection. In `residual` with `norm` the sum passes by the normalisation, as in a pre-norm residual block.

Sources: Graves (2013), "Generating sequences with recurrent neural networks", section 2,
https://arxiv.org/abs/1308.0850 (there every layer sees xₜ too, and the readout all layers); the sum: Wu et al.
(2016), "Google's neural machine translation system", section 3.1, https://arxiv.org/abs/1609.08144; the place of
dropout: Zaremba, Sutskever & Vinyals (2014), "Recurrent neural network regularization",
https://arxiv.org/abs/1409.2329; that of the normalisation: Xiong et al. (2020), "On layer normalization in the
Transformer architecture", section 3, https://arxiv.org/abs/2002.04745
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import Carry, Cell, Params, layer_norm, output_size
from gradlab.errors import GradlabError


@dataclass(frozen=True)
class Stack:
    """`layers` copies of a cell, one above the other, each with parameters of its own. Made by `stacked`."""

    cell: Cell
    layers: int
    residual: bool
    norm: bool
    dropout: float = 0.0

    @property
    def measured_leaves(self) -> tuple[str, ...] | None:
        """Those of the cell, in every layer; None where it names none."""
        named = getattr(self.cell, "measured_leaves", None)
        return None if named is None else tuple(f"{layer}.{leaf}" for layer in self._names() for leaf in named)

    def _names(self) -> list[str]:
        return [f"layer{k}" for k in range(self.layers)]

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`layer0`, `layer1`, ... as the cell makes them; with `norm` `norm1`, ...: `gain` and `bias` (Y,)."""
        params, size = {}, input_size
        for k, own in enumerate(jax.random.split(key, self.layers)):
            if k and self.norm:
                params[f"norm{k}"] = {"gain": jnp.ones(size), "bias": jnp.zeros(size)}
            layer = self.cell.init(own, size, hidden_size)
            out = output_size(self.cell, layer, size)
            if k and self.residual and out != size:
                raise GradlabError(
                    f"residual: layer {k} has outputs of size {out} from inputs of size {size}, which cannot be "
                    "added: use a cell whose outputs keep the size, or stacked"
                )
            params[f"layer{k}"], size = layer, out
        return params

    def carry(self, params: Params, batch_size: int) -> Carry:
        """The initial state of every layer."""
        return {layer: self.cell.carry(params[layer], batch_size) for layer in self._names()}

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, yₜ), from the lowest layer up."""
        return self.masked_step(params, carry, x_t, lambda k, y: y)

    def masked_step(
        self, params: Params, carry: Carry, x_t: Array, mask: Callable[[int, Array], Array]
    ) -> tuple[Carry, Array]:
        """The same, where `mask` takes k and yₖ₋₁ to m ⊙ yₖ₋₁."""
        states, below = {}, x_t
        for k, layer in enumerate(self._names()):
            norm = params[f"norm{k}"] if k and self.norm else None
            u_t = mask(k, below) if k else below
            u_t = u_t if norm is None else layer_norm(u_t, norm["gain"], norm["bias"])
            states[layer], y_t = self.cell.step(params[layer], carry[layer], u_t)
            below = y_t + below if k and self.residual else y_t
        return states, below


@dataclass(frozen=True)
class StackInTraining:
    """A stack with the masks of one training step; its state has the timestep beside that of the stack."""

    stack: Stack
    key: Array

    def carry(self, params: Params, batch_size: int) -> Carry:
        """Timestep 0, and the initial state of the stack."""
        return jnp.int32(0), self.stack.carry(params, batch_size)

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, yₜ)."""
        t, state = carry
        keep = 1 - self.stack.dropout

        def mask(k: int, y: Array) -> Array:
            key = jax.random.fold_in(jax.random.fold_in(self.key, k), t)
            return jnp.where(jax.random.bernoulli(key, keep, y.shape), y / keep, 0)

        state, y_t = self.stack.masked_step(params, state, x_t, mask)
        return (t + 1, state), y_t


def dropout_of(cell: Any) -> float:
    """The probability with which training drops what a cell's layers read; 0 of all but stacks with `dropout`."""
    return cell.dropout if isinstance(cell, Stack) else 0.0


def stacked(cell: Cell, layers: int = 2, norm: bool = False, dropout: float = 0.0) -> Stack:
    """Layers of a cell, `stacked:lstm:layers=3`: yₖ = cell(yₖ₋₁).

    Args:
        cell: of every layer.
        layers: how many, at least 1.
        norm: normalise what each layer above the lowest reads, over the units of each example.
        dropout: the probability with which training drops a unit of what such a layer reads.

    Raises:
        GradlabError: fewer than one layer, `norm` or `dropout` with a single one, or `dropout` out of range.

    Example:
        >>> from gradlab.cells.gru import gru
        >>> stack = stacked(gru(), layers=3)
        >>> params = stack.init(jax.random.key(0), 2, 4)
        >>> {name: leaf["h"].shape for name, leaf in stack.carry(params, 8).items()}
        {'layer0': (8, 4), 'layer1': (8, 4), 'layer2': (8, 4)}

    Source: Graves (2013), section 2, https://arxiv.org/abs/1308.0850
    """
    return _stack(cell, layers, residual=False, norm=norm, dropout=dropout)


def residual(cell: Cell, layers: int = 2, norm: bool = False, dropout: float = 0.0) -> Stack:
    """Layers of a cell, each added to what it reads, `residual:gru:layers=2`: yₖ = cell(yₖ₋₁) + yₖ₋₁.

    Args:
        cell: of every layer, with outputs that keep the size.
        layers: how many, at least 2; what the lowest reads is not added.
        norm: normalise what each layer above the lowest reads, but not the sum. dropout: likewise, in training.

    Raises:
        GradlabError: fewer than two layers; outputs of another size, from `init`.

    Example:
        >>> from gradlab.cells.gru import gru
        >>> sorted(residual(gru(), norm=True).init(jax.random.key(0), 2, 4))
        ['layer0', 'layer1', 'norm1']

    Source: Wu et al. (2016), section 3.1, https://arxiv.org/abs/1609.08144
    """
    return _stack(cell, layers, residual=True, norm=norm, dropout=dropout)


def _stack(cell: Cell, layers: int, *, residual: bool, norm: bool, dropout: float) -> Stack:
    name = "residual" if residual else "stacked"
    if layers < 1:
        raise GradlabError(f"{name}: layers is {layers}: give at least {1 + residual}")
    if not 0 <= dropout < 1:
        raise GradlabError(f"{name}: dropout is {dropout}: give a probability below 1")
    if layers == 1 and (residual or norm or dropout):
        what = "add" if residual else "normalise" if norm else "drop"
        raise GradlabError(f"{name}: layers=1 has nothing to {what}: give at least 2")
    return Stack(cell, layers, residual, norm, dropout)
