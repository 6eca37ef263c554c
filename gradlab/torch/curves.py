"""From the norms of a reverse pass to a `GradientCurve`, checked against another arithmetic."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.errors import described
from gradlab.gradient.curve import Floats, GradientCurve
from gradlab.gradient.noise import disagree, mark_noise, reconcile
from gradlab.gradient.summary import NonFinite


class Measured(NamedTuple):
    """The norms of one module, or of a part of it.

    Attributes:
        norms: for each leaf log10 norms (T, B); row t is of the state that enters timestep t + 1.
        last_read: (B,), the last timestep at which a gradient arrives from outside.
        finite: for each leaf whether its state is finite where it enters a timestep, (T, B).
        size: (B,), a number of the forward pass that shows whether two arithmetics follow one trajectory.
    """

    norms: dict[str, Floats]
    last_read: NDArray[np.int64]
    finite: dict[str, NDArray[np.bool_]]
    size: Floats

    def curve(self, dtype: str) -> GradientCurve:
        """Rows by lag from the last timestep that each example reads."""
        timesteps, lags = len(next(iter(self.norms.values()))), np.arange(1, self.last_read.max() + 1)
        rows = self.last_read[None, :] - lags[:, None]
        absent = rows < 0
        by_lag = {
            name: np.where(absent, np.nan, np.take_along_axis(values, np.maximum(rows, 0), axis=0))
            for name, values in self.norms.items()
        }
        lengths = None if (self.last_read == timesteps).all() else self.last_read
        return GradientCurve.of(
            by_lag, dtype=dtype, lengths=lengths, non_finite=self._findings(), losses=self.size
        )

    def _findings(self) -> tuple[NonFinite, ...]:
        findings = []
        for name, finite in self.finite.items():
            after = np.arange(len(finite))[:, None] >= self.last_read[None, :]
            bad: NDArray[np.bool_] = ~(finite | after)
            if bad.any():
                first = int(np.argmax(bad.any(axis=1)))
                findings.append(NonFinite(name, first + 1, int(bad.any(axis=0).sum()), "state"))
        for name, values in self.norms.items():
            bad = np.isnan(values) | np.isposinf(values)
            if bad.any():
                last = len(bad) - int(np.argmax(np.flip(bad.any(axis=1))))
                findings.append(NonFinite(f"gradient {name}", last, int(bad.any(axis=0).sum()), "gradient"))
        return tuple(findings)


_SMALL = 2**24
"""Multiplications of a timestep below which one thread is faster than several."""

Parts = dict[str, Measured]
Cast = Callable[[Tensor], Tensor]


def last_read(arrived: Sequence[NDArray[np.bool_]], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The last timestep with a gradient from outside, of flags (T, B); that of the sequence if there is none."""
    read = np.any(np.stack(arrived), axis=0)
    return np.where(read.any(axis=0), len(read) - np.argmax(read[::-1], axis=0), ends).astype(np.int64)


def checked(measure: Callable[[Cast], Parts], dtype: torch.dtype, work: int) -> dict[str, GradientCurve]:
    """The curves of all parts, in the arithmetic of the module, with the second opinion that float64 gives.

    Args:
        measure: gives the norms with every float tensor passed through a function.
        dtype: of the module.
        work: multiplications of a timestep.
    """
    with _few_threads(work):
        return _without_size(_second_opinion(measure, dtype))


@contextmanager
def _few_threads(work: int) -> Iterator[None]:
    """One thread for small products, which wait longer for other threads than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if work < _SMALL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _second_opinion(measure: Callable[[Cast], Parts], dtype: torch.dtype) -> dict[str, GradientCurve]:
    own = torch.float64 if dtype == torch.float64 else torch.float32  # half precision is measured in single
    native = _curves(measure(_in(own)), own)
    try:
        precise = native if own == torch.float64 else _curves(measure(_in(torch.float64)), own)
        if own != torch.float64 and not _any_disagrees(native, precise):
            return native
        replica = _curves(measure(_moved(own)), own)
        if own != torch.float64:
            return {name: _reconciled(curve, precise[name], replica[name]) for name, curve in native.items()}
        if not _any_disagrees(native, replica):
            return native
        coarse = _curves(measure(_in(torch.float32)), torch.float32)
        return {name: _marked(curve, replica[name], coarse[name]) for name, curve in native.items()}
    except Exception as error:  # a module of the user's may hold tensors of one dtype
        return {name: replace(curve, unverified=described(error)) for name, curve in native.items()}


def _reconciled(native: GradientCurve, precise: GradientCurve, replica: GradientCurve) -> GradientCurve:
    if _same_lags(native, precise) and _same_lags(replica, precise):
        return reconcile(native, precise, replica)
    # In float32 the gradient of a layer above was zero at an end.
    return replace(precise, saturated=dict.fromkeys(precise.leaves, 1))


def _marked(native: GradientCurve, replica: GradientCurve, coarse: GradientCurve) -> GradientCurve:
    fits = _same_lags(native, replica)
    return mark_noise(native, replica, coarse if _same_lags(native, coarse) else replica) if fits else native


def _curves(parts: Parts, dtype: torch.dtype) -> dict[str, GradientCurve]:
    return {name: part.curve(str(dtype).removeprefix("torch.")) for name, part in parts.items()}


def _any_disagrees(curves: Mapping[str, GradientCurve], others: Mapping[str, GradientCurve]) -> bool:
    return any(
        not _same_lags(curve, others[name]) or disagree(curve, others[name]) for name, curve in curves.items()
    )


def _same_lags(one: GradientCurve, other: GradientCurve) -> bool:
    return np.array_equal(one.examples, other.examples) and np.array_equal(
        np.isnan(one.log10_norm["state"]), np.isnan(other.log10_norm["state"])
    )


def _without_size(curves: Mapping[str, GradientCurve]) -> dict[str, GradientCurve]:
    return {name: replace(curve, losses=np.empty(0)) for name, curve in curves.items()}


def _in(dtype: torch.dtype) -> Cast:
    return lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor


def _moved(own: torch.dtype) -> Cast:
    """Float64, with every number moved by about one rounding error of a dtype."""
    draws = torch.Generator().manual_seed(0)
    eps = torch.finfo(own).eps

    def cast(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        noise = torch.randn(tensor.shape, generator=draws, dtype=torch.float64).to(tensor.device)
        return tensor.double() * (1 + eps * noise)

    return cast
