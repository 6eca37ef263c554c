"""One run from its spec to its result, stored on the way if a store is given."""

import signal
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gradlab.cells import Params
from gradlab.errors import GradlabError
from gradlab.gradient.curve import GradientCurve
from gradlab.runs.arrays import curve_arrays, flatten_params, seen_summary, trace_arrays
from gradlab.runs.attempt import Attempt
from gradlab.runs.environment import environment
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store, StoredRun
from gradlab.training.loop import Checkpoint, Chunk, Event, Outcome, initial_params, train
from gradlab.training.step import Row

Observe = Callable[[Event], None]


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
        curves = key_checkpoints(self.checkpoints)[when].observation.curves
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
                "initial": marks["initial"].observation.loss if marks else None,
                "final": marks["final"].observation.loss if marks else None,
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
            "every": seen_summary(self.trace.seen),
            "summary": {when: summarise(mark) for when, mark in marks.items()},
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

    def log_line(self, mark: Checkpoint) -> dict[str, Any]:
        """The line of `log.jsonl` for a checkpoint."""
        previous = max((other.step for other in self.checkpoints if other.step < mark.step), default=0)
        trace = self.trace
        clipped = trace.clipped[previous : mark.step]
        last = trace.log10_grad_norm[: mark.step][-1:]
        gates = mark.observation.gates
        return {
            "step": mark.step,
            "loss": mark.observation.loss,
            "log10_grad_norm": float(last[0]) if len(last) else None,
            "clipped": float(clipped.mean()) if len(clipped) else None,
            "gates": {name: gate._asdict() for name, gate in gates.items()},
            "curves": summarise(mark)["curves"],
        }


def run(
    spec: RunSpec, results: Path | str | None = None, observe: Observe | None = None, *, shards: int = 1
) -> RunResult:
    """Train and measure as a spec says.

    Args:
        spec: what to do.
        results: a results folder; nothing is stored where it is None.
        observe: hears of every event of the loop as it happens.
        shards: devices that each batch is split over; part of what equal bits depend on.

    Raises:
        GradlabError: `shards` does not divide the batch or is more than there are devices, the results folder
            cannot be written, or the run whose `params` are wanted is not there.
        KeyboardInterrupt: Ctrl-C; what was measured until then is stored as `interrupted`.

    Example:
        >>> result = run(RunSpec(cell="rnn", length=10, hidden=8, steps=0))
        >>> result.status, len(result.curve("initial").lags)
        ('measured', 10)
    """
    if not 1 <= shards <= len(jax.devices()) or spec.batch % shards:
        raise GradlabError(
            f"shards is {shards}: give a divisor of batch={spec.batch}, at most {len(jax.devices())}"
        )
    store = None if results is None else Store(results)
    with _arithmetic(spec.dtype):
        start = None if spec.params is None else trained_params(spec, Store(results).find(spec.params))
    attempt = store.begin(spec.id, spec.config()) if store else None
    result = RunResult(spec)
    started = time.perf_counter()
    try:
        with _arithmetic(spec.dtype):
            _perform(result, start, attempt, observe or (lambda event: None), shards)
    except KeyboardInterrupt:
        with _undisturbed():
            _keep(result, attempt, started)
        raise
    except GradlabError:
        if attempt:
            attempt.discard()
        raise
    except Exception as error:
        result.status, result.reason = "failed", _reason(error)
    _keep(result, attempt, started)
    return result


def trained_params(spec: RunSpec, source: StoredRun) -> Params:
    """The final parameters of a stored run, in the shape that a spec's model has.

    Raises:
        GradlabError: the run has no parameters, or they are of another model.
    """
    stored = source.arrays("params.npz")
    shapes = jax.eval_shape(lambda: spec.model().init(spec.seed))
    expected = {name: leaf.shape for name, leaf in flatten_params(shapes).items()}
    if {name: leaf.shape for name, leaf in stored.items()} != expected:
        raise GradlabError(
            f"params of {source.id} do not fit {spec.cell} with hidden={spec.hidden} on {spec.task}: "
            "give the task, cell and hidden size of that run"
        )
    treedef = jax.tree.structure(shapes)
    dtype = np.dtype(spec.dtype)
    return jax.tree.unflatten(treedef, [jax.numpy.asarray(stored[name], dtype) for name in expected])


def key_checkpoints(checkpoints: list[Checkpoint]) -> dict[str, Checkpoint]:
    """The `initial`, the `worst` and the `final` checkpoint; empty where nothing was measured.

    The worst is the one whose task curve gets furthest from its lag 1, or is not finite.
    """
    if not checkpoints:
        return {}

    def severity(mark: Checkpoint) -> float:
        verdict = mark.observation.curves["task"].verdict()
        return np.inf if verdict.word == "non-finite" else abs(verdict.decades)

    return {"initial": checkpoints[0], "worst": max(checkpoints, key=severity), "final": checkpoints[-1]}


def summarise(mark: Checkpoint) -> dict[str, Any]:
    """Training step, loss, and every number of every leaf of every curve."""
    curves = {
        name: {leaf: curve.summary(leaf).as_dict() for leaf in curve.leaves}
        | {"non_finite": [str(finding) for finding in curve.non_finite]}
        for name, curve in mark.observation.curves.items()
    }
    return {"step": mark.step, "loss": mark.observation.loss, "curves": curves}


def _perform(
    result: RunResult, start: Params | None, attempt: Attempt | None, observe: Observe, shards: int
) -> None:
    """Train, and write each checkpoint as it comes."""
    spec = result.spec
    model, plan = spec.model(), spec.plan(shards)
    if attempt:
        attempt.write_json("env.json", environment(spec.dtype, shards))
    params = initial_params(model, plan) if start is None else start
    result.parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    for event in train(model, plan, params):
        result.take(event)
        if attempt and isinstance(event, Checkpoint):
            attempt.log(result.log_line(event))
        observe(event)


def _reason(error: Exception) -> str:
    """One line: the exception, and the line of the user's own file that it came from."""
    ours, libraries = (
        str(Path(__file__).parents[1]),
        ("site-packages", "dist-packages", sysconfig.get_path("stdlib")),
    )
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((ours, "<")) and not any(part in frame.filename for part in libraries)
    ]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}{where}".split())


def _arithmetic(dtype: str) -> AbstractContextManager[None]:
    """What jax computes in."""
    return jax.enable_x64(dtype == "float64")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore a second Ctrl-C, which must not undo what the first one asked for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _keep(result: RunResult, attempt: Attempt | None, started: float) -> None:
    """Write what there is and give the run its name; where the disk is full, leave nothing."""
    result.wall_seconds = time.perf_counter() - started
    if attempt is None:
        return
    result.path = attempt.target
    done = {key: value for key, value in result.as_dict().items() if key not in ("spec", "checkpoints", "path")}
    try:
        if result.checkpoints:
            arrays = curve_arrays(result.checkpoints) | trace_arrays(result.trace, result.tests)
            attempt.write_arrays("curves.npz", arrays)
        if seen := result.trace.seen:
            attempt.write_arrays("every.npz", seen)
        if result.outcome:
            attempt.write_arrays("params.npz", flatten_params(jax.device_get(result.outcome.params)))
        attempt.finish(done)
    except GradlabError:
        attempt.discard()
        raise


def _diverged(outcome: Outcome | None) -> dict[str, Any] | None:
    if outcome is None or outcome.diverged is None:
        return None
    step, what = outcome.diverged
    return {"step": step, "what": what}
