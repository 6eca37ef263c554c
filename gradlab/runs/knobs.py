"""What can be turned in a cell to move how far its gradient reaches, and the variants that turning makes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gradlab.cells import CELLS
from gradlab.errors import GradlabError
from gradlab.runs.lesson import PLAIN, Knob
from gradlab.runs.variants import cell_variant


class _Turn(NamedTuple):
    """An option that moves memory: its values, and options that have to be given with it."""

    option: str
    values: tuple[str, ...]
    given: Mapping[str, str] = {}


_BIASES = _Turn("forget_bias", ("-2", "-1", "0", "1", "2", "3", "4", "5"))
_GAINS = _Turn("gain", ("0.5", "0.7", "0.8", "0.9", "1", "1.1", "1.2", "1.5", "2"))
_LAGS = _Turn("t_max", (PLAIN, "5", "10", "20", "50", "100", "200", "400"), {"init": "chrono"})
_TURNS: dict[str, tuple[_Turn, ...]] = {"rnn": (_GAINS,), "lstm": (_BIASES, _LAGS, _GAINS), "gru": (_LAGS, _GAINS)}


def knob_of(cell: str) -> Knob:
    """The knob of a cell: forget bias for lstm, gain for rnn, the lag of chrono for gru; none for one's own.

    An option that is given and leaves the first knob without effect gets the next one that has an effect.

    Args:
        cell: a variant.

    Raises:
        GradlabError: the variant is wrong.

    Example:
        >>> knob = knob_of("lstm:forget_bias=3.5")
        >>> knob.values[knob.chosen], knob.cells[0]
        ('3.5', 'lstm:forget_bias=-2')
        >>> knob_of("lstm:forget_gate=false").option
        'gain'
    """
    name = cell_variant(cell).name
    for turn in _TURNS.get(name.split(":")[0], ()):
        if (found := _turned(name, turn)) is not None:
            return found
    return Knob("", ("",), (name,), 0)


def turned_by_hand(cell: str, text: str) -> Knob:
    """The knob that a person names, `gain=0.5,1,2`; the cell's own value comes first where it is not among them.

    Raises:
        GradlabError: not `option=values`, or a value that the cell refuses.
    """
    option, _, listed = text.partition("=")
    values = list(dict.fromkeys(value.strip() for value in listed.split(",")))
    if not option.strip() or not all(values):
        raise GradlabError(f"--vary is `{text}`: write an option of the cell and its values, as in gain=0.5,1,2")
    name = cell_variant(cell).name
    cells = [cell_variant(with_options(name, {option.strip(): value})).name for value in values]
    if name not in cells:
        values, cells = [PLAIN, *values], [name, *cells]
    return Knob(option.strip(), tuple(values), tuple(cells), cells.index(name))


def with_options(cell: str, options: Mapping[str, str]) -> str:
    """A variant with these options in place of its own.

    Example:
        >>> with_options("lstm:forget_bias=3:gain=2", {"gain": "0"})
        'lstm:forget_bias=3:gain=0'
    """
    parts = cell.split(":")
    head = 1 if parts[0] in CELLS else 2
    own = dict(part.split("=", 1) for part in parts[head:])
    return ":".join([*parts[:head], *(f"{key}={value}" for key, value in {**own, **options}.items())])


def _turned(name: str, turn: _Turn) -> Knob | None:
    """The knob of one option, or None where it has no effect on this cell."""
    own = dict(part.split("=", 1) for part in name.split(":")[1:])
    if any(own.get(key, value) != value for key, value in turn.given.items()):
        return None
    values: Sequence[str] = turn.values
    if own.get(turn.option, values[0]) not in values:
        values = sorted(
            [*values, own[turn.option]], key=lambda value: (value != PLAIN, value == PLAIN or float(value))
        )
    bare = ":".join(
        [name.split(":")[0], *(f"{k}={v}" for k, v in own.items() if k not in (turn.option, *turn.given))]
    )
    cells = []
    for value in values:
        options = {} if value == PLAIN else {**turn.given, turn.option: value}
        try:
            cells.append(cell_variant(with_options(bare, options)).name)
        except GradlabError:
            return None
    return Knob(turn.option, tuple(values), tuple(cells), cells.index(name)) if name in cells else None
