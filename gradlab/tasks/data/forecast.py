"""Forecast a recorded series: given x₁..x_T, say x_{T+h}.

The error is relative to that of persistence, the forecast that the value at hand stays: 1 is as good as that. A
linear autoregression, fitted by least squares on the windows of the training part, is the other mark.

Source: Brockwell & Davis (2016), "Introduction to time series and forecasting", chapters 3 and 5.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.lib.stride_tricks import sliding_window_view

from gradlab.errors import GradlabError, unknown
from gradlab.tasks.base import Batch, Part
from gradlab.tasks.data.parts import Parts, check_fits, contiguous, digest_of
from gradlab.tasks.data.series import series_of

_TARGETS = ("values", "changes")


@dataclass(frozen=True)
class Forecasting:
    """Inputs (T, B, C), the values of C channels; targets the values (B, C) h timesteps after the last input.

    The loss is the squared error, averaged over channels and divided by the mean squared error of persistence on
    all windows of the same part. The first 60 % of the series train, the next 20 % validate, the last 20 % test;
    mean and deviation of the training part scale all of it.

    Args:
        series: eeg, goog, sunspots, co2 or elnino.
        horizon: h, how many timesteps ahead.
        target: `values`, or `changes` from the last input, in which a series that rises beyond what was seen in
            training can be forecast; errors mean the same.

    Raises:
        GradlabError: an unknown series or target, one of a package that is not installed, a horizon below 1.
    """

    min_length: ClassVar[int] = 1
    readout: ClassVar[Literal["last", "all"]] = "last"

    series: str = "eeg"
    horizon: int = 1
    target: str = "values"

    def __post_init__(self) -> None:
        if self.target not in _TARGETS:
            raise unknown("target", self.target, _TARGETS)
        if self.horizon < 1:
            raise GradlabError(f"horizon is {self.horizon}: give a whole number of at least 1")
        series_of(self.series)

    @property
    def input_size(self) -> int:
        """C, the channels."""
        return series_of(self.series).shape[1]

    @property
    def output_size(self) -> int:
        """C."""
        return self.input_size

    @property
    def digest(self) -> str:
        """Of the values."""
        return digest_of(series_of(self.series))

    def steps(self, length: int) -> int:
        """T = length, the window; GradlabError if a part holds none of that length."""
        check_fits(f"series {self.series}", length, min(map(len, scaled(self.series))) - self.horizon)
        return length

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """Windows of the training part, drawn with replacement."""
        return self._drawn("train", key, batch_size, length)

    def held_out(self, part: Part, key: Array, batch_size: int, length: int) -> Batch:
        """Windows of another part, drawn with replacement."""
        return self._drawn(part, key, batch_size, length)

    def evaluation(self, part: Part, length: int) -> Batch:
        """All windows of another part, as one batch."""
        count = len(getattr(scaled(self.series), part)) - length - self.horizon + 1
        return jax.tree.map(lambda array: array[None], self._windows(part, jnp.arange(count), length))

    def _drawn(self, part: str, key: Array, batch_size: int, length: int) -> Batch:
        count = len(getattr(scaled(self.series), part)) - length - self.horizon + 1
        return self._windows(part, jax.random.randint(key, (batch_size,), 0, count), length)

    def _windows(self, part: str, first: Array, length: int) -> Batch:
        """The windows of a part that begin at some of its rows."""
        rows = getattr(scaled(self.series), part)
        values = jnp.asarray(rows, float)
        inputs = values[first + jnp.arange(length)[:, None]]
        future = values[first + length - 1 + self.horizon]
        scale = persistence(rows, length, self.horizon)
        targets = {
            "value": future - inputs[-1] if self.target == "changes" else future,
            "persistence": jnp.full(first.shape, scale, values.dtype),
        }
        return Batch(inputs, targets)

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """Mean over channels of (y_T - target)², over the mean squared error of persistence; (B,)."""
        return jnp.mean((outputs[-1] - batch.targets["value"]) ** 2, axis=-1) / batch.targets["persistence"]

    def chance(self, length: int) -> float:
        """1, the error of persistence."""
        del length
        return 1.0

    def solved(self, length: int) -> float:
        """0: no error counts as solved, and a run goes on to its last training step."""
        del length
        return 0.0

    def baselines(self, length: int) -> dict[str, float]:
        """The error on the test part of a linear autoregression, relative to persistence."""
        parts = scaled(self.series)
        error = autoregression(parts, length, self.horizon) / persistence(parts.test, length, self.horizon)
        return {"autoregression": error}

    def task_curve(self, length: int) -> int | None:
        """None: the loss is at the last timestep."""
        return None


@lru_cache
def scaled(series: str) -> Parts:
    """The parts of a series, scaled by mean and standard deviation of the training part."""
    parts = contiguous(series_of(series), 0.6, 0.2)
    mean, deviation = parts.train.mean(axis=0), parts.train.std(axis=0)
    return Parts(*((part - mean) / deviation for part in parts))


def persistence(rows: np.ndarray, length: int, horizon: int) -> float:
    """The mean squared error, over all windows and channels, of the forecast that the last value stays.

    Args:
        rows: (N, C), a part of a series.
    """
    last = rows[length - 1 : len(rows) - horizon]
    return float(np.mean((rows[length - 1 + horizon :] - last) ** 2))


def autoregression(parts: Parts, length: int, horizon: int) -> float:
    """The mean squared error on the test part of x_{T+h} = b + Σ A_k x_{T-k}, k = 0..p-1.

    Fitted on the training part by least squares. The order p is that of 1, 2, 4, ... and the length whose error on
    the validation part is lowest.
    """
    orders = sorted({*(2**power for power in range(length.bit_length()) if 2**power <= length), length})
    errors = []
    for order in orders:
        (x, y), *others = (_design(rows, order, length, horizon) for rows in parts)
        weights = np.linalg.lstsq(x, y)[0]
        errors.append([float(np.mean((x @ weights - y) ** 2)) for x, y in others])
    return min(errors)[1]


def _design(rows: np.ndarray, order: int, length: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """The last `order` values of every window and 1, (n, order C + 1), and what comes after it (n, C)."""
    recent = sliding_window_view(rows[length - order : len(rows) - horizon], order, axis=0)
    x = recent.reshape(len(recent), -1)
    return np.column_stack([x, np.ones(len(x))]), rows[length - 1 + horizon :]


def forecast(series: str = "eeg", horizon: int = 1, target: str = "values") -> Forecasting:
    """Forecast eeg, goog, sunspots, co2 or elnino (the last three: extra `data`) `horizon` timesteps ahead."""
    return Forecasting(series, horizon, target)
