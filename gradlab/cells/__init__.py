"""What is measured: recurrent cells, and networks without a state, one per file."""

from collections.abc import Callable

from gradlab.cells.attention import attention
from gradlab.cells.base import Carry, Cell, GatedCell, Network, Params
from gradlab.cells.bidirectional import bidirectional
from gradlab.cells.convolved import cnn
from gradlab.cells.gru import gru
from gradlab.cells.literature import LITERATURE
from gradlab.cells.lstm import lstm
from gradlab.cells.rnn import rnn
from gradlab.cells.stacked import residual, stacked

COMPOSITIONS: dict[str, Callable[..., Cell | Network]] = {
    "stacked": stacked,
    "residual": residual,
    "cnn": cnn,
    "bidirectional": bidirectional,
}
"""Factories whose first argument is a cell."""
CELLS: dict[str, Callable[..., Cell | Network]] = {
    "rnn": rnn,
    "lstm": lstm,
    "gru": gru,
    **{factory.__name__: factory for factory in LITERATURE},
    **COMPOSITIONS,
    "attention": attention,
}

__all__ = [
    "CELLS",
    "COMPOSITIONS",
    "Carry",
    "Cell",
    "GatedCell",
    "Network",
    "Params",
    "attention",
    "bidirectional",
    "cnn",
    "gru",
    "lstm",
    "residual",
    "rnn",
    "stacked",
]
