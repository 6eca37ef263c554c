"""What a cell is: three pure functions of pytrees, and how the built-in ones are written.

A built-in cell is a linear part and an elementwise part,

    zₜ = xₜ Wₓ + b          rₜ = hₜ₋₁ Wₕ + b_r
    preₜ = join(zₜ, rₜ)     linear
    sₜ = gates(preₜ, sₜ₋₁)  elementwise

from which `step` follows. Measuring needs `step` alone.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, Protocol, TypeGuard, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

Params = Any
Carry = Any


class Cell(Protocol):
    """Any object with these three pure functions can be measured and trained."""

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """Parameters drawn from `key` for inputs of `input_size` and a state of `hidden_size`."""

    def carry(self, params: Params, batch_size: int) -> Carry:
        """The initial state s₀ of `batch_size` examples: a pytree of arrays (B, ...)."""

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, yₜ), with xₜ (B, I) and yₜ (B, O)."""


class Network(Protocol):
    """Any object with these two pure functions can be trained, and measured at its inputs: it has no state."""

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """As of a cell."""

    def apply(self, params: Params, inputs: Array) -> Array:
        """The outputs (T, B, O) of the inputs (T, B, I)."""


def is_network(thing: Any) -> TypeGuard[Network]:
    """Whether an object has an `apply` and no `step`.

    Example:
        >>> from gradlab.cells import CELLS
        >>> is_network(CELLS["attention"]()), is_network(CELLS["gru"]())
        (True, False)
    """
    return callable(getattr(thing, "apply", None)) and not callable(getattr(thing, "step", None))


class GatedCell(Cell, Protocol):
    """A cell that states its linear and its elementwise part, which makes training fast.

    `params` is a dict with `w_x` (I, G·H), `w_h` (H, G·H) and `b` (G·H,); the state is a dict whose leaf `h`
    is also the output. Where `step` is not `gated_step(self, params, carry, x_t)`, it is trained as of any cell.
    """

    def recurrent_bias(self, params: Params) -> Array | None:
        """b_r (G·H,), the bias inside the recurrent product, or None where it is zero."""

    def join(self, z_t: Array, r_t: Array) -> Array:
        """The pre-activations (B, P) from zₜ and rₜ (B, G·H); linear in both."""

    def gates(self, pre_t: Array, carry: Carry) -> Carry:
        """sₜ from the pre-activations and sₜ₋₁; elementwise."""

    def gate_values(self, pre_t: Array) -> dict[str, Array]:
        """The value (B, H) of every squashed quantity by name, for statistics of saturation."""

    def gate_bounds(self) -> dict[str, tuple[float, float]]:
        """The lowest and highest value each of them can take."""


def pre_activation(cell: GatedCell, params: Params, carry: Carry, x_t: Array) -> Array:
    """preₜ (B, P) of a gated cell."""
    z_t = x_t @ params["w_x"] + params["b"]
    r_t = carry["h"] @ params["w_h"]
    b_r = cell.recurrent_bias(params)
    return cell.join(z_t, r_t if b_r is None else r_t + b_r)


def gated_step(cell: GatedCell, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
    """One timestep of a gated cell, from its linear and its elementwise part."""
    carry = cell.gates(pre_activation(cell, params, carry, x_t), carry)
    return carry, carry["h"]


def is_gated(cell: Any) -> TypeGuard[GatedCell]:
    """Whether a cell states its two parts; its `step` may still do more.

    Example:
        >>> from gradlab.cells import CELLS
        >>> is_gated(CELLS["gru"]()), is_gated(object())
        (True, False)
    """
    return all(hasattr(cell, part) for part in ("recurrent_bias", "join", "gates"))


def zero_state(leaves: Iterable[str], batch_size: int, hidden_size: int, dtype: Any) -> dict[str, Array]:
    """s₀ = 0, each leaf (B, H)."""
    return {leaf: jnp.zeros((batch_size, hidden_size), dtype) for leaf in leaves}


def output_size(cell: Cell, params: Params, input_size: int) -> int:
    """The size of an output of a cell."""
    dtype = jnp.result_type(float)

    def output(params: Params) -> Array:
        return cell.step(params, cell.carry(params, 1), jnp.zeros((1, input_size), dtype))[1]

    return int(jax.eval_shape(output, params).shape[-1])


def layer_norm(x: Array, gain: Array, bias: Array | float = 0.0) -> Array:
    """α ⊙ (x - μ) / √(σ² + 1e-5) + β, with mean and variance over the units of each example.

    Source: Ba, Kiros & Hinton (2016), "Layer normalization", section 3, https://arxiv.org/abs/1607.06450
    """
    centred = x - x.mean(axis=-1, keepdims=True)
    return gain * centred * jax.lax.rsqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) + bias


class BuiltIn:
    """The defaults of built-in cells: a state of zeros, no recurrent bias, preₜ = zₜ + rₜ."""

    leaves: ClassVar[tuple[str, ...]] = ("h",)

    def carry(self, params: Params, batch_size: int) -> Carry:
        """s₀ = 0, each leaf (B, H) in the dtype of `w_h`."""
        w_h = params["w_h"]
        return zero_state(self.leaves, batch_size, w_h.shape[0], w_h.dtype)

    def step(self: Any, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, hₜ)."""
        return gated_step(self, params, carry, x_t)

    def recurrent_bias(self, params: Params) -> Array | None:
        """No bias inside the recurrent product."""
        return None

    def join(self, z_t: Array, r_t: Array) -> Array:
        """preₜ = zₜ + rₜ, (B, G·H)."""
        return z_t + r_t


Class = TypeVar("Class", bound=type)
_STEPS: dict[type, Any] = {}


def steps_by_parts(cell_class: Class) -> Class:
    """Register a class whose `step`, as it is written, is `gated_step` and nothing more."""
    _STEPS[cell_class] = cell_class.step  # type: ignore[attr-defined]
    return cell_class


def is_built_in(cell: Any) -> bool:
    """Whether the `step` of a cell is known to be `gated_step`: not of a subclass, nor of a replaced `step`.

    Example:
        >>> from gradlab.cells import CELLS
        >>> class Mine(type(CELLS["gru"]())):
        ...     pass
        >>> is_built_in(CELLS["gru"]()), is_built_in(Mine(CELLS["gru"]().scheme))
        (True, False)
    """
    kind = type(cell)
    return kind in _STEPS and kind.step is _STEPS[kind] and "step" not in vars(cell)
