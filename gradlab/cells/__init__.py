"""What is measured: recurrent cells, one per file."""

from collections.abc import Callable

from gradlab.cells.base import Carry, Cell, GatedCell, Params
from gradlab.cells.gru import gru
from gradlab.cells.literature import LITERATURE
from gradlab.cells.lstm import lstm
from gradlab.cells.rnn import rnn
from gradlab.cells.stacked import residual, stacked

COMPOSITIONS: dict[str, Callable[..., Cell]] = {"stacked": stacked, "residual": residual}
"""Factories whose first argument is a cell."""
CELLS: dict[str, Callable[..., Cell]] = {
    "rnn": rnn,
    "lstm": lstm,
    "gru": gru,
    **{factory.__name__: factory for factory in LITERATURE},
    **COMPOSITIONS,
}

__all__ = [
    "CELLS",
    "COMPOSITIONS",
    "Carry",
    "Cell",
    "GatedCell",
    "Params",
    "gru",
    "lstm",
    "residual",
    "rnn",
    "stacked",
]
