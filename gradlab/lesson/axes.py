"""The hyperparameter axis of a lesson: one option of the cell and the values that it is swept over."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from gradlab.errors import GradlabError
from gradlab.runs.variants import cell_variant

UNSET = "none"
"""The value of an option that is not given."""
LABELS = {"forget_bias": "forget bias", "gain": "recurrent gain", "t_max": "chrono lag"}


class SweepAxis(NamedTuple):
    """One option of a cell with its values.

    Attributes:
        option: its name, empty if the cell has no known one.
        values: as they are typed, in order; `none` where the option is not given.
        cells: the variant for each value.
        chosen: index of the cell that was asked for.
    """

    option: str
    values: tuple[str, ...]
    cells: tuple[str, ...]
    chosen: int

    @property
    def label(self) -> str:
        """What the option is called on the page."""
        return LABELS.get(self.option, self.option.replace("_", " "))

    def setting(self, value: str) -> str:
        """`forget bias 1`, `no chrono lag`, or `this cell` where there is no option."""
        if not self.option:
            return "this cell"
        return f"no {self.label}" if value == UNSET else f"{self.label} {value.replace('-', '−')}"


_BIASES = ("forget_bias", ("-2", "-1", "0", "1", "2", "3", "4", "5"))
_GAINS = ("gain", ("0.5", "0.7", "0.8", "0.9", "1", "1.1", "1.2", "1.5", "2"))
_LAGS = ("t_max", (UNSET, "5", "10", "20", "50", "100", "200", "400"))
_DEFAULTS = {"rnn": (_GAINS,), "lstm": (_BIASES, _LAGS, _GAINS), "gru": (_LAGS, _GAINS)}
FAMILIES = tuple(_DEFAULTS)
"""The cells whose equations a lesson knows."""
GATED = ("lstm", "gru")
"""Those of them that have a direct path."""
_REQUIRED: Mapping[str, Mapping[str, str]] = {"t_max": {"init": "chrono"}}
"""Options that have to be given with an option."""


def family_of(cell: str) -> str:
    """The cell whose equations a variant has; empty if a lesson does not know them.

    Example:
        >>> family_of("gru:gain=2"), family_of("janet"), family_of("./mine.py:Cell")
        ('gru', '', '')
    """
    name = cell.split(":")[0]
    return name if name in FAMILIES else ""


def default_axis(cell: str) -> SweepAxis:
    """Forget bias for lstm, gain for rnn, the lag of chrono for gru; no option for any other.

    An option of the cell that leaves the first axis without effect gives the next one that has an effect.

    Args:
        cell: a variant.

    Raises:
        GradlabError: the variant is wrong.

    Example:
        >>> axis = default_axis("lstm:forget_bias=3.5")
        >>> axis.values[axis.chosen], axis.cells[0]
        ('3.5', 'lstm:forget_bias=-2')
        >>> default_axis("lstm:forget_gate=false").option
        'gain'
    """
    name = cell_variant(cell).name
    axes = (_axis(name, *default) for default in _DEFAULTS.get(name.split(":")[0], ()))
    return next((axis for axis in axes if axis is not None), SweepAxis("", ("",), (name,), 0))


def parse_axis(cell: str, text: str) -> SweepAxis:
    """The axis of `--vary gain=0.5,1,2`; the cell's own value comes first where it is not among the values.

    Raises:
        GradlabError: not `option=values`, or a value that the cell refuses.
    """
    option, _, listed = text.partition("=")
    option, values = option.strip(), list(dict.fromkeys(value.strip() for value in listed.split(",")))
    if not option or not all(values):
        raise GradlabError(f"--vary is `{text}`: write an option of the cell and its values, as in gain=0.5,1,2")
    name = cell_variant(cell).name
    cells = [cell_variant(with_options(name, {option: value})).name for value in values]
    if name not in cells:
        values, cells = [UNSET, *values], [name, *cells]
    return SweepAxis(option, tuple(values), tuple(cells), cells.index(name))


def with_options(cell: str, options: Mapping[str, str]) -> str:
    """A variant with these options in place of its own.

    Example:
        >>> with_options("lstm:forget_bias=3:gain=2", {"gain": "0"})
        'lstm:forget_bias=3:gain=0'
    """
    parts = cell.split(":")
    head = 1 + max(place for place, part in enumerate(parts) if "=" not in part)
    own = dict(part.split("=", 1) for part in parts[head:]) | {**options}
    return ":".join([*parts[:head], *(f"{name}={value}" for name, value in own.items())])


def _axis(name: str, option: str, values: tuple[str, ...]) -> SweepAxis | None:
    """The axis of one option, None where it has no effect on this cell."""
    family, *parts = name.split(":")
    own, required = dict(part.split("=", 1) for part in parts), _REQUIRED.get(option, {})
    if any(own.get(key, value) != value for key, value in required.items()):
        return None
    if option in own and own[option] not in values:
        values = tuple(sorted((*values, own[option]), key=lambda it: -math.inf if it == UNSET else float(it)))
    bare = with_options(family, {key: own[key] for key in own if key not in (option, *required)})
    options = [{} if value == UNSET else {**required, option: value} for value in values]
    try:
        cells = tuple(cell_variant(with_options(bare, each)).name for each in options)
    except GradlabError:
        return None
    return SweepAxis(option, values, cells, cells.index(name)) if name in cells else None
