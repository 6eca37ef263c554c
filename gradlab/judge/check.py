"""A suite against its baselines: which tier judges each scenario, and the exit code that follows."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from gradlab.errors import UnreadableBaseline, reason_of
from gradlab.judge.baseline import Baseline, orphans, paths_of, read_baseline, stored_name
from gradlab.judge.compare import (
    PART_NAMES,
    Finding,
    changed_arrays,
    compare_part,
    curve_title,
    environment_changes,
    split_key,
    tolerance,
    unguarded,
)
from gradlab.judge.measure import TASK_STATE, Floats, GuardedCurve, Measurement, measure, measure_population
from gradlab.judge.samples import Samples, compare_samples, judge_samples
from gradlab.judge.stored import ReadTable, stored_differences
from gradlab.judge.suite import Scenario

OnProgress = Callable[[str], None]

_ENVIRONMENT = ("platform", "device", "cpu", "matmul_precision", "xla_flags")
_VERSIONS = ("jax", "jaxlib", "numpy", "optax", "gradlab-rnn")
FAILS_TO_RUN = "it fails: "
"""How the message about a scenario begins that raises."""
REGRESSED, UNDECIDED = 1, 3
"""Exit codes."""
Overlay = tuple[list[int], Floats, Floats, Floats, int | None]
"""Lags, curves of the baseline and of now, tolerances, and the lag of a regression."""


@dataclass
class ScenarioResult:
    """One scenario: its findings, how the environment differs, and both measurements."""

    scenario: str
    findings: list[Finding]
    changes: list[str] = field(default_factory=list)
    baseline: Baseline | None = None
    now: Measurement | None = None

    @property
    def worst(self) -> Finding:
        """The finding that decides."""
        return min(self.findings, key=lambda finding: finding.severity)

    def overlay(self) -> dict[str, Overlay]:
        """By title: the task curve of each part, and the curve of the worst finding; empty if unknown."""
        before, now = self.baseline, self.now
        if before is None or now is None or before.measurement.lags != now.lags:
            return {}
        known, given = before.measurement.parts, "curve" in before.config
        found: dict[str, Overlay] = {}
        for part, new in ((part, new) for part, new in now.parts.items() if part in known):
            curves = {
                TASK_STATE: tuple(GuardedCurve(now.lags, each.curves) for each in (known[part], new)),
                **{key: (old, new.more[key]) for key, old in known[part].more.items() if key in new.more},
            }
            worst = {f"{one.curve}/{one.leaf}": one.lag for one in self.findings if self._is_drawn(one, part)}
            for key, (old, curve) in curves.items():
                if (key == TASK_STATE or key in worst) and old.lags == curve.lags:
                    noise = before.noise[part if key == TASK_STATE else f"{part}/{key}"]
                    title = overlay_title("given" if given else part, key)
                    found[title] = (curve.lags, old.values, curve.values, tolerance(noise), worst.get(key))
        return found

    def _is_drawn(self, finding: Finding, part: str) -> bool:
        return finding.status == "regressed" and finding.part in (part, "given")


def overlay_title(part: str, key: str) -> str:
    """The title of a column: `at initialisation`, or `after training, total curve of c`."""
    return PART_NAMES.get(part, "") + ("" if key == TASK_STATE else f", {curve_title(*split_key(key))}")


@dataclass
class SuiteResult:
    """All scenarios of a suite, worst first.

    Attributes:
        suite: its name. folder: of its baselines.
        orphans: baselines without a scenario.
        argument: what names the suite on the command line.
        stored: the scenario that was stored as a run and read back, "" if none was.
    """

    suite: str
    folder: Path
    scenarios: list[ScenarioResult]
    orphans: list[str]
    argument: str = ""
    stored: str = ""

    def exit_code(self, allowed: Collection[str] = ()) -> int:
        """0 unchanged, 1 regressed, 3 undecided; findings of an `allowed` status do not count."""
        found = {one.status for each in self.scenarios for one in each.findings} - {"unchanged", *allowed}
        return REGRESSED if "regressed" in found else UNDECIDED if found else 0


def environment_of(scenario: Scenario) -> dict[str, str]:
    """`environment_now`; nothing for what was measured elsewhere."""
    return {} if scenario.curves is not None else environment_now(scenario.dtype)


def environment_now(dtype: str) -> dict[str, str]:
    """Versions, device and flags, as a baseline keeps them."""
    from gradlab.runs.environment import execution, versions

    found, where = versions(), execution(dtype)
    return {name: found[name] for name in _VERSIONS} | {name: str(where[name]) for name in _ENVIRONMENT}


def check(
    name: str,
    scenarios: Sequence[Scenario],
    folder: Path,
    on_progress: OnProgress = lambda text: None,
    *,
    table: ReadTable | None = None,
) -> SuiteResult:
    """Measure the scenarios of the suite `name` and compare them with their baselines in `folder`.

    Args:
        table: reads a results folder, as `gradlab.load`; where given, one scenario is stored and read back.
    """
    results, samples = [], []
    for index, scenario in enumerate(scenarios, start=1):
        on_progress(f"{index} of {len(scenarios)}: {scenario.name}")
        result, pending = _check_one(scenario, folder)
        results.append(result)
        samples += pending
    # Tier B adjusts for the number of scenarios, so it needs all of them.
    by_name = {one.scenario: one for one in results}
    for finding in judge_samples(samples):
        by_name[finding.scenario].findings.append(finding)
    stored = _most_curves(scenarios, results) if table else None
    if stored and table:
        on_progress(f"{stored.name}: stored and read back")
        result = by_name[stored.name]
        result.findings += stored_differences(stored, result.baseline, result.now, table)
    results.sort(key=lambda one: one.worst.severity)
    named = [stored_name(folder, one) for one in scenarios]
    return SuiteResult(name, folder, results, orphans(folder, named), stored=stored.name if stored else "")


def _most_curves(scenarios: Sequence[Scenario], results: Sequence[ScenarioResult]) -> Scenario | None:
    """Of the scenarios that were compared and are those of a run, the one with most curves."""
    pairs = [
        (scenario, sum(len(part.more) for part in result.now.parts.values()))
        for scenario, result in zip(scenarios, results, strict=True)
        if scenario.spec is not None and result.baseline is not None and result.now is not None
    ]
    return max(pairs, key=lambda pair: pair[1])[0] if pairs else None


def _check_one(scenario: Scenario, folder: Path) -> tuple[ScenarioResult, list[Samples]]:
    name, stored = scenario.name, stored_name(folder, scenario)
    try:
        baseline = read_baseline(folder, stored)
    except UnreadableBaseline as problem:
        return ScenarioResult(name, [Finding(name, "all", "unreadable", str(problem))]), []
    if baseline is None:
        return ScenarioResult(name, [Finding(name, "all", "missing", f"no baseline in {folder}/")]), []
    before = {key: str(value) for key, value in scenario.respelled(baseline.config).items()}
    other = environment_changes(before, {key: str(value) for key, value in scenario.config.items()})
    if other:
        text = f"the baseline is of other settings: {', '.join(other)}"
        return ScenarioResult(name, [Finding(name, "all", "incomparable", text)], baseline=baseline), []
    try:
        now = measure(scenario)
    except Exception as error:
        if not scenario.is_custom:
            raise
        text = f"{FAILS_TO_RUN}{reason_of(error)}"
        return ScenarioResult(name, [Finding(name, "all", "regressed", text)], baseline=baseline), []
    result, samples = judge(scenario, baseline, now, environment_of(scenario))
    if not baseline.population_lags and all(one.status == "unchanged" for one in result.findings):
        # It is not needed today, and cannot be measured any more on the day that it is.
        text = f"{paths_of(folder, stored)[1]} is missing, which another jax or platform will need"
        result.findings.append(Finding(name, "all", "missing", text))
    return result, samples


def judge(
    scenario: Scenario, baseline: Baseline, now: Measurement, environment: dict[str, str]
) -> tuple[ScenarioResult, list[Samples]]:
    """The findings of one measured scenario, and the samples that tier B has yet to judge."""
    changes = environment_changes(baseline.environment, environment)
    result = ScenarioResult(scenario.name, [], changes, baseline, now)
    before = baseline.measurement
    if before.lags != now.lags or len(before.weights) != len(now.weights):
        text = "the baseline has other lags or seeds than the suite asks for"
        result.findings.append(Finding(scenario.name, "all", "incomparable", text))
        return result, []
    if lost := [name for name in now.parts if name not in before.parts]:
        text = f"the baseline has no curves {PART_NAMES[lost[0]]}"
        result.findings.append(Finding(scenario.name, "all", "incomparable", text))
        return result, []
    if new := unguarded(baseline, now):
        text = f"the baseline lacks the {new[0]}{f' and {len(new) - 1} more' if new[1:] else ''}: bless it again"
        result.findings.append(Finding(scenario.name, "all", "incomparable", text))
    weights, data = changed_arrays(before.weights, now.weights), changed_arrays(before.data, now.data)
    same_jax = baseline.environment.get("jax") == environment.get("jax")
    same_platform = baseline.environment.get("platform") == environment.get("platform")
    findings = [compare_part(scenario.name, part, baseline, now) for part in now.parts]
    for name, part in now.parts.items():
        # A curve may be finite beside it.
        if nan := int((~np.isfinite(part.losses) & np.isfinite(before.parts[name].losses)).sum()):
            text = f"the loss is not finite in {nan} of {len(part.losses)} seeds"
            result.findings.append(Finding(scenario.name, name, "regressed", text, tier="A"))
    if scenario.curves is not None:
        result.findings = [replace(finding, part="given") for finding in (*result.findings, *findings)]
        return result, []
    if (weights or data) and same_jax and same_platform:
        what = f"initial weights changed ({weights})" if weights else f"the data changed ({data})"
        for finding in findings:
            moved = "the curves are " * (finding.status == "unchanged") + finding.message
            result.findings.append(replace(finding, status="regressed", message=f"{what}; {moved}"))
        return result, []
    if not now.moved():
        text = f"did not train: the loss stayed at {np.median(now.parts['trained'].losses):.4g}"
        result.findings.append(Finding(scenario.name, "trained", "regressed", text, tier="A"))
    whose = "another jax" if not same_jax else "another platform"
    unpaired = f"{whose} draws other weights or data" if weights or data else ""
    reason = unpaired or ("" if same_platform else "another platform")
    samples: list[Samples] = []
    for finding in findings:
        initial = finding.part == "initial"
        if unpaired or (reason and finding.status != "unchanged"):
            # Seeds cannot be paired: initial curves are left to tier B, others cannot be compared.
            if initial and (unpaired or finding.is_main):
                samples += _samples(result, scenario, baseline, reason, None)
            else:
                which = "" if unpaired or finding.is_main else f"the {finding.title} "
                text = (
                    f"{which}cannot be compared {PART_NAMES[finding.part]}: {reason}; bless it in this environment"
                )
                result.findings.append(Finding(scenario.name, finding.part, "incomparable", text))
            continue
        undecided = initial and finding.chaotic and finding.status != "regressed"
        # If every lag is chaotic, tier A is inconclusive and tier B replaces it.
        if not (undecided and finding.status == "inconclusive"):
            result.findings.append(finding)
        if undecided:
            samples += _samples(result, scenario, baseline, "these lags are chaotic", finding.chaotic)
    return result, samples


def _samples(
    result: ScenarioResult, scenario: Scenario, baseline: Baseline, reason: str, chaotic: Sequence[int] | None
) -> list[Samples]:
    """The comparison of populations at all lags or the chaotic ones; an immediate finding goes to `result`."""
    lags = baseline.population_lags
    if chaotic is not None:
        # A chaotic lag between two population lags shows at the next one.
        lags = [lag for lag in lags if lag >= min(chaotic)]
    if not lags:
        text = f"its population file is missing, which is needed because {reason}"
        result.findings.append(Finding(scenario.name, "initial", "inconclusive", text, tier="B"))
        return []
    columns = [baseline.population_lags.index(lag) for lag in lags]
    now = measure_population(scenario, lags)
    found = compare_samples(scenario.name, lags, baseline.population[:, columns], now, reason)
    if isinstance(found, Finding):
        result.findings.append(found)
        return []
    return [found]
