"""Texts of progress, and the estimate of the time left."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from gradlab.cli.console import counted
from gradlab.gradient.summary import in_decades
from gradlab.runs.jobs import Finished, RunProgress
from gradlab.runs.jsonable import number
from gradlab.runs.spec import RunSpec

_SHOWN = 16
"""Most running runs with a line of their own; more are counted."""


def header(spec: RunSpec, execution: Mapping[str, Any]) -> list[str]:
    """All resolved settings of a run, in a few lines."""
    task = spec.build_task()
    lines = [
        f"{spec.id}",
        f"  task {spec.task}, length {spec.length} ({task.steps(spec.length)} timesteps), chance "
        f"{_loss(spec, task.chance(spec.length))}, solved means at most {task.solved(spec.length):.4g}",
        f"  cell {spec.cell}, hidden {spec.hidden}, {spec.dtype}, seed {spec.seed}, "
        f"curves on {spec.measure_batch} held-out examples",
    ]
    if spec.params:
        lines.append(f"  weights: final ones of {spec.params}")
    if spec.steps:
        lines.append(
            f"  {spec.optimizer}, learning rate {spec.learning_rate:g}, clip {spec.clip}, batch {spec.batch}, "
            f"at most {spec.steps} training steps, stop {spec.stop}, measure {spec.measure}"
        )
    lines.append(
        f"  on {execution['device']} ({execution['cpu']}), {counted(execution['shards'], 'shard')}, "
        f"jaxlib {execution['jaxlib']}"
    )
    return lines


def checkpoint_line(spec: RunSpec, progress: RunProgress) -> str:
    """Training step, loss, span and verdict of a checkpoint."""
    span = in_decades(number(progress.span))
    loss = _loss(spec, progress.loss)
    return f"training step {progress.step:>6}  loss {loss}  span {span} decades  {progress.verdict}"


def training_line(spec: RunSpec, progress: RunProgress, elapsed: float) -> str:
    """Loss, rate and the longest time left of a run that is training."""
    chance = spec.build_task().chance(spec.length)
    rate = progress.step / elapsed if elapsed > 0 else 0.0
    left = (spec.steps - progress.step) / rate if rate else 0.0
    return (
        f"training step {progress.step} of {spec.steps}, {rate:.0f}/s, at most {clock(left)} left  "
        f"loss {_loss(spec, progress.loss)} (chance {chance:.4g})"
    )


def _loss(spec: RunSpec, loss: float) -> str:
    from gradlab.tasks.base import score_of

    score = score_of(spec.build_task(), loss)
    return f"{loss:.4g} ({score})" if score else f"{loss:.4g}"


def running_lines(running: Sequence[tuple[RunSpec, float, int]]) -> list[str]:
    """A line for each running run: spec, when it began by `time.monotonic`, and its training step."""
    width = max((len(spec.id) for spec, _, _ in running), default=0)
    lines = []
    for spec, started, step in running[:_SHOWN]:
        at = f"training step {step:>6} of at most {spec.steps}" if spec.steps else "measuring"
        lines.append(f"  {spec.id:<{width}}  {at}  {clock(time.monotonic() - started)}")
    return [*lines, *([f"  and {len(running) - _SHOWN} more"] if len(running) > _SHOWN else [])]


class Forecast:
    """Estimates the time left by the mean time per timestep of the runs that ended, of their cell or of all."""

    def __init__(self, specs: Sequence[RunSpec]) -> None:
        self._left = {spec.id: spec for spec in specs}
        self._seen: dict[str, tuple[float, float]] = {}

    def take(self, finished: Finished) -> None:
        """Account for a run that ended."""
        from gradlab.runs.engine import cost

        spec = self._left.pop(finished.spec.id, finished.spec)
        if finished.fresh and finished.status != "failed":
            for name in (spec.cell, ""):
                seconds, work = self._seen.get(name, (0.0, 0.0))
                self._seen[name] = (seconds + finished.seconds, work + cost(spec))

    def seconds_left(self, running: dict[str, float]) -> float | None:
        """The estimate, None before the first run ended.

        Args:
            running: when each running run began, by `time.monotonic`; so many run at a time.
        """
        from gradlab.runs.engine import cost

        if "" not in self._seen:
            return None
        total = longest = 0.0
        for name, spec in self._left.items():
            seconds, work = self._seen.get(spec.cell, self._seen[""])
            needed = seconds / work * cost(spec)
            if name in running:
                needed = max(0.0, needed - (time.monotonic() - running[name]))
            total, longest = total + needed, max(longest, needed)
        return max(total / max(1, len(running)), longest)


def clock(seconds: float) -> str:
    """A duration for people: `12 s`, `14 min`, `3.2 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
