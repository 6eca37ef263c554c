"""One timestep of the adjoint, λₜ₋₁ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ + (∂sₜ/∂sₜ₋₁)ᵀ λₜ, without a floor: in one group or several.

`ONE_GROUP` keeps one power of two for each example and pulls everything back at once. That is exact to rounding as
long as all entries of λ, of all leaves, lie within `group_width` binades of the largest; where they do not, or
where a contribution could have been flushed to zero, the result is marked `lossy`.

`BY_MAGNITUDE` keeps a power of two for every entry. Entries of like magnitude are pulled back together, whatever
leaf they belong to, in as many groups as their range needs, and the results are added entry by entry. It costs a
pullback for each group and is never lossy, so it is run where `ONE_GROUP` was.

Both rest on the linearity of the pullback: 2ᵉ (∂s)ᵀ λ = (∂s)ᵀ (2ᵉ λ).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.gradient import scaled
from gradlab.gradient.scaled import ZERO_EXPONENT, Scaled

Pullback = Callable[[tuple[list[Array], Array]], tuple[list[Array]]]
"""(cotangents of the leaves of sₜ, cotangent of yₜ) -> (cotangents of the leaves of sₜ₋₁,)."""


class Step(NamedTuple):
    """λₜ₋₁ as the method keeps it, the norm (B,) of each of its leaves, and whether something may be lost (B,)."""

    adjoint: Any
    norms: list[Scaled]
    lossy: Array


class Method(NamedTuple):
    """How the adjoint is kept and pulled back.

    Attributes:
        source: gₜ (B, O) -> gₜ as `step` takes it: a mantissa, then exponents.
        zero: leaves of a state -> λ = 0.
        step: (pullback, λₜ or None for the direct gradient, gₜ, leaves of sₜ) -> `Step`.
    """

    source: Callable[[Array], Any]
    zero: Callable[[list[Array]], Any]
    step: Callable[[Pullback, Any, Any, list[Array]], Step]


def silenced(source: Any, keep: Array) -> Any:
    """A source of either method, or zero where the flag (a scalar) is false."""
    mantissa, *exponents = source
    exponents = [jnp.where(keep, exponent, ZERO_EXPONENT) for exponent in exponents]
    return type(source)(jnp.where(keep, mantissa, 0), *exponents)


# ---------------------------------------------------------------- one group


class _Group(NamedTuple):
    """λ · 2^-exponent for each leaf, its largest entry in [0.5, 1), and one exponent (B,) for all leaves."""

    leaves: list[Array]
    exponent: Array


class _Source(NamedTuple):
    """gₜ · 2^-top, and the exponents of its largest and smallest entry (B,)."""

    mantissa: Array
    top: Array
    bottom: Array


def _one_source(g: Array) -> _Source:
    found = scaled.sizes([g])
    (mantissa,), power = scaled.normalise([g], found.top)
    return _Source(mantissa, jnp.where(found.top == ZERO_EXPONENT, ZERO_EXPONENT, power), found.bottom)


def _one_zero(leaves: list[Array]) -> _Group:
    zeros: list[Any] = [np.zeros(leaf.shape, leaf.dtype) for leaf in leaves]
    exponent: Any = np.full(leaves[0].shape[0], ZERO_EXPONENT, np.int32)
    return _Group(zeros, exponent)


def _one_step(pullback: Pullback, adjoint: _Group | None, source: _Source, leaves: list[Array]) -> Step:
    width, reach = _width(leaves), _reach(leaves)
    top, far = source.top, _is_far(source.bottom, source.top, reach)
    if adjoint is not None:
        top = jnp.maximum(adjoint.exponent, source.top)
        far = _is_far(adjoint.exponent, top, reach) | _is_far(source.bottom, top, reach)

    def lifted(value: Array, exponent: Array) -> Array:
        return scaled.times_near_power(value, exponent - top + width)

    cotangents = (
        [jnp.zeros_like(leaf) for leaf in leaves]
        if adjoint is None
        else [lifted(leaf, adjoint.exponent) for leaf in adjoint.leaves]
    )
    (pulled,) = pullback((cotangents, lifted(source.mantissa, source.top)))
    found = scaled.sizes(pulled)
    mantissas, power = scaled.normalise(pulled, found.top)
    exponent = jnp.where(found.top == ZERO_EXPONENT, ZERO_EXPONENT, top - width + power)
    # An entry that is not zero cannot have lost more than rounding to contributions that were flushed.
    lossy = (found.top - found.bottom > width) | (far & found.some_zero)
    norms = [Scaled(scaled.norm(mantissa), exponent) for mantissa in mantissas]
    return Step(_Group(mantissas, exponent), norms, lossy)


def _is_far(exponent: Array, top: Array, reach: int) -> Array:
    """Whether something that is not zero lies so far below the largest that it is flushed beside it."""
    return (exponent != ZERO_EXPONENT) & (exponent - top < -reach)


# ---------------------------------------------------------------- by magnitude


def _many_zero(leaves: list[Array]) -> list[Scaled]:
    return [Scaled(jnp.zeros_like(leaf), jnp.full(leaf.shape, ZERO_EXPONENT, jnp.int32)) for leaf in leaves]


def _many_step(pullback: Pullback, adjoint: list[Scaled] | None, source: Scaled, leaves: list[Array]) -> Step:
    width = _width(leaves)
    terms = [*(_many_zero(leaves) if adjoint is None else adjoint), source]
    mantissas = [term.mantissa for term in terms]

    def more(loop: tuple[list[Array], list[Scaled]]) -> Array:
        return jnp.any(jnp.stack([jnp.any(exponent > ZERO_EXPONENT) for exponent in loop[0]]))

    def body(loop: tuple[list[Array], list[Scaled]]) -> tuple[list[Array], list[Scaled]]:
        waiting, sums = loop
        top = jnp.max(jnp.stack([_largest(exponent) for exponent in waiting]), axis=0)
        member = [(e > ZERO_EXPONENT) & (e > scaled.beside(top, e) - width) for e in waiting]
        cotangents = [
            jnp.where(inside, scaled.times_near_power(m, e - scaled.beside(top, e) + width), 0)
            for inside, m, e in zip(member, mantissas, waiting, strict=True)
        ]
        (pulled,) = pullback((cotangents[:-1], cotangents[-1]))
        sums = [
            scaled.add(total, scaled.by_entry(part, top - width)) for total, part in zip(sums, pulled, strict=True)
        ]
        return [jnp.where(inside, ZERO_EXPONENT, e) for inside, e in zip(member, waiting, strict=True)], sums

    _, sums = lax.while_loop(more, body, ([term.exponent for term in terms], _many_zero(leaves)))
    return Step(sums, [norm_of(total) for total in sums], jnp.zeros(len(leaves[0]), bool))


def norm_of(total: Scaled) -> Scaled:
    """The norm (B,) of an array (B, ...) with a power of two for each entry."""
    top = _largest(total.exponent)
    aligned = scaled.times_near_power(total.mantissa, total.exponent - scaled.beside(top, total.exponent))
    return Scaled(scaled.norm(aligned), top)


def _largest(exponent: Array) -> Array:
    """(B,) from (B, ...)."""
    return jnp.max(exponent, axis=tuple(range(1, exponent.ndim)))


# ---------------------------------------------------------------- both


def _width(leaves: list[Array]) -> int:
    return min(scaled.group_width(leaf.dtype) for leaf in leaves)


def _reach(leaves: list[Array]) -> int:
    """Binades below the largest entry at which one of its group would be flushed, with a few to spare."""
    return min(int(jnp.finfo(leaf.dtype).maxexp) for leaf in leaves) - 6


ONE_GROUP = Method(_one_source, _one_zero, _one_step)
BY_MAGNITUDE = Method(scaled.by_entry, _many_zero, _many_step)
