"""A scan in plain JAX with zeros added to every state: autodiff gives the gradients, taps the norms."""

from typing import Any

import jax.numpy as jnp

from bench.case import Case, initial_weights
from bench.contenders.jax_training import JaxPeer
from bench.reference import loss_with_taps, zero_taps


def make(case: Case, problem: str) -> JaxPeer:
    def loss(params: Any, taps: Any, inputs: Any, targets: Any) -> Any:
        return loss_with_taps(case.cell, params, taps, inputs, targets)

    return JaxPeer(case, problem, initial_weights(case), loss, dict, zero_taps(case, jnp.float32))
