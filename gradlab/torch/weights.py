"""Weights of PyTorch's modules in gradlab's own cells: `cell_of`, `to_params`, and `assert_curve` with both."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from gradlab.cells import CELLS, Carry, Cell, Params
from gradlab.cells.torch_layout import to_params as from_arrays
from gradlab.errors import GradlabError

_CLASSES = {"lstm": (nn.LSTM, nn.LSTMCell), "gru": (nn.GRU, nn.GRUCell), "rnn": (nn.RNN, nn.RNNCell)}


def cell_of(module: nn.Module) -> Cell:
    """The built-in cell that computes what an `nn.LSTM`, `nn.GRU`, `nn.RNN` or one of their cells computes.

    Raises:
        GradlabError: the module is none of these.
    """
    for name, classes in _CLASSES.items():
        if isinstance(module, classes):
            factory: Any = CELLS[name]
            cell: Cell = factory(activation=module.nonlinearity) if name == "rnn" else factory()
            return cell
    raise GradlabError(
        f"{type(module).__name__} is no nn.LSTM, nn.GRU, nn.RNN or cell of these: "
        "measure it by gradlab.torch.watch(model, cells=[...])"
    )


def to_params(module: nn.Module, *, layer: int | None = None, reverse: bool = False) -> Params:
    """The weights of a layer as parameters of `cell_of(module)`: `w_x`, `w_h`, `b` and, of a GRU, `b_n`.

    Args:
        module: an `nn.LSTM`, `nn.GRU`, `nn.RNN` or one of their cells.
        layer, reverse: which one, counted from 0; to be given where there are several.

    Raises:
        GradlabError: the module is none of these, has no such layer, or projects its state.

    Example:
        >>> params = to_params(nn.GRU(2, 8))
        >>> {name: value.shape for name, value in params.items()}
        {'w_x': (2, 24), 'w_h': (8, 24), 'b': (24,), 'b_n': (8,)}
    """
    cell_of(module)
    if layer is None:
        if getattr(module, "num_layers", 1) > 1 or getattr(module, "bidirectional", False):
            raise GradlabError(f"{type(module).__name__} has several layers or directions: say which, as layer=0")
        layer = 0
    suffix = "" if isinstance(module, nn.RNNCellBase) else f"_l{layer}" + "_reverse" * reverse
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    found = {name: getattr(module, name + suffix, None) for name in names}
    arrays = {name: each.detach().cpu().numpy().copy() for name, each in found.items() if each is not None}
    if "weight_hh" not in arrays:
        raise GradlabError(f"{type(module).__name__} has no weight_hh{suffix}: give one of its layers")
    return from_arrays(arrays)


class TorchWeights:
    """A built-in cell whose `init` returns the weights of a module, whatever the key."""

    def __init__(self, module: nn.Module) -> None:
        self._cell, self._params = cell_of(module), to_params(module)
        self._name = type(module).__name__

    def init(self, key: Any, input_size: int, hidden_size: int) -> Params:
        """The weights; GradlabError if the task has inputs of another size."""
        sizes, own = (input_size, hidden_size), (len(self._params["w_x"]), len(self._params["w_h"]))
        if sizes != own:
            raise GradlabError(f"{self._name} has input and state sizes {own}, and {sizes} are asked for")
        return {name: np.asarray(value, np.float32) for name, value in self._params.items()}

    def carry(self, params: Params, batch_size: int) -> Carry:
        """The initial state of the built-in cell."""
        return self._cell.carry(params, batch_size)

    def step(self, params: Params, carry: Carry, x_t: Any) -> tuple[Carry, Any]:
        """The step of the built-in cell."""
        return self._cell.step(params, carry, x_t)


def assert_curve(module: nn.Module, *, baseline: str | Path, length: int, **options: Any) -> None:
    """`gradlab.testing.assert_curve` for the weights of a module: fail unless its curve equals the baseline.

    Args:
        module: an `nn.LSTM`, `nn.GRU`, `nn.RNN` of one layer and direction, or one of their cells, with the
            inputs of the task (adding: 2).
        baseline, length, options: as there; `hidden` is that of the module.

    Raises:
        AssertionError: the curve changed, or had no baseline. GradlabError: the module or an argument is wrong.
    """
    __tracebackhide__ = True
    from gradlab.testing import assert_curve as of_cell

    if getattr(module, "num_layers", 1) > 1 or getattr(module, "bidirectional", False):
        raise GradlabError(
            f"{type(module).__name__} has several layers or directions: give one of one layer, or compare a "
            "curve of gradlab.torch.watch, gradlab.testing.assert_curve(seen['lstm'], baseline=...)"
        )
    of_cell(TorchWeights(module), baseline=baseline, length=length, hidden=module.hidden_size, **options)
