"""`watch`: hooks on the recurrent modules of a model, which record what `backward()` brings to them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from gradlab.errors import GradlabError, unknown
from gradlab.gradient.curve import GradientCurve
from gradlab.torch.layers import LayersCall, record
from gradlab.torch.loops import LoopCalls
from gradlab.torch.recorder import LoopRecorder

Reduction = Literal["sum", "mean"]


class Watched(Mapping[Any, GradientCurve]):
    """The curves of the recurrent modules of a model; each is measured when it is first asked for.

    `seen["lstm"]` is of the last call of the module, `seen["lstm", 0]` of its first.
    """

    def __init__(
        self, layers: Mapping[str, nn.Module], loops: Mapping[str, nn.Module], reduction: Reduction
    ) -> None:
        self._layers, self._reduction = layers, reduction
        self._calls: dict[str, list[LayersCall]] = {name: [] for name in layers}
        self._loops = {name: LoopRecorder(module) for name, module in loops.items()}
        self._handles: list[Any] = []
        self._found: dict[tuple[str, int], dict[str, GradientCurve]] = {}

    def __enter__(self) -> "Watched":
        for name, module in self._layers.items():
            hook = _recording(self._calls[name])
            self._handles.append(module.register_forward_hook(hook, with_kwargs=True))
        self._handles += [handle for loop in self._loops.values() for handle in loop.attach()]
        return self

    def __exit__(self, *error: object) -> None:
        self._detach()
        for loop in self._loops.values():
            loop.forget()

    def _detach(self) -> bool:
        """Take the hooks away; whether there were any."""
        attached = bool(self._handles)
        while self._handles:
            self._handles.pop().remove()
        return attached

    def __getitem__(self, key: str | tuple[str, int]) -> GradientCurve:
        name, index = key if isinstance(key, tuple) else (key, -1)
        module, part = self._module_of(name)
        calls = self._arrived(module)
        if not calls:
            raise GradlabError(
                f"no gradient reached `{module}`: run the model and call backward() inside `with watch(model)`, "
                "with parameters that need a gradient"
            )
        if not -len(calls) <= index < len(calls):
            raise GradlabError(f"`{module}` has calls 0 to {len(calls) - 1} with a gradient, not {index}")
        self._check_single(module, calls)
        place = module, index % len(calls)
        if place not in self._found:
            self._found[place] = self._measured(calls[index])
        if part not in self._found[place]:
            raise unknown(f"part of `{module}`", part, [each or module for each in self._found[place]])
        return self._found[place][part]

    def __iter__(self) -> Iterator[str]:
        """Every module that a gradient reached, then its layers and directions where there are several."""
        for module in [*self._calls, *self._loops]:
            calls = self._arrived(module)
            if calls:
                parts = calls[-1].parts() if isinstance(calls[-1], LayersCall) else [""]
                yield from (".".join(filter(None, (module, part))) for part in parts)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __str__(self) -> str:
        """A line for each curve."""
        names = list(self)
        width = max(map(len, names), default=0)
        return (
            "\n".join(f"{name:{width}}  {_told(self, name)}" for name in names) or "no gradient reached a module"
        )

    def calls(self, name: str) -> int:
        """How many calls of a module a gradient reached; of one called once a timestep, how many sequences."""
        return len(self._arrived(self._module_of(name)[0]))

    def _module_of(self, name: str) -> tuple[str, str]:
        """The module that a key is of, and the part of it."""
        known = [*self._calls, *self._loops]
        for module in sorted(known, key=len, reverse=True):
            if name == module or name.startswith(f"{module}."):
                return module, name[len(module) + 1 :]
        raise unknown("recurrent module", name, known)

    def _arrived(self, module: str) -> Sequence[LayersCall | LoopCalls]:
        if module in self._loops:
            return [each for each in self._loops[module].sequences if each.arrived]
        return [each for each in self._calls[module] if each.arrived]

    def _check_single(self, module: str, calls: Sequence[LayersCall | LoopCalls]) -> None:
        if len(calls) > 1 and all(isinstance(each, LayersCall) and len(each.inputs) == 1 for each in calls):
            raise GradlabError(
                f"`{module}` was called {len(calls)} times with one timestep each: watch it as a loop, "
                f"watch(model, cells=[{module!r}])"
            )

    def _measured(self, call: LayersCall | LoopCalls) -> dict[str, GradientCurve]:
        attached = self._detach()  # modules are called again
        try:
            curves = call.curves()
        finally:
            if attached:
                self.__enter__()
        if self._reduction == "sum":
            return curves
        return {name: _times(curve, curve.log10_norm["state"].shape[1]) for name, curve in curves.items()}


def watch(
    model: nn.Module, *, cells: str | type | Sequence[str | type] = (), reduction: Reduction = "sum"
) -> Watched:
    """Measure the gradient at every state of a model's recurrent modules in the next `backward()`.

    Args:
        model: any module; each `nn.LSTM`, `nn.GRU`, `nn.RNN` and their `…Cell` in it is watched.
        cells: names or classes of further modules that are called once a timestep with their state.
        reduction: `mean` if the loss is a mean over the batch: its gradients are multiplied by B, so that levels
            are those of each example's own loss. Spans, slopes and half-lives are the same either way.

    Returns:
        A context manager, and a mapping of `GradientCurve`s. Of a module `lstm`: `lstm` is the state of all layers
        together, and `lstm.reverse` that of the reverse direction; `lstm.layer0`, `lstm.layer1.reverse`, … are
        single layers. A model that is itself recurrent has the name of its class in lower case.

    Raises:
        GradlabError: a name in `cells` is no module, or nothing of the model is recurrent.

    Example:
        >>> import torch
        >>> model = torch.nn.LSTM(2, 8)
        >>> with watch(model) as seen:
        ...     model(torch.zeros(50, 3, 2))[0][-1].sum().backward()
        >>> seen["lstm"].verdict().word, seen["lstm"].leaves
        ('vanishing', ['h', 'c', 'state'])
    """
    if reduction not in ("sum", "mean"):
        raise unknown("reduction", reduction, ("sum", "mean"))
    if not isinstance(model, nn.Module):
        raise GradlabError(f"model is {model!r}: give an nn.Module that was made")
    cells = [cells] if isinstance(cells, str | type) else cells
    # A compiled model holds the one that it was made of under a name of its own.
    modules = {name.removeprefix("_orig_mod").lstrip("."): module for name, module in model.named_modules()}
    for cell in cells:
        if isinstance(cell, str) and cell not in modules:
            raise unknown("module in cells", cell, [name for name in modules if name])
    classes = tuple(cell for cell in cells if isinstance(cell, type))
    layers: dict[str, nn.Module] = {}
    loops: dict[str, nn.Module] = {}
    for name, module in modules.items():
        key = name or type(module).__name__.lower()
        if name in cells or isinstance(module, (nn.RNNCellBase, *classes)):
            loops[key] = module
        elif isinstance(module, nn.RNNBase) and type(module).forward in _FORWARDS:
            layers[key] = module
    if not loops and not layers:
        raise GradlabError(
            f"{type(model).__name__} has no nn.LSTM, nn.GRU, nn.RNN or cell of these: name the module that is "
            "called once a timestep with its state, watch(model, cells=[...])"
        )
    return Watched(layers, loops, reduction)


_FORWARDS = (nn.LSTM.forward, nn.GRU.forward, nn.RNN.forward)


def _recording(calls: list[LayersCall]) -> Any:
    @torch.compiler.disable
    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], results: Any) -> None:
        call = record(module, args, kwargs, results)
        if call is not None:
            calls.append(call)

    return hook


def _told(seen: Watched, name: str) -> str:
    try:
        curve = seen[name]
    except GradlabError as error:
        return str(error)
    return f"{curve.verdict()}, half-life {curve.half_life()}"


def _times(curve: GradientCurve, factor: int) -> GradientCurve:
    """The curve of a loss that is a factor larger."""
    return replace(curve, log10_norm={name: leaf + np.log10(factor) for name, leaf in curve.log10_norm.items()})
