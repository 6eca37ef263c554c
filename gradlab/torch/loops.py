"""A module that is called once a timestep with its state: the gradient at the state that enters every call.

What a call returns is handed to the user as a copy, and the next call is given the original. So the gradient at a
copy is what arrives from outside, and what flows from call to call is pulled back here, without a floor, one
timestep at a time, at the arguments and weights that the calls had.
"""

import inspect
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_unflatten

from gradlab.errors import GradlabError
from gradlab.gradient.curve import GradientCurve
from gradlab.torch.curves import Cast, Measured, Parts, checked, last_read
from gradlab.torch.reverse import ScaledArray, reverse

_SAME = 10_000
"""Rounding errors of the largest output within which a call that is computed again must give what it gave."""


@dataclass
class LoopCall:
    """One timestep: its flat arguments and results, and the gradients that arrived at the results from outside."""

    structure: Any
    arguments: list[Any]
    results: list[Any]
    arrived: dict[int, Tensor] = field(default_factory=dict)


@dataclass
class LoopCalls:
    """The calls of a module in which each is given the state that the one before returned.

    Attributes:
        names: of the flat arguments.
        weights: parameters and buffers, as they were at the first call.
        feeds: for the arguments that are state, the result of the call before that each is.
        refused: why the gradient cannot be measured, or "".
    """

    module: nn.Module
    names: list[str]
    weights: dict[str, Tensor]
    calls: list[LoopCall]
    feeds: dict[int, int] = field(default_factory=dict)
    refused: str = ""

    @property
    def arrived(self) -> bool:
        """Whether a gradient arrived at a result of any call."""
        return any(call.arrived for call in self.calls)

    def curves(self) -> dict[str, GradientCurve]:
        """The one curve, of all leaves of the state."""
        name = type(self.module).__name__
        if not self.feeds and not self.refused:
            raise GradlabError(
                f"{name} was called without the state that an earlier call returned: its state must be an "
                "argument, the very tensor that the call before returned"
            )
        if len({str(call.structure) for call in self.calls[1:]}) > 1:
            raise GradlabError(
                f"{name} is given other arguments at one timestep than at another: give the same to each"
            )
        if self.refused:
            raise GradlabError(self.refused)
        first = self._states(self._measured_calls()[0])[0]
        work = sum(weight.numel() for weight in self.weights.values()) * len(first)
        return checked(self._measure, first.dtype, work)

    def _measured_calls(self) -> list[LoopCall]:
        """All calls, but for a first one that was given no state."""
        return self.calls if self.calls[0].structure == self.calls[1].structure else self.calls[1:]

    def _states(self, call: LoopCall) -> list[Tensor]:
        return [call.arguments[place] for place in self.feeds]

    def _measure(self, cast: Cast) -> Parts:
        calls = self._measured_calls()
        weights = {name: cast(value) for name, value in self.weights.items()}
        arguments = [
            [cast(each) if isinstance(each, Tensor) else each for each in call.arguments] for call in calls
        ]
        entering = [[row[place] for place in self.feeds] for row in arguments]
        axis = self._batch_axis(entering[0])

        def step(t: int, leaves: list[Tensor]) -> Sequence[Any]:
            row = list(arguments[t])
            for place, leaf in zip(self.feeds, leaves, strict=True):
                row[place] = leaf
            results = self._call(weights, row, calls[t].structure)
            self._check_same(t, results, calls[t].results)
            return results

        count = len(calls[0].results)
        sources = [[_scaled(call.arrived.get(index)) for index in range(count)] for call in calls]
        gradients = reverse(step, entering, sources, list(self.feeds.values()), axis)
        names = [self.names[place] for place in self.feeds]
        size = 1 if axis is None else entering[0][0].shape[axis]
        read = [self._rows_read(call, size, axis) for call in calls]
        states = [torch.stack([row[leaf] for row in entering]) for leaf in range(len(names))]
        part = Measured(
            dict(zip(names, gradients.norms, strict=True)),
            last_read([np.stack(read)], np.full(size, len(calls))),
            {name: _finite(state, axis) for name, state in zip(names, states, strict=True)},
            np.ones(size),
        )
        return {"": part}

    def _call(self, weights: dict[str, Tensor], row: list[Any], structure: Any) -> list[Any]:
        given = tree_unflatten(row, structure)
        bound = inspect.BoundArguments(inspect.signature(self.module.forward), OrderedDict(given))
        return tree_flatten(functional_call(self.module, weights, bound.args, bound.kwargs))[0]

    def _check_same(self, t: int, results: Sequence[Any], recorded: Sequence[Any]) -> None:
        for found, known in zip(results, recorded, strict=True):
            if isinstance(known, Tensor) and known.is_floating_point():
                apart = (found.detach().double() - known.double()).abs()
                allowed = _SAME * torch.finfo(known.dtype).eps * (1 + known.double().abs().nan_to_num().max())
                if bool((apart > allowed).any()):
                    raise GradlabError(
                        f"{type(self.module).__name__} gives another result when call {t + 1} is computed again: "
                        "it draws random numbers (dropout: use model.eval()), or keeps something between calls"
                    )

    def _batch_axis(self, leaves: Sequence[Tensor]) -> int | None:
        if all(leaf.dim() == 1 for leaf in leaves):
            return None  # one example, as torch's own cells take it
        axis = 1 if isinstance(self.module, nn.RNNBase) and leaves[0].dim() == 3 else 0
        sizes = {leaf.shape[axis] for leaf in leaves}
        if len(sizes) > 1:
            shapes = ", ".join(
                f"{self.names[place]} {tuple(leaf.shape)}" for place, leaf in zip(self.feeds, leaves, strict=True)
            )
            raise GradlabError(
                f"the state of {type(self.module).__name__} has leaves {shapes}: give one row for each example"
            )
        return axis

    def _rows_read(self, call: LoopCall, size: int, axis: int | None) -> NDArray[np.bool_]:
        """Of which examples the loss reads a result of a call, (B,)."""
        read = np.zeros(size, bool)
        for gradient in call.arrived.values():
            flags = (gradient != 0).cpu().numpy()
            own = [each for each in (axis, 0) if each is not None and flags.shape[each : each + 1] == (size,)]
            others = tuple(each for each in range(flags.ndim) if each not in own[:1])
            read |= flags.any(axis=others)
        return read


def _finite(state: Tensor, axis: int | None) -> NDArray[np.bool_]:
    """(T, B) from (T, ...)."""
    kept = (0,) if axis is None else (0, axis + 1)
    finite = (
        state.isfinite().cpu().numpy().all(axis=tuple(each for each in range(state.dim()) if each not in kept))
    )
    return finite[:, None] if axis is None else finite


def _scaled(gradient: Tensor | None) -> ScaledArray | None:
    return None if gradient is None else ScaledArray.of(gradient.double().cpu().numpy())
