"""A cell in mixed precision: weights, states and sums in float32, the operands of products in bfloat16.

What matrix units compute of a float32 network (Kalamkar et al. 2019, "A Study of BFLOAT16 for Deep Learning
Training", section 3, https://arxiv.org/abs/1905.12322). CPUs ignore jax's setting for it, so the products of a
traced timestep are rounded here.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from gradlab.cells import Carry, Cell, Params

_PRODUCTS = ("dot_general", "conv_general_dilated")
# What they call is computed in their place: a rule for derivatives of their own would see nothing of the rounding.
_CALLS = ("custom_jvp_call", "custom_vjp_call", "checkpoint", "remat2", "closed_call", "core_call")


class MixedPrecision:
    """A cell that computes as another one does, but for operands of matrix products and convolutions.

    c = round(a) · round(b), dL/da = round(dL/dc) · round(b)ᵀ, dL/db = round(a)ᵀ · round(dL/dc), each summed in the
    dtype of the cell.
    """

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """The parameters of the cell."""
        return self._cell.init(key, input_size, hidden_size)

    def carry(self, params: Params, batch_size: int) -> Carry:
        """The initial state of the cell."""
        return self._cell.carry(params, batch_size)

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """One timestep of the cell."""
        given = (params, carry, x_t)
        closed, shapes = jax.make_jaxpr(self._cell.step, return_shape=True)(*given)
        leaves = _rounding(closed.jaxpr, closed.consts)(*jax.tree.leaves(given))
        state, y_t = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
        return state, y_t


def _rounding(jaxpr: Any, constants: Sequence[Any]) -> Callable[..., list[Any]]:
    """What a jaxpr computes, with rounded operands of products."""

    def evaluate(*arguments: Any) -> list[Any]:
        values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *arguments), strict=True))

        def read(variables: Sequence[Any]) -> list[Any]:
            return [variable.val if hasattr(variable, "val") else values[variable] for variable in variables]

        for equation in jaxpr.eqns:
            values.update(zip(equation.outvars, _results(equation, read(equation.invars)), strict=True))
        return read(jaxpr.outvars)

    return evaluate


def _results(equation: Any, arguments: list[Any]) -> list[Any]:
    primitive, params = equation.primitive, equation.primitive.get_bind_params(equation.params)
    if primitive.name in _PRODUCTS:
        return [_product(lambda a, b: primitive.bind(a, b, **params), *arguments)]
    if _has_products(equation):
        if primitive.name in _CALLS:
            (called,) = filter(_is_jaxpr, equation.params.values())
            return _rounding(getattr(called, "jaxpr", called), getattr(called, "consts", ()))(*arguments)
        params = {name: _replaced(value) for name, value in params.items()}
    found = primitive.bind(*arguments, **params)
    return list(found) if primitive.multiple_results else [found]


def _product(bind: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
    @jax.custom_vjp
    def product(a: Array, b: Array) -> Array:
        return bind(_round(a), _round(b))

    def backward(kept: tuple[Array, Array], cotangent: Array) -> tuple[Array, ...]:
        return jax.vjp(bind, *map(_round, kept))[1](_round(cotangent))

    product.defvjp(lambda a, b: (product(a, b), (a, b)), backward)
    return product(a, b)


def _round(operand: Array) -> Array:
    """To the nearest number of bfloat16, in the dtype that it has."""
    if not jnp.issubdtype(operand.dtype, jnp.floating):
        return operand
    info = jnp.finfo(jnp.bfloat16)
    return lax.reduce_precision(operand, exponent_bits=info.nexp, mantissa_bits=info.nmant)


def _has_products(equation: Any) -> bool:
    if equation.primitive.name in _PRODUCTS:
        return True
    inner = filter(_is_jaxpr, chain.from_iterable(map(_listed, equation.params.values())))
    return any(_has_products(each) for jaxpr in inner for each in jaxpr.eqns)


def _replaced(value: Any) -> Any:
    """A parameter of an equation, with rounding jaxprs in the place of those that it holds."""
    if isinstance(value, tuple | list):
        return type(value)(map(_replaced, value)) if any(map(_is_jaxpr, value)) else value
    if not _is_jaxpr(value):
        return value
    return jax.make_jaxpr(_rounding(value.jaxpr, value.consts))(*value.in_avals)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple | list) else (value,)


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns")
