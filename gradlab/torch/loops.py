"""A module that is called once a timestep with its state: the gradient at the state that enters every call.

What a call returns is handed to the user as a copy, and the next call is given the original. So the gradient at a
copy is what arrives from outside, and what flows from call to call is pulled back here, without a floor, one timestep
at a time, at the arguments and weights that the calls had.
"""

import inspect
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import keystr, tree_flatten, tree_flatten_with_path, tree_unflatten

from gradlab.errors import GradlabError
from gradlab.gradient.curve import GradientCurve
from gradlab.torch.curves import Cast, Measured, Parts, checked, last_read
from gradlab.torch.reverse import ScaledArray, reverse

_NAMES = {"hx.0": "h", "hx.1": "c", "hx": "h", "state": "s"}
"""Names of leaves by those of arguments; `state` means all leaves together."""
_SAME = 1000
"""Rounding errors of the largest output within which a call that is computed again must give what it gave."""


@dataclass
class LoopCall:
    """One timestep: its flat arguments and results, and the gradients that arrived at the results from outside."""

    arguments: list[Any]
    results: list[Any]
    arrived: dict[int, Tensor] = field(default_factory=dict)


@dataclass
class LoopCalls:
    """The calls of a module in which each is given the state that the one before returned.

    Attributes:
        names: of the flat arguments. structure: of the arguments.
        weights: parameters and buffers, as they were at the first call.
        feeds: for the arguments that are state, the result of the call before that each is.
        refused: why the gradient cannot be measured, or "".
    """

    module: nn.Module
    names: list[str]
    structure: Any
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
                f"{name} was called without the state that an earlier call returned: its state must be an argument, "
                "the very tensor that the call before returned"
            )
        if self.refused:
            raise GradlabError(self.refused)
        first = self._states(self._measured_calls()[0])[0]
        work = sum(weight.numel() for weight in self.weights.values()) * len(first)
        return checked(self._measure, first.dtype, work)

    def _measured_calls(self) -> list[LoopCall]:
        """All calls, but for a first one that was given no state."""
        whole = all(isinstance(self.calls[0].arguments[place], Tensor) for place in self.feeds)
        return self.calls if whole else self.calls[1:]

    def _states(self, call: LoopCall) -> list[Tensor]:
        return [call.arguments[place] for place in self.feeds]

    def _measure(self, cast: Cast) -> Parts:
        calls = self._measured_calls()
        weights = {name: cast(value) for name, value in self.weights.items()}
        arguments = [[cast(each) if isinstance(each, Tensor) else each for each in call.arguments] for call in calls]
        entering = [[row[place] for place in self.feeds] for row in arguments]
        axis = self._batch_axis(entering[0])

        def step(t: int, leaves: list[Tensor]) -> Sequence[Any]:
            row = list(arguments[t])
            for place, leaf in zip(self.feeds, leaves, strict=True):
                row[place] = leaf
            results = self._call(weights, row)
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

    def _call(self, weights: dict[str, Tensor], row: list[Any]) -> list[Any]:
        given = tree_unflatten(row, self.structure)
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
                        "it draws random numbers (dropout: measure in model.eval()), or keeps something between calls"
                    )

    def _batch_axis(self, leaves: Sequence[Tensor]) -> int | None:
        if all(leaf.dim() == 1 for leaf in leaves):
            return None  # one example, as torch's own cells take it
        axis = 1 if isinstance(self.module, nn.RNNBase) and leaves[0].dim() == 3 else 0
        sizes = {leaf.shape[axis] for leaf in leaves}
        if len(sizes) > 1:
            shapes = ", ".join(f"{self.names[place]} {tuple(leaf.shape)}" for place, leaf in zip(self.feeds, leaves, strict=True))
            raise GradlabError(f"the state of {type(self.module).__name__} has leaves {shapes}: give one row for each example")
        return axis

    def _rows_read(self, call: LoopCall, size: int, axis: int | None) -> NDArray[np.bool_]:
        read = np.zeros(size, bool)
        for gradient in call.arrived.values():
            flags = (gradient != 0).cpu().numpy()
            own = 0 if axis is None or flags.ndim < 3 or getattr(self.module, "batch_first", False) and flags.shape[1] == 1 else axis
            fits = axis is not None and flags.shape[own] == size
            read |= flags.any(axis=tuple(each for each in range(flags.ndim) if each != own)) if fits else flags.any()
        return read


def _finite(state: Tensor, axis: int | None) -> NDArray[np.bool_]:
    """(T, B) from (T, ...)."""
    kept = (0,) if axis is None else (0, axis + 1)
    finite = state.isfinite().cpu().numpy().all(axis=tuple(each for each in range(state.dim()) if each not in kept))
    return finite[:, None] if axis is None else finite


def _scaled(gradient: Tensor | None) -> ScaledArray | None:
    return None if gradient is None else ScaledArray.of(gradient.double().cpu().numpy())


# ---------------------------------------------------------------- recording


class _Copy(NamedTuple):
    """What the user holds of a result, the result itself, and the call that it is of."""

    held: Tensor
    original: Tensor
    version: int
    calls: LoopCalls
    call: int
    result: int


class LoopRecorder:
    """The hooks of one module, and the sequences of calls that it was found in."""

    def __init__(self, module: nn.Module) -> None:
        self.sequences: list[LoopCalls] = []
        self._module = module
        self._signature = inspect.signature(module.forward)
        self._copies: dict[int, _Copy] = {}
        self._nodes: set[Any] = set()
        self._open: list[tuple[LoopCalls, LoopCall]] = []
        self._handles = [
            module.register_forward_pre_hook(self._before, with_kwargs=True),
            module.register_forward_hook(self._after),
        ]

    def close(self) -> None:
        """Take the hooks away, and let go of the graph."""
        for handle in self._handles:
            handle.remove()
        self._copies.clear()
        self._nodes.clear()

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        if not torch.is_grad_enabled():
            return None
        bound = self._signature.bind(*args, **kwargs)
        if isinstance(module, nn.RNNCellBase) and bound.arguments.get("hx") is None:
            bound.arguments["hx"] = _zeros(module, bound.arguments["input"])
        pairs, structure = tree_flatten_with_path(dict(bound.arguments))
        names, arguments = [_name(path) for path, _ in pairs], [leaf for _, leaf in pairs]
        found = {place: self._copies[id(leaf)] for place, leaf in enumerate(arguments) if self._is_copy(leaf)}
        calls = self._sequence(names, structure, arguments, found)
        for place, copy in found.items():
            if calls.feeds.get(place) == copy.result and copy.calls is calls and copy.call == len(calls.calls) - 1:
                arguments[place] = copy.original
        call = LoopCall([_detached(each) for each in arguments], [])
        calls.calls.append(call)
        self._open = [(calls, call)]
        bound.arguments.update(tree_unflatten(arguments, structure))
        return bound.args, bound.kwargs

    def _is_copy(self, leaf: Any) -> bool:
        copy = self._copies.get(id(leaf)) if isinstance(leaf, Tensor) else None
        return copy is not None and copy.held is leaf and leaf._version == copy.version

    def _sequence(
        self, names: list[str], structure: Any, arguments: list[Any], found: dict[int, _Copy]
    ) -> LoopCalls:
        """The calls that this one continues, or new ones."""
        first = next(iter(self._signature.parameters))
        later = {place: copy for place, copy in found.items() if names[place].partition(".")[0] != first}
        for copy in (later or found).values():
            calls = copy.calls
            if copy.call != len(calls.calls) - 1:
                continue  # another call has gone on from there
            feeds = {place: each.result for place, each in (later or found).items() if each.calls is calls}
            if not calls.feeds:
                calls.feeds, calls.names = feeds, names
            elif calls.feeds != feeds:
                calls.refused = calls.refused or self._outside(len(calls.calls) + 1)
            calls.structure = structure
            return calls
        weights = {name: value.detach().clone() for name, value in _tensors(self._module)}
        calls = LoopCalls(self._module, names, structure, weights, [])
        own = [leaf for place, leaf in enumerate(arguments) if names[place].partition(".")[0] != first]
        if any(self._leads_here(leaf) for leaf in own if isinstance(leaf, Tensor) and not self._is_copy(leaf)):
            calls.refused = self._outside(sum(len(each.calls) for each in self.sequences) + 1)
        self.sequences.append(calls)
        return calls

    def _outside(self, call: int) -> str:
        return (
            f"the state that enters call {call} of {type(self._module).__name__} was computed outside of it from what "
            "an earlier call returned: do that inside the module, so that each call is given what the one before returned"
        )

    def _leads_here(self, leaf: Tensor) -> bool:
        """Whether the graph behind a tensor reaches a result of this module."""
        waiting, seen = [leaf.grad_fn], set()
        while waiting:
            node = waiting.pop()
            if node in self._nodes:
                return True
            if node is not None and node not in seen:
                seen.add(node)
                waiting += [each for each, _ in node.next_functions]
        return False

    def _after(self, module: nn.Module, args: Any, results: Any) -> Any:
        if not self._open:
            return None
        calls, call = self._open.pop()
        leaves, structure = tree_flatten(results)
        call.results = [_detached(leaf) for leaf in leaves]
        return tree_unflatten([self._copy(leaf, calls, call, index) for index, leaf in enumerate(leaves)], structure)

    def _copy(self, leaf: Any, calls: LoopCalls, call: LoopCall, index: int) -> Any:
        if not (isinstance(leaf, Tensor) and leaf.requires_grad):
            return leaf

        def arrive(gradient: Tensor | None) -> None:
            if gradient is not None:
                before = call.arrived.get(index)
                call.arrived[index] = gradient.detach().clone() if before is None else before + gradient.detach()

        held = leaf.clone()
        held.register_hook(arrive)
        self._copies[id(held)] = _Copy(held, leaf, held._version, calls, len(calls.calls) - 1, index)
        self._nodes.add(held.grad_fn)
        return held


def _name(path: Any) -> str:
    """`hx.0` of the first member of the argument `hx`; torch's own cells call it h."""
    name = keystr(path).replace("['", ".").replace("']", "").replace("[", ".").replace("]", "").lstrip(".")
    return _NAMES.get(name, name)


def _zeros(module: Any, inputs: Tensor) -> Any:
    """The initial state that torch's own cells take where none is given."""
    zeros = inputs.new_zeros(*inputs.shape[:-1], module.hidden_size)
    return (zeros, zeros.clone()) if isinstance(module, nn.LSTMCell) else zeros


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _detached(leaf: Any) -> Any:
    return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf
