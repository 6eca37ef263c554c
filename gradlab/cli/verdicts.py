"""What `gradlab check` says, wherever it says it: the first line, the rows of the table, the JSON object."""

import math
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from gradlab.cli.console import counted
from gradlab.judge.baseline import FOLDER
from gradlab.judge.check import Judged, Verdict
from gradlab.judge.compare import MARGIN, PART_NAMES, STATUSES, Finding

WORDS = {
    "regressed": "regressed",
    "unreadable": "baseline unreadable",
    "missing": "no baseline",
    "incomparable": "cannot be compared",
    "inconclusive": "inconclusive",
    "unchanged": "unchanged",
}
COLUMNS = ("verdict", "scenario", "when", "decades", "lag", "tolerance", "tier", "what")
NUMBERS = ("decades", "lag", "tolerance")


class Row(NamedTuple):
    """One finding, with the suite it is of."""

    suite: str
    judged: Judged
    finding: Finding


def rows_of(verdicts: Sequence[Verdict]) -> list[Row]:
    """All findings, worst first."""
    rows = [
        Row(verdict.suite, judged, finding)
        for verdict in verdicts
        for judged in verdict.judged
        for finding in judged.findings
    ]
    return sorted(rows, key=lambda row: row.finding.severity)


def sentence(finding: Finding) -> str:
    """What happened, where, and by how much.

    Example:
        >>> sentence(Finding("adding-rnn", "initial", "regressed", "+0.1 decades at lag 7 (tolerance 0.0001)"))
        'regressed: adding-rnn at initialisation: +0.1 decades at lag 7 (tolerance 0.0001)'
    """
    when = f" {PART_NAMES[finding.part]}" if finding.part in PART_NAMES else ""
    return f"{WORDS[finding.status]}: {finding.scenario}{when}: {finding.message}"


def headline(verdicts: Sequence[Verdict]) -> str:
    """The first line: the worst finding, and how many scenarios share its verdict."""
    rows = rows_of(verdicts)
    worst = rows[0].finding
    scenarios = {(row.suite, row.finding.scenario) for row in rows}
    if worst.status == "unchanged":
        apart = [row.finding.largest for row in rows if row.finding.largest is not None]
        names = ", ".join(verdict.suite for verdict in verdicts)
        said = [f"at most {max(apart):.1g} decades apart"] if apart else []
        samples = sum(row.finding.tier == "B" for row in rows)
        said += [f"{samples} of them alike as samples, within {MARGIN} decades on average"] if samples else []
        return f"unchanged: {len(scenarios)} scenarios of {names}, {', '.join(said)}"
    same = {(row.suite, row.finding.scenario) for row in rows if row.finding.status == worst.status}
    others = f" (and {len(same) - 1} more of {len(scenarios)} scenarios)" if len(same) > 1 else ""
    return sentence(worst) + others


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table, under `COLUMNS`."""
    finding = row.finding
    # What is unchanged is said by the numbers already.
    message = "" if finding.status == "unchanged" else finding.message
    return (
        WORDS[finding.status],
        finding.scenario,
        PART_NAMES.get(finding.part, "-"),
        "-" if finding.decades is None else _decades(finding.decades),
        "-" if finding.lag is None else str(finding.lag),
        "-" if finding.tolerance is None else f"{finding.tolerance:.2g}",
        finding.tier or "-",
        (message + _chaos(finding)).removeprefix("; "),
    )


def environment_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """What differs from where the baselines were made, each difference once."""
    told: dict[str, int] = {}
    for row in verdicts:
        for judged in row.judged:
            for change in judged.changes:
                told[change] = told.get(change, 0) + 1
    return list(told)


def as_json(verdicts: Sequence[Verdict], exit_code: int, overlays: Sequence[str]) -> dict[str, Any]:
    """The object of `--output-format json`, as in docs/json.md."""
    rows = rows_of(verdicts)
    return {
        "verdict": min((row.finding.status for row in rows), key=STATUSES.index),
        "headline": headline(verdicts),
        "exit_code": exit_code,
        "suites": [
            {
                "suite": verdict.suite,
                "baselines": str(verdict.folder),
                "unasked": verdict.unasked,
                "scenarios": [_scenario(judged) for judged in verdict.judged],
            }
            for verdict in verdicts
        ],
        "overlays": list(overlays),
        "accept": accept_command(verdicts),
    }


def next_words(verdicts: Sequence[Verdict]) -> str:
    """What to do about the worst finding; one that was lost is not replaced by whatever is there."""
    command, worst = accept_command(verdicts), rows_of(verdicts)[0].finding.status
    if command is None:
        return "nothing; commit as it is"
    if worst in ("missing", "unreadable"):
        return f"if it was there before, git restore {verdicts[0].folder}; if it never was, {command}"
    return f"if this change is meant, {command}"


def accept_command(verdicts: Sequence[Verdict]) -> str | None:
    """The command that accepts what is not unchanged, None where everything is."""
    changed = [one for one in verdicts if any(judged.worst.status != "unchanged" for judged in one.judged)]
    if not changed:
        return None
    words = ["gradlab", "bless", *(one.typed or one.suite for one in changed)]
    folder = changed[0].folder.parent
    if folder != FOLDER:
        words += ["--baseline", str(folder)]
    return shlex.join(words) + ' --reason "why the curves may change"'


def _scenario(judged: Judged) -> dict[str, Any]:
    return {
        "scenario": judged.scenario,
        "status": judged.worst.status,
        "findings": [_finding(finding) for finding in sorted(judged.findings, key=lambda one: one.severity)],
        "environment": judged.changes,
        "bits": judged.now.bits if judged.now else None,
        "baseline_bits": judged.baseline.measurement.bits if judged.baseline else None,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    names = ("part", "status", "message", "lag", "decades", "tolerance", "tier", "chaotic", "p", "seeds_needed")
    return {name: getattr(finding, name) for name in names}


def _decades(value: float) -> str:
    return f"{value:+.2g}" if math.isfinite(value) else "nan" if math.isnan(value) else f"{value:+}"


def _chaos(finding: Finding) -> str:
    if not finding.chaotic:
        return ""
    count = len(finding.chaotic)
    return f"; {counted(count, 'chaotic lag')} from {finding.chaotic[0]} on not compared"
