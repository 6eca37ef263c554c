"""Cells of other libraries, and plain functions, as cells; a library is imported when its cell is met."""

from gradlab.adapters.adapt import (
    WRAPPER,
    adapted,
    as_cell,
    cell_factory,
    is_made,
    is_own_network,
    missing_parts,
    to_cell,
)
from gradlab.adapters.recognise import kind_of

__all__ = [
    "WRAPPER",
    "adapted",
    "as_cell",
    "cell_factory",
    "is_made",
    "is_own_network",
    "kind_of",
    "missing_parts",
    "to_cell",
]
