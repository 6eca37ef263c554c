"""What is measured: recurrent cells, one per file."""

from collections.abc import Callable

from gradlab.cells.base import Carry, Cell, GatedCell, Params
from gradlab.cells.gru import gru
from gradlab.cells.lstm import lstm
from gradlab.cells.rnn import rnn

CELLS: dict[str, Callable[..., GatedCell]] = {"rnn": rnn, "lstm": lstm, "gru": gru}

__all__ = ["CELLS", "Carry", "Cell", "GatedCell", "Params", "gru", "lstm", "rnn"]
