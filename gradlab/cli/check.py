"""`gradlab check` and `gradlab bless`: gradient curves against the accepted ones."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from gradlab.cli import ci_formats, options, verdicts
from gradlab.cli.completion import complete_suites
from gradlab.cli.console import WIDE, Progress, Screen
from gradlab.cli.options import Many
from gradlab.errors import GradlabError
from gradlab.judge.baseline import FOLDER as BASELINES
from gradlab.judge.bless import bless as bless_suite
from gradlab.judge.check import REGRESSED, SuiteResult
from gradlab.judge.check import check as check_suite
from gradlab.judge.suite import FOLDER, load_suite, suite_names
from gradlab.runs.cache import tidy_cache, use_cache
from gradlab.runs.store import Store

Baselines = Annotated[Path, typer.Option("--baseline", help="Folder of baselines, one folder per suite in it.")]
_SUITES = "Suites of experiments/, or TOML files"
MOST_OVERLAYS = 4
"""Most figures of a check; each takes a second to draw."""


def check(
    suites: Annotated[
        Many,
        typer.Argument(autocompletion=complete_suites, metavar="[SUITE]...", help=f"{_SUITES} (default: all)."),
    ] = None,
    baseline: Baselines = BASELINES,
    junit_xml: Annotated[Path | None, typer.Option("--junit-xml", help="Write a JUnit file too.")] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit 0 whatever is found.")] = False,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Pass without a baseline.")] = False,
    allow_inconclusive: Annotated[bool, typer.Option("--allow-inconclusive", help="Pass if undecided.")] = False,
    json: options.Json = False,
) -> int:
    """Compare gradient curves with their baselines.

    The exit code is 0 if they are unchanged, 1 if one regressed, 3 if there is no baseline or it is undecided.
    In GitHub Actions it adds annotations and a step summary.

    gradlab check

    gradlab check ci --json --junit-xml gate.xml
    """
    screen, asked = Screen(), [load_suite(name) for name in _names(suites, baseline)]
    tidy_cache()
    use_cache()
    with Progress(screen) as live:
        found = [
            check_suite(one.name, one.scenarios, baseline / one.name, live.show, table=_table_of) for one in asked
        ]
    for result, one in zip(found, asked, strict=True):
        result.argument = one.argument
    allowed = ["missing"] * allow_missing + ["inconclusive"] * allow_inconclusive
    codes = [result.exit_code(allowed) for result in found]
    code = REGRESSED if REGRESSED in codes else max(codes)
    if junit_xml is not None:
        ci_formats.write_junit(junit_xml, found, allowed)
    overlays = _overlays(found)
    _warn_of_orphans(screen, found)
    if json:
        screen.json(verdicts.as_json(found, code, [str(path) for path in overlays]))
    else:
        screen.line(verdicts.headline(found), "bold red" if code == REGRESSED else "bold")
        for change in verdicts.environment_lines(found):
            screen.line(f"environment differs from the baseline: {change}")
        screen.line()
        _table(screen, found)
        for path in overlays:
            screen.line(f"new curves over the baseline: {path}")
        screen.line(f"next: {verdicts.next_step(found)}")
        if os.environ.get("GITHUB_ACTIONS"):
            for line in ci_formats.annotations(found, allowed):
                screen.raw(line)
            ci_formats.write_summary(ci_formats.summary(found))
    return 0 if exit_zero else code


def bless(
    suites: Annotated[
        list[str], typer.Argument(autocompletion=complete_suites, metavar="SUITE...", help=f"{_SUITES}.")
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why these curves are right; kept with them.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change and write nothing.")] = False,
    allow_zero: Annotated[bool, typer.Option("--allow-zero", help="Accept a gradient that is all zero.")] = False,
    baseline: Baselines = BASELINES,
    json: options.Json = False,
) -> int:
    """Accept the present gradient curves as the baselines.

    gradlab bless ci --reason "the forget bias is 1 now"
    """
    if not (reason.strip() or dry_run):
        raise GradlabError("--reason is missing: say why these curves are right, or see them by --dry-run")
    screen, asked = Screen(), [load_suite(name) for name in suites]
    tidy_cache()
    use_cache()
    changes, written = [], []
    with Progress(screen) as live:
        for one in asked:
            folder = baseline / one.name
            done = bless_suite(
                one.scenarios, folder, reason, dry_run=dry_run, allow_zero=allow_zero, on_progress=live.show
            )
            changes.append(SuiteResult(one.name, folder, [blessing.result for blessing in done], []))
            written += [path for blessing in done for path in blessing.written]
            for note in (note for blessing in done for note in blessing.notes):
                screen.warn(note)
    if json:
        value = verdicts.as_json(changes, 0, [])
        del value["accept"], value["exit_code"], value["overlays"]
        screen.json(value | {"written": [str(path) for path in written]})
        return 0
    first = all(finding.status == "missing" for _, finding in verdicts.findings_of(changes))
    screen.line("there were no baselines before:" if first else "against the previous baselines:")
    _table(screen, changes)
    if dry_run:
        screen.line("nothing was written (--dry-run)")
    else:
        screen.line(f"written: {len(written)} files in {', '.join(str(one.folder) for one in changes)}")
        screen.line("next: look at them with git status and git diff, commit them, then gradlab check")
    return 0


def _table_of(results: Path) -> Any:
    """The table of `gradlab.load`."""
    from gradlab.report.data.tables import load  # pandas takes a third of a second to import

    return load(results)


def _table(screen: Screen, results: Sequence[SuiteResult]) -> None:
    rows = [verdicts.cells(finding) for _, finding in verdicts.findings_of(results)]
    below = screen.out.width < WIDE
    columns = verdicts.COLUMNS[:-1] if below else verdicts.COLUMNS
    shown = [row[: len(columns)] for row in rows]
    screen.table(columns, shown, right=verdicts.NUMBERS, fold=("what", "when", "verdict", "scenario"))
    for _, scenario, when, *_, what in rows:
        if below and what:
            screen.prose(f"{scenario}{'' if when == '-' else f', {when}'}: {what}")
    screen.line()


def _names(suites: Sequence[str] | None, baseline: Path = BASELINES) -> list[str]:
    names = list(suites or suite_names())
    if not suites:
        _refuse_lost_suites(names, baseline)
    if not names:
        raise GradlabError(
            f"no suite in {FOLDER}/: a suite is a TOML file with [[scenario]] tables, see docs/ci.md"
        )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise GradlabError(f"suite `{twice[0]}` is given twice: name each once")
    return names


def _refuse_lost_suites(names: Sequence[str], baselines: Path) -> None:
    """A file that no longer reads as a suite must not switch off its check."""
    for folder in sorted(baselines.glob("[!.]*/")):
        path = FOLDER / f"{folder.name}.toml"
        if folder.name not in names and path.exists():
            raise GradlabError(
                f"{folder} has baselines, but {path} has no [[scenario]] table: mend the file, or delete {folder}"
            )


def _warn_of_orphans(screen: Screen, results: Sequence[SuiteResult]) -> None:
    for result in results:
        missing = any(one.status == "missing" for scenario in result.scenarios for one in scenario.findings)
        advice = "rename it where its scenario was renamed, else delete it" if missing else "delete it"
        for name in result.orphans:
            screen.warn(f"{result.folder}/{name}.json is of no scenario of {result.suite}: {advice}")


def _overlays(results: Sequence[SuiteResult]) -> list[Path]:
    """Figures of the worst scenarios that regressed or are inconclusive, if both curves are known."""
    changed = [(result.suite, one) for result in results for one in result.scenarios if one.overlay()]
    changed = [pair for pair in changed if pair[1].worst.status in ("regressed", "inconclusive")]
    if not changed:
        return []
    from gradlab.report.figures.overlay import Pair, draw_overlay  # takes a second to import

    changed.sort(key=lambda pair: pair[1].worst.severity)
    folder, paths = Store(None).root / "check", []
    for suite, one in changed[:MOST_OVERLAYS]:
        columns = {title: Pair(*curves) for title, curves in one.overlay().items()}
        paths.append(draw_overlay(folder, f"{suite}-{one.scenario}", str(one.worst), columns)[0])
    return paths
