"""The words of `gradlab check`: its first line, the rows of its table, its JSON object."""

import math
import shlex
from collections.abc import Sequence
from typing import Any

from gradlab.cli.console import counted
from gradlab.judge.baseline import FOLDER
from gradlab.judge.check import FAILS_TO_RUN, ScenarioResult, SuiteResult
from gradlab.judge.compare import PART_NAMES, STATUS_NAMES, Finding
from gradlab.judge.samples import MARGIN

COLUMNS = ("verdict", "scenario", "when", "decades", "lag", "tolerance", "tier", "what")
NUMBERS = ("decades", "lag", "tolerance")
_FIELDS = (
    "part",
    "curve",
    "leaf",
    "status",
    "message",
    "lag",
    "decades",
    "tolerance",
    "tier",
    "chaotic",
    "p",
    "seeds_needed",
)


def findings_of(results: Sequence[SuiteResult]) -> list[tuple[str, Finding]]:
    """All findings with the name of their suite, worst first."""
    rows = [(each.suite, one) for each in results for scenario in each.scenarios for one in scenario.findings]
    return sorted(rows, key=lambda row: row[1].severity)


def headline(results: Sequence[SuiteResult]) -> str:
    """The first line: the worst finding, and how many scenarios share its verdict."""
    rows = findings_of(results)
    worst = rows[0][1]
    scenarios = {(suite, finding.scenario) for suite, finding in rows}
    if worst.status == "unchanged":
        apart = [finding.largest for _, finding in rows if finding.largest is not None]
        words = [f"{counted(len(scenarios), 'scenario')} of {', '.join(result.suite for result in results)}"]
        words += [f"at most {max(apart):.1g} decades apart in any curve"] if apart else []
        samples = sum(finding.tier == "B" for _, finding in rows)
        words += [f"{samples} of them alike as samples, within {MARGIN} decades on average"] if samples else []
        words += [f"{one.stored} stored and read back" for one in results if one.stored]
        return f"unchanged: {', '.join(words)}"
    same = {(suite, finding.scenario) for suite, finding in rows if finding.status == worst.status}
    others = f" (and {len(same) - 1} more of {len(scenarios)} scenarios)" if len(same) > 1 else ""
    return str(worst) + others


def cells(finding: Finding) -> tuple[str, ...]:
    """A row of the table, under `COLUMNS`."""
    # The numbers say already what is unchanged.
    words = [] if finding.status == "unchanged" else [finding.message]
    if finding.chaotic:
        count = counted(len(finding.chaotic), "chaotic lag")
        words.append(f"{count} from {finding.chaotic[0]} on not compared")
    return (
        STATUS_NAMES[finding.status],
        finding.scenario,
        PART_NAMES.get(finding.part, "-"),
        "-" if finding.decades is None else _decades(finding.decades),
        "-" if finding.lag is None else str(finding.lag),
        "-" if finding.tolerance is None else f"{finding.tolerance:.2g}",
        finding.tier or "-",
        "; ".join(words),
    )


def environment_lines(results: Sequence[SuiteResult]) -> list[str]:
    """Each difference to the environment of the baselines once."""
    changes = [change for result in results for scenario in result.scenarios for change in scenario.changes]
    return list(dict.fromkeys(changes))


def as_json(results: Sequence[SuiteResult], exit_code: int, overlays: Sequence[str]) -> dict[str, Any]:
    """The object of `--json`, as in docs/json.md."""
    suites = [
        {
            "suite": result.suite,
            "baselines": str(result.folder),
            "unasked": result.orphans,
            "stored": result.stored,
            "scenarios": [_scenario(one) for one in result.scenarios],
        }
        for result in results
    ]
    about = {"verdict": findings_of(results)[0][1].status, "headline": headline(results), "exit_code": exit_code}
    return about | {"suites": suites, "overlays": list(overlays), "accept": accept_command(results)}


def next_step(results: Sequence[SuiteResult]) -> str:
    """What to do about the worst finding; a lost baseline is not replaced by the present curves."""
    command, (_, first) = accept_command(results), findings_of(results)[0]
    worst = first.status
    if command is None:
        return "OK to commit"
    if worst == "regressed" and first.message.startswith(FAILS_TO_RUN):
        return "mend what fails: it has no curve that could be accepted (gradlab check-cell examines a cell)"
    if worst in ("missing", "unreadable"):
        return f"if it was there before, git restore {results[0].folder}; if it never was, {command}"
    return f"if this change is meant, {command}"


def accept_command(results: Sequence[SuiteResult]) -> str | None:
    """The command that accepts all changes, None if there are none."""
    changed = [one for one in results if any(scenario.worst.status != "unchanged" for scenario in one.scenarios)]
    if not changed:
        return None
    words = ["gradlab", "bless", *(one.argument or one.suite for one in changed)]
    folder = changed[0].folder.parent
    if folder != FOLDER:
        words += ["--baseline", str(folder)]
    return shlex.join(words) + ' --reason "why the curves may change"'


def _scenario(one: ScenarioResult) -> dict[str, Any]:
    findings = sorted(one.findings, key=lambda finding: finding.severity)
    return {
        "scenario": one.scenario,
        "status": one.worst.status,
        "findings": [{name: getattr(finding, name) for name in _FIELDS} for finding in findings],
        "environment": one.changes,
        "bits": one.now.bits if one.now else None,
        "baseline_bits": one.baseline.measurement.bits if one.baseline else None,
    }


def _decades(value: float) -> str:
    return f"{value:+.2g}" if math.isfinite(value) else "nan" if math.isnan(value) else f"{value:+}"
