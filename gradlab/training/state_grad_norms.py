"""The norm of the gradient at every state, as the training pass itself computes it.

A sink stands where the state sₜ₋₁ enters timestep t. Forward it is the identity; backward it passes the cotangent
λ of each leaf on and returns, as the gradient of an array of zeros, for every unit j of the leaf

    pⱼ = max_b |λ_bj|    and    qⱼ = Σ_b (λ_bj / pⱼ)²

so that |λ|² = Σⱼ pⱼ² qⱼ. No entry is squared before it is scaled: in float32 the norm reads 0 where all entries
are below 1e-38, and not already at the 1e-19 of a plain norm. Training has that floor and the curves of
`gradient/` have none, which is why they are kept apart.
"""

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells import Carry
from gradlab.gradient.state import split

Sinks = list[Array]
"""For each float leaf of the state, (T, 2, units): the rows p and q of `leaf_statistics`."""


def zero_sinks(state: Carry, timesteps: int) -> Sinks:
    """Zeros (T, 2, units) for each float leaf (B, ...) of a state, given as arrays or shapes."""
    leaves = split(state)[0]
    return [jnp.zeros((timesteps, 2, leaf.size // _rows(leaf)), jnp.finfo(leaf.dtype).dtype) for leaf in leaves]


def leaf_statistics(cotangent: Array) -> Array:
    """(2, units): the largest modulus over examples, and the sum over examples of squares relative to it."""
    modulus = jnp.abs(cotangent).reshape(_rows(cotangent), -1)
    peak = jnp.max(modulus, axis=0)
    scaled = modulus * _inverse(peak)
    return jnp.stack([peak, jnp.sum(scaled * scaled, axis=0)])


def state_statistics(cotangent: Carry) -> Sinks:
    """`leaf_statistics` of each float leaf."""
    return [leaf_statistics(leaf) for leaf in split(cotangent)[0]]


@jax.custom_vjp
def sink(state: Carry, sinks: Sinks) -> Carry:
    """The state itself; the gradient of `sinks` (2, units) are the statistics of its cotangent."""
    return state


sink.defvjp(lambda state, sinks: (state, None), lambda _, cotangent: (cotangent, state_statistics(cotangent)))


def combined(statistics: Array) -> Array:
    """The statistics (T, 2) of all units or shards from those of each, (T, 2, n)."""
    peaks, sums = statistics[:, 0], statistics[:, 1]
    top = jnp.max(peaks, axis=1)
    relative = peaks * _inverse(top)[:, None]
    return jnp.stack([top, jnp.sum(relative**2 * sums, axis=1)], axis=1)


def log10_rms(statistics: Array, batch_size: int) -> Array:
    """log10 of the root mean square over examples of dL_b/ds at lags 1..T, from statistics (T, 2) of a leaf.

    Args:
        statistics: of a loss that is the mean over the whole batch.
        batch_size: B, the examples in that mean.
    """
    top, total = statistics[::-1, 0], statistics[::-1, 1]
    # Where the peak is not zero the sum is at least 1; its logarithm must not turn a zero peak into a NaN.
    return jnp.log10(top) + 0.5 * jnp.log10(jnp.maximum(total, 1.0)) + 0.5 * jnp.log10(batch_size)


def _inverse(peak: Array) -> Array:
    """1 / peak; 1 where the peak is zero or not finite, so that what it scales stays as it is."""
    return 1 / jnp.where((peak > 0) & (peak < jnp.inf), peak, 1)


def _rows(leaf: Array) -> int:
    """The length of the first axis; a single number, which has none, is one row."""
    return leaf.shape[0] if leaf.shape else 1
