"""What the analyses beside the curve share: a cell in float64, its states, and lags that stand for all."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.adapters import adapted
from gradlab.cells import Carry, Cell, Params
from gradlab.errors import GradlabError
from gradlab.gradient.assumptions import started
from gradlab.gradient.state import as_arrays, check_state
from gradlab.gradient.verified import in_dtype

LAGS = 40
"""Lags that stand for all, at most."""


def prepared(cell: Any, params: Params, inputs: Any, carry: Carry | None) -> tuple[Cell, Params, Array, Carry]:
    """A cell or an object of a library as a cell, and its parameters, inputs and initial state in float64.

    Raises:
        GradlabError: the inputs are not (T, B, I), or do not fit the cell, or it has no state.
    """
    inputs = inputs if hasattr(inputs, "dtype") else jnp.asarray(inputs)
    if inputs.ndim != 3 or 0 in inputs.shape[:2]:
        raise GradlabError(f"inputs have shape {inputs.shape}: give (T, B, I) with T and B of at least 1")
    cell, params, carry = adapted(cell, params, inputs, carry)
    params = as_arrays(params)
    start = as_arrays(cell.carry(params, inputs.shape[1]) if carry is None else carry)
    check_state(start, inputs.shape[1])
    with jax.enable_x64(True):
        params, inputs, start = jax.tree.map(jnp.asarray, in_dtype((params, inputs, start), jnp.float64))
        return cell, params, inputs, started(cell, params, inputs, start)


def states_and_outputs(cell: Cell, params: Params, inputs: Array, start: Carry) -> tuple[Carry, Array]:
    """The state that enters each timestep, (T, B, ...), and the outputs (T, B, O)."""

    def timestep(s_tm1: Carry, x_t: Array) -> tuple[Carry, tuple[Carry, Array]]:
        s_t, y_t = cell.step(params, s_tm1, x_t)
        return s_t, (s_tm1, y_t)

    states, outputs = jax.jit(lambda: lax.scan(timestep, start, inputs)[1])()
    return states, outputs


def sampled_lags(timesteps: int, most: int) -> np.ndarray:
    """At most that many of the lags 1..T, evenly spread over the logarithm; 1 and T are among them.

    Example:
        >>> sampled_lags(1000, 4).tolist(), sampled_lags(3, 10).tolist()
        ([1, 10, 100, 1000], [1, 2, 3])
    """
    if most < 2:
        raise GradlabError(f"lags is {most}: give at how many lags, at least 2, which are then 1 and T")
    return np.unique(np.geomspace(1, timesteps, most).round().astype(int))
