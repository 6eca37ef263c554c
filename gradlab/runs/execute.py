"""A run from its spec to its result, stored on the way if a results folder is given."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import jax
import numpy as np

from gradlab.cells import Params
from gradlab.errors import GradlabError, reason_of
from gradlab.runs.attempt import Attempt
from gradlab.runs.environment import environment
from gradlab.runs.foreign_weights import find_weights
from gradlab.runs.parameters import flatten_params, unflatten_params
from gradlab.runs.result import RunResult, curve_arrays, trace_arrays
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store, StoredRun
from gradlab.training.analyses import Analysis, analyse
from gradlab.training.loop import Checkpoint, Event, Outcome, held_out, initial_params, train, train_together
from gradlab.training.numerics import numerics
from gradlab.training.sharding import is_divisible
from gradlab.training.weights import count

OnEvent = Callable[[Event], None]


def run(
    spec: RunSpec, results: Path | str | None = None, on_event: OnEvent | None = None, *, shards: int = 1
) -> RunResult:
    """Train and measure as a spec says.

    Args:
        results: a results folder; nothing is stored if None.
        on_event: called with every event of the training loop.
        shards: devices that each batch is split over, if it can be (`usable_shards`); equal bits depend on it.

    Raises:
        GradlabError: `shards` does not divide the batch or is more than there are devices, the results folder
            cannot be written, or the run whose `params` are wanted does not exist.
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
    return run_together([spec], results, [on_event], shards=usable_shards(spec, shards))[0]


@lru_cache(maxsize=64)
def usable_shards(spec: RunSpec, shards: int) -> int:
    """How many of `shards` devices the batches of a run can be split over: 1 if examples depend on each other."""
    if shards == 1:
        return 1
    try:
        with numerics(spec.dtype):
            model, plan = spec.model(), spec.plan(shards)
            return shards if is_divisible(model, plan, partial(initial_params, model, plan)) else 1
    except GradlabError:  # the run raises it too
        return shards
    except Exception:  # a custom cell may raise anything, which the run reports
        return 1


def run_together(
    specs: Sequence[RunSpec],
    results: Path | str | None = None,
    on_event: Sequence[OnEvent | None] | None = None,
    *,
    shards: int = 1,
) -> list[RunResult]:
    """Runs that differ in seed and learning rate alone as one batched program, for a GPU, whose time they share.

    Each is stored as by `run`, and its numbers are those of `run` but for rounding.

    Args:
        results: as of `run`. on_event: for each spec. shards: of a single spec.

    Raises:
        ValueError: the specs differ in more than seed and learning rate.
        GradlabError, KeyboardInterrupt: as `run`.

    Example:
        >>> specs = [RunSpec(cell="rnn", length=10, hidden=8, steps=0, seed=seed) for seed in range(2)]
        >>> [result.status for result in run_together(specs)]
        ['measured', 'measured']
    """
    if len({spec.shape for spec in specs}) > 1:
        raise ValueError("specs that are run together differ in seed and learning rate alone")
    observers = on_event or [None] * len(specs)
    runs = [_ActiveRun.begin(spec, results, each) for spec, each in zip(specs, observers, strict=True)]
    try:
        with numerics(specs[0].dtype):
            _train(runs, shards)
    except KeyboardInterrupt:
        with _sigint_ignored():
            for each in _open(runs):
                each.store()
        raise
    except GradlabError:
        for each in _open(runs):
            if each.attempt:
                each.attempt.discard()
        raise
    except Exception as error:
        if not _open(runs):
            raise  # what ended could not be stored
        for each in _open(runs):
            each.result.status, each.result.reason = "failed", reason_of(error)
            each.store()
    return [each.result for each in runs]


@dataclass
class _ActiveRun:
    """A run under way: its result so far, its initial parameters, and where it is written."""

    result: RunResult
    params: Params | None
    attempt: Attempt | None
    on_event: OnEvent
    started: float

    @classmethod
    def begin(cls, spec: RunSpec, results: Path | str | None, on_event: OnEvent | None) -> "_ActiveRun":
        store = None if results is None else Store(results)
        with numerics(spec.dtype):
            params = None if spec.params is None else stored_params(spec, Store(results))
        attempt = store.begin(spec.id, spec.config()) if store else None
        return cls(RunResult(spec), params, attempt, on_event or (lambda event: None), time.perf_counter())

    def take(self, event: Event) -> None:
        """Record and store one event, and pass it on."""
        self.result.take(event)
        if self.attempt and isinstance(event, Checkpoint):
            self.attempt.log(self.result.log_line(event))
        if isinstance(event, Outcome):
            if self.result.spec.steps:
                self.analyse("final", event.params)
            self.store()
        self.on_event(event)

    def analyse(self, when: str, params: Params) -> None:
        """Work out what the spec asks for beside the curves.

        One that fails is stored with its reason, unless it is all that is asked for and nothing is trained yet.
        """
        spec = self.result.spec
        if not spec.analyses:
            return
        model, plan = spec.model(), spec.plan()
        batch, found = held_out(model, plan), self.result.analyses.setdefault(when, {})
        for name in spec.analyses:
            try:
                found[name] = analyse(name, model, params, batch, spec.window)
            except Exception as error:
                if when == "initial" and len(spec.analyses) == 1:
                    raise
                text = reason_of(error)
                found[name] = Analysis({}, {"failed": text})

    def store(self) -> None:
        """Write the files of the run and give it its name; if the disk is full, leave nothing."""
        result, attempt = self.result, self.attempt
        result.wall_seconds = time.perf_counter() - self.started
        if attempt is None:
            return
        result.path = attempt.target
        try:
            if result.checkpoints:
                arrays = curve_arrays(result.checkpoints) | trace_arrays(result.trace, result.tests)
                attempt.write_arrays("curves.npz", arrays)
            if norms := result.trace.norms:
                attempt.write_arrays("every.npz", norms)
            if analysed := result.analysis_arrays():
                attempt.write_arrays("analyses.npz", analysed)
            if result.outcome:
                attempt.write_arrays("params.npz", flatten_params(jax.device_get(result.outcome.params)))
            attempt.finish(result.as_dict())
        except GradlabError:
            attempt.discard()
            raise


def _open(runs: Sequence[_ActiveRun]) -> list[_ActiveRun]:
    """The runs that have not ended, and so are not stored."""
    return [each for each in runs if each.result.outcome is None]


def _train(runs: Sequence[_ActiveRun], shards: int) -> None:
    specs = [each.result.spec for each in runs]
    model, plans = specs[0].model(), [spec.plan(shards) for spec in specs]
    for each, plan in zip(runs, plans, strict=True):
        if each.attempt:
            each.attempt.write_json("env.json", environment(specs[0].dtype, shards, len(runs)))
        each.params = initial_params(model, plan) if each.params is None else each.params
        each.result.parameters = count(each.params)
        each.analyse("initial", each.params)  # before training, so that what cannot be worked out costs none
    if len(runs) == 1:
        for event in train(model, plans[0], runs[0].params):
            runs[0].take(event)
    else:
        for index, event in train_together(model, plans, [each.params for each in runs]):
            runs[index].take(event)


def stored_params(spec: RunSpec, store: Store) -> Params:
    """The weights that a spec names, in the shape that its model has: of a stored run, or of a file of PyTorch.

    A file has no readout; that of the run is drawn from its seed.
    """
    foreign = find_weights(store, str(spec.params))
    if foreign is None:
        return trained_params(spec, store.find(str(spec.params)))
    initial = flatten_params(jax.device_get(spec.model().init(spec.seed)))
    return _fitting(spec, {name: foreign.arrays.get(name, value) for name, value in initial.items()}, foreign.name)


def trained_params(spec: RunSpec, source: StoredRun) -> Params:
    """The final parameters of a stored run, in the shape that a spec's model has."""
    return _fitting(spec, source.arrays("params.npz"), source.id)


def _fitting(spec: RunSpec, stored: Mapping[str, np.ndarray], source: str) -> Params:
    params = unflatten_params(stored, lambda: spec.model().init(spec.seed))
    if params is None:
        raise GradlabError(
            f"params of {source} do not fit {spec.cell} with hidden={spec.hidden} on {spec.task}: "
            "give the task, cell and hidden size of that run"
        )
    return params


@contextmanager
def _sigint_ignored() -> Iterator[None]:
    """Ignore a second Ctrl-C while the first one is dealt with."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
