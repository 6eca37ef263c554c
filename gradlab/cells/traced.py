"""Functions compared by what jax traces of them, to the last bit of every constant.

An equality that a class defines, or that follows from some of its fields, says nothing about what it computes: a
field that `__eq__` leaves out, or a constant of its module, may have changed since.
"""

import hashlib
import re
import uuid
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.cells.base import Cell, is_gated, pre_activation

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class TraceCache:
    """Values by a digest of what their functions compute; beyond `size` the least recently used is dropped.

    Example:
        >>> cache = TraceCache(size=1)
        >>> [cache.get(key, lambda: key.upper()) for key in "aab"], cache.get("b", lambda: "made again")
        (['A', 'A', 'B'], 'B')
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of a key, made if it is new."""
        value = self._kept.pop(key, None)
        if value is None:
            value = make()
        self._kept[key] = value
        while len(self._kept) > self.size:
            self._kept.pop(next(iter(self._kept)), None)
        return value

    def clear(self) -> None:
        """Drop all values."""
        self._kept.clear()


def traced(function: Callable[..., Any], *arguments: Any) -> str:
    """A digest of what a function computes of arguments of these shapes.

    Args:
        function: a pure function of pytrees of arrays.
        arguments: arrays, or their shapes and dtypes.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.ones(3)
        >>> traced(lambda x: 2 * x, x) == traced(lambda y: 2 * y, x), traced(jnp.sin, x) == traced(jnp.cos, x)
        (True, False)
    """
    closed, results = jax.make_jaxpr(function, return_shape=True)(*arguments)
    return digest(closed, arguments, results)


def digest(closed: Any, arguments: Any, results: Any) -> str:
    """A digest of a closed jaxpr between two pytrees; no two are alike where it calls back into Python."""
    text = _ADDRESS.sub("", str(closed.jaxpr))
    if "callback" in text:  # the text does not show what Python computes
        text += uuid.uuid4().hex
    found = hashlib.blake2b(digest_size=16)
    # The text shows neither the names of what comes back nor, in full, what an array holds.
    for part in (text, str(jax.tree.structure(arguments)), str(jax.tree.structure(results))):
        found.update(part.encode() + b"\0")
    for array in _arrays(closed):
        found.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()


def description(jaxpr: Any) -> bytes | None:
    """What a jaxpr and its derivative compute, but for the values of its constants; None where no text says it.

    Example:
        >>> def of(function):
        ...     return description(jax.make_jaxpr(function)(1.0).jaxpr)
        >>> of(lambda x: x * np.ones(3)) == of(lambda x: x * np.zeros(3)), of(jax.nn.relu)
        (True, None)
    """
    text = str(jaxpr)
    # A derivative of its own, Python, or an array that is too large to be printed.
    if any(word in text for word in ("custom_", "callback", "...")) or _ADDRESS.search(text):
        return None
    arrays = (f"{array.dtype}{array.shape}".encode() + array.tobytes() for array in _arrays(jaxpr))
    return b"\0".join((text.encode(), *arrays))


def is_reproducible(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether two traces of a function have the same constants, as those that draw from NumPy have not.

    Example:
        >>> shape = jax.ShapeDtypeStruct((), float)
        >>> is_reproducible(lambda x: 2 * x, shape), is_reproducible(lambda x: np.random.rand() * x, shape)
        (True, False)
    """

    def constants() -> list[bytes]:
        # A function of its own, because jax keeps the trace of one that it knows.
        closed = jax.make_jaxpr(lambda *arguments: function(*arguments))(*arguments)
        return [each.tobytes() for each in _arrays(closed)]

    return constants() == constants()


def traced_step(cell: Cell, hidden_size: int, x_t: Any) -> str:
    """A digest of everything that a measurement calls of a cell but for `init`: initial state, step and gates.

    Cells that share it may share compiled programs, though they start with other weights.

    Args:
        hidden_size: H. x_t: (B, I), an input of one timestep, or its shape and dtype.

    Example:
        >>> from gradlab.cells import lstm
        >>> x_t = jnp.ones((2, 1))
        >>> traced_step(lstm(forget_bias=3.0), 4, x_t) == traced_step(lstm(), 4, x_t)
        True
    """
    examples, input_size = x_t.shape
    params = jax.eval_shape(lambda key: cell.init(key, input_size, hidden_size), jax.random.key(0))
    start = jax.eval_shape(lambda params: cell.carry(params, examples), params)
    parts = [
        traced(lambda params: cell.carry(params, examples), params),
        traced(with_pullback(cell.step), params, start, x_t),
    ]
    if is_gated(cell):

        def gates(params: Any, carry: Any, x_t: Any) -> Any:
            pre_t = pre_activation(cell, params, carry, x_t)
            return pre_t, cell.gates(pre_t, carry), cell.gate_values(pre_t)

        parts += [traced(with_pullback(gates), params, start, x_t), repr(cell.gate_bounds())]
    return " ".join(parts)


def with_pullback(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function and its pullback of ones, so that a trace shows both."""

    def both(*arguments: Any) -> Any:
        value, pullback = jax.vjp(function, *arguments)
        return value, pullback(jax.tree.map(_ones, value))

    return both


def _ones(leaf: Any) -> Any:
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.ones_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


def _arrays(value: Any) -> Iterator[np.ndarray]:
    """Every array that a jaxpr holds, those of nested jaxprs too."""
    yield from map(_array, getattr(value, "consts", ()))
    for equation in getattr(getattr(value, "jaxpr", value), "eqns", ()):
        yield from (_array(argument.val) for argument in equation.invars if hasattr(argument, "val"))
        for parameter in equation.params.values():
            for each in parameter if isinstance(parameter, tuple | list) else (parameter,):
                yield from _arrays(each)


def _array(constant: Any) -> np.ndarray:
    if jax.dtypes.issubdtype(getattr(constant, "dtype", np.dtype(float)), jax.dtypes.prng_key):
        constant = jax.random.key_data(constant)
    return np.asarray(constant)
