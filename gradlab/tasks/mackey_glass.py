"""Forecast of the Mackey-Glass series, a chaotic one whose change depends on a value τ time units before.

    dx/dt = 0.2 x(t - τ) / (1 + x(t - τ)¹⁰) - 0.1 x(t)

Two example rows, standardised, one timestep a time unit (the target is the value 6 timesteps after the last):

    input   ...  1.57  1.52  1.41  1.24  1.02       target  -0.39
    input   ... -0.01  0.13  0.22  0.28  0.30       target   0.16

Within one delay everything on the right but x(t) itself is known, so that τ time units are solved at once: the
known part is held constant over steps of 0.1 at the mean of its ends, and the rest is exact.

Sources: Mackey & Glass (1977), "Oscillation and chaos in physiological control systems"; as a task with τ = 17 and
a horizon of 84: Jaeger & Haas (2004), "Harnessing nonlinearity".
"""

from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.errors import GradlabError
from gradlab.tasks.base import Batch

_PER_UNIT = 10
"""Steps of the solution in a time unit."""
_STARTS = (0.5, 1.5)
"""A series begins with a constant from this range, for as long as a delay."""
_SETTLES = 500
"""Time units until it has come to the attractor; it is shown from a random one of as many that follow."""
_SLICES = 200


@dataclass(frozen=True)
class MackeyGlass:
    """Inputs (T, B, 1) the series up to now; target (B,) its value `horizon` timesteps after the last input.

    Both have mean 0 and variance 1, so that the loss, the squared error of the last output, is 1 for the mean of
    the series. The best answer without memory is the mean of what follows the last input: it costs
    E[Var(x(t + h) | x(t))].

    Args:
        horizon: h, how many timesteps ahead.
        tau: τ, the delay of the equation in timesteps, at most 100; the series is chaotic from 17 on.

    Raises:
        GradlabError: a horizon below 1, or tau out of range.

    Example:
        >>> import jax
        >>> batch = MackeyGlass().sample(jax.random.key(0), batch_size=3, length=50)
        >>> batch.inputs.shape, batch.targets.shape
        ((50, 3, 1), (3,))
    """

    input_size: ClassVar[int] = 1
    output_size: ClassVar[int] = 1
    readout: ClassVar[Literal["last", "all"]] = "last"

    horizon: int = 84
    tau: int = 17

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise GradlabError(f"horizon is {self.horizon}: give a whole number of at least 1")
        if not 1 <= self.tau <= 100:
            raise GradlabError(f"tau is {self.tau}: give a whole number, 1..100")

    @property
    def min_length(self) -> int:
        """τ + 1, after which all that decides the future has been seen."""
        return self.tau + 1

    def steps(self, length: int) -> int:
        """T = length."""
        return length

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """`batch_size` series of their own beginnings, each shown from a random time on."""
        key_start, key_time = jax.random.split(key)
        low, high = _STARTS
        start = jax.random.uniform(key_start, (batch_size,), minval=low, maxval=high)
        begin = jax.random.randint(key_time, (batch_size,), _SETTLES, 2 * _SETTLES)
        history = jnp.broadcast_to(start, (self.tau * _PER_UNIT + 1, batch_size))
        delays = -(-(2 * _SETTLES + length + self.horizon) // self.tau)
        _, solved = lax.scan(lambda last, _: _next_delay(last, jnp), history, length=delays)
        index = begin + jnp.arange(length + self.horizon)[:, None]
        shown = jnp.take_along_axis(solved.reshape(-1, batch_size), index, axis=0)
        known = _known(self.tau, self.horizon)
        shown = (shown - known.mean) / known.deviation
        return Batch(shown[:length, :, None], shown[-1])

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """(y_T - target)², (B,)."""
        return (outputs[-1, :, 0] - batch.targets) ** 2

    def chance(self, length: int) -> float:
        """E[Var(x(t + h) | x(t))] in units of Var(x), taken from many series, at any length."""
        del length
        return _known(self.tau, self.horizon).chance

    def solved(self, length: int) -> float:
        """0.01, an error of a tenth of the standard deviation; below that of chance for a near horizon."""
        return min(0.01, 0.1 * self.chance(length))

    def task_curve(self, length: int) -> int | None:
        """None: the loss is at the last timestep."""
        return None


class _Known(NamedTuple):
    """What is known of a series: mean and standard deviation, and the loss of the best answer without memory."""

    mean: float
    deviation: float
    chance: float


def _next_delay(history: Any, xp: ModuleType) -> tuple[Any, Any]:
    """The solution over the next delay: with its beginning, (N + 1, B), as `history` is; and at its time units."""
    fifth = history * history * history * history * history
    push = 0.2 * history / (1 + fifth * fifth)
    held = (push[1:] + push[:-1]) / 2
    fall = 0.1 / _PER_UNIT
    growth = xp.exp(fall * xp.arange(1, len(held) + 1))[:, None].astype(history.dtype)
    gained = xp.cumsum(growth * held, axis=0) * float((1 - np.exp(-fall)) / 0.1)
    following = (history[-1] + gained) / growth
    return xp.concatenate([history[-1:], following]), following[_PER_UNIT - 1 :: _PER_UNIT]


@lru_cache(maxsize=32)
def _known(tau: int, horizon: int) -> _Known:
    """From 200 series, which are too short for chaos to make a difference of rounding visible."""
    history = np.tile(np.linspace(*_STARTS, 200), (tau * _PER_UNIT + 1, 1))
    series = []
    for _ in range(-(-(2 * _SETTLES + horizon) // tau)):
        history, shown = _next_delay(history, np)
        series.append(shown)
    values = np.concatenate(series)
    now = values[_SETTLES : 2 * _SETTLES].ravel()
    later = values[_SETTLES + horizon : 2 * _SETTLES + horizon].ravel()
    sliced = later[np.argsort(now)].reshape(_SLICES, -1)
    return _Known(float(now.mean()), float(now.std()), float(sliced.var(axis=1).mean() / now.var()))


def mackey_glass(horizon: int = 84, tau: int = 17) -> MackeyGlass:
    """Forecast the chaotic Mackey-Glass series `horizon` timesteps ahead; `tau` is the delay of its equation."""
    return MackeyGlass(horizon, tau)
