"""`gradlab check` for CI systems: annotations and step summary of GitHub Actions, and JUnit XML."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from xml.etree import ElementTree

from gradlab.cli.verdicts import COLUMNS, cells, environment_lines, findings_of, headline
from gradlab.errors import GradlabError
from gradlab.judge.baseline import paths_of
from gradlab.judge.check import ScenarioResult, SuiteResult
from gradlab.judge.compare import STATUS_NAMES, Finding
from gradlab.report.text.plain import markdown
from gradlab.runs.attempt import write_whole
from gradlab.runs.jsonable import printable

MOST = 10
"""GitHub silently drops further annotations of a step."""
SUMMARY_BYTES = 1_000_000
"""GitHub refuses a step summary of more than 1 MiB."""


def annotations(results: Sequence[SuiteResult], allowed: Sequence[str] = ()) -> list[str]:
    """The lines that make annotations, worst first, at most `MOST`: one per changed scenario."""
    worst: dict[tuple[str, str], Finding] = {}
    for suite, finding in findings_of(results):
        if finding.status != "unchanged":
            worst.setdefault((suite, finding.scenario), finding)
    folders = {result.suite: result.folder for result in results}
    lines = []
    for (suite, _), finding in list(worst.items())[:MOST]:
        level = "error" if finding.status not in allowed else "warning"
        file = _property(str(paths_of(folders[suite], finding.scenario)[0]))
        title = _property(f"gradlab check {suite}")
        lines.append(f"::{level} file={file},line=1,title={title}::{_data(str(finding))}")
    return lines


def summary(results: Sequence[SuiteResult]) -> str:
    """The verdict and the table as Markdown; rows beyond the size limit are counted instead."""
    lines = [f"### {_cell(headline(results))}", ""]
    lines += [f"environment: {_cell(change)}<br>" for change in environment_lines(results)] + [""]
    lines += [f"| {' | '.join(('suite', *COLUMNS))} |", "|---" * (len(COLUMNS) + 1) + "|"]
    size = sum(len(line.encode()) + 1 for line in lines)
    rows = findings_of(results)
    for index, (suite, finding) in enumerate(rows):
        line = f"| {' | '.join(_cell(cell) for cell in (suite, *cells(finding)))} |"
        size += len(line.encode()) + 1
        if size > SUMMARY_BYTES:
            lines += ["", f"and {len(rows) - index} more"]
            break
        lines.append(line)
    return "\n".join(lines) + "\n"


def write_summary(text: str) -> None:
    """Append to the file of the step summary, if GitHub names one."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise GradlabError(f"GITHUB_STEP_SUMMARY `{path}` cannot be written: {error.strerror}") from error


def _data(text: str) -> str:
    return printable(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _cell(text: str) -> str:
    return markdown(" ".join(text.split()), start=False).replace(">", "&gt;")


def write_junit(path: Path, results: Sequence[SuiteResult], allowed: Collection[str] = ()) -> None:
    """Write a JUnit file, one case per scenario: failure if regressed, error if undecided, skipped if allowed.

    Raises:
        GradlabError: it cannot be written.
    """
    root = ElementTree.Element("testsuites", name="gradlab check")
    for result in results:
        cases = [_case(result.suite, scenario, allowed) for scenario in result.scenarios]
        suite = ElementTree.SubElement(root, "testsuite", name=_xml(result.suite), tests=str(len(cases)))
        for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
        suite.extend(cases)
    text = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GradlabError(f"--junit-xml {path} cannot be written: {error.strerror}") from error
    write_whole(path, lambda file: file.write(text))


def _case(suite: str, scenario: ScenarioResult, allowed: Collection[str]) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=_xml(f"gradlab.{suite}"), name=_xml(scenario.scenario))
    worst = scenario.worst
    if worst.status != "unchanged":
        tag = "skipped" if worst.status in allowed else "failure" if worst.status == "regressed" else "error"
        problem = ElementTree.SubElement(case, tag, message=_xml(str(worst)), type=STATUS_NAMES[worst.status])
        lines = [*map(str, scenario.findings), *(f"environment: {change}" for change in scenario.changes)]
        problem.text = _xml("\n".join(lines))
    return case


def _xml(text: str) -> str:
    return printable(text, keep="\n")
