"""The memory forward, beside the gradient backward: how far the last output moves when one input is exchanged.

    r_k = |y_T(x) - y_T(x with x_{T-k+1} exchanged)|

at the lags of the gradient curve; the input of lag k enters the same timestep as the state of lag k. Where all
examples have the same input, as a blank of the copy task, nothing can be exchanged.
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
from gradlab.gradient.plain import LAGS, prepared, sampled_lags, states_and_outputs
from gradlab.gradient.reductions import Floats, log10_of_all

ROUNDING = 1e-14
"""A relative change of the output below it is rounding of float64."""


@dataclass(frozen=True)
class Remembrance:
    """What is left of a change of one input in the last output.

    Attributes:
        lags: (L,), in rising order; 1 and T are among them.
        log10_change: log10 |Δy_T| of B examples, (L, B); -inf where it is below the rounding of float64, NaN at a
            lag at which all examples have the same input.
    """

    lags: np.ndarray
    log10_change: Floats

    def typical(self) -> Floats:
        """Mean over examples, by lag; -inf or NaN where one of them is."""
        return np.asarray(self.log10_change.mean(axis=1))


def remembrance(
    cell: Any, params: Params, inputs: Any, carry: Carry | None = None, *, lags: int = LAGS
) -> Remembrance:
    """How much the output at T moves when the input at lag k is exchanged for that of another example, in float64.

    r_k = |y_T(x) - y_T(x with x_{T-k+1} exchanged)|, each example taking that of the next one whose input differs.

    Args:
        cell: as in `gradient_curve`, with a state.
        params: its parameters; None for the own weights of an object of a library.
        inputs: (T, B, I) with B of at least 2.
        carry: the initial state s₀.
        lags: how many lags, evenly spread over the logarithm. The cost is that many passes forward.

    Raises:
        GradlabError: the inputs have another shape, the cell has no state, or its output is not finite.

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
        if not bool(jnp.isfinite(last).all()):
            raise GradlabError("the last output is not finite: nothing can be said about how far it moves")

        @jax.jit
        def changed(lag: Array, partners: Array) -> Array:
            first = timesteps - lag
            state = jax.tree.map(lambda rows: rows[first], states)
            state, y_t = cell.step(params, state, inputs[first][partners])

            def timestep(t: Array, loop: tuple[Carry, Array]) -> tuple[Carry, Array]:
                s_t, y_t = cell.step(params, loop[0], inputs[t])
                return s_t, y_t

            return lax.fori_loop(first + 1, timesteps, timestep, (state, y_t))[1] - last

        partners = [_partners(np.asarray(inputs[timesteps - lag])) for lag in chosen]
        pairs = zip(chosen, partners, strict=True)
        moved = np.stack([_log10_norm(changed(jnp.int32(lag), each)) for lag, each in pairs])
    floor = _log10_norm(last) + np.log10(ROUNDING)
    alike = np.array([np.array_equal(each, np.arange(len(each))) for each in partners])
    found = np.where(moved <= floor, -np.inf, moved)
    return Remembrance(chosen, np.where(alike[:, None], np.nan, found))


def _partners(x_t: Floats) -> np.ndarray:
    """For each example the next one, in a circle, whose input differs; itself where none does.

    Example:
        >>> _partners(np.array([[0.0], [0.0], [1.0]])).tolist()
        [2, 2, 0]
    """
    _, kind = np.unique(x_t, axis=0, return_inverse=True)
    count = np.arange(len(x_t))
    others = (count[:, None] + count) % len(x_t)  # (B, B), from the example itself on
    return np.asarray(others[count, np.argmax(kind.ravel()[others] != kind.ravel()[:, None], axis=1)])


def _log10_norm(output: Array) -> Floats:
    """log10 of the norm of the output of each example, (B,)."""
    with np.errstate(divide="ignore"):
        return log10_of_all(list(np.log10(np.abs(np.asarray(output, np.float64))).T))
