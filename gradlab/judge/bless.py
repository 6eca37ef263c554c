"""Accepting the curves of a suite as they are here and now."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gradlab.errors import GradlabError
from gradlab.judge.baseline import Baseline, Unreadable, read_baseline, write_baseline
from gradlab.judge.check import Judged, Tell, environment_now, judge
from gradlab.judge.compare import CHAOTIC, Finding, judge_samples, tolerance
from gradlab.judge.measure import (
    POPULATION_LAGS,
    Measurement,
    measure,
    measure_noise,
    measure_population,
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
    tell: Tell = lambda text: None,
) -> list[Blessing]:
    """Measure scenarios, and write what was measured as their baselines once all of them are fit for it.

    Args:
        folder: of the suite's baselines. reason: is kept in them.
        dry_run: write nothing.
        tell: hears what is being done.

    Raises:
        GradlabError: a curve or loss is not finite, a loss does not move, or the folder cannot be written.
    """
    blessings = []
    for index, scenario in enumerate(scenarios, start=1):
        tell(f"{index} of {len(scenarios)}: {scenario.name}")
        blessings.append(_measured(scenario, folder, reason))
    if dry_run:
        return blessings
    return [one._replace(written=write_baseline(folder, one.judged.scenario, one.baseline)) for one in blessings]


def _measured(scenario: Scenario, folder: Path, reason: str) -> Blessing:
    now = measure(scenario)
    _refuse(scenario, now)
    twin, noise = measure_noise(scenario, now)
    lags = log_spaced(now.lags[-1], POPULATION_LAGS)
    environment = environment_now(scenario.dtype)
    baseline = Baseline(
        scenario.config, reason, environment, twin, noise, now, lags, measure_population(scenario, lags)
    )
    notes = []
    for part, decades in noise.items():
        chaotic = int((tolerance(decades) > CHAOTIC).sum())
        if 2 * chaotic > len(decades):
            advice = "use float64, a lower gain or fewer training steps"
            notes.append(f"{scenario.name}: {chaotic} of {len(decades)} lags are chaotic ({part}): {advice}")
    return Blessing(_change(scenario, folder, now, environment), baseline, notes, [])


def _refuse(scenario: Scenario, now: Measurement) -> None:
    """A baseline of NaN or of a run that did not train would guard nothing."""
    for part, found in now.parts.items():
        if np.isnan(found.curves).any() or np.isposinf(found.curves).any() or not np.isfinite(found.losses).all():
            raise GradlabError(f"{scenario.name} is not finite ({part}): there is nothing to bless", exit_code=1)
    if not now.moved():
        raise GradlabError(
            f"{scenario.name} did not train, its loss stayed the same: raise steps or learning_rate", exit_code=1
        )


def _change(scenario: Scenario, folder: Path, now: Measurement, environment: dict[str, str]) -> Judged:
    """How the baseline that is there judges what is about to replace it."""
    try:
        old = read_baseline(folder, scenario.name)
    except Unreadable as problem:
        return Judged(scenario.name, [Finding(scenario.name, "all", "unreadable", str(problem))])
    if old is None:
        return Judged(scenario.name, [Finding(scenario.name, "all", "missing", "new")])
    if dict(old.config) != dict(scenario.config):
        return Judged(
            scenario.name, [Finding(scenario.name, "all", "incomparable", "other settings")], [], old, now
        )
    judged, samples = judge(scenario, old, now, environment)
    judged.findings += judge_samples(samples)
    return judged
