"""Whether a cell may be trained by its parts: its `step` is `gated_step` and nothing more.

`step` and the gated step are traced, forward and backward, and have to be the same program, operation for
operation. That is a proof, where numbers at some points would be a sample: they do not show a state that is cut
off at 50, or cleared where an input is exactly 1. A step that is the same mathematics by other operations only
loses speed: such a cell is trained through its `step`, as one without parts is.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells import Carry, Cell, GatedCell, Params
from gradlab.cells.base import gated_step, is_built_in, is_gated
from gradlab.cells.traced import traced

WEIGHTS = ("w_x", "w_h", "b")
"""The weights whose gradients the fast path computes itself."""


def takes_fast_path(cell: Cell, params: Params, inputs: Array) -> TypeGuard[GatedCell]:
    """Whether a cell states its parts and its `step` is these and nothing more, as of every built-in cell.

    Args:
        params, inputs: parameters of the cell and inputs (T, B, I), or tracers; their shapes alone are used.
    """
    if not is_gated(cell) or is_built_in(cell):
        return is_gated(cell)
    x_t = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
    try:
        params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
        carry = jax.eval_shape(lambda params: cell.carry(params, x_t.shape[0]), params)
        return (
            _fits(params, carry, x_t)
            and _adds_a_bias(cell, params)
            and _is_linear(cell, params, x_t)
            and _same_program(
                partial(_value_and_pullback, cell.step),
                partial(_value_and_pullback, partial(gated_step, cell)),
                (params, carry, x_t),
                (carry, carry["h"]),
            )
        )
    except Exception:  # whatever parts raise that do not fit each other: then `step` alone counts
        return False


def _fits(params: Params, carry: Carry, x_t: Any) -> bool:
    """Whether parameters and state have the layout that `GatedCell` asks for, in one float dtype."""
    hidden, blocks = params["w_h"].shape
    layout = {"w_x": (x_t.shape[-1], blocks), "w_h": (hidden, blocks), "b": (blocks,)}
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((params, carry, x_t))}
    return (
        type(params) is type(carry) is dict
        and all(params[name].shape == shape for name, shape in layout.items())
        and carry["h"].shape == (x_t.shape[0], hidden)
        and len(dtypes) == 1
        and bool(jnp.issubdtype(dtypes.pop(), jnp.floating))
    )


def _adds_a_bias(cell: GatedCell, params: Params) -> bool:
    """Whether b_r is a bias (G·H,) of other parameters, whose gradient nothing else overwrites."""
    others = {name: leaf for name, leaf in params.items() if name not in WEIGHTS}
    b_r = jax.eval_shape(cell.recurrent_bias, others)
    return b_r is None or b_r.shape == params["b"].shape


def _is_linear(cell: GatedCell, params: Params, x_t: Any) -> bool:
    """Whether `join` transposed as a linear map is `join` differentiated."""
    block = jax.ShapeDtypeStruct((x_t.shape[0], *params["b"].shape), x_t.dtype)

    def transposed(at: tuple[Array, Array], d_pre: Array) -> Any:
        return cell.join(*at), jax.linear_transpose(cell.join, *at)(d_pre)

    d_pre = jax.eval_shape(cell.join, block, block)
    return _same_program(transposed, partial(_value_and_pullback, cell.join), (block, block), d_pre)


def _value_and_pullback(function: Callable[..., Any], at: tuple[Any, ...], cotangent: Any) -> tuple[Any, Any]:
    value, pullback = jax.vjp(function, *at)
    return value, pullback(cotangent)


def _same_program(one: Callable[..., Any], other: Callable[..., Any], *shapes: Any) -> bool:
    """Whether two functions apply the same operations in the same order to the same constants."""
    return traced(one, *shapes) == traced(other, *shapes)
