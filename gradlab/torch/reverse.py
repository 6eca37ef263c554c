"""The adjoint of a PyTorch module over time without a floor: timestep by timestep, a power of two for every entry.

The pullback of a timestep is `torch.autograd.grad` of that timestep alone. It is linear, 2ᵉ Jᵀλ = Jᵀ(2ᵉ λ), so
entries of like magnitude are scaled into the range of the dtype and pulled back together, in as many groups as
their range needs. That holds for any module, also for one in which examples influence each other.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ZERO_EXPONENT = -(2**40)
"""The exponent of a zero."""
_WIDTH = {torch.float32: 60, torch.float64: 508}
"""Powers of two that the entries of one group may span: a product with a Jacobian does not underflow within it."""

Floats = NDArray[np.float64]
Step = Callable[[int, list[Tensor]], Sequence[Tensor]]
"""(t, state leaves that enter timestep t and other inputs) -> its outputs, the next state leaves among them."""


class ScaledArray(NamedTuple):
    """m · 2ᵉ with an exponent for every entry: float64 mantissas of ±[0.5, 1), int64 exponents."""

    mantissa: Floats
    exponent: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray, exponent: int | NDArray[np.int64] = 0) -> "ScaledArray":
        """Values · 2^exponent; exact. NaN and infinity stay as they are."""
        mantissa, own = np.frexp(np.asarray(values, np.float64))
        total = np.where(np.isfinite(mantissa), own.astype(np.int64), 0) + exponent
        return cls(mantissa, np.where(mantissa == 0, ZERO_EXPONENT, total))

    def __add__(self, other: "ScaledArray") -> "ScaledArray":  # type: ignore[override]
        top = np.maximum(self.exponent, other.exponent)
        one, two = (_ldexp(each.mantissa, each.exponent - top) for each in (self, other))
        return ScaledArray.of(one + two, top)

    def at(self, index: Any) -> "ScaledArray":
        """The same index of both arrays."""
        return ScaledArray(self.mantissa[index], self.exponent[index])

    def log10_norm(self, batch_axis: int | None) -> Floats:
        """log10 of the Euclidean norm of each example, (B,); of all entries where there is no batch axis."""
        axes = tuple(axis for axis in range(self.mantissa.ndim) if axis != batch_axis)
        top = self.exponent.max(axis=axes, keepdims=True)
        squares = np.atleast_1d(np.sum(_ldexp(self.mantissa, self.exponent - top) ** 2, axis=axes))
        with np.errstate(divide="ignore", invalid="ignore"):
            return 0.5 * np.log10(squares) + top.reshape(-1) * np.log10(2.0)


class Gradients(NamedTuple):
    """What a reverse pass found.

    Attributes:
        norms: for each state leaf, log10 norms (T, B); row t is of the leaf that enters timestep t + 1.
        inputs: for each timestep, the gradients of the other inputs.
    """

    norms: list[Floats]
    inputs: list[list[ScaledArray]]


def reverse(
    step: Step,
    entering: Sequence[Sequence[Tensor]],
    sources: Sequence[Sequence[ScaledArray | None]],
    feeds: Sequence[int],
    batch_axis: int | None = 0,
) -> Gradients:
    """λₜ₋₁ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ + (∂sₜ/∂sₜ₋₁)ᵀ λₜ from the last timestep to the first.

    Args:
        step: recomputes a timestep.
        entering: for each timestep the state leaves and then the other inputs that have a gradient.
        sources: for each timestep the gradient gₜ that arrives at each output from outside.
        feeds: for each state leaf the output of the timestep before that it is.
        batch_axis: of the state leaves, None for a state of one example.
    """
    carried: list[ScaledArray] = []
    norms, inputs = [], []
    for t in reversed(range(len(entering))):
        leaves = [leaf.detach().clone().requires_grad_() for leaf in entering[t]]
        with torch.enable_grad():
            outputs = step(t, leaves)
        cotangents = list(sources[t])
        for output, gradient in zip(feeds, carried, strict=False):
            arrived = cotangents[output]
            cotangents[output] = gradient if arrived is None else gradient + arrived
        pulled = _pull(outputs, leaves, cotangents)
        carried = pulled[: len(feeds)]
        norms.append([leaf.log10_norm(batch_axis) for leaf in carried])
        inputs.append(pulled[len(feeds) :])
    by_leaf = zip(*norms[::-1], strict=True)
    return Gradients([np.stack(rows) for rows in by_leaf], inputs[::-1])


def _pull(
    outputs: Sequence[Tensor], leaves: list[Tensor], cotangents: Sequence[ScaledArray | None]
) -> list[ScaledArray]:
    """(∂outputs/∂leaves)ᵀ cotangents, group by group of magnitude."""
    pairs = [
        (output, cotangent)
        for output, cotangent in zip(outputs, cotangents, strict=True)
        if cotangent is not None and output.requires_grad
    ]
    waiting = [cotangent.exponent for _, cotangent in pairs]
    width = _WIDTH[leaves[0].dtype]
    total: list[ScaledArray] | None = None
    while (top := max((int(exponent.max()) for exponent in waiting), default=ZERO_EXPONENT)) > ZERO_EXPONENT:
        member = [exponent > max(top - width, ZERO_EXPONENT) for exponent in waiting]
        lifted = [
            np.where(inside, _ldexp(cotangent.mantissa, exponent - top + width), 0.0)
            for inside, exponent, (_, cotangent) in zip(member, waiting, pairs, strict=True)
        ]
        waiting = [np.where(inside, ZERO_EXPONENT, each) for inside, each in zip(member, waiting, strict=True)]
        given = [torch.from_numpy(value).to(output) for value, (output, _) in zip(lifted, pairs, strict=True)]
        found = torch.autograd.grad(
            [output for output, _ in pairs], leaves, given, retain_graph=True, allow_unused=True
        )
        parts = [
            _zero(leaf) if each is None else ScaledArray.of(each.cpu().numpy(), top - width)
            for leaf, each in zip(leaves, found, strict=True)
        ]
        total = parts if total is None else [one + other for one, other in zip(total, parts, strict=True)]
    return [_zero(leaf) for leaf in leaves] if total is None else total


def _zero(leaf: Tensor) -> ScaledArray:
    return ScaledArray.of(np.zeros(tuple(leaf.shape)))


def _ldexp(mantissa: Floats, exponent: NDArray[np.int64]) -> Floats:
    """The C function takes an int: beyond ±4096 the result is 0 or infinite anyway."""
    return np.ldexp(mantissa, np.clip(exponent, -4096, 4096).astype(np.int32))
