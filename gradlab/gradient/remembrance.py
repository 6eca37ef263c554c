"""The memory forward, beside the gradient backward: how far the last output moves when one input is exchanged.

    r_k = |y_T(x) - y_T(x with x_{T-k+1} exchanged)|

at the lags of the gradient curve; the input of lag k enters the same timestep as the state of lag k.
Where the gradient has a horizon and this has none, or the other way round, a network could learn what it cannot
remember, or remember what it cannot learn.

Source: the effective remembrance of Agarwal et al. (2023), "Spectral state space models", is this distance.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.cells import Carry, Params
from gradlab.errors import GradlabError
from gradlab.gradient.plain import prepared, sampled_lags, states_and_outputs
from gradlab.gradient.reductions import Floats, log10_of_all

LAGS = 40
"""Lags at which an input is exchanged, at most."""
ROUNDING = 1e-14
"""A relative change of the output below it is rounding of float64."""


@dataclass(frozen=True)
class Remembrance:
    """What is left of a change of one input in the last output.

    Attributes:
        lags: (L,), in rising order; 1 and T are among them.
        log10_change: log10 |Δy_T| of B examples, (L, B); -inf where it is below the rounding of float64.
    """

    lags: np.ndarray
    log10_change: Floats

    def typical(self) -> Floats:
        """Mean over examples, by lag; -inf where one of them is."""
        return np.asarray(self.log10_change.mean(axis=1))


def remembrance(
    cell: Any, params: Params, inputs: Any, carry: Carry | None = None, *, lags: int = LAGS
) -> Remembrance:
    """How much the output at T moves when the input at lag k is exchanged for that of another example, in float64.

    r_k = |y_T(x) - y_T(x with x_{T-k+1} exchanged)|, each example taking the input of the next one.

    Args:
        cell: as in `gradient_curve`, with a state.
        params: its parameters; None for the own weights of an object of a library.
        inputs: (T, B, I) with B of at least 2.
        carry: the initial state s₀.
        lags: how many lags, evenly spread over the logarithm. The cost is that many passes forward.

    Raises:
        GradlabError: the inputs have another shape, or the cell has no state.

    Example:
        >>> import jax
        >>> from gradlab.cells import rnn
        >>> cell = rnn("relu", init="identity", gain=0.1)  # each timestep leaves a tenth
        >>> params, inputs = cell.init(jax.random.key(0), 1, 4), jax.random.normal(jax.random.key(1), (4, 2, 1))
        >>> found = remembrance(cell, params, inputs * 0 + jnp.asarray([[0.0], [1.0]]))
        >>> np.diff(found.typical()).round(3).tolist()
        [-1.0, -1.0, -1.0]
    """
    cell, params, inputs, start = prepared(cell, params, inputs, carry)
    if inputs.shape[1] < 2:
        raise GradlabError("inputs have one example: give two at least, because inputs are exchanged between them")
    timesteps, chosen = len(inputs), sampled_lags(len(inputs), lags)
    with jax.enable_x64(True):
        states, outputs = states_and_outputs(cell, params, inputs, start)
        last = outputs[-1]

        @jax.jit
        def changed(lag: Array) -> Array:
            first = timesteps - lag
            state = jax.tree.map(lambda rows: rows[first], states)
            state, y_t = cell.step(params, state, jnp.roll(inputs[first], -1, axis=0))

            def timestep(t: Array, loop: tuple[Carry, Array]) -> tuple[Carry, Array]:
                s_t, y_t = cell.step(params, loop[0], inputs[t])
                return s_t, y_t

            return lax.fori_loop(first + 1, timesteps, timestep, (state, y_t))[1] - last

        moved = np.stack([_log10_norm(changed(jnp.int32(lag))) for lag in chosen])
    floor = _log10_norm(last) + np.log10(ROUNDING)
    return Remembrance(chosen, np.where(moved > floor, moved, -np.inf))


def _log10_norm(output: Array) -> Floats:
    """log10 of the norm of the output of each example, (B,)."""
    with np.errstate(divide="ignore"):
        return log10_of_all(list(np.log10(np.abs(np.asarray(output, np.float64))).T))
