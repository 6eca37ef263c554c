"""What the traced program of a timestep shows: where it rounds, and from what it draws random numbers."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import jax.numpy as jnp

_DRAWS = ("random_bits", "threefry2x32")


def _inside(equation: Any) -> Iterator[Any]:
    """The jaxprs that an equation calls."""
    for value in chain.from_iterable(v if isinstance(v, (tuple, list)) else [v] for v in equation.params.values()):
        inner = getattr(value, "jaxpr", value)
        if hasattr(inner, "eqns"):
            yield inner


def casts_down(jaxpr: Any) -> Iterator[str]:
    """The formats to which a float is rounded from a wider one."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("convert_element_type", "reduce_precision"):
            before, after = (each.aval.dtype for each in (equation.invars[0], equation.outvars[0]))
            floats = all(jnp.issubdtype(dtype, jnp.floating) for dtype in (before, after))
            if floats and jnp.finfo(after).nmant < jnp.finfo(before).nmant:
                yield str(after)
        for inner in _inside(equation):
            yield from casts_down(inner)


def has_draws(jaxpr: Any) -> bool:
    """Whether random bits are drawn."""
    return any(
        equation.primitive.name in _DRAWS or any(map(has_draws, _inside(equation))) for equation in jaxpr.eqns
    )


def draws_fixed(jaxpr: Any, varies: list[bool]) -> bool:
    """Whether random bits are drawn from what does not vary, given which arguments do."""
    varying = {variable for variable, varied in zip(jaxpr.invars, varies, strict=True) if varied}
    for equation in jaxpr.eqns:
        flags = [_is_in(variable, varying) for variable in equation.invars]
        if equation.primitive.name in _DRAWS and not any(flags):
            return True
        for inner in _inside(equation):
            matches = len(inner.invars) == len(flags)
            if draws_fixed(inner, flags if matches else [True] * len(inner.invars)):
                return True
        if any(flags):
            varying.update(equation.outvars)
    return False


def _is_in(variable: Any, found: set[Any]) -> bool:
    return not hasattr(variable, "val") and variable in found
