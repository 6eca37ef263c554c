"""Layers of one cell, each reading the output of the layer below at the same timestep.

    uₖ = yₖ₋₁, or LN(yₖ₋₁) with `norm`            k = 1, 2, ...;  u₀ = xₜ
    yₖ = cell(uₖ), or cell(uₖ) + yₖ₋₁ in `residual`
    yₜ = y of the top layer

A stack is a cell: its state is {"layer0": ..., "layer1": ...}, so the leaves are `layer0.h`, `layer1.c`. The
lowest layer changes the size, from I to that of the output; its input is neither normalised nor added, which would
take a projection. In `residual` with `norm` the sum passes by the normalisation, as in a pre-norm residual block.

Sources: Graves (2013), "Generating sequences with recurrent neural networks", section 2,
https://arxiv.org/abs/1308.0850 (there every layer sees xₜ too, and the readout all layers); the sum: Wu et al.
(2016), "Google's neural machine translation system", section 3.1, https://arxiv.org/abs/1609.08144; the place of
the normalisation: Xiong et al. (2020), "On layer normalization in the Transformer architecture", section 3,
https://arxiv.org/abs/2002.04745
"""

from dataclasses import dataclass

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
        states, below = {}, x_t
        for k, layer in enumerate(self._names()):
            norm = params[f"norm{k}"] if k and self.norm else None
            u_t = below if norm is None else layer_norm(below, norm["gain"], norm["bias"])
            states[layer], y_t = self.cell.step(params[layer], carry[layer], u_t)
            below = y_t + below if k and self.residual else y_t
        return states, below


def stacked(cell: Cell, layers: int = 2, norm: bool = False) -> Stack:
    """Layers of a cell, `stacked:lstm:layers=3`: yₖ = cell(yₖ₋₁).

    Args:
        cell: of every layer.
        layers: how many, at least 1.
        norm: normalise what each layer above the lowest reads, over the units of each example.

    Raises:
        GradlabError: fewer than one layer, or `norm` with a single one.

    Example:
        >>> from gradlab.cells.gru import gru
        >>> stack = stacked(gru(), layers=3)
        >>> params = stack.init(jax.random.key(0), 2, 4)
        >>> {name: leaf["h"].shape for name, leaf in stack.carry(params, 8).items()}
        {'layer0': (8, 4), 'layer1': (8, 4), 'layer2': (8, 4)}

    Source: Graves (2013), section 2, https://arxiv.org/abs/1308.0850
    """
    return _stack(cell, layers, residual=False, norm=norm)


def residual(cell: Cell, layers: int = 2, norm: bool = False) -> Stack:
    """Layers of a cell, each added to what it reads, `residual:gru:layers=2`: yₖ = cell(yₖ₋₁) + yₖ₋₁.

    Args:
        cell: of every layer, with outputs that keep the size.
        layers: how many, at least 2; what the lowest reads is not added.
        norm: normalise what each layer above the lowest reads, but not the sum.

    Raises:
        GradlabError: fewer than two layers; outputs of another size, from `init`.

    Example:
        >>> from gradlab.cells.gru import gru
        >>> sorted(residual(gru(), norm=True).init(jax.random.key(0), 2, 4))
        ['layer0', 'layer1', 'norm1']

    Source: Wu et al. (2016), section 3.1, https://arxiv.org/abs/1609.08144
    """
    return _stack(cell, layers, residual=True, norm=norm)


def _stack(cell: Cell, layers: int, residual: bool, norm: bool) -> Stack:
    name = "residual" if residual else "stacked"
    if layers < 1:
        raise GradlabError(f"{name}: layers is {layers}: give at least {1 + residual}")
    if layers == 1 and (residual or norm):
        what = "add" if residual else "normalise"
        raise GradlabError(f"{name}: layers=1 has nothing to {what}: give at least 2")
    return Stack(cell, layers, residual, norm)
