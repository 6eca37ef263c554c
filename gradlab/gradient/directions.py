"""The gradient of a loss at the states of every layer and direction of a bidirectional network, without a floor.

The adjoint of a direction walks against the order in which it reads. That of the top layer starts from the
gradients of the outputs, that of a layer below from those at the inputs of the layer above, which keep a power of
two for each entry. So every layer has a curve of any length, and so have the inputs of the network.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from gradlab.cells import Carry, Cell, Params
from gradlab.cells.bidirectional import DIRECTIONS, Bidirectional
from gradlab.gradient import scaled
from gradlab.gradient.inputs import INPUT, InputsAsState
from gradlab.gradient.pullback import BY_MAGNITUDE, norm_of
from gradlab.gradient.scaled import Scaled
from gradlab.gradient.state import all_finite, leaf_names, split

ByTimestep = tuple[dict[str, Scaled], dict[str, Array]]
"""By leaf and timestep (T, B): the scaled norm at the state that enters, and whether what leaves is finite."""


def direction_norms(network: Bidirectional, params: Params, inputs: Array, g: Array) -> ByTimestep:
    """The norms of dL_b/ds of each layer and direction, as `forward.h` or `layer0.backward.c`, and of dL_b/dxₜ.

    Args:
        params, inputs: of the network, (T, B, I). g: dL_b/dyₜ, (T, B, O).
    """
    layers, reads, entering = network.layers_of(params), [inputs], []
    for _, layer in layers:
        runs = [network.run(layer, name, reads[-1]) for name in DIRECTIONS]
        entering.append([states for states, _ in runs])
        reads.append(jnp.concatenate([outputs for _, outputs in runs], axis=-1))
    norms: dict[str, Scaled] = {}
    finite: dict[str, Array] = {}
    source = scaled.by_entry(g)
    for (prefix, layer), states, read in reversed(list(zip(layers, entering, reads, strict=False))):
        at_inputs = []
        for place, name in enumerate(DIRECTIONS):
            half = source.mantissa.shape[-1] // 2
            own = jax.tree.map(lambda part, at=place * half, half=half: part[..., at : at + half], source)
            backwards = name == "backward"
            at_x, found = _walk(network.cell, layer[name], states[place], read, own, reverse=not backwards)
            at_inputs.append(at_x)
            leaves = [f"{prefix}{name}.{leaf}" for leaf in leaf_names(states[place])[0]]
            norms |= dict(zip(leaves, found, strict=True))
            finite |= dict(zip(leaves, _leave_finite(states[place], backwards=backwards), strict=True))
        source = scaled.add(*at_inputs)
    return norms | {INPUT: jax.vmap(norm_of)(source)}, finite


def _walk(
    cell: Cell, params: Params, states: Carry, inputs: Array, source: Scaled, *, reverse: bool
) -> tuple[Scaled, list[Scaled]]:
    """The gradient at each input of a direction, entry by entry, and the norm at the state that enters with it."""
    with_inputs, zeros = InputsAsState(cell), jnp.zeros_like(inputs)

    def timestep(adjoint: list[Scaled], row: Any) -> tuple[list[Scaled], tuple[Scaled, list[Scaled]]]:
        state, x_t, g_t, zero = row
        floats, rebuild = split(with_inputs.start(state, zero))

        def step(floats: list[Array]) -> tuple[list[Array], Array]:
            s_t, y_t = with_inputs.step(params, rebuild(floats), x_t)
            return split(s_t)[0], y_t

        found = BY_MAGNITUDE.step(jax.vjp(step, floats)[1], adjoint, g_t, floats)
        # No later timestep reads the leaf of the inputs, which is the last.
        *own, at_x = found.adjoint
        return [*own, *BY_MAGNITUDE.zero([at_x.mantissa])], (at_x, found.norms[:-1])

    first = with_inputs.start(jax.tree.map(lambda rows: rows[0], states), zeros[0])
    zero = BY_MAGNITUDE.zero(split(first)[0])
    found: tuple[Scaled, list[Scaled]] = lax.scan(
        timestep, zero, (states, inputs, source, zeros), reverse=reverse
    )[1]
    return found


def _leave_finite(entering: Carry, *, backwards: bool) -> list[Array]:
    """Whether each float leaf is finite where it leaves a timestep and enters the next; of the last, yes."""
    found = []
    for rows in split(entering)[0]:
        flags = jax.vmap(all_finite)(rows)
        last = jnp.ones_like(flags[:1])
        found.append(jnp.concatenate([last, flags[:-1]] if backwards else [flags[1:], last]))
    return found
