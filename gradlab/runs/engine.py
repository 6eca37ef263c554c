"""Many runs, one after the other: what is done is not repeated, and one failure does not stop the rest."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gradlab.errors import GradlabError
from gradlab.runs.execute import Observe, RunResult, run
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store, StoredRun


class Finished(NamedTuple):
    """One spec of a grid: the result of running it now, or the run that was there already."""

    spec: RunSpec
    result: RunResult | None
    stored: StoredRun | None


def run_all(
    specs: Sequence[RunSpec],
    store: Store,
    begin: Callable[[RunSpec], Observe],
    end: Callable[[Finished], None],
    *,
    shards: int = 1,
) -> list[Finished]:
    """Run every spec that is not done.

    Args:
        specs: what to run, in this order.
        store: where runs are looked up and written.
        begin: called before a run; what it returns hears the events of that run.
        end: called after each spec, run or skipped.
        shards: devices that each batch is split over.

    Raises:
        GradlabError: the same spec twice, or the results folder cannot be written.
        KeyboardInterrupt: Ctrl-C; the current run is stored as interrupted.
    """
    ids = [spec.id for spec in specs]
    twice = {run_id for run_id in ids if ids.count(run_id) > 1}
    if twice:
        raise GradlabError(f"the list asks for {min(twice)} twice: name each run once")
    outcomes = []
    for spec in specs:
        stored = store.completed(spec.id, spec.config())
        result = None if stored else run(spec, store.root, begin(spec), shards=shards)
        outcomes.append(Finished(spec, result, stored))
        end(outcomes[-1])
    return outcomes
