"""Accepting the present curves of a suite as its baselines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gradlab.errors import GradlabError, UnreadableBaseline, reason_of
from gradlab.gradient.summary import CUT
from gradlab.judge.baseline import Baseline, read_baseline, stored_name, write_baseline
from gradlab.judge.check import OnProgress, ScenarioResult, environment_of, judge
from gradlab.judge.compare import CHAOTIC_TOLERANCE, Finding, curve_title, not_finite, split_key, tolerance
from gradlab.judge.measure import (
    POPULATION_LAGS,
    Floats,
    Measurement,
    measure,
    measure_noise,
    measure_population,
    zero_parts,
)
from gradlab.judge.samples import judge_samples
from gradlab.judge.suite import Scenario, log_spaced


class Blessing(NamedTuple):
    """One accepted scenario: its change against the old baseline, the new one, warnings, and the files written."""

    result: ScenarioResult
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
    zero_option: str = "--allow-zero",
    on_progress: OnProgress = lambda text: None,
) -> list[Blessing]:
    """Measure scenarios and, once all of them are fit for it, write the baselines.

    Args:
        folder: of the suite's baselines. reason: is kept in them.
        dry_run: write nothing. allow_zero: accept a gradient that is exactly zero at every lag.
        zero_option: what the caller's user gives for `allow_zero`, named in its error message.

    Raises:
        GradlabError: a curve or loss is not finite, a gradient is exactly zero at every lag, training leaves the
            loss unchanged, or the folder cannot be written.
    """
    blessings = []
    for index, scenario in enumerate(scenarios, start=1):
        on_progress(f"{index} of {len(scenarios)}: {scenario.name}")
        try:
            now = measure(scenario)
        except Exception as error:
            if isinstance(error, GradlabError) or not scenario.is_custom:
                raise
            raise GradlabError(f"{scenario.name} fails: {reason_of(error)}", exit_code=1) from error
        _check_curves(scenario, now, "" if allow_zero else zero_option)
        blessings.append(_blessing(scenario, now, folder, reason))
    if dry_run:
        return blessings
    return [one._replace(written=write_baseline(folder, one.result.scenario, one.baseline)) for one in blessings]


def _blessing(scenario: Scenario, now: Measurement, folder: Path, reason: str) -> Blessing:
    noise_source, noise = measure_noise(scenario, now)
    lags = log_spaced(now.lags[-1], POPULATION_LAGS)
    population = measure_population(scenario, lags)
    # A sample that contains NaN would hide a new NaN.
    if bad := int(not_finite(population).any(axis=1).sum()):
        where = f"in {bad} of the {len(population)} seeds of its population"
        raise GradlabError(f"{scenario.name} is not finite {where}: there is nothing to bless", exit_code=1)
    environment = environment_of(scenario)
    baseline = Baseline(scenario.config, reason, environment, noise_source, noise, now, lags, population)
    notes = [f"{scenario.name}: {text}" for text in _notes(now, noise)]
    return Blessing(_change(scenario, folder, now, environment), baseline, notes, [])


def _check_curves(scenario: Scenario, now: Measurement, zero_option: str) -> None:
    """Refuse NaN, a cut gradient and a run that did not train: such a baseline would guard nothing."""
    for part, found in now.parts.items():
        bad = [curve_title(*split_key(key)) for key, one in found.more.items() if not_finite(one.values).any()]
        if not_finite(found.curves).any() or not np.isfinite(found.losses).all() or bad:
            where = f"{part}, {bad[0]}" if bad else part
            raise GradlabError(f"{scenario.name} is not finite ({where}): there is nothing to bless", exit_code=1)
    if zero_option and (cut := zero_parts(now)):
        raise GradlabError(f"{scenario.name} is {CUT} ({', '.join(cut)}); {zero_option} accepts it")
    if not now.moved():
        text = "did not train, its loss stayed the same: raise steps or learning_rate"
        raise GradlabError(f"{scenario.name} {text}", exit_code=1)


def _notes(now: Measurement, noise: Mapping[str, Floats]) -> list[str]:
    """Warnings of a baseline that guards less than it seems to."""
    notes = []
    for part, found in now.parts.items():
        dead, seeds = int(np.isneginf(found.curves).all(axis=1).sum()), len(found.curves)
        if dead:
            notes.append(f"the gradient is exactly zero at every lag in {dead} of {seeds} seeds ({part})")
        chaotic = int((tolerance(noise[part]) > CHAOTIC_TOLERANCE).sum())
        if 2 * chaotic > len(noise[part]):
            notes.append(
                f"{chaotic} of {len(noise[part])} lags are chaotic, that is moved too far by rounding alone "
                f"({part}): use float64, a lower gain or fewer training steps"
            )
        unseen = [key for key in found.more if (tolerance(noise[f"{part}/{key}"]) > CHAOTIC_TOLERANCE).all()]
        if unseen:
            named = ", ".join(curve_title(*split_key(key)) for key in unseen)
            notes.append(f"every lag is chaotic, so that nothing is compared, of: {named} ({part})")
    return notes


def _change(scenario: Scenario, folder: Path, now: Measurement, environment: dict[str, str]) -> ScenarioResult:
    """The verdict of the old baseline on its replacement."""
    name = scenario.name
    try:
        old = read_baseline(folder, stored_name(folder, scenario))
    except UnreadableBaseline as problem:
        return ScenarioResult(name, [Finding(name, "all", "unreadable", str(problem))])
    if old is None:
        return ScenarioResult(name, [Finding(name, "all", "missing", "new")])
    if scenario.respelled(old.config) != dict(scenario.config):
        return ScenarioResult(name, [Finding(name, "all", "incomparable", "other settings")], [], old, now)
    result, samples = judge(scenario, old, now, environment)
    result.findings += judge_samples(samples)
    return result
