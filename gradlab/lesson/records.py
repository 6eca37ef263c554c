"""What a lesson measures: one cell over a grid of hyperparameter and length, and examples small enough to read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.gradient.chain import Chain
from gradlab.gradient.curve import STATE, GradientCurve
from gradlab.lesson.axes import SweepAxis

Floats = NDArray[np.float64]


class GridPoint(NamedTuple):
    """One probe: a value of the hyperparameter, a length, and what was measured there.

    Attributes:
        cell: the variant. command: measures it again. gates: mean of each gate.
    """

    value: str
    length: int
    cell: str
    command: str
    curve: GradientCurve
    gates: Mapping[str, float]

    def relative(self, leaf: str = STATE) -> Floats:
        """The curve of a leaf by lag, in decades from lag 1 of the whole state."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.curve.summarised(leaf) - self.curve.summarised(STATE)[0])

    @property
    def factors(self) -> Floats:
        """What each timestep multiplies the norm by, from lag 1 to 2 on; geometric mean over examples (T - 1,)."""
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(10 ** np.diff(self.relative()))

    @property
    def mean_factor(self) -> float:
        """The factor that gives the same product if every timestep has it; NaN for one timestep."""
        lags = len(self.curve.lags)
        return float(10 ** (self.curve.span() / (lags - 1))) if lags > 1 else math.nan


class WorkedExample(NamedTuple):
    """A network small enough to write down: its chain of Jacobians, and the curve that a probe measures."""

    chain: Chain
    curve: GradientCurve
    hidden: int
    command: str

    @property
    def norms(self) -> Floats:
        """The norm of the gradient by lag, as the product of Jacobians; of the lags that the curve has."""
        return self.chain.norms[: len(self.curve.lags)][::-1]

    @property
    def factors(self) -> Floats:
        """What each timestep multiplies the norm by: norm at lag k + 1 over norm at lag k (T - 1,)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.norms[1:] / self.norms[:-1])


class SummedLoss(NamedTuple):
    """A task with a loss at every output: gradient of the sum, of the last loss alone, and the direct one."""

    task: str
    total: GradientCurve
    last: GradientCurve
    direct: GradientCurve
    command: str
    snippet: str


class TrainingPass(NamedTuple):
    """The gradient norms that the float32 backward pass of one real training step computed.

    Attributes:
        point: the probe of the same weights.
        rms: for each leaf, log10 rms over the training examples, by lag; -inf where it is 0.
        batch: training examples.
    """

    point: GridPoint
    rms: Mapping[str, Floats]
    batch: int
    command: str

    @property
    def leaf(self) -> str:
        """The leaf that is shown: the memory c where there is one."""
        return "c" if "c" in self.rms else next(iter(self.rms))


@dataclass(frozen=True)
class Lesson:
    """Everything that the page of a lesson shows.

    Attributes:
        family: rnn, lstm or gru; empty for a user's cell.
        activation: of an rnn, else empty. forget_gate: whether an lstm has one. readout: of the task.
        grid: [value of the axis][length].
        ungated: the gated cell with its recurrent weights at zero, so that the gate alone carries the state.
        example, summed, underflow: None where the cell has none, with the reason in `missing`.
        commands: of the grid and of parts of it, of a run to train, and of the lesson itself.
    """

    task: str
    cell: str
    hidden: int
    examples: int
    family: str
    activation: str
    forget_gate: bool
    readout: str
    axis: SweepAxis
    lengths: tuple[int, ...]
    grid: tuple[tuple[GridPoint, ...], ...]
    ungated: GridPoint | None
    example: WorkedExample | None
    summed: SummedLoss | None
    underflow: TrainingPass | None
    missing: Mapping[str, str]
    commands: Mapping[str, str]

    @property
    def chosen(self) -> tuple[GridPoint, ...]:
        """The cell that was asked for, by length."""
        return self.grid[self.axis.chosen]

    @property
    def middle(self) -> int:
        """Index of the length that a figure of one length shows: the last but one."""
        return max(0, len(self.lengths) - 2)

    @property
    def contrast(self) -> list[GridPoint]:
        """The first, the chosen and the last value of the axis, at the middle length."""
        return [self.grid[row][self.middle] for row in sorted({0, self.axis.chosen, len(self.grid) - 1})]

    @property
    def points(self) -> list[GridPoint]:
        """Every point of the grid."""
        return [point for row in self.grid for point in row]

    def place(self, point: GridPoint) -> str:
        """`forget bias 1, T = 200`."""
        return f"{self.axis.setting(point.value)}, T = {point.length}"

    def options(self, point: GridPoint) -> dict[str, str]:
        """The positions of the sliders at a point, by the names of the sliders."""
        own = {self.axis.label: point.value.replace("-", "−")} if self.axis.option else {}
        return own | {"length T": str(point.length)}
