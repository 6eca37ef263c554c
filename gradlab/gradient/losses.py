"""The loss and its gradient with respect to the outputs, where the loss is any function of the user's.

It is traced anew in each call, because it may read what has changed since; its gradient is derived again only
where the trace is a new one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells.traced import TraceCache, description
from gradlab.errors import GradlabError, reason_of
from gradlab.gradient.adjoint import Loss, Source
from gradlab.gradient.assumptions import LOSSES_MEET, halves
from gradlab.gradient.program import x64
from gradlab.gradient.trial import gaussian, masked

_gradients = TraceCache(32)


def with_gradient(loss: Loss) -> Source:
    """The loss and its gradient, refused unless it gives one number for each example, from its outputs alone."""

    def checked(outputs: Array) -> Array:
        try:
            found = loss(outputs)
        except jax.errors.JAXTypeError as error:  # NumPy, float() or `if` of the outputs
            raise GradlabError(f"loss: {reason_of(error)}") from error
        if not isinstance(found, jax.Array | np.ndarray | np.generic | float | int):
            raise GradlabError(f"loss returns {type(found).__name__}: give an array of shape {outputs.shape[1:2]}")
        losses = jnp.asarray(found)
        if losses.shape != outputs.shape[1:2]:
            raise GradlabError(
                f"loss has shape {losses.shape}: give one loss for each example, shape {outputs.shape[1:2]}"
            )
        if not jnp.issubdtype(losses.dtype, jnp.floating):
            raise GradlabError(f"loss is of {losses.dtype}, of which there is no gradient: give floats")
        return losses

    def source(outputs: Array) -> tuple[Array, Array]:
        with jax.default_matmul_precision("highest"):
            closed = jax.make_jaxpr(checked)(outputs)
            found: tuple[Array, Array] = _gradient_of(closed, outputs)(closed.consts, outputs)
            return found

    return source


def _gradient_of(closed: Any, outputs: Array) -> Callable[..., Any]:
    """(constants of a trace, outputs) -> losses and gradient, by one operation after the other."""

    def pulled(constants: Any, outputs: Array) -> tuple[Array, Any]:
        return jax.vjp(lambda y: jax.core.eval_jaxpr(closed.jaxpr, constants, y)[0], outputs)

    def both(constants: Any, outputs: Array, parts: int = 0) -> tuple[Array, Array]:
        losses, pullback = pulled(constants, outputs)
        _refuse_if_examples_meet(losses, pullback, parts)
        return losses, pullback(jnp.ones_like(losses))[0]

    def make() -> Callable[..., Any]:
        _refuse_if_examples_meet(*pulled(closed.consts, outputs))
        derived = jax.make_jaxpr(both)(closed.consts, outputs)

        def run(constants: Any, outputs: Array) -> Any:
            return tuple(jax.core.eval_jaxpr(derived.jaxpr, derived.consts, *constants, outputs))

        return run

    known = description(closed.jaxpr)
    if known is None:
        return partial(both, parts=2)  # one evaluation alone: it may call Python
    found: Callable[..., Any] = _gradients.get((known, x64()), make)
    return found


def _refuse_if_examples_meet(losses: Array, pullback: Callable[[Array], Any], parts: int | None = None) -> None:
    """Refuse a loss whose gradient for some examples reaches the outputs of others.

    Args:
        parts: of the examples, as `halves`, that are tried; all where None.
    """
    rng = np.random.RandomState(0)
    for members in halves(len(losses))[:parts]:
        g = np.asarray(pullback(jnp.asarray(masked(gaussian(rng, losses.shape, losses.dtype), members)))[0])
        # Zero times infinity is NaN, which says nothing of its origin.
        reached = np.any(np.isfinite(g) & (g != 0), axis=(0, *range(2, g.ndim)))
        if reached[~members].any():
            raise GradlabError(f"loss: {LOSSES_MEET}")
