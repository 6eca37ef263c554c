"""Accepting the curves of a suite as they are here and now."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gradlab.errors import GradlabError
from gradlab.gradient.summary import CUT
from gradlab.judge.baseline import Baseline, Unreadable, read_baseline, stored_name, write_baseline
from gradlab.judge.check import Judged, Tell, environment_now, judge
from gradlab.judge.compare import CHAOTIC, Finding, judge_samples, tolerance
from gradlab.judge.measure import (
    POPULATION_LAGS,
    Floats,
    Measurement,
    measure,
    measure_noise,
    measure_population,
    zero_parts,
)
from gradlab.judge.suite import Scenario, log_spaced


class Blessing(NamedTuple):
    """One scenario that is to be accepted.

    Attributes:
        judged: what changes against the baseline that was there.
        baseline: the new one.
        notes: what is odd about it.
        written: paths, none where nothing was written.
    """

    judged: Judged
    baseline: Baseline
    notes: list[str]
    written: list[Path]


def bless(
    scenarios: Sequence[Scenario],
    folder: Path,
    reason: str = "",
    *,
    dry_run: bool = False,
    allow_zero: bool = False,
    tell: Tell = lambda text: None,
) -> list[Blessing]:
    """Measure scenarios, and write what was measured as their baselines once all of them are fit for it.

    Args:
        folder: of the suite's baselines. reason: is kept in them.
        dry_run: write nothing. allow_zero: accept a gradient that is exactly zero at every lag too.
        tell: hears what is being done.

    Raises:
        GradlabError: a curve or loss is not finite, a gradient is exactly zero at every lag, a loss does not move,
            or the folder cannot be written.
    """
    blessings = []
    for index, scenario in enumerate(scenarios, start=1):
        tell(f"{index} of {len(scenarios)}: {scenario.name}")
        blessings.append(_measured(scenario, folder, reason, allow_zero))
    if dry_run:
        return blessings
    return [one._replace(written=write_baseline(folder, one.judged.scenario, one.baseline)) for one in blessings]


def _measured(scenario: Scenario, folder: Path, reason: str, allow_zero: bool) -> Blessing:
    now = measure(scenario)
    _refuse(scenario, now, allow_zero)
    twin, noise = measure_noise(scenario, now)
    lags = log_spaced(now.lags[-1], POPULATION_LAGS)
    population = measure_population(scenario, lags)
    _refuse_population(scenario, population)
    environment = environment_now(scenario.dtype)
    baseline = Baseline(scenario.config, reason, environment, twin, noise, now, lags, population)
    notes = [f"{scenario.name}: {text}" for text in _notes(now, noise)]
    return Blessing(_change(scenario, folder, now, environment), baseline, notes, [])


def _notes(now: Measurement, noise: Mapping[str, Floats]) -> list[str]:
    """What a baseline guards less than it seems to."""
    notes = []
    for part, found in now.parts.items():
        dead, seeds = int(np.isneginf(found.curves).all(axis=1).sum()), len(found.curves)
        if dead:
            notes.append(f"the gradient is exactly zero at every lag in {dead} of {seeds} seeds ({part})")
        chaotic = int((tolerance(noise[part]) > CHAOTIC).sum())
        if 2 * chaotic > len(noise[part]):
            why = "chaotic, that is moved too far by rounding alone"
            advice = "use float64, a lower gain or fewer training steps"
            notes.append(f"{chaotic} of {len(noise[part])} lags are {why} ({part}): {advice}")
    return notes


def _refuse(scenario: Scenario, now: Measurement, allow_zero: bool) -> None:
    """A baseline of NaN or of a run that did not train would guard nothing."""
    for part, found in now.parts.items():
        if np.isnan(found.curves).any() or np.isposinf(found.curves).any() or not np.isfinite(found.losses).all():
            raise GradlabError(f"{scenario.name} is not finite ({part}): there is nothing to bless", exit_code=1)
    cut = zero_parts(now)
    if cut and not allow_zero:
        raise GradlabError(
            f"{scenario.name} is {CUT} ({', '.join(cut)}); --allow-zero blesses it, in a test allow_zero=True",
            exit_code=1,
        )
    if not now.moved():
        raise GradlabError(
            f"{scenario.name} did not train, its loss stayed the same: raise steps or learning_rate", exit_code=1
        )


def _refuse_population(scenario: Scenario, population: Floats) -> None:
    """A sample that has NaN in it would hide a new NaN."""
    bad = int((np.isnan(population) | np.isposinf(population)).any(axis=1).sum())
    if bad:
        where = f"in {bad} of the {len(population)} seeds of its population"
        raise GradlabError(f"{scenario.name} is not finite {where}: there is nothing to bless", exit_code=1)


def _change(scenario: Scenario, folder: Path, now: Measurement, environment: dict[str, str]) -> Judged:
    """How the baseline that is there judges what is about to replace it."""
    try:
        old = read_baseline(folder, stored_name(folder, scenario))
    except Unreadable as problem:
        return Judged(scenario.name, [Finding(scenario.name, "all", "unreadable", str(problem))])
    if old is None:
        return Judged(scenario.name, [Finding(scenario.name, "all", "missing", "new")])
    if scenario.in_its_words(old.config) != dict(scenario.config):
        return Judged(
            scenario.name, [Finding(scenario.name, "all", "incomparable", "other settings")], [], old, now
        )
    judged, samples = judge(scenario, old, now, environment)
    judged.findings += judge_samples(samples)
    return judged
