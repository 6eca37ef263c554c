"""A cell with parameters, inputs and the states it goes through, in float32 and in float64.

One small program, a timestep and its pullback to state, input and parameters, is compiled for each of the two;
nearly all examinations call nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Carry, Cell, Params
from gradlab.gradient.examination.jaxprs import has_draws
from gradlab.gradient.state import as_arrays, is_float, leaf_names, split
from gradlab.gradient.trial import UNOPTIMISED, gaussian, wide
from gradlab.gradient.verified import in_dtype

LONGEST = 255
"""Timesteps of the path along which a cell is examined."""
FEW = 12
"""Timesteps where every one of them costs something."""

Floats = list[np.ndarray]


class CellSizes(NamedTuple):
    """How large the examined cell is, and the seed of its parameters and inputs."""

    input_size: int = 3
    hidden_size: int = 8
    batch_size: int = 4
    seed: int = 0


class StepArguments(NamedTuple):
    """Arguments of `step`, in NumPy, random keys apart."""

    params: Params
    carry: Carry
    x_t: np.ndarray


class Pulled(NamedTuple):
    """Gradients with respect to the float leaves of the parameters, those of the state, and the input."""

    params: Floats
    carry: Floats
    x_t: np.ndarray


@dataclass(frozen=True)
class Trajectory:
    """A cell along its inputs, in one precision.

    Attributes:
        inputs: (T, B, I). start: the state s₀.
        x64: whether it is computed in 64 bits.
    """

    cell: Cell
    params: Params
    start: Carry
    inputs: np.ndarray
    x64: bool

    @cached_property
    def program(self) -> Any:
        """(params, carry, x_t, [d of each float leaf of sₜ], d yₜ) -> (sₜ, yₜ), their pullback; compiled."""
        cell = self.cell

        def program(params: Params, carry: Carry, x_t: Array, d_floats: list[Array], d_y: Array) -> Any:
            weights, with_weights = split(params)
            floats, with_floats = split(carry)

            def step(weights: list[Array], floats: list[Array], x_t: Array) -> Any:
                s_t, y_t = cell.step(with_weights(weights), with_floats(floats), x_t)
                return (split(s_t)[0], y_t), (s_t, y_t)

            with jax.default_matmul_precision("highest"):
                _, pullback, result = jax.vjp(step, weights, floats, x_t, has_aux=True)
                return result, pullback((d_floats, d_y))

        zeros = self.zeros
        with jax.enable_x64(self.x64):
            lowered = jax.jit(program).lower(self.params, self.start, self.inputs[0], zeros[:-1], zeros[-1])
            return lowered.compile(UNOPTIMISED)

    @cached_property
    def results(self) -> list[Any]:
        """The shapes and dtypes of the float leaves of the next state and, last, of the output."""
        with jax.enable_x64(self.x64):
            s_t, y_t = jax.eval_shape(self.cell.step, self.params, self.start, self.inputs[0])
            return [*split(s_t)[0], y_t]

    @cached_property
    def traced(self) -> Any:
        """The jaxpr of `step`, whose arguments are the leaves of parameters, state and input."""
        with jax.enable_x64(self.x64):
            return jax.make_jaxpr(self.cell.step)(self.params, self.start, self.inputs[0]).jaxpr

    @property
    def zeros(self) -> Floats:
        """A gradient of zero for each of these."""
        return [np.zeros(each.shape, each.dtype) for each in self.results]

    def cotangents(self, rng: np.random.RandomState) -> Floats:
        """Standard Gaussian ones."""
        return [gaussian(rng, each.shape, each.dtype) for each in self.results]

    def step(self, at: StepArguments) -> tuple[Carry, np.ndarray]:
        """sₜ and yₜ."""
        found, _ = self._call(at, self.zeros)
        return as_numpy(found[0]), np.asarray(found[1])

    def values(self, at: StepArguments) -> Floats:
        """The float leaves of sₜ and yₜ, in float64."""
        (s_t, y_t), _ = self._call(at, self.zeros)
        return [*map(wide, split(s_t)[0]), wide(y_t)]

    def pull(self, at: StepArguments, cotangents: Sequence[np.ndarray]) -> Pulled:
        """Gradients with respect to the arguments of `step`, from those of sₜ and yₜ."""
        params, carry, x_t = self._call(at, cotangents)[1]
        return Pulled([*map(wide, params)], [*map(wide, carry)], wide(x_t))

    def _call(self, at: StepArguments, cotangents: Sequence[np.ndarray]) -> Any:
        with jax.enable_x64(self.x64):
            return self.program(at.params, at.carry, at.x_t, list(cotangents[:-1]), cotangents[-1])

    @cached_property
    def states(self) -> list[Carry]:
        """s₀ to s_T."""
        return self._walked[0]

    @cached_property
    def outputs(self) -> np.ndarray:
        """y₁ to y_T, (T, B, O)."""
        return np.stack(self._walked[1])

    @cached_property
    def _walked(self) -> tuple[list[Carry], list[np.ndarray]]:
        return self.walk(self.start, self.inputs)

    def walk(self, carry: Carry, inputs: np.ndarray) -> tuple[list[Carry], list[np.ndarray]]:
        """The states from `carry` on, and the outputs, by a loop of Python over timesteps."""
        states, outputs = [carry], []
        for x_t in inputs:
            s_t, y_t = self.step(StepArguments(self.params, states[-1], x_t))
            states.append(s_t)
            outputs.append(y_t)
        return states, outputs

    def at(self, timestep: int) -> StepArguments:
        """The arguments of timestep 1..T."""
        return StepArguments(self.params, self.states[timestep - 1], self.inputs[timestep - 1])

    @property
    def leaves(self) -> list[str]:
        """The names of the float leaves of the state."""
        return leaf_names(self.start)[0]

    @property
    def weights(self) -> list[str]:
        """The names of the float leaves of the parameters."""
        return leaf_names(self.params)[0]


@dataclass(frozen=True)
class Subject:
    """A cell to be examined, along the same inputs in float32 and in float64."""

    cell: Cell
    sizes: CellSizes
    single: Trajectory
    double: Trajectory

    @cached_property
    def random(self) -> bool:
        """Whether `step` draws random numbers."""
        return has_draws(self.single.traced)


def subject(cell: Cell, sizes: CellSizes) -> Subject:
    """A cell with parameters drawn from a seed and Gaussian inputs; whatever it raises is raised."""
    params = as_numpy(as_arrays(cell.init(jax.random.key(sizes.seed), sizes.input_size, sizes.hidden_size)))
    start = as_numpy(as_arrays(cell.carry(params_of_jax(params), sizes.batch_size)))
    shape = (LONGEST, sizes.batch_size, sizes.input_size)
    inputs = np.random.RandomState(sizes.seed % 2**32).standard_normal(shape)
    single = Trajectory(cell, params, start, inputs.astype(np.float32), x64=False)
    with jax.enable_x64(True):
        wide_params, wide_start = (as_numpy(in_dtype(tree, jnp.float64)) for tree in (params, start))
    double = Trajectory(cell, wide_params, wide_start, single.inputs.astype(np.float64), x64=True)
    return Subject(cell, sizes, single, double)


def params_of_jax(params: Params) -> Params:
    """Parameters as arrays of jax, as a cell expects them outside of a compiled program."""
    return jax.tree.map(jnp.asarray, params)


def is_key(leaf: Any) -> bool:
    """Whether a leaf holds random keys, which NumPy cannot."""
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.extended))


def as_numpy(tree: Any) -> Any:
    """A tree in arrays of NumPy, random keys as they are."""
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else np.asarray(leaf), tree)


def moved(tree: Any, rng: np.random.RandomState, by: float = 0.3) -> Any:
    """A tree whose floats are moved a little, none across zero: a leaf may be a logarithm or a positive sum."""

    def move(leaf: Any) -> Any:
        if not is_float(leaf):
            return leaf
        values = wide(leaf)
        signs = np.where(values.real < 0, -1.0, 1.0)
        size = rms(values) or 1.0
        with np.errstate(invalid="ignore"):
            shifted = values * np.exp(by * rng.standard_normal(leaf.shape))
            return (shifted + by * size * signs * np.abs(rng.standard_normal(leaf.shape))).astype(leaf.dtype)

    return jax.tree.map(move, tree)


def rms(values: np.ndarray) -> float:
    """The root of the mean square of what is finite, 0 where nothing is."""
    finite = np.abs(values[np.isfinite(values)])
    return float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0


def apart(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """The largest difference between two lists of arrays, in units of the largest entry of each; inf if NaN."""
    return max((_apart(wide(a), wide(b)) for a, b in zip(one, other, strict=True)), default=0.0)


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return np.inf
    kept = np.isfinite(a)
    gap = np.max(np.abs(a[kept] - b[kept]), initial=0.0)
    size = max(np.max(np.abs(each[kept]), initial=0.0) for each in (a, b))
    return float(gap / size) if gap else 0.0
