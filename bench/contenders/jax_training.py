"""A training step for peers written in JAX: optax, the data of gradlab's adding problem, many steps in a call."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from bench.case import CLIP_NORM, LEARNING_RATE, Case, steps_per_call
from bench.problem import Problem, errors
from bench.reference import timestep_norms
from gradlab.tasks.adding import adding

Loss = Callable[[Any, Any, Array, Array], Array]


class JaxPeer:
    """Trains any parameters with any loss, on one device.

    Args:
        params: any pytree of arrays.
        loss: (params, taps, inputs, targets) -> the mean loss.
        weights_of: gradients of the parameters -> arrays by the names of `initial_weights`.
        taps: zeros (T, B, H) by leaf of the state, whose gradients are normed; empty for no norms.
    """

    def __init__(
        self, case: Case, problem: str, params: Any, loss: Loss, weights_of: Callable[[Any], Any], taps: Any
    ) -> None:
        self.case, self.call = case, steps_per_call(case)
        self.problem = Problem.load(case, problem) if problem else None
        self.loss, self.weights_of, self.taps = loss, weights_of, taps
        self.optimizer = optax.chain(optax.clip_by_global_norm(CLIP_NORM), optax.adam(LEARNING_RATE))
        self.params = jax.tree.map(jnp.asarray, params)
        # Its own copy, because the program takes the memory of its argument.
        start = jax.tree.map(jnp.copy, self.params)
        self.state = (start, self.optimizer.init(start), jnp.int32(0))
        self.program = jax.jit(self.many_steps, donate_argnums=0).lower(self.state, jnp.int32(0)).compile()

    def train(self, steps: int) -> None:
        for done in range(0, steps, self.call):
            count = jnp.int32(min(self.call, steps - done))
            self.state, rows = jax.block_until_ready(self.program(self.state, count))
        if not np.isfinite(np.asarray(rows["loss"])).all():
            raise RuntimeError("training broke")

    def check(self) -> dict[str, float]:
        assert self.problem is not None
        inputs, targets = jnp.asarray(self.problem.inputs), jnp.asarray(self.problem.targets)
        loss, grads, norms = jax.jit(self._gradients)(self.params, inputs, targets)
        return errors(self.problem.truth, {"loss": loss} | self.weights_of(grads) | norms)

    def _gradients(self, params: Any, inputs: Array, targets: Array) -> tuple[Array, Any, dict[str, Array]]:
        def loss(params: Any, taps: Any) -> Array:
            return self.loss(params, taps, inputs, targets)

        if not self.taps:
            return *jax.value_and_grad(loss)(params, self.taps), {}
        value, (grads, d_taps) = jax.value_and_grad(loss, argnums=(0, 1))(params, self.taps)
        return value, grads, timestep_norms(d_taps)

    def many_steps(self, state: Any, count: Array) -> tuple[Any, Any]:
        """`count` training steps, and the loss and norms of each."""

        def row(state: Any) -> tuple[Any, dict[str, Array]]:
            params, moments, step = state
            batch = adding().sample(jax.random.fold_in(jax.random.key(1), step), self.case.batch, self.case.length)
            loss, grads, norms = self._gradients(params, batch.inputs, batch.targets)
            updates, moments = self.optimizer.update(grads, moments, params)
            return (optax.apply_updates(params, updates), moments, step + 1), {"loss": loss} | norms

        def body(i: Array, loop: tuple[Any, Any]) -> tuple[Any, Any]:
            state, rows = loop
            state, new = row(state)
            return state, jax.tree.map(lambda all_rows, value: all_rows.at[i].set(value), rows, new)

        shapes = jax.eval_shape(lambda: row(state)[1])
        nothing = jax.tree.map(lambda shape: jnp.zeros((self.call, *shape.shape), shape.dtype), shapes)
        return lax.fori_loop(0, count, body, (state, nothing))
