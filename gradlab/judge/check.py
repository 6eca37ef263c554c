"""A suite against its baselines: which tier judges each scenario, and what all of them say together."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from gradlab.judge.baseline import Baseline, Unreadable, orphans, paths_of, read_baseline, stored_name
from gradlab.judge.compare import (
    Finding,
    Samples,
    changed_arrays,
    compare_part,
    compare_samples,
    environment_changes,
    judge_samples,
)
from gradlab.judge.measure import Measurement, measure, measure_population
from gradlab.judge.suite import Scenario

Tell = Callable[[str], None]

_ENVIRONMENT = ("platform", "device", "cpu", "matmul_precision", "xla_flags")
_VERSIONS = ("jax", "jaxlib", "numpy", "optax", "gradlab-rnn")
FAILED, UNDECIDED = 1, 3


@dataclass
class Judged:
    """One scenario: its findings, what differs of the environment, and what both were measured as."""

    scenario: str
    findings: list[Finding]
    changes: list[str] = field(default_factory=list)
    baseline: Baseline | None = None
    now: Measurement | None = None

    @property
    def worst(self) -> Finding:
        """The finding that decides."""
        return min(self.findings, key=lambda finding: finding.severity)


@dataclass
class Verdict:
    """All scenarios of a suite, worst first.

    Attributes:
        suite: its name. folder: of its baselines.
        unasked: baselines that the suite has no scenario for.
        typed: what names the suite to a command.
    """

    suite: str
    folder: Path
    judged: list[Judged]
    unasked: list[str]
    typed: str = ""

    def exit_code(self, *, allow_missing: bool = False, allow_inconclusive: bool = False) -> int:
        """0 unchanged, 1 regressed, 3 where it cannot be told."""
        allowed = {"unchanged"}
        allowed |= {"missing"} if allow_missing else set()
        allowed |= {"inconclusive"} if allow_inconclusive else set()
        found = {one.status for judged in self.judged for one in judged.findings} - allowed
        return FAILED if "regressed" in found else UNDECIDED if found else 0


def environment_now(dtype: str) -> dict[str, str]:
    """Versions, device and flags, as a baseline keeps them."""
    from gradlab.runs.environment import execution, versions

    found, where = versions(), execution(dtype)
    return {name: found[name] for name in _VERSIONS} | {name: str(where[name]) for name in _ENVIRONMENT}


def check(name: str, scenarios: Sequence[Scenario], folder: Path, tell: Tell = lambda text: None) -> Verdict:
    """Measure scenarios and compare them with their baselines.

    Args:
        name: of the suite. folder: of its baselines.
        tell: hears what is being done.
    """
    judged, samples = [], []
    for index, scenario in enumerate(scenarios, start=1):
        tell(f"{index} of {len(scenarios)}: {scenario.name}")
        one, waiting = _check_one(scenario, folder)
        judged.append(one)
        samples += waiting
    # Tier B needs all scenarios, because each of them could raise a false alarm.
    by_name = {one.scenario: one for one in judged}
    for finding in judge_samples(samples):
        by_name[finding.scenario].findings.append(finding)
    judged.sort(key=lambda one: one.worst.severity)
    return Verdict(name, folder, judged, orphans(folder, [stored_name(folder, one) for one in scenarios]))


def _check_one(scenario: Scenario, folder: Path) -> tuple[Judged, list[Samples]]:
    name, stored = scenario.name, stored_name(folder, scenario)
    try:
        baseline = read_baseline(folder, stored)
    except Unreadable as problem:
        return Judged(name, [Finding(name, "all", "unreadable", str(problem))]), []
    if baseline is None:
        return Judged(name, [Finding(name, "all", "missing", f"no baseline in {folder}/")]), []
    other = environment_changes(
        {key: str(value) for key, value in scenario.in_its_words(baseline.config).items()},
        {key: str(value) for key, value in scenario.config.items()},
    )
    if other:
        text = f"the baseline is of other settings: {', '.join(other)}"
        return Judged(name, [Finding(name, "all", "incomparable", text)], baseline=baseline), []
    now = measure(scenario)
    judged, samples = judge(scenario, baseline, now, environment_now(scenario.dtype))
    if not baseline.population_lags and all(one.status == "unchanged" for one in judged.findings):
        # Nothing needs it today, and the day that something does it would be too late to measure it.
        text = f"{paths_of(folder, stored)[1]} is missing, which another jax or platform will need"
        judged.findings.append(Finding(name, "all", "missing", text))
    return judged, samples


def judge(
    scenario: Scenario, baseline: Baseline, now: Measurement, environment: dict[str, str]
) -> tuple[Judged, list[Samples]]:
    """The findings of one measured scenario, and what of it waits for tier B."""
    judged = Judged(scenario.name, [], environment_changes(baseline.environment, environment), baseline, now)
    before = baseline.measurement
    if before.lags != now.lags or len(before.weights) != len(now.weights):
        text = "the baseline has other lags or seeds than the suite asks for"
        judged.findings.append(Finding(scenario.name, "all", "incomparable", text))
        return judged, []
    weights, data = changed_arrays(before.weights, now.weights), changed_arrays(before.data, now.data)
    same_jax = baseline.environment.get("jax") == environment["jax"]
    same_platform = baseline.environment.get("platform") == environment["platform"]
    findings = [compare_part(scenario.name, part, baseline, now) for part in now.parts]
    if (weights or data) and same_jax and same_platform:
        what = f"initial weights changed ({weights})" if weights else f"the data changed ({data})"
        judged.findings += [_told(finding, what) for finding in findings]
        return judged, []
    if not now.moved():
        text = f"did not train: the loss stayed at {np.median(now.parts['trained'].losses):.4g}"
        judged.findings.append(Finding(scenario.name, "trained", "regressed", text, tier="A"))
    whose = "another jax" if not same_jax else "another platform"
    unpaired = f"{whose} draws other weights or data" if weights or data else ""
    samples: list[Samples] = []
    for finding in findings:
        strange = unpaired or ("" if same_platform else "another platform")
        if strange and (unpaired or finding.status != "unchanged"):
            judged.findings += _without_pairs(finding, strange)
            samples += _samples(judged, scenario, baseline, strange, None) if finding.part == "initial" else []
        else:
            left = finding.part == "initial" and finding.chaotic and finding.status != "regressed"
            # Where every lag is chaotic tier A has nothing to say, and tier B says it all.
            judged.findings += [] if left and finding.status == "inconclusive" else [finding]
            if left:
                samples += _samples(judged, scenario, baseline, "these lags are chaotic", finding.chaotic)
    return judged, samples


def _told(finding: Finding, what: str) -> Finding:
    """A finding whose weights or data are not those of the baseline: regressed, with how far the curve moved."""
    moved = f"the curves are {finding.message}" if finding.status == "unchanged" else finding.message
    return replace(finding, status="regressed", message=f"{what}; {moved}")


def _without_pairs(finding: Finding, reason: str) -> Iterable[Finding]:
    """What is said of a part whose seeds cannot be compared one by one; the initial one is left to tier B."""
    if finding.part == "trained":
        text = f"cannot be compared after training: {reason}; bless it in this environment"
        yield Finding(finding.scenario, "trained", "incomparable", text)


def _samples(
    judged: Judged, scenario: Scenario, baseline: Baseline, reason: str, chaotic: Sequence[int] | None
) -> list[Samples]:
    """The comparison of populations, at all lags or chaotic ones; a finding that needs none goes to `judged`."""
    lags = baseline.population_lags
    if chaotic is not None:
        # A chaotic lag between two of the population's is seen at the next one.
        lags = [lag for lag in lags if lag >= min(chaotic)]
    if not lags:
        text = f"its population file is missing, which is needed because {reason}"
        judged.findings.append(Finding(scenario.name, "initial", "inconclusive", text, tier="B"))
        return []
    columns = [baseline.population_lags.index(lag) for lag in lags]
    now = measure_population(scenario, lags)
    found = compare_samples(scenario.name, lags, baseline.population[:, columns], now, reason)
    if isinstance(found, Finding):
        judged.findings.append(found)
        return []
    return [found]
