"""One timestep of a cell, tried on a few examples: what it returns, and what it pulls back.

This is what `assumptions.py` asks its questions with. One small program is compiled for a cell, its step with the
pullback; everything around it is numpy, because compiling every slice and sum would take longer than that.
"""

import re
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Carry, Cell, Params
from gradlab.gradient.adjoint import leaf_names, split
from gradlab.gradient.cotangents import Cotangent, gaussian, wide
from gradlab.gradient.shapes import arrays, batched, is_float

EXAMPLES = 8
"""Examples on which a cell is tried."""
CURSORY = {"xla_backend_optimization_level": 0}
"""For a program called a few times on a few examples: a compiler that thinks longer costs more than it saves."""
_DTYPE = re.compile(r"\b(bf16|f16|f32|f64|c64|c128|f8\w*|f4\w*)\[")
_FLOAT32, _FLOAT64 = (2.0**-23, -126), (2.0**-52, -1022)
_FORMATS = {"f32": _FLOAT32, "c64": _FLOAT32, "f64": _FLOAT64, "c128": _FLOAT64}
_FORMATS |= {"bf16": (2.0**-7, -126), "f16": (2.0**-10, -24)}
_EIGHT_BITS = (2.0**-2, -9)
"""Of number formats, the distance from 1 to the next number and the exponent of the smallest that is kept."""


class Trial(NamedTuple):
    """A cell at a state of a few examples.

    Attributes:
        program: (params, carry, x_t, [d of each float leaf of sₜ], d yₜ) -> (sₜ, yₜ), ([d of each float leaf of
            sₜ₋₁], d xₜ or None where that is not of floats).
        carry, x_t: arrays of numpy, but for random keys.
        results: the shapes of the float leaves of sₜ and of yₜ.
        flags: for each leaf of the state, whether it has a row for each example.
        names: of the float leaves. of_floats: the flags of these.
        examples: which ones of the batch these are.
    """

    cell: Cell
    program: Any
    params: Params
    carry: Carry
    x_t: Any
    results: list[Any]
    flags: list[bool]
    names: list[str]
    of_floats: list[bool]
    examples: list[int]

    def step(self) -> tuple[Carry, Any]:
        """The next state and the output."""
        return self._call(self.zeros())[0]

    def at(self, carry: Carry, x_t: Any) -> "Trial":
        """The same at another state and input."""
        return self._replace(carry=carry, x_t=x_t)

    def pull(self, cotangent: Cotangent) -> dict[str, np.ndarray]:
        """Gradients by name of leaf, of the input by `x`, from those of the next state's leaves and the output."""
        d_floats, d_x = self._call(cotangent)[1]
        found = {name: wide(leaf) for name, leaf in zip(self.names, d_floats, strict=True)}
        return found if d_x is None else found | {"x": wide(d_x)}

    def cotangents(self, rng: np.random.RandomState) -> Cotangent:
        """Gaussian ones of size 1 for each float leaf of the next state and for the output."""
        return [gaussian(rng, result.shape, result.dtype) for result in self.results]

    def precision(self) -> tuple[float, int]:
        """The coarsest rounding of any number on the way, and the exponent of the smallest one that is kept."""
        zeros = self.zeros()
        traced = self.program.trace(self.params, self.carry, self.x_t, zeros[:-1], zeros[-1])
        seen = [_FORMATS.get(dtype, _EIGHT_BITS) for dtype in set(_DTYPE.findall(str(traced.jaxpr)))]
        return max((eps for eps, _ in seen), default=0.0), max((smallest for _, smallest in seen), default=0)

    def zeros(self) -> Cotangent:
        """No gradient for any leaf of the next state and for the output."""
        return [np.zeros_like(leaf) for leaf in self.cotangents(np.random.RandomState(0))]

    def _call(self, cotangent: Cotangent) -> Any:
        return self.program(self.params, self.carry, self.x_t, cotangent[:-1], cotangent[-1])


def trial(cell: Cell, params: Params, carry: Carry, x_t: Any) -> Trial | None:
    """A cell at this state, cut to a few examples or, of one, made two; None where no leaf is of floats."""
    carry, size = arrays(carry), len(x_t)
    flags = batched(cell, params, carry, size)
    if not leaf_names(carry)[0] or not any(flags):
        return None
    few = list(range(min(size, EXAMPLES))) if size > 1 else [0, 0]
    try:
        found = _of_rows(cell, params, carry, x_t, flags, few)
    except Exception:  # a cell may be written for this number of examples alone
        return _of_rows(cell, params, carry, x_t, flags, list(range(size)))
    if size > 1:
        return found
    return found.at(*moved(found, np.random.RandomState(0), np.array([False, True])))


def _of_rows(cell: Cell, params: Params, carry: Carry, x_t: Any, flags: list[bool], rows: list[int]) -> Trial:
    leaves, treedef = jax.tree.flatten(carry)
    leaves = [rows_of(leaf, rows) if flag else leaf for leaf, flag in zip(leaves, flags, strict=True)]
    few, inputs = jax.tree.unflatten(treedef, leaves), rows_of(x_t, rows)
    of_floats = [flag for leaf, flag in zip(leaves, flags, strict=True) if is_float(leaf)]
    s_t, y_t = jax.eval_shape(cell.step, params, few, inputs)
    results = [*split(s_t)[0], y_t]
    names = leaf_names(carry)[0]
    return Trial(cell, program_of(cell), params, few, inputs, results, flags, names, of_floats, rows)


def moved(trial: Trial, rng: np.random.RandomState, members: np.ndarray) -> tuple[Carry, Any]:
    """Another state and input of some examples: those of a neighbour, and a random amount beside them."""
    order = np.arange(len(trial.examples))
    order = np.where(members, np.roll(order, 1), order)
    leaves, treedef = jax.tree.flatten(trial.carry)
    new = [
        _shifted(rng, leaf, order, members) if flag and is_float(leaf) else leaf
        for leaf, flag in zip(leaves, trial.flags, strict=True)
    ]
    return jax.tree.unflatten(treedef, new), _shifted(rng, trial.x_t, order, members)


def _shifted(rng: np.random.RandomState, leaf: Any, order: np.ndarray, members: np.ndarray) -> np.ndarray:
    leaf = np.asarray(leaf)
    turned = leaf[order]
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return turned
    values = wide(turned)
    finite = values[np.isfinite(values)]
    size = float(np.sqrt(np.mean(np.abs(finite) ** 2))) if finite.size else 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        # Signs stay, because a state may be a logarithm or a positive sum.
        values = values * np.exp(0.3 * rng.standard_normal(leaf.shape))
        values = values + 0.3 * (size or 1.0) * np.abs(rng.standard_normal(leaf.shape)) * np.sign(
            values.real + 0.5
        )
        shifted = values.astype(leaf.dtype)
    mask = members.reshape(-1, *[1] * (leaf.ndim - 1))
    return np.where(mask, shifted, leaf)


def rows_of(leaf: Any, index: list[int]) -> Any:
    """Rows of an array as numpy holds them; of random keys, which it cannot hold, as they are."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return leaf[jnp.asarray(index)]
    return np.asarray(leaf)[index]


def program_of(cell: Cell) -> Any:
    """The program of a cell: the same one as long as it is the same object with the same attributes."""
    try:
        return _shared(_Same(cell), getattr(type(cell), "step", None), tuple(sorted(vars(cell).items())))
    except TypeError:  # attributes that are arrays, or none that could be looked at
        return _compiled(cell)


class _Same:
    """An object that equals itself alone, and is kept, so that its identity is given to no other."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.cell is self.cell

    def __hash__(self) -> int:
        return id(self.cell)


@lru_cache(maxsize=16)
def _shared(same: _Same, *_: Any) -> Any:
    return _compiled(same.cell)


def _compiled(cell: Cell) -> Any:
    def program(params: Params, carry: Carry, x_t: Array, d_floats: list[Array], d_y: Array) -> tuple[Any, Any]:
        floats, rebuild = split(carry)

        def step(floats: list[Array], x_t: Array) -> tuple[tuple[list[Array], Array], tuple[Carry, Array]]:
            s_t, y_t = cell.step(params, rebuild(floats), x_t)
            return (split(s_t)[0], y_t), (s_t, y_t)

        with jax.default_matmul_precision("highest"):
            if jnp.issubdtype(x_t.dtype, jnp.inexact):
                _, pullback, result = jax.vjp(step, floats, x_t, has_aux=True)
                return result, pullback((d_floats, d_y))
            _, pullback, result = jax.vjp(lambda floats: step(floats, x_t), floats, has_aux=True)
            return result, (*pullback((d_floats, d_y)), None)

    return jax.jit(program, compiler_options=CURSORY)
