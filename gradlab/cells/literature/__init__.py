"""Cells of the literature, one per file."""

from gradlab.cells.literature.cifg import cifg
from gradlab.cells.literature.cornn import cornn
from gradlab.cells.literature.indrnn import indrnn
from gradlab.cells.literature.janet import janet
from gradlab.cells.literature.lru import lru
from gradlab.cells.literature.lstm_layernorm import lstm_layernorm
from gradlab.cells.literature.lstm_peephole import lstm_peephole
from gradlab.cells.literature.mgu import mgu
from gradlab.cells.literature.mingru import mingru
from gradlab.cells.literature.minlstm import minlstm
from gradlab.cells.literature.ornn import ornn
from gradlab.cells.literature.slstm import slstm

LITERATURE = (
    *(lstm_peephole, lstm_layernorm, cifg, slstm, mgu, janet, mingru, minlstm),
    *(indrnn, ornn, cornn, lru),
)
"""Factories, whose names are those of the cells."""

__all__ = ["LITERATURE", *(factory.__name__ for factory in LITERATURE)]
