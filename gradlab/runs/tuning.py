"""The selection stage of a sweep: which trials it needs, and which values they choose.

    [tune]
    learning_rate = [0.03, 0.01, 0.003]    any fields, with the values to try; every combination is a candidate
    seed = [100, 101]                      seeds of the trials, none of which is a seed of the runs that count

In each group of the grid, which is all of it but the seed, each candidate is trained once for each seed. The
one is chosen that solved the task in most seeds, then in the fewest training steps, then with the lowest held-
out loss, then the first in the lists. Loads no jax itself.
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from gradlab.errors import GradlabError
from gradlab.runs.grids import Axes, points_of, spec_of
from gradlab.runs.jsonable import number
from gradlab.runs.schema import DONE
from gradlab.runs.spec import FIELDS, RunSpec, ordered_fields
from gradlab.runs.store import Store, StoredRun

RULE = "solved in most seeds, then fewest training steps, then lowest held-out loss"


class Candidate(NamedTuple):
    """Values of the tuned fields, and the trials that judge them, one for each seed."""

    values: dict[str, Any]
    trials: tuple[RunSpec, ...]


class TunedGroup(NamedTuple):
    """Every field of a sweep's grid but the seed and what is tuned: what is chosen for one cell, task and length.

    Attributes:
        point: its fields as the file has them. seeds: of the runs that count.
    """

    point: dict[str, Any]
    seeds: tuple[int, ...]
    candidates: tuple[Candidate, ...]

    @property
    def trials(self) -> list[RunSpec]:
        """The trials of all its candidates."""
        return [spec for candidate in self.candidates for spec in candidate.trials]

    @property
    def setting(self) -> dict[str, Any]:
        """Its fields as a config holds them."""
        fields = ordered_fields(self.trials[0].config())
        return untuned(fields, self.candidates[0].values)

    def specs(self, values: Mapping[str, Any]) -> list[RunSpec]:
        """The runs that count, with the values that were chosen."""
        return [spec_of(self.point | dict(values) | {"seed": seed}) for seed in self.seeds]


class CandidateResult(NamedTuple):
    """How the trials of a candidate ended.

    Attributes:
        runs: their ids. solved: how many solved the task.
        steps: mean training step at which those did; inf if none did.
        loss: mean held-out loss of those that have a finite one; inf if none has.
        not_finite: how many diverged or have no finite loss. failed: how many failed, apart from these.
    """

    values: dict[str, Any]
    runs: tuple[str, ...]
    solved: int
    steps: float
    loss: float
    not_finite: int
    failed: int

    @property
    def rank(self) -> tuple[float, ...]:
        """The smaller, the better."""
        return (-self.solved, self.steps, self.not_finite + self.failed, self.loss)


class Choice(NamedTuple):
    """What was chosen for a group.

    Attributes:
        setting: of the group. values: what was chosen.
        edges: tuned fields whose value is the smallest or the largest of its list: a better one may lie beyond.
        candidates: how each of them did.
    """

    setting: dict[str, Any]
    values: dict[str, Any]
    edges: tuple[str, ...]
    candidates: tuple[CandidateResult, ...]


def untuned(fields: Mapping[str, Any], tuned: Collection[str]) -> dict[str, Any]:
    """Fields without the seed and what was tuned; of a tuned cell the name stays.

    Example:
        >>> untuned({"cell": "lstm:forget_bias=3", "clip": "none", "seed": 0}, ["cell", "clip"])
        {'cell': 'lstm'}
    """
    kept = {name: value for name, value in fields.items() if name != "seed" and name not in tuned}
    return ({"cell": fields["cell"].split(":")[0]} if "cell" in tuned else {}) | kept


def tuned_groups(path: Path | str, axes: Axes) -> list[TunedGroup]:
    """The groups of a sweep with `[tune]`, empty without; each gets the same trials.

    Raises:
        GradlabError: the lists leave no choice, the trials share a seed with the runs, or nothing is trained.
    """
    if not axes.tune:
        return []
    tried, trial_seeds, seeds = _checked(path, axes)
    points: dict[str, dict[str, Any]] = {}
    for point, _ in points_of(path, axes):
        fields = {name: value for name, value in point.items() if name != "seed"}
        points.setdefault(str(sorted(fields.items(), key=lambda pair: pair[0])), fields)
    groups = []
    for point in points.values():
        candidates = []
        for combination in itertools.product(*tried.values()):
            values = dict(zip(tried, combination, strict=True))
            trials = tuple(spec_of(point | values | {"seed": seed}) for seed in trial_seeds)
            candidates.append(Candidate({name: getattr(trials[0], name) for name in tried}, trials))
        groups.append(TunedGroup(point, seeds, tuple(candidates)))
    asked = [spec for group in groups for spec in group.trials]
    if len({spec.id for spec in asked}) < len(asked):
        raise GradlabError(f"[tune] of {path} asks for some trial twice: name each value once")
    if untrained := [spec for spec in asked if not spec.steps]:
        raise GradlabError(f"[tune] of {path}: {untrained[0].id} trains nothing (steps = 0): leave out [tune]")
    return groups


def _checked(path: Path | str, axes: Axes) -> tuple[dict[str, list[Any]], list[int], tuple[int, ...]]:
    """The lists of values to try, the seeds of the trials, and those of the runs that count."""
    tried = {name: values for name, values in axes.tune.items() if name != "seed"}
    if "seed" not in axes.tune:
        raise GradlabError(f"[tune] of {path} has no seeds: give those of the trials, seed = [100, 101]")
    if not tried:
        raise GradlabError(f"[tune] of {path} has seeds alone: give a list to choose from, learning_rate = [...]")
    for name, values in tried.items():
        if name in ("task", "length"):
            raise GradlabError(f"{name} stands in [tune] of {path}: what is asked goes to [grid], not chosen")
        if len(values) < 2:
            raise GradlabError(f"{name} in [tune] of {path} has one value: give at least two to choose from")
    if "seed" in axes.vary:
        raise GradlabError(f"seed stands in [[vary]] of {path}: beside [tune] seeds go to [grid]")
    trial_seeds = [FIELDS["seed"].checked(seed) for seed in axes.tune["seed"]]
    given = axes.grid.get("seed", [axes.base.get("seed", FIELDS["seed"].default)])
    seeds = [FIELDS["seed"].checked(seed) for seed in given]
    if shared := set(trial_seeds) & set(seeds):
        raise GradlabError(
            f"seed {min(shared)} stands in [tune] and is a seed of the runs that count in {path}: "
            "give the trials other seeds"
        )
    return tried, trial_seeds, tuple(seeds)


def stored_trials(store: Store, groups: Sequence[TunedGroup]) -> dict[str, StoredRun]:
    """The trials of some groups that ended, well or not, by their ids."""
    found = {spec.id: (spec, store.peek(spec.id)) for group in groups for spec in group.trials}
    return {
        run_id: run
        for run_id, (spec, run) in found.items()
        if run is not None and run.config == spec.config() and run.status in (*DONE, "failed")
    }


def choose(group: TunedGroup, runs: Mapping[str, StoredRun]) -> Choice | None:
    """The choice for a group, None while one of its trials has not ended.

    A trial that failed counts as one that did not solve the task and has no loss.

    Args:
        runs: stored runs by id, of which those of the group are used.
    """
    if any(spec.id not in runs for spec in group.trials):
        return None
    results = tuple(
        _result(candidate.values, [runs[spec.id] for spec in candidate.trials]) for candidate in group.candidates
    )
    values = min(results, key=lambda result: result.rank).values
    edges = tuple(
        name
        for name, value in values.items()
        if FIELDS[name].kind is not str
        and value in (min(all_ := [one.values[name] for one in results]), max(all_))
    )
    return Choice(group.setting, values, edges, results)


def _result(values: dict[str, Any], runs: Sequence[StoredRun]) -> CandidateResult:
    ended = [run for run in runs if run.finished]
    solved = [run for run in ended if run.status == "solved"]
    losses = [loss for run in ended if math.isfinite(loss := _held_out_loss(run))]
    return CandidateResult(
        values,
        tuple(run.id for run in runs),
        len(solved),
        fmean(number(run.done["solved_at"]) for run in solved) if solved else math.inf,
        fmean(losses) if losses else math.inf,
        len(ended) - len(losses),
        len(runs) - len(ended),
    )


def _held_out_loss(run: StoredRun) -> float:
    """The last loss on held-out examples; nan of a run that diverged.

    Of recorded data that of the validation part, never of the test part; else on test examples, or those measured.
    """
    if run.status == "diverged":
        return math.nan
    losses = run.done["losses"]
    stored = next((losses[name] for name in ("validation", "test", "final") if losses.get(name) is not None), None)
    return math.nan if stored is None else float(number(stored))
