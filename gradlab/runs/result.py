"""What a run did, and the object of `--json` that says so."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gradlab.gradient.curve import GradientCurve
from gradlab.runs.arrays import norms_summary
from gradlab.runs.spec import RunSpec
from gradlab.training.loop import Checkpoint, Chunk, Event, Outcome
from gradlab.training.step import Row


@dataclass
class RunResult:
    """What a run did.

    Attributes:
        spec: what was asked.
        status: measured, solved, trained, diverged, interrupted or failed.
        checkpoints: what was measured, in the order of training steps.
        chunks: what the training steps of each chunk saw.
        tests: training step and loss of every test on held-out examples.
        outcome: how the training ended, None where it did not.
        reason: why a run failed.
        path: where it is stored, None where it is not.
    """

    spec: RunSpec
    status: str = "interrupted"
    checkpoints: list[Checkpoint] = field(default_factory=list)
    chunks: list[Row] = field(default_factory=list)
    tests: list[tuple[int, float]] = field(default_factory=list)
    outcome: Outcome | None = None
    parameters: int = 0
    reason: str | None = None
    path: Path | None = None
    wall_seconds: float = 0.0
    _summaries: dict[int, dict[str, Any]] = field(default_factory=dict, init=False, repr=False)

    @property
    def trace(self) -> Row:
        """What every training step saw, in numpy: loss (N,), log10 gradient norm, clipped share, norms by lag."""
        nothing = Row(*(np.empty(0),) * 3, {})
        return jax.tree.map(lambda *rows: np.concatenate(rows), *self.chunks) if self.chunks else nothing

    @property
    def training_steps(self) -> int:
        """Training steps whose update was applied."""
        return self.outcome.step if self.outcome else sum(len(rows.loss) for rows in self.chunks)

    def curve(self, when: str = "final", name: str = "task") -> GradientCurve:
        """The `task` or `total` curve at the `initial`, `worst` or `final` checkpoint."""
        curves = key_checkpoints(self.checkpoints)[when].metrics.curves
        return curves.get(name, curves["task"])

    def as_dict(self) -> dict[str, Any]:
        """The object that `--json` prints and `done.json` keeps; documented in docs/json.md."""
        outcome, task = self.outcome, self.spec.build_task()
        seconds = outcome.train_seconds if outcome else 0.0
        marks = key_checkpoints(self.checkpoints)
        losses = self.trace.loss
        return {
            "id": self.spec.id,
            "spec": self.spec.config(),
            "status": self.status,
            "reason": self.reason,
            "training_steps": self.training_steps,
            "solved_at": outcome.solved_at if outcome else None,
            "diverged": _diverged(outcome),
            "losses": {
                "initial": marks["initial"].metrics.loss if marks else None,
                "final": marks["final"].metrics.loss if marks else None,
                "test": outcome.test_loss if outcome else None,
                "train": float(losses[-50:].mean()) if len(losses) else None,
                "chance": task.chance(self.spec.length),
                "solved": task.solved(self.spec.length),
            },
            "parameters": self.parameters,
            "train_steps_per_second": self.training_steps / seconds if seconds and self.spec.steps else None,
            "compile_seconds": outcome.compile_seconds if outcome else None,
            "measure_seconds": outcome.measure_seconds if outcome else None,
            "train_seconds": outcome.train_seconds if outcome else None,
            "wall_seconds": self.wall_seconds,
            "training_bytes": outcome.training_bytes if outcome else None,
            "every": norms_summary(self.trace.norms),
            "summary": {when: self.summary(mark) for when, mark in marks.items()},
            "checkpoints": [self.log_line(mark) for mark in self.checkpoints],
            "path": str(self.path) if self.path else None,
        }

    def take(self, event: Event) -> None:
        """Note one event of the loop."""
        if isinstance(event, Chunk):
            self.chunks.append(event.rows)
            if event.test_loss is not None:
                self.tests.append((event.step, event.test_loss))
        elif isinstance(event, Checkpoint):
            self.checkpoints.append(event)
        else:
            self.outcome, self.status = event, event.status

    def summary(self, mark: Checkpoint) -> dict[str, Any]:
        """Training step, loss, and every number of every leaf of every curve, worked out once."""
        if mark.step not in self._summaries:
            curves = {
                name: {leaf: curve.summary(leaf).as_dict() for leaf in curve.leaves}
                | {"non_finite": [str(finding) for finding in curve.non_finite], "notes": curve.all_notes()}
                for name, curve in mark.metrics.curves.items()
            }
            self._summaries[mark.step] = {"step": mark.step, "loss": mark.metrics.loss, "curves": curves}
        return self._summaries[mark.step]

    def log_line(self, mark: Checkpoint) -> dict[str, Any]:
        """The line of `log.jsonl` for a checkpoint."""
        previous = max((other.step for other in self.checkpoints if other.step < mark.step), default=0)
        trace = self.trace
        clipped = trace.clipped[previous : mark.step]
        last = trace.log10_grad_norm[: mark.step][-1:]
        gates = mark.metrics.gates
        return {
            "step": mark.step,
            "loss": mark.metrics.loss,
            "log10_grad_norm": float(last[0]) if len(last) else None,
            "clipped": float(clipped.mean()) if len(clipped) else None,
            "gates": {name: gate._asdict() for name, gate in gates.items()},
            "curves": self.summary(mark)["curves"],
        }


def key_checkpoints(checkpoints: list[Checkpoint]) -> dict[str, Checkpoint]:
    """The `initial`, the `worst` and the `final` checkpoint; empty where nothing was measured.

    The worst is the one whose task curve gets furthest from its lag 1, or the first that is not finite.
    """
    if not checkpoints:
        return {}
    worst = max(checkpoints, key=lambda mark: mark.metrics.curves["task"].verdict().severity)
    return {"initial": checkpoints[0], "worst": worst, "final": checkpoints[-1]}


def _diverged(outcome: Outcome | None) -> dict[str, Any] | None:
    if outcome is None or outcome.diverged is None:
        return None
    step, what = outcome.diverged
    return {"step": step, "what": what}
