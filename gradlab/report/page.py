"""`results/report/`: one page for a newcomer, CSV tables, figures. Derived, and safe to delete."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from gradlab.errors import GradlabError
from gradlab.report.by_length import frame, rows
from gradlab.report.figures import Drawing, save
from gradlab.report.gallery import AGAINST_LENGTH, BOUNDS, drawings
from gradlab.report.records import Record, read
from gradlab.report.sections import (
    endings,
    environments,
    how_to_read,
    reproduce,
    statements,
    summary_table,
)
from gradlab.report.study import Study, by_length_section, command, keep, missing, opening, study_of
from gradlab.report.tables import curve_frames, seeds, summaries, write_csv

if TYPE_CHECKING:
    from gradlab.runs.sweeps import StoredSweep

TABLES = ("curves.csv", "summaries.csv", "seeds.csv")
_STALE_SECONDS = 3600


def write_report(
    results: Path,
    warn: Callable[[str], None],
    *,
    sweep: "StoredSweep | None" = None,
    progress: Callable[[str], None] = lambda message: None,
) -> list[Path]:
    """Write tables and figures of everything in a results folder, or of one sweep, to `results/report/`.

    It is written beside the old report and takes its place when it is whole. Of a sweep, what is small and worth
    committing goes to `results/summaries/<name>/` too.

    Args:
        results: the results folder.
        warn: hears once of each run that is skipped because it is corrupt.
        sweep: report on the runs of this sweep only.
        progress: hears how far it got.

    Returns:
        What was written, `index.md` first, then the tables, then the figures in the order of the page; then, of a
        sweep, what is in `summaries`.

    Raises:
        GradlabError: there is no finished run, or the folder cannot be written.
    """
    skipped: list[str] = []

    def note(message: str) -> None:
        skipped.append(message)
        warn(message)

    records = read(results, note, None if sweep is None else sweep.ids, progress)
    study = None if sweep is None else study_of(sweep, records)
    if not (study.there if study else [record for record in records if record.run.finished]):
        raise _nothing(results, study)
    target, new = results / "report", results / f".report.{os.getpid()}"
    try:
        _clear_stale(results)
        names, compared = _write(new, records, skipped, study, progress)
        _swap(new, target)
        kept = []
        if study:
            kept = keep(study, results / "summaries" / study.sweep.name, compared, target / "figures")
    except OSError as error:
        raise GradlabError(f"the report cannot be written to {target}: {error.strerror}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return [*(target / name for name in names), *kept]


def _nothing(results: Path, study: Study | None) -> GradlabError:
    if study is None:
        make = "make one with `gradlab run adding --len 200 --cell lstm`"
        return GradlabError(f"no finished run in {results}: {make}")
    name, count = study.sweep.name, len(study.sweep.runs)
    return GradlabError(f"none of the {count} runs of sweep {name} is finished in {results}: `{command(study)}`")


def _write(
    folder: Path,
    records: Sequence[Record],
    skipped: Sequence[str],
    study: Study | None,
    progress: Callable[[str], None],
) -> tuple[list[Path], list[Drawing]]:
    """Everything, below `folder`; returns paths relative to it, and what was drawn against length."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "figures").mkdir(parents=True)
    told = study.there if study else records
    progress(f"report: tables of {len(told):,} runs")
    write_csv(folder / "curves.csv", curve_frames(told))
    write_csv(folder / "summaries.csv", [summaries(told)])
    write_csv(folder / "seeds.csv", [seeds(told)])
    if study:
        write_csv(folder / "lengths.csv", [frame(rows(study.measured))])
    written: list[Path] = []
    shown: list[str] = []
    compared: list[Drawing] = []
    drawable = [record for record in told if record.marks and (record.run.path / "curves.npz").exists()]
    for drawing in drawings(drawable):
        progress(f"report: figure {len(shown) + 1}, {drawing.name}")
        written += [path.relative_to(folder) for path in save(drawing, folder / "figures")]
        shown.append(_shown(drawing))
        compared += [drawing._replace(figure=Figure())] if drawing.name.startswith(AGAINST_LENGTH) else []
    page = _page(records, skipped, shown) if study is None else _sweep_page(study, skipped, shown)
    (folder / "index.md").write_text(page, encoding="utf-8")
    tables = [*TABLES, "lengths.csv"] if study else TABLES
    return [Path("index.md"), *map(Path, tables), *written], compared


def _shown(drawing: Drawing) -> str:
    """A figure in Markdown: its caption is also what a reader hears who cannot see it."""
    caption = drawing.caption.replace("<", "&lt;")
    alt = caption.replace("[", "(").replace("]", ")")
    file = f"figures/{drawing.name}"
    heading = drawing.heading.replace("<", "&lt;")
    return f"### {heading}\n\n![{alt}]({file}.svg)\n\n{caption} ([PNG]({file}.png))"


def _page(records: Sequence[Record], skipped: Sequence[str], shown: Sequence[str]) -> str:
    parts = [
        "# How far does the gradient reach?",
        statements(records),
        "## Numbers",
        summary_table(records),
        "Every run and checkpoint: [summaries.csv](summaries.csv). Over seeds, with intervals: "
        "[seeds.csv](seeds.csv). Every curve: [curves.csv](curves.csv).",
        "## Figures",
        BOUNDS,
        *shown,
        "## Runs that did not end well",
        endings(records, skipped),
        "## How to repeat this",
        reproduce(records),
        "## How it was computed",
        environments(records),
        "## How to read this",
        how_to_read(),
    ]
    return "\n\n".join(parts) + "\n"


def _sweep_page(study: Study, skipped: Sequence[str], shown: Sequence[str]) -> str:
    redo = f"The runs that are not there are made by\n\n```\n{command(study)}\n```\n\n" if study.absent else ""
    parts = [
        opening(study),
        "## By length",
        by_length_section(study),
        "As numbers: [lengths.csv](lengths.csv). Every run and checkpoint: [summaries.csv](summaries.csv). Over "
        "seeds: [seeds.csv](seeds.csv). Every curve: [curves.csv](curves.csv).",
        "## Figures",
        BOUNDS,
        *shown,
        "## Runs that did not end well",
        redo + endings(study.records, [*missing(study), *skipped]),
        "## How to repeat this",
        f"```\n{command(study)}\ngradlab report --sweep {study.sweep.name}\n```",
        "## How it was computed",
        environments(study.there),
        "## How to read this",
        how_to_read(),
    ]
    return "\n\n".join(parts) + "\n"


def _swap(new: Path, target: Path) -> None:
    """Put a whole report in the place of the old one."""
    old = new.with_name(f"{new.name}.old")
    if target.exists():
        os.rename(target, old)
    os.rename(new, target)
    shutil.rmtree(old, ignore_errors=True)


def _clear_stale(results: Path) -> None:
    """Remove what reports that were killed left behind."""
    for path in results.glob(".report.*"):
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
