"""Taking turns: in every round each worker runs alone for its share while the others sleep."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.fleet import Worker

PILOT_SECONDS = 0.2
Turn = Callable[[int], float]
"""Training steps -> ms for each of them."""


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Args:
        rounds: turns of each worker.
        seconds: that a turn should take.
    """

    rounds: int
    seconds: float


FULL = Effort(rounds=5, seconds=0.5)
LONG = Effort(rounds=3, seconds=0.5)
"""For what takes many seconds at a time."""
QUICK = Effort(rounds=3, seconds=0.3)


@dataclass(frozen=True)
class Timing:
    """ms per training step, of each round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def least(self) -> float:
        return min(self.rounds)


def pilot(take: Turn) -> float:
    """ms per training step, roughly: the better of two short turns."""
    first = take(2)
    return min(first, take(share(first, PILOT_SECONDS, least=2)))


def share(step_ms: float, seconds: float, least: int) -> int:
    """Training steps that take about `seconds`, a multiple of `least`, so that calls are whole."""
    return max(1, round(1000 * seconds / (step_ms * least))) * least


def alternate(turns: Sequence[tuple[Turn, int]], rounds: int) -> list[Timing]:
    """Rounds in which each takes its turn of so many training steps, beginning with another one each time."""
    found: list[list[float]] = [[] for _ in turns]
    for number in range(rounds):
        for place in range(len(turns)):
            index = (place + number) % len(turns)
            take, steps = turns[index]
            found[index].append(take(steps))
    return [Timing(tuple(one)) for one in found]


def trains(worker: Worker, **way: Any) -> Turn:
    """A turn of a worker: training steps -> ms for each."""
    return lambda steps: 1000 * worker.ask("train", steps=steps, **way).seconds / steps
