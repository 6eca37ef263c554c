"""Hooks on a module that is called once a timestep: which call continues which, and what arrives from outside."""

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten, tree_flatten_with_path, tree_unflatten
from torch.utils.hooks import RemovableHandle

from gradlab.torch.loops import LoopCall, LoopCalls

_NAMES = {"hx.0": "h", "hx.1": "c", "hx": "h", "state": "s"}
"""Names of leaves by those of arguments; `state` means all leaves together."""


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
        self._clones: dict[int, tuple[Tensor, int, Tensor]] = {}

    def attach(self) -> list[RemovableHandle]:
        """Put the hooks on the module."""
        return [
            self._module.register_forward_pre_hook(self._before, with_kwargs=True),
            self._module.register_forward_hook(self._after),
        ]

    def forget(self) -> None:
        """Let go of the graph."""
        self._copies.clear()
        self._nodes.clear()
        self._clones.clear()

    @torch.compiler.disable
    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        if not torch.is_grad_enabled():
            return None
        bound = self._signature.bind(*args, **kwargs)
        if isinstance(module, nn.RNNCellBase) and bound.arguments.get("hx") is None:
            bound.arguments["hx"] = _zeros(module, bound.arguments["input"])
        pairs, structure = tree_flatten_with_path(dict(bound.arguments))
        names, arguments = [_name(path) for path, _ in pairs], [leaf for _, leaf in pairs]
        found = {place: self._copies[id(leaf)] for place, leaf in enumerate(arguments) if self._is_copy(leaf)}
        calls = self._sequence(names, arguments, found)
        for place, copy in found.items():
            if calls.feeds.get(place) == copy.result and copy.calls is calls and copy.call == len(calls.calls) - 1:
                arguments[place] = copy.original
        clones = {id(each): self._cloned(each) for each in arguments if isinstance(each, Tensor)}
        kept = [clones[id(each)][2] if isinstance(each, Tensor) else each for each in arguments]
        self._clones = clones
        call = LoopCall(structure, kept, [])
        calls.calls.append(call)
        self._open = [(calls, call)]
        bound.arguments.update(tree_unflatten(arguments, structure))
        return bound.args, bound.kwargs

    def _cloned(self, leaf: Tensor) -> tuple[Tensor, int, Tensor]:
        """A tensor, its version, and a clone; that of the call before where the same tensor is given again."""
        known = self._clones.get(id(leaf))
        if known is not None and known[0] is leaf and known[1] == leaf._version:
            return known
        return leaf, leaf._version, leaf.detach().clone()

    def _is_copy(self, leaf: Any) -> bool:
        copy = self._copies.get(id(leaf)) if isinstance(leaf, Tensor) else None
        return copy is not None and copy.held is leaf and leaf._version == copy.version

    def _sequence(self, names: list[str], arguments: list[Any], found: dict[int, _Copy]) -> LoopCalls:
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
            return calls
        weights = {name: value.detach().clone() for name, value in _tensors(self._module)}
        calls = LoopCalls(self._module, names, weights, [])
        own = [leaf for place, leaf in enumerate(arguments) if names[place].partition(".")[0] != first]
        if any(self._leads_here(leaf) for leaf in own if isinstance(leaf, Tensor) and not self._is_copy(leaf)):
            calls.refused = self._outside(sum(len(each.calls) for each in self.sequences) + 1)
        self.sequences.append(calls)
        return calls

    def _outside(self, call: int) -> str:
        return (
            f"the state that enters call {call} of {type(self._module).__name__} was computed outside of it from "
            "what an earlier call returned: do that inside, so that a call is given what the one before returned"
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

    @torch.compiler.disable
    def _after(self, module: nn.Module, args: Any, results: Any) -> Any:
        if not self._open:
            return None
        calls, call = self._open.pop()
        leaves, structure = tree_flatten(results)
        call.results = [leaf.detach().clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        return tree_unflatten(
            [self._copy(leaf, calls, call, index) for index, leaf in enumerate(leaves)], structure
        )

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
