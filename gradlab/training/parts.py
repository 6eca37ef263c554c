"""Whether a cell of one's own is what its parts say, and nothing more: a subclass may do anything in its `step`.

`step` and the gated step are traced, forward and backward, and have to be the same program, operation for
operation. That is a proof, where numbers at some points would be a sample: they do not show a state that is cut
off at 50, or cleared where an input is exactly 1. A step that is the same mathematics by other operations loses
speed alone: such a cell is trained through its `step`, as one without parts is.
"""

from collections.abc import Callable, Hashable
from functools import lru_cache, partial
from typing import Any

import jax
from jax import Array

from gradlab.cells import Carry, GatedCell, Params
from gradlab.cells.base import gated_step
from gradlab.cells.traced import traced

WEIGHTS = ("w_x", "w_h", "b")
"""What the backward pass of the fast path has a product of its own for."""


class _Same:
    """An object that equals itself alone, with all that its step is made of: it need not be comparable."""

    def __init__(self, cell: GatedCell) -> None:
        kind = type(cell)
        self.cell = cell
        self.made_of = (*(getattr(kind, name) for name in _STEPS), *sorted(vars(cell).items()))

    def __hash__(self) -> int:
        return hash((id(self.cell), self.made_of))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.cell is other.cell and self.made_of == other.made_of


_STEPS = ("carry", "step", "join", "gates", "recurrent_bias")


def is_its_parts(cell: GatedCell, params: Params, inputs: Array) -> bool:
    """Whether the `step` of a cell is `gated_step`, of parts that the fast path can take.

    Looked at once for each cell and shapes.

    Args:
        cell: it states its parts.
        params: of the cell. inputs: (T, B, I). Of both, arrays or tracers, the shapes alone are looked at.
    """
    try:
        x_t = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
        leaves, structure = jax.tree.flatten((shapes, x_t))
        try:
            return _cached(_Same(cell), structure, tuple(leaves))
        except TypeError:  # attributes of one's own that are arrays
            return _is_its_parts(cell, shapes, x_t)
    except Exception:  # whatever parts raise that do not fit each other: then `step` alone is what counts
        return False


@lru_cache(maxsize=64)
def _cached(same: _Same, structure: Any, leaves: tuple[Hashable, ...]) -> bool:
    return _is_its_parts(same.cell, *structure.unflatten(leaves))


def _is_its_parts(cell: GatedCell, params: Params, x_t: Any) -> bool:
    carry = jax.eval_shape(lambda params: cell.carry(params, x_t.shape[0]), params)
    return (
        _fits(params, carry, x_t)
        and _adds_a_bias(cell, params)
        and _is_linear(cell, params, x_t)
        and _same_program(
            partial(_both_ways, cell.step),
            partial(_both_ways, partial(gated_step, cell)),
            (params, carry, x_t),
            (carry, carry["h"]),
        )
    )


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
        and jax.numpy.issubdtype(dtypes.pop(), jax.numpy.floating)
    )


def _adds_a_bias(cell: GatedCell, params: Params) -> bool:
    """Whether b_r is a bias (G·H,) of other parameters, whose gradient nothing else is written over."""
    others = {name: leaf for name, leaf in params.items() if name not in WEIGHTS}
    b_r = jax.eval_shape(cell.recurrent_bias, others)
    return b_r is None or b_r.shape == params["b"].shape


def _is_linear(cell: GatedCell, params: Params, x_t: Any) -> bool:
    """Whether `join` transposed as a linear map is `join` differentiated."""
    block = jax.ShapeDtypeStruct((x_t.shape[0], *params["b"].shape), x_t.dtype)

    def transposed(at: tuple[Array, Array], d_pre: Array) -> Any:
        return cell.join(*at), jax.linear_transpose(cell.join, *at)(d_pre)

    d_pre = jax.eval_shape(cell.join, block, block)
    return _same_program(transposed, partial(_both_ways, cell.join), (block, block), d_pre)


def _both_ways(function: Callable[..., Any], at: tuple[Any, ...], cotangent: Any) -> tuple[Any, Any]:
    """The value of a function, and its pullback of a cotangent."""
    value, pullback = jax.vjp(function, *at)
    return value, pullback(cotangent)


def _same_program(one: Callable[..., Any], other: Callable[..., Any], *shapes: Any) -> bool:
    """Whether two functions apply the same operations in the same order to the same constants."""
    return traced(one, *shapes) == traced(other, *shapes)
