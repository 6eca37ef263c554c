"""One timestep of a cell and its pullback, evaluated on a few examples in numpy; `assumptions.py` is built on it.

One small program is compiled for a step, shared by all cells whose step is the same (`cells/traced.py`).
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Carry, Cell, Params
from gradlab.cells.traced import TraceCache, digest
from gradlab.gradient.state import as_arrays, has_batch_axis, is_float, leaf_names, split

Cotangent = list[np.ndarray]
"""A gradient for each float leaf of the next state and, last, for the output."""

EXAMPLES = 8
"""Examples on which a cell is tried."""
UNOPTIMISED: dict[str, Any] = {"xla_backend_optimization_level": 0}
"""For a program called a few times on a few examples: optimising it costs more than it saves."""
_DTYPE = re.compile(r"\b(bf16|f16|f32|f64|c64|c128|f8\w*|f4\w*)\[")
_FLOAT32, _FLOAT64, _EIGHT_BITS = (2.0**-23, -126), (2.0**-52, -1022), (2.0**-2, -9)
"""Of number formats, the distance from 1 to the next number and the exponent of the smallest one."""
_FORMATS = {"f32": _FLOAT32, "c64": _FLOAT32, "f64": _FLOAT64, "c128": _FLOAT64}
_FORMATS |= {"bf16": (2.0**-7, -126), "f16": (2.0**-10, -24)}
_programs = TraceCache(16)


class Trial(NamedTuple):
    """A cell at a state of a few examples.

    Attributes:
        program: (params, carry, x_t, [d of each float leaf of sₜ], d yₜ) -> (sₜ, yₜ), ([d of each float leaf of
            sₜ₋₁], d xₜ or None where that is not of floats); compiled.
        precision: the coarsest rounding of any number in it, and the exponent of the smallest one that is kept.
        carry, x_t: numpy arrays, and random keys.
        results: the shapes of the float leaves of sₜ and of yₜ.
        batched: for each leaf of the state, whether it has a row for each example.
        names: of the float leaves.
        examples: their indices in the batch.
    """

    cell: Cell
    program: Any
    precision: tuple[float, int]
    params: Params
    carry: Carry
    x_t: Any
    results: list[Any]
    batched: list[bool]
    names: list[str]
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
        """Standard Gaussian ones."""
        return [gaussian(rng, result.shape, result.dtype) for result in self.results]

    def zeros(self) -> Cotangent:
        """No gradient for any leaf of the next state and for the output."""
        return [np.zeros(result.shape, result.dtype) for result in self.results]

    def moved(self, rng: np.random.RandomState, members: np.ndarray) -> "Trial":
        """At another state and input of some examples: those of a neighbour, changed by a random amount."""
        order = np.arange(len(self.examples))
        order = np.where(members, np.roll(order, 1), order)
        leaves, treedef = jax.tree.flatten(self.carry)
        new = [
            _shifted(rng, leaf, order, members) if batched and is_float(leaf) else leaf
            for leaf, batched in zip(leaves, self.batched, strict=True)
        ]
        return self.at(jax.tree.unflatten(treedef, new), _shifted(rng, self.x_t, order, members))

    def _call(self, cotangent: Cotangent) -> Any:
        return self.program(self.params, self.carry, self.x_t, cotangent[:-1], cotangent[-1])


def trial(cell: Cell, params: Params, carry: Carry, x_t: Any) -> Trial:
    """A cell at this state, cut to a few examples or, of one, made two; every float leaf has a row for each."""
    carry, size = as_arrays(carry), len(x_t)
    batched = has_batch_axis(cell, params, carry, size)
    few = list(range(min(size, EXAMPLES))) if size > 1 else [0, 0]
    try:
        found = _of_rows(cell, params, carry, x_t, batched, few)
    except Exception:  # a cell may be written for this number of examples alone
        return _of_rows(cell, params, carry, x_t, batched, list(range(size)))
    return found if size > 1 else found.moved(np.random.RandomState(0), np.array([False, True]))


def _of_rows(cell: Cell, params: Params, carry: Carry, x_t: Any, batched: list[bool], rows: list[int]) -> Trial:
    leaves, treedef = jax.tree.flatten(carry)
    leaves = [rows_of(leaf, rows) if row else leaf for leaf, row in zip(leaves, batched, strict=True)]
    few, inputs = jax.tree.unflatten(treedef, leaves), rows_of(x_t, rows)
    s_t, y_t = jax.eval_shape(cell.step, params, few, inputs)
    results = [*split(s_t)[0], y_t]
    arguments = params, few, inputs, results[:-1], results[-1]
    traced = jax.jit(_step_and_pullback(cell)).trace(*arguments)
    devices = str([getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(arguments)])
    key = digest(traced.jaxpr, arguments, traced.out_info), devices
    program = _programs.get(key, lambda: traced.lower().compile(UNOPTIMISED))
    formats = [_FORMATS.get(dtype, _EIGHT_BITS) for dtype in set(_DTYPE.findall(str(traced.jaxpr)))]
    precision = max((eps for eps, _ in formats), default=0.0), max((least for _, least in formats), default=0)
    return Trial(cell, program, precision, params, few, inputs, results, batched, leaf_names(carry)[0], rows)


def _step_and_pullback(cell: Cell) -> Any:
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

    return program


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
    return np.where(members.reshape(-1, *[1] * (leaf.ndim - 1)), shifted, leaf)


# ---------------------------------------------------------------- arrays of numpy


def rows_of(leaf: Any, index: list[int]) -> Any:
    """Rows of an array as numpy holds them; of random keys, which it cannot hold, as they are."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return leaf[jnp.asarray(index)]
    return np.asarray(leaf)[index]


def gaussian(rng: np.random.RandomState, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Standard Gaussian numbers, complex where the dtype is."""
    values = rng.standard_normal(shape)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        values = values + 1j * rng.standard_normal(shape)
    return np.asarray(values).astype(dtype)


def wide(leaf: Any) -> np.ndarray:
    """An array in float64 or complex128."""
    return np.asarray(leaf).astype(np.complex128 if jnp.iscomplexobj(leaf) else np.float64)


def masked(leaf: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Zero for every example that is no member."""
    kept = leaf.copy()
    kept[~members] = np.zeros((), leaf.dtype)
    return kept


def times(gradients: Cotangent, factor: Any) -> Cotangent:
    """Gradients times a factor, rounded to their own dtypes."""
    with np.errstate(over="ignore", invalid="ignore"):
        return [(wide(leaf) * factor).astype(leaf.dtype) for leaf in gradients]


def is_reached(gradient: np.ndarray) -> bool:
    """Whether any entry is finite and not zero; zero times infinity is NaN, which says nothing of its origin."""
    return bool(np.any(np.isfinite(gradient) & (gradient != 0)))


def peak(values: np.ndarray) -> float:
    """The largest finite modulus."""
    modulus = np.abs(values)
    return float(np.max(modulus, initial=0.0, where=np.isfinite(modulus)))


def first_difference(
    expected: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    tolerance: float,
    floors: Mapping[str, float],
) -> str:
    """The first leaf whose finite entries differ by more than a share of the largest and a floor; "" if none."""
    for name, leaf in expected.items():
        with np.errstate(invalid="ignore"):
            difference = peak(found[name] - leaf)
        if difference > tolerance * peak(leaf) + floors.get(name, 0.0):
            return name
    return ""
