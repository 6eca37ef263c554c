"""A JUnit file of what `gradlab check` found: one test case for each scenario."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from xml.etree import ElementTree

from gradlab.cli.verdicts import WORDS, sentence
from gradlab.errors import GradlabError
from gradlab.judge.check import Judged, Verdict
from gradlab.runs.attempt import write_whole

_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""


def write_junit(path: Path, verdicts: Sequence[Verdict], allowed: Collection[str] = ()) -> None:
    """Write the file: a regression is a failure, what cannot be told an error, and what is allowed is skipped.

    Raises:
        GradlabError: it cannot be written.
    """
    root = ElementTree.Element("testsuites", name="gradlab check")
    for verdict in verdicts:
        cases = [_case(verdict.suite, judged, allowed) for judged in verdict.judged]
        counts = {f"{tag}s": sum(case.find(tag) is not None for case in cases) for tag in ("failure", "error")}
        skipped = sum(case.find("skipped") is not None for case in cases)
        attributes = {"tests": len(cases), **counts, "skipped": skipped}
        suite = ElementTree.SubElement(root, "testsuite", name=plain(verdict.suite))
        suite.attrib.update({name: str(count) for name, count in attributes.items()})
        suite.extend(cases)
    text = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GradlabError(f"--junit-xml {path} cannot be written: {error.strerror}") from error
    write_whole(path, lambda file: file.write(text))


def _case(suite: str, judged: Judged, allowed: Collection[str]) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=plain(f"gradlab.{suite}"), name=plain(judged.scenario))
    worst = judged.worst
    if worst.status != "unchanged":
        tag = "skipped" if worst.status in allowed else "failure" if worst.status == "regressed" else "error"
        problem = ElementTree.SubElement(case, tag, message=plain(sentence(worst)), type=WORDS[worst.status])
        lines = [sentence(finding) for finding in judged.findings]
        problem.text = plain("\n".join([*lines, *(f"environment: {change}" for change in judged.changes)]))
    return case


def plain(text: str) -> str:
    r"""Text without the characters that XML cannot hold.

    Example:
        >>> ascii(plain("a\x00b"))
        "'a\\ufffdb'"
    """
    return _ILLEGAL.sub("\ufffd", text)
