"""The result of a run: the object of `done.json`, and the arrays of its npz files but for the parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.notebook import LEAF_COLUMNS, NotebookTable, leaf_cells, markdown_table, rows_of_leaves
from gradlab.runs.spec import RunSpec
from gradlab.tasks import Task
from gradlab.tasks.base import is_data_task, score_of
from gradlab.training.analyses import Analysis
from gradlab.training.loop import Checkpoint, Chunk, Event, Outcome
from gradlab.training.step import Row


@dataclass
class RunResult(NotebookTable):
    """The result of a run.

    Attributes:
        spec: of the run.
        status: measured, solved, trained, diverged, interrupted or failed.
        checkpoints: measurements, in the order of training steps.
        chunks: traces of the training steps of each chunk.
        tests: training step and loss of every test on held-out examples.
        outcome: how the training ended, None if it did not.
        analyses: what `also` asked for, of the `initial` and, where it was trained, the `final` weights.
        reason: why a run failed.
        path: where it is stored, None if it is not.
    """

    spec: RunSpec
    status: str = "interrupted"
    checkpoints: list[Checkpoint] = field(default_factory=list)
    chunks: list[Row] = field(default_factory=list)
    tests: list[tuple[int, float]] = field(default_factory=list)
    outcome: Outcome | None = None
    analyses: dict[str, dict[str, Analysis]] = field(default_factory=dict)
    parameters: int = 0
    reason: str | None = None
    path: Path | None = None
    wall_seconds: float = 0.0
    _summaries: dict[int, dict[str, Any]] = field(default_factory=dict, init=False, repr=False)

    def __repr__(self) -> str:
        marks = key_checkpoints(self.checkpoints)
        said = [f"{when} {mark.metrics.curves['task'].verdict()}" for when, mark in _distinct(marks).items()]
        return f"<RunResult {self.spec.id}: {', '.join([self._outcome(), *said])}>"

    def _repr_markdown_(self) -> str:
        rows, notes = [], [f"failed: {self.reason}"] if self.reason else []
        for when, mark in _distinct(key_checkpoints(self.checkpoints)).items():
            curve = mark.metrics.curves["task"]
            at = [when, str(mark.step), f"{mark.metrics.loss:.3g}"]
            rows += [[*at, *leaf_cells(leaf, curve.summary(leaf))] for leaf in rows_of_leaves(curve.leaves)]
            notes += [f"{when}: {note}" for note in (*map(str, curve.non_finite), *curve.all_notes())]
        columns = ("checkpoint", "training step", "loss", *LEAF_COLUMNS)
        return markdown_table(f"{self.spec.id}: {self._outcome()}", columns, rows, notes)

    def _outcome(self) -> str:
        """`solved at training step 640`, `trained, 200 training steps`, `measured`."""
        if self.outcome is not None and self.outcome.solved_at is not None:
            return f"{self.status} at training step {self.outcome.solved_at}"
        return f"{self.status}, {self.training_steps} training steps" if self.training_steps else self.status

    @property
    def trace(self) -> Row:
        """Of every training step, in numpy: loss (N,), log10 gradient norm, clipped share, norms by lag."""
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
        """The object of `done.json`, documented in docs/json.md."""
        outcome, task = self.outcome, self.spec.build_task()
        seconds = outcome.train_seconds if outcome else 0.0
        marks = key_checkpoints(self.checkpoints)
        losses, ended = self.trace.loss, outcome.test_loss if outcome else None
        final = marks["final"].metrics.loss if marks else None
        shown = final if ended is None else ended
        diverged = outcome.diverged if outcome else None
        return {
            "id": self.spec.id,
            "status": self.status,
            "reason": self.reason,
            "training_steps": self.training_steps,
            "solved_at": outcome.solved_at if outcome else None,
            "diverged": dict(zip(("step", "what"), diverged, strict=True)) if diverged else None,
            "losses": {
                "initial": marks["initial"].metrics.loss if marks else None,
                "final": final,
                "test": ended,
                "train": float(losses[-50:].mean()) if len(losses) else None,
                "chance": float(task.chance(self.spec.length)),
                "solved": float(task.solved(self.spec.length)),
                **self._data_losses(task),
            },
            "score": None if shown is None else score_of(task, shown) or None,
            "window": self.spec.window or getattr(task, "window", 0) or None,
            "parameters": self.parameters,
            "train_steps_per_second": self.training_steps / seconds if seconds and self.spec.steps else None,
            "compile_seconds": outcome.compile_seconds if outcome else None,
            "measure_seconds": outcome.measure_seconds if outcome else None,
            "train_seconds": outcome.train_seconds if outcome else None,
            "wall_seconds": self.wall_seconds,
            "training_bytes": outcome.training_bytes if outcome else None,
            "every": norms_summary(self.trace.norms),
            "analyses": self._analysed(),
            "summary": {when: self.summary(mark) for when, mark in marks.items()},
        }

    def _data_losses(self, task: Task) -> dict[str, Any]:
        """Of a task on recorded data the lowest validation loss, and the errors of other methods."""
        if not is_data_task(task):
            return {}
        others = task.baselines(self.spec.length) if hasattr(task, "baselines") else {}
        return {"validation": self.outcome.validation_loss if self.outcome else None, **others}

    def _analysed(self) -> dict[str, Any] | None:
        found = {
            when: {name: analysis.summary for name, analysis in each.items()}
            for when, each in self.analyses.items()
        }
        return found or None

    def analysis_arrays(self) -> dict[str, np.ndarray]:
        """`<initial or final>/<analysis>/<array>`."""
        return {
            f"{when}/{name}/{array}": values
            for when, each in self.analyses.items()
            for name, analysis in each.items()
            for array, values in analysis.arrays.items()
        }

    def take(self, event: Event) -> None:
        """Record one event of the loop."""
        if isinstance(event, Chunk):
            self.chunks.append(event.rows)
            if event.test_loss is not None:
                self.tests.append((event.step, event.test_loss))
        elif isinstance(event, Checkpoint):
            self.checkpoints.append(event)
        else:
            self.outcome, self.status = event, event.status

    def summary(self, mark: Checkpoint) -> dict[str, Any]:
        """Training step, loss, and every number of every leaf of every curve; computed once."""
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
    """The `initial`, `worst` and `final` checkpoint, empty if nothing was measured.

    The worst is the one whose task curve deviates most from its lag 1, or the first that is not finite.
    """
    if not checkpoints:
        return {}
    worst = max(checkpoints, key=lambda mark: mark.metrics.curves["task"].verdict().severity)
    return {"initial": checkpoints[0], "worst": worst, "final": checkpoints[-1]}


def _distinct(marks: Mapping[str, Checkpoint]) -> dict[str, Checkpoint]:
    """Each of the key checkpoints once, under all of its names: `initial`, `worst and final`."""
    names: dict[int, list[str]] = {}
    for when, mark in marks.items():
        names.setdefault(mark.step, []).append(when)
    by_step = {mark.step: mark for mark in marks.values()}
    return {" and ".join(found): by_step[step] for step, found in names.items()}


def curve_arrays(marks: Sequence[Checkpoint]) -> dict[str, np.ndarray]:
    """`<curve>/<leaf>/<statistic>` [checkpoint, lag], and `gate/<name>` [checkpoint, (mean, saturation)]."""
    arrays = {"step": np.array([mark.step for mark in marks])}
    first = marks[0].metrics
    for name in first.gates:
        arrays[f"gate/{name}"] = np.array([mark.metrics.gates[name] for mark in marks])
    for name, example in first.curves.items():
        for leaf in example.leaves:
            curves = [mark.metrics.curves[name] for mark in marks]
            by_lag = [_by_lag(curve, leaf) for curve in curves]
            for statistic in by_lag[0]:
                arrays[f"{name}/{leaf}/{statistic}"] = _stacked([each[statistic] for each in by_lag])
            arrays[f"{name}/{leaf}/saturated"] = np.array([curve.saturated.get(leaf, 0) for curve in curves])
        arrays[f"{name}/examples"] = _stacked([mark.metrics.curves[name].examples for mark in marks])
    return arrays


def _by_lag(curve: GradientCurve, leaf: str) -> dict[str, np.ndarray]:
    """The statistics that are stored of a leaf of a curve, each by lag."""
    quantiles = {f"q{percent}": curve.quantile(percent / 100, leaf) for percent in (10, 50, 90)}
    noise = curve.noise.get(leaf, np.zeros(len(curve.lags)))
    return {
        "typical": curve.typical(leaf),
        **quantiles,
        "rms": curve.rms(leaf),
        "dead": curve.dead(leaf),
        "noise": noise,
    }


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows by lag as one array, padded with NaN if a curve is shorter at some checkpoints."""
    longest = max(len(row) for row in rows)
    if all(len(row) == longest for row in rows):
        return np.stack(rows)
    return np.stack([np.pad(row.astype(float), (0, longest - len(row)), constant_values=np.nan) for row in rows])


def trace_arrays(trace: Row, tests: Sequence[tuple[int, float]]) -> dict[str, np.ndarray]:
    """Loss, log10 gradient norm and clipped share of every training step, and the tests of solving."""
    rows = {f"trace/{name}": row for name, row in trace._asdict().items() if name != "norms"}
    return rows | {
        "test/step": np.array([step for step, _ in tests], int),
        "test/loss": np.array([loss for _, loss in tests], float),
    }


def norms_summary(norms: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    """Of each leaf, the training step at which lag T was lowest relative to lag 1, and how often it read zero."""
    found = {}
    for leaf, stored in norms.items():
        if len(stored):
            rows = np.asarray(stored, np.float64)
            with np.errstate(invalid="ignore"):
                spans = rows[:, -1] - rows[:, 0]
            at = int(np.argmin(np.where(np.isnan(spans), np.inf, spans)))
            zero = int(np.isneginf(rows[:, -1]).sum())
            found[leaf] = {"training_step": at + 1, "span": float(spans[at]), "zero": zero}
    return found or None
