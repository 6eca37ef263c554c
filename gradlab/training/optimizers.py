"""Optimisers and gradient clipping.

optax squares entries to clip by norm, so float32 entries of 1e19 overflow and clip to 0 while training stalls
silently; the norm here is taken relative to the largest entry. A complex entry is one number: its modulus |g| is
squared, averaged or clipped by value, and its phase stays, so a step does not depend on the axes of the complex
plane. (Two real weights would each be divided by a second moment of their own.)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from gradlab.errors import GradlabError, unknown

Gradients = Any


def adam(learning_rate: float, b1: float = 0.9, b2: float = 0.999) -> optax.GradientTransformation:
    """Adam with ε = 1e-8.

    Source: Kingma & Ba (2015), algorithm 1, https://arxiv.org/abs/1412.6980
    """
    return optax.adam(learning_rate, b1=b1, b2=b2)


def rmsprop(learning_rate: float, decay: float = 0.9, momentum: float = 0.0) -> optax.GradientTransformation:
    """RMSprop with ε = 1e-8 outside the root.

    Source: Tieleman & Hinton (2012), lecture 6.5 of "Neural networks for machine learning"
    """
    return optax.rmsprop(learning_rate, decay=decay, momentum=momentum, eps_in_sqrt=False)


def sgd(learning_rate: float, momentum: float = 0.0) -> optax.GradientTransformation:
    """Gradient descent, with heavy-ball momentum if wanted."""
    return optax.sgd(learning_rate, momentum=momentum or None)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adam": adam,
    "rmsprop": rmsprop,
    "sgd": sgd,
}


class Clipped(NamedTuple):
    """Gradients after clipping.

    Attributes:
        gradients: as they go to the optimiser.
        log10_norm: log10 of the global norm before clipping.
        share: by norm, 1 where the gradient was clipped, else 0; by value, the share of clipped entries.
    """

    gradients: Gradients
    log10_norm: Array
    share: Array


@dataclass(frozen=True)
class Clip:
    """Clip gradients by global norm, entry by entry, or not at all.

    Args:
        kind: norm, value or none.
        limit: the largest norm or absolute entry (modulus of a complex one) that passes unchanged; inf for none.

    Raises:
        GradlabError: an unknown kind, or a limit that is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> clipped = Clip("norm", 1.0).apply({"w": jnp.array([3e30, 4e30])})
        >>> [round(float(g), 6) for g in clipped.gradients["w"]], float(clipped.share)
        ([0.6, 0.8], 1.0)

    Source: Pascanu, Mikolov & Bengio (2013), "On the difficulty of training recurrent neural networks",
    algorithm 1, https://arxiv.org/abs/1211.5063
    """

    kind: Literal["norm", "value", "none"]
    limit: float = math.inf

    def __post_init__(self) -> None:
        if self.kind not in ("norm", "value", "none"):
            raise unknown("clip", self.kind, ("norm", "value", "none"))
        if not self.limit > 0 or (self.kind != "none" and math.isinf(self.limit)):
            raise GradlabError(f"clip limit is {self.limit}: give a positive number, or clip none")

    def apply(self, gradients: Gradients) -> Clipped:
        """Clip a pytree of gradients."""
        reals = jax.tree.map(_parts, gradients)
        leaves = jax.tree.leaves(reals)
        peak = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in leaves]))
        unit = _unit(peak)
        relative = jnp.sqrt(sum((jnp.sum((leaf / unit) ** 2) for leaf in leaves), start=jnp.zeros(())))
        log10_norm = jnp.log10(unit) + jnp.log10(relative)
        if self.kind == "norm":
            # limit / relative / peak, in this order, stays in range where peak · relative would not.
            over = relative > self.limit / unit
            scaled = jax.tree.map(lambda leaf: leaf / unit * (self.limit / relative), reals)
            clipped = jax.tree.map(lambda new, old: jnp.where(over, new, old), scaled, reals)
            return Clipped(jax.tree.map(_whole, gradients, clipped), log10_norm, over.astype(log10_norm.dtype))
        if self.kind == "value":
            leaves, structure = jax.tree.flatten(gradients)
            pairs = [_clip_entries(leaf, self.limit) for leaf in leaves]
            over_count = sum((jnp.sum(over) for _, over in pairs), start=jnp.zeros((), int))
            share = over_count.astype(log10_norm.dtype) / sum(leaf.size for leaf in leaves)
            return Clipped(jax.tree.unflatten(structure, [leaf for leaf, _ in pairs]), log10_norm, share)
        return Clipped(gradients, log10_norm, jnp.zeros_like(log10_norm))


def _unit(peak: Array) -> Array:
    """What gradients of this largest entry are divided by: that, or as much as has a normal reciprocal."""
    return jnp.where(peak > 0, jnp.minimum(peak, 1 / jnp.finfo(peak.dtype).tiny), 1.0)


def _parts(leaf: Array) -> Array:
    """A real array, or a complex one as its two parts (..., 2): XLA's quotient of complex numbers squares them."""
    return jnp.stack([leaf.real, leaf.imag], axis=-1) if jnp.iscomplexobj(leaf) else leaf


def _whole(leaf: Array, real: Array) -> Array:
    """The inverse of `_parts`, complex where `leaf` is."""
    return jax.lax.complex(real[..., 0], real[..., 1]) if jnp.iscomplexobj(leaf) else real


def _clip_entries(leaf: Array, limit: float) -> tuple[Array, Array]:
    """The entries, none larger than the limit, and which ones were; a complex one keeps its phase."""
    if not jnp.iscomplexobj(leaf):
        return jnp.clip(leaf, -limit, limit), jnp.abs(leaf) > limit
    parts = _parts(leaf)
    unit = _unit(jnp.max(jnp.abs(parts), axis=-1, keepdims=True))
    relative = jnp.sqrt(jnp.sum((parts / unit) ** 2, axis=-1, keepdims=True))
    over = relative > limit / unit
    clipped = jnp.where(over, parts / unit * (limit / relative), parts)
    return _whole(leaf, clipped), over[..., 0]
