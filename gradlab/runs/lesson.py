"""What a lesson holds: one cell measured at every position of two sliders, and examples small enough to read.

Knows no jax; `probing.py` measures it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.gradient.curve import GradientCurve

if TYPE_CHECKING:
    from gradlab.gradient.chain import Chain

Floats = NDArray[np.float64]

PLAIN = "none"
"""The value of a knob that is not set."""


class Knob(NamedTuple):
    """One option of a cell with the values it is turned through.

    Attributes:
        option: its name, empty where the cell has none that is known.
        values: as they are typed, in order; `none` where the option is not given.
        cells: the variant for each of them.
        chosen: which of them is the cell that was asked for.
    """

    option: str
    values: tuple[str, ...]
    cells: tuple[str, ...]
    chosen: int


def few_rows(knob: Knob) -> list[int]:
    """Which values of a knob a picture of three shows: the first, the chosen and the last."""
    return sorted({0, knob.chosen, len(knob.values) - 1})


def middle_length(lengths: Sequence[int]) -> int:
    """Which length a picture of one length shows: the last but one."""
    return max(0, len(lengths) - 2)


class Position(NamedTuple):
    """One probe: where the sliders stand, and what was measured there.

    Attributes:
        value: of the knob. length: of the sequences. cell: the variant. command: which measures it again.
        gates: mean of each gate.
    """

    value: str
    length: int
    cell: str
    command: str
    curve: GradientCurve
    gates: Mapping[str, float]


class Example(NamedTuple):
    """A network small enough to write down: its chain of Jacobians, and what the instrument read of it."""

    chain: "Chain"
    curve: GradientCurve
    hidden: int
    command: str


class Sum(NamedTuple):
    """A task with a loss at every output: the gradient of the sum, of the last loss alone, and the direct one."""

    task: str
    total: GradientCurve
    single: GradientCurve
    direct: GradientCurve
    command: str
    snippet: str


class Floor(NamedTuple):
    """What the backward pass of one real training step saw, beside the probe of the same weights.

    Attributes:
        seen: for each leaf, log10 rms over the training examples, by lag; -inf where it read 0.
        batch: training examples.
    """

    position: Position
    seen: Mapping[str, Floats]
    batch: int
    command: str


@dataclass(frozen=True)
class Lesson:
    """Everything that the page of a lesson shows.

    Attributes:
        task, cell, hidden, seed, examples: what was asked.
        family: rnn, lstm or gru; empty for a cell of one's own.
        traits: what the equations depend on, such as `activation`.
        positions: [value of the knob][length].
        alone: the cell with its recurrent weights at zero, so that the state is carried by the gate alone.
        example, sum, floor: None where the cell has none, with the reason in `missing`.
        commands: of the whole grid and of parts of it, of a run to train, and of the lesson itself.
    """

    task: str
    cell: str
    hidden: int
    seed: int
    examples: int
    family: str
    traits: Mapping[str, Any]
    knob: Knob
    lengths: tuple[int, ...]
    positions: tuple[tuple[Position, ...], ...]
    alone: Position | None
    example: Example | None
    sum: Sum | None
    floor: Floor | None
    missing: Mapping[str, str]
    commands: Mapping[str, str]

    @property
    def chosen(self) -> tuple[Position, ...]:
        """The positions of the cell that was asked for, by length."""
        return self.positions[self.knob.chosen]
