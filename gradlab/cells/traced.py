"""Whether two functions are the same one: what jax traces of them, to the last bit of every constant.

An equality that a class defines, or that follows from some of its fields, says nothing about what it computes.
"""

import hashlib
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.cells.base import Cell, is_gated, pre_activation

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def traced(function: Callable[..., Any], *arguments: Any) -> str:
    """A digest of what a function computes of arguments of these shapes; no two are alike where it calls Python.

    Args:
        function: a pure function of pytrees of arrays.
        arguments: arrays, or their shapes and dtypes.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.ones(3)
        >>> traced(lambda x: 2 * x, x) == traced(lambda y: 2 * y, x), traced(jnp.sin, x) == traced(jnp.cos, x)
        (True, False)
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    text = _ADDRESS.sub("", str(closed.jaxpr))
    if "callback" in text:  # what Python computes is not in the text, so nobody can say that it is the same
        text += uuid.uuid4().hex
    digest = hashlib.blake2b(digest_size=16)
    # The text shows neither the names of what comes back nor, in full, what an array holds.
    for part in (text, str(jax.tree.structure(arguments)), str(jax.tree.structure(shapes))):
        digest.update(part.encode() + b"\0")
    for array in _arrays(closed):
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def traced_step(cell: Cell, hidden_size: int, x_t: Any) -> str:
    """A digest of everything that a measurement calls of a cell but for `init`: initial state, step and gates.

    Cells that share it may share what is compiled, though they start with other weights.

    Args:
        hidden_size: H. x_t: (B, I), an input of one timestep, or its shape and dtype.

    Raises:
        Exception: whatever the cell raises.

    Example:
        >>> from gradlab.cells import lstm
        >>> x_t = jnp.ones((2, 1))
        >>> traced_step(lstm(forget_bias=3.0), 4, x_t) == traced_step(lstm(), 4, x_t)
        True
        >>> traced_step(lstm(forget_gate=False), 4, x_t) == traced_step(lstm(), 4, x_t)
        False
    """
    examples, input_size = x_t.shape
    params = jax.eval_shape(lambda key: cell.init(key, input_size, hidden_size), jax.random.key(0))
    start = jax.eval_shape(lambda params: cell.carry(params, examples), params)
    parts = [
        traced(lambda params: cell.carry(params, examples), params),
        traced(with_backward(cell.step), params, start, x_t),
    ]
    if is_gated(cell):

        def gates(params: Any, carry: Any, x_t: Any) -> Any:
            pre_t = pre_activation(cell, params, carry, x_t)
            return pre_t, cell.gates(pre_t, carry), cell.gate_values(pre_t)

        parts += [traced(with_backward(gates), params, start, x_t), repr(cell.gate_bounds())]
    return " ".join(parts)


def with_backward(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that returns what another returns and the pull-back of ones, so that a trace shows both."""

    def both(*arguments: Any) -> Any:
        value, pull = jax.vjp(function, *arguments)
        return value, pull(jax.tree.map(_cotangent, value))

    return both


def _cotangent(leaf: Any) -> Any:
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.ones_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


def _arrays(value: Any) -> Iterator[np.ndarray]:
    """Every array that a jaxpr holds, those of the jaxprs within it too."""
    for constant in getattr(value, "consts", ()):
        yield from _array(constant)
    inner = getattr(value, "jaxpr", value)
    for equation in getattr(inner, "eqns", ()):
        for argument in equation.invars:
            if hasattr(argument, "val"):
                yield from _array(argument.val)
        for parameter in equation.params.values():
            for each in parameter if isinstance(parameter, tuple | list) else (parameter,):
                yield from _arrays(each)


def _array(constant: Any) -> Iterator[np.ndarray]:
    if jax.dtypes.issubdtype(getattr(constant, "dtype", np.dtype(float)), jax.dtypes.prng_key):
        constant = jax.random.key_data(constant)
    yield np.asarray(constant)
