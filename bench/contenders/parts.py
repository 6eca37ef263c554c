"""Parts of a forward and backward pass: the matrix products alone, all but the squashing, all."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from bench.case import BLOCKS, Case, initial_weights
from bench.contenders.ours import to_params
from bench.reference import first_batch
from gradlab.cells.initializers import Scheme
from gradlab.cells.lstm import LSTM, lstm
from gradlab.training.unroll import unroll

TINY = 1e-6


@dataclass(frozen=True)
class Unsquashed(LSTM):
    """An LSTM whose gates are straight lines: the same products, kernels and memory, and no tanh."""

    def gates(self, pre_t: Array, carry: Any) -> Any:
        """As the LSTM's, without one squashing function."""
        i, f, g, o = (0.5 * block for block in jnp.split(pre_t, 4, axis=-1))
        c_t = f * carry["c"] + i * g
        return {"h": o * (0.5 * c_t), "c": c_t}


def make(case: Case, problem: str, part: str) -> "Parts":
    return Parts(case, part)


class Parts:
    def __init__(self, case: Case, part: str) -> None:
        params = to_params(case, initial_weights(case))["cell"]
        inputs = jnp.asarray(first_batch(case)[0])
        unsquashed = Unsquashed(forget_gate=True, forget_bias=1.0, scheme=Scheme("orthogonal", 1.0, None))
        step = {
            "products": lambda p: _products(case, p),
            "unsquashed": lambda p: _descend(unsquashed, p, inputs),
            "whole": lambda p: _descend(lstm(), p, inputs),
        }[part]
        self.params = params
        self.program = jax.jit(lambda p, calls: lax.fori_loop(0, calls, lambda _, p: step(p), p))
        jax.block_until_ready(self.program(params, 1))

    def train(self, steps: int) -> None:
        jax.block_until_ready(self.program(self.params, steps))


def _descend(cell: Any, params: Any, inputs: Array) -> Any:
    gradients = jax.grad(lambda p: jnp.mean(unroll(cell, p, inputs, last=True) ** 2))(params)
    return jax.tree.map(lambda leaf, gradient: leaf - TINY * gradient, params, gradients)


def _products(case: Case, params: Any) -> Any:
    """A product forward and one backward for every timestep, and the weight gradient."""
    w_h = params["w_h"]
    w_h_t = w_h.T
    h = jnp.full((case.batch, case.hidden), 0.1, w_h.dtype)

    def timestep(h: Array, _: None) -> tuple[Array, None]:
        return TINY * ((h @ w_h) @ w_h_t), None

    h, _ = lax.scan(timestep, h, None, length=case.length)
    rows = case.length * case.batch
    left = jnp.full((rows, case.hidden), 0.1, w_h.dtype) + h[0, 0]
    right = jnp.full((rows, BLOCKS[case.cell] * case.hidden), 0.1, w_h.dtype) + h[0, 0]
    return params | {"w_h": w_h - TINY * (left.T @ right)}
