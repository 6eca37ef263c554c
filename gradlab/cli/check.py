"""`gradlab check` and `gradlab bless`: gradient curves against those that were accepted."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradlab.cli import options
from gradlab.cli.console import Screen
from gradlab.cli.options import Many
from gradlab.errors import GradlabError, unknown
from gradlab.runs.store import Store

if TYPE_CHECKING:
    from gradlab.judge.check import Judged, Verdict

FORMATS = ("text", "json", "github")

Baselines = Annotated[
    Path, typer.Option("--baseline", help="Folder of baselines, with a folder for each suite in it.")
]
DEFAULT = Path("results/baselines")
MOST_OVERLAYS = 4
"""Pictures of more scenarios would say the same again, and each takes a second."""


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("check")(check)
    app.command("bless")(bless)


def check(
    suites: Annotated[
        Many, typer.Argument(metavar="[SUITE]...", help="Suites of experiments/, or TOML files (default: all).")
    ] = None,
    baseline: Baselines = DEFAULT,
    output_format: Annotated[
        str | None, typer.Option("--output-format", help="text, json or github (the default in GitHub Actions).")
    ] = None,
    junit_xml: Annotated[Path | None, typer.Option("--junit-xml", help="Write a JUnit file too.")] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit 0 whatever is found.")] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="A scenario without a baseline is no reason to fail.")
    ] = False,
    allow_inconclusive: Annotated[
        bool, typer.Option("--allow-inconclusive", help="Nor is one that too few seeds leave undecided.")
    ] = False,
    json: options.Json = False,
) -> int:
    """Compare gradient curves with their baselines: 0 unchanged, 1 regressed, 3 no baseline or undecided.

    gradlab check

    gradlab check ci --output-format json --junit-xml gate.xml
    """
    from gradlab.cli import annotations, verdicts
    from gradlab.cli.junit import write_junit
    from gradlab.judge.check import check as check_suite
    from gradlab.judge.suite import load_suite
    from gradlab.runs.cache import use_cache
    from gradlab.runs.jsonable import dumps

    shape = _format(output_format, json=json)
    asked = [load_suite(name) for name in _names(suites)]
    use_cache()
    screen = Screen()
    with screen.progress() as live:
        found = [check_suite(one.name, one.scenarios, baseline / one.name, live.show) for one in asked]
    for verdict, one in zip(found, asked, strict=True):
        verdict.typed = one.typed
    allowed = [*(["missing"] if allow_missing else []), *(["inconclusive"] if allow_inconclusive else [])]
    codes = [one.exit_code(allow_missing=allow_missing, allow_inconclusive=allow_inconclusive) for one in found]
    code = 1 if 1 in codes else max(codes)
    if junit_xml is not None:
        write_junit(junit_xml, found, allowed)
    overlays = _overlays(found)
    for verdict in found:
        missing = any(one.status == "missing" for judged in verdict.judged for one in judged.findings)
        advice = "rename it where its scenario was renamed, else delete it" if missing else "delete it"
        for name in verdict.unasked:
            screen.warn(f"{verdict.folder}/{name}.json is of no scenario of {verdict.suite}: {advice}")
    if shape == "json":
        screen.raw(dumps(verdicts.as_json(found, code, [str(path) for path in overlays]), indent=1))
    else:
        _show(screen, found, overlays, failed=code == 1)
    if shape == "github":
        for line in annotations.annotations(found, allowed):
            screen.raw(line)
        annotations.write_summary(annotations.summary(found))
    return 0 if exit_zero else code


def _show(screen: Screen, found: "Sequence[Verdict]", overlays: Sequence[Path], *, failed: bool) -> None:
    """The first line says it all; then the table, worst first, and what to do next."""
    from gradlab.cli import verdicts

    screen.line(verdicts.headline(found), "bold red" if failed else "bold")
    for change in verdicts.environment_lines(found):
        screen.line(f"environment differs from the baseline: {change}")
    screen.line()
    rows = [verdicts.cells(row) for row in verdicts.rows_of(found)]
    screen.table(verdicts.COLUMNS, rows, right=verdicts.NUMBERS, fold=["scenario", "when", "what"])
    screen.line()
    for path in overlays:
        screen.line(f"new curves over the baseline: {path}")
    screen.line(f"next: {verdicts.next_words(found)}")


def bless(
    suites: Annotated[
        list[str], typer.Argument(metavar="SUITE...", help="Suites of experiments/, or TOML files.")
    ],
    reason: Annotated[
        str, typer.Option("--reason", help="Why these curves are right; kept in the baselines.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change and write nothing.")] = False,
    allow_zero: Annotated[
        bool, typer.Option("--allow-zero", help="Accept a gradient that is exactly zero at every lag too.")
    ] = False,
    baseline: Baselines = DEFAULT,
    json: options.Json = False,
) -> int:
    """Accept the gradient curves of a suite as they are here and now, and print what that changes.

    gradlab bless ci --reason "the forget bias is 1 now"
    """
    from gradlab.cli import verdicts
    from gradlab.judge.bless import bless as bless_suite
    from gradlab.judge.check import Verdict
    from gradlab.judge.suite import load_suite
    from gradlab.runs.cache import use_cache
    from gradlab.runs.jsonable import dumps

    asked = [load_suite(name) for name in suites]
    use_cache()
    screen = Screen()
    changes, notes, written = [], [], []
    with screen.progress() as live:
        for one in asked:
            folder = baseline / one.name
            done = bless_suite(
                one.scenarios, folder, reason, dry_run=dry_run, allow_zero=allow_zero, tell=live.show
            )
            changes.append(Verdict(one.name, folder, [blessing.judged for blessing in done], []))
            notes += [note for blessing in done for note in blessing.notes]
            written += [path for blessing in done for path in blessing.written]
    for note in notes:
        screen.warn(note)
    if json:
        value = verdicts.as_json(changes, 0, [])
        del value["accept"], value["exit_code"], value["overlays"]
        screen.raw(dumps(value | {"written": [str(path) for path in written]}, indent=1))
        return 0
    screen.line("against the baselines that were there:")
    rows = [verdicts.cells(row) for row in verdicts.rows_of(changes)]
    screen.table(verdicts.COLUMNS, rows, right=verdicts.NUMBERS, fold=["scenario", "when", "what"])
    screen.line()
    if dry_run:
        screen.line("nothing was written (--dry-run)")
        return 0
    screen.line(f"written: {len(written)} files in {', '.join(str(one.folder) for one in changes)}")
    screen.line("next: look at them with git diff, commit them, then gradlab check")
    return 0


def _format(asked: str | None, *, json: bool) -> str:
    if json and asked not in (None, "json"):
        raise GradlabError(f"--json with --output-format {asked}: give one of them")
    if asked is None:
        return "json" if json else "github" if os.environ.get("GITHUB_ACTIONS") else "text"
    if asked not in FORMATS:
        raise unknown("--output-format", asked, FORMATS)
    return asked


def _names(suites: Sequence[str] | None) -> list[str]:
    from gradlab.judge.suite import FOLDER, suite_names

    names = list(suites or suite_names())
    if not names:
        raise GradlabError(
            f"no suite in {FOLDER}/: a suite is a TOML file with [[scenario]] tables, see docs/ci.md"
        )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise GradlabError(f"suite `{twice[0]}` is given twice: name each once")
    return names


def _overlays(found: "Sequence[Verdict]") -> list[Path]:
    """Pictures of the worst that regressed or are inconclusive, where both curves are known."""
    changed = [(one.suite, judged) for one in found for judged in one.judged]
    changed = [
        (suite, judged) for suite, judged in changed if judged.worst.status in ("regressed", "inconclusive")
    ]
    changed.sort(key=lambda pair: pair[1].worst.severity)
    folder = Store(None).root / "check"
    return [
        path for suite, one in changed[:MOST_OVERLAYS] for path in overlay(one, f"{suite}-{one.scenario}", folder)
    ]


def overlay(judged: "Judged", name: str, folder: Path) -> list[Path]:
    """The picture of one scenario as SVG, where both curves are known."""
    from gradlab.cli.verdicts import sentence
    from gradlab.judge.compare import PART_NAMES, tolerance

    before, now = judged.baseline, judged.now
    if before is None or now is None or before.measurement.lags != now.lags:
        return []
    from gradlab.report.figures.overlay import Pair, draw_overlay  # draws, so it takes a second to import

    lags = {finding.part: finding.lag for finding in judged.findings if finding.status == "regressed"}
    columns = {
        PART_NAMES[part]: Pair(
            before.measurement.parts[part].curves, after.curves, tolerance(before.noise[part]), lags.get(part)
        )
        for part, after in now.parts.items()
    }
    return draw_overlay(folder, name, sentence(judged.worst), now.lags, columns)[:1]
