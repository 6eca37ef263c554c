"""Compositions as text: `stacked:lstm:layers=3:forget_bias=3` is a stack of `lstm:forget_bias=3`.

After the name of a composition comes the cell that it is made of, which may be another composition or a cell of
one's own. Options that stand before the inner cell are the composition's. Of those behind it, the composition
takes the ones that it knows and the cell the others; behind an inner composition all belong to that.
"""

import inspect
from collections.abc import Sequence
from itertools import takewhile

from gradlab.cells import COMPOSITIONS
from gradlab.errors import GradlabError
from gradlab.runs.sources import is_own


def is_composition(name: str) -> bool:
    """Whether a cell follows this name in a variant."""
    return name in COMPOSITIONS


def options_of(name: str) -> list[str]:
    """The options of a composition itself.

    Example:
        >>> options_of("stacked")
        ['layers', 'norm', 'dropout']
    """
    return list(inspect.signature(COMPOSITIONS[name]).parameters)[1:]


def split_composition(name: str, rest: Sequence[str]) -> tuple[list[str], str]:
    """The options of a composition, and the variant that it is made of.

    Args:
        rest: what follows the name, by colons.

    Raises:
        GradlabError: no cell follows.

    Example:
        >>> split_composition("stacked", ["lstm", "layers=3", "forget_bias=3"])
        (['layers=3'], 'lstm:forget_bias=3')
        >>> split_composition("stacked", ["layers=3", "residual", "gru", "layers=2"])
        (['layers=3'], 'residual:gru:layers=2')
    """
    own = list(takewhile(lambda part: "=" in part, rest))
    inner = list(rest[len(own) :])
    if not inner or not inner[0]:
        raise GradlabError(f"cell `{':'.join([name, *rest])}` does not say of which cell: write {name}:lstm")
    if is_composition(inner[0]):
        return own, ":".join(inner)
    known, head = options_of(name), _head(inner)
    own += [part for part in inner[head:] if part.partition("=")[0] in known]
    return own, ":".join([*inner[:head], *(part for part in inner[head:] if part.partition("=")[0] not in known)])


def composed_name(name: str, own: Sequence[str], inner: str) -> str:
    """The one spelling: all options at the end, sorted, but before an inner composition its own follow the name.

    Example:
        >>> composed_name("stacked", ["layers=3"], "lstm:forget_bias=3")
        'stacked:lstm:forget_bias=3:layers=3'
        >>> composed_name("stacked", ["layers=3"], "residual:gru:layers=4")
        'stacked:layers=3:residual:gru:layers=4'
    """
    parts = inner.split(":")
    if is_composition(parts[0]):
        return ":".join([name, *own, inner])
    head = _head(parts)
    return ":".join([name, *parts[:head], *sorted([*own, *parts[head:]], key=lambda part: part.partition("="))])


def _head(parts: Sequence[str]) -> int:
    """How many parts name a cell."""
    return 2 if is_own(parts[0]) else 1
