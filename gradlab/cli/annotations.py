"""What GitHub Actions shows of `gradlab check`: annotations, and the table of the step summary."""

import os
from collections.abc import Sequence

from gradlab.cli.verdicts import COLUMNS, Row, cells, environment_lines, headline, rows_of, sentence
from gradlab.errors import GradlabError
from gradlab.judge.baseline import paths_of
from gradlab.judge.check import Verdict

MOST = 10
"""GitHub drops further annotations of one step without a word."""
SUMMARY_BYTES = 1_000_000
"""A step summary holds 1 MiB; a longer one is refused whole."""


def annotations(verdicts: Sequence[Verdict], allowed: Sequence[str] = ()) -> list[str]:
    """The lines that make annotations, worst first, at most `MOST`: one for each scenario not unchanged."""
    worst: dict[tuple[str, str], Row] = {}
    for row in rows_of(verdicts):
        if row.finding.status != "unchanged":
            worst.setdefault((row.suite, row.finding.scenario), row)
    folders = {verdict.suite: verdict.folder for verdict in verdicts}
    lines = []
    for row in list(worst.values())[:MOST]:
        level = "error" if row.finding.status not in allowed else "warning"
        file = _property(str(paths_of(folders[row.suite], row.finding.scenario)[0]))
        title = _property(f"gradlab check {row.suite}")
        lines.append(f"::{level} file={file},line=1,title={title}::{_data(sentence(row.finding))}")
    return lines


def summary(verdicts: Sequence[Verdict]) -> str:
    """The verdict and the whole table as Markdown; rows that would pass the limit are counted instead."""
    lines = [f"### {_cell(headline(verdicts))}", ""]
    lines += [f"environment: {_cell(change)}<br>" for change in environment_lines(verdicts)] + [""]
    lines += [f"| {' | '.join(('suite', *COLUMNS))} |", "|---" * (len(COLUMNS) + 1) + "|"]
    size = sum(len(line.encode()) + 1 for line in lines)
    rows = rows_of(verdicts)
    for index, row in enumerate(rows):
        line = f"| {' | '.join(_cell(cell) for cell in (row.suite, *cells(row)))} |"
        size += len(line.encode()) + 1
        if size > SUMMARY_BYTES:
            lines += ["", f"and {len(rows) - index} more"]
            break
        lines.append(line)
    return "\n".join(lines) + "\n"


def write_summary(text: str) -> None:
    """Append to the file of the step summary, where there is one."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise GradlabError(f"GITHUB_STEP_SUMMARY `{path}` cannot be written: {error.strerror}") from error


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _cell(text: str) -> str:
    flat = " ".join(text.split())
    for mark, spelt in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        flat = flat.replace(mark, spelt)
    return flat
