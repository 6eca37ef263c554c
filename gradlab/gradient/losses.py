"""The loss and its gradient with respect to the outputs, where the loss is any function of the user's.

It is traced anew in each call, because it may read what has changed since; its gradient is derived again only
where the trace is a new one.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.traced import TraceCache, description
from gradlab.errors import GradlabError
from gradlab.gradient.adjoint import Loss, Source
from gradlab.gradient.program import x64

_gradients = TraceCache(32)


def with_gradient(loss: Loss) -> Source:
    """The loss and its gradient, refused unless it gives one number for each example."""

    def checked(outputs: Array) -> Array:
        losses = jnp.asarray(loss(outputs))
        if losses.shape != outputs.shape[1:2]:
            raise GradlabError(
                f"loss has shape {losses.shape}: give one loss for each example, shape {outputs.shape[1:2]}"
            )
        return losses

    def source(outputs: Array) -> tuple[Array, Array]:
        with jax.default_matmul_precision("highest"):
            closed = jax.make_jaxpr(checked)(outputs)
            found: tuple[Array, Array] = _gradient_of(closed, outputs)(closed.consts, outputs)
            return found

    return source


def _gradient_of(closed: Any, outputs: Array) -> Callable[..., Any]:
    """(constants of a trace, outputs) -> losses and gradient, by one operation after the other."""

    def both(constants: Any, outputs: Array) -> tuple[Array, Array]:
        losses, pullback = jax.vjp(lambda y: jax.core.eval_jaxpr(closed.jaxpr, constants, y)[0], outputs)
        return losses, pullback(jnp.ones_like(losses))[0]

    def make() -> Callable[..., Any]:
        derived = jax.make_jaxpr(both)(closed.consts, outputs)

        def run(constants: Any, outputs: Array) -> Any:
            return tuple(jax.core.eval_jaxpr(derived.jaxpr, derived.consts, *constants, outputs))

        return run

    known = description(closed.jaxpr)
    if known is None:
        return both
    found: Callable[..., Any] = _gradients.get((known, x64()), make)
    return found
