"""`results/report/`: a page in HTML and in Markdown, CSV tables, figures. Derived, and safe to delete."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from gradlab.errors import GradlabError
from gradlab.report.data.by_length import frame, rows
from gradlab.report.data.records import Record, read
from gradlab.report.data.study import Study, by_length_section, command, keep, missing, opening, study_of
from gradlab.report.data.tables import curve_frames, seeds, summaries, write_csv
from gradlab.report.figures.drawing import Drawing
from gradlab.report.figures.embed import framed
from gradlab.report.figures.gallery import AGAINST_LENGTH, BOUNDS, drawings
from gradlab.report.figures.save import save
from gradlab.report.page.assembly import Told, web_page
from gradlab.report.text.sections import (
    endings,
    environments,
    how_to_read,
    reproduce,
    statements,
    summary_table,
)
from gradlab.runs.attempt import write_whole

if TYPE_CHECKING:
    from gradlab.runs.sweeps import StoredSweep

FORMATS = ("html", "md", "csv")
"""What a report is written as; figures come with `md`."""
TABLES = ("curves.csv", "summaries.csv", "seeds.csv")
_STALE_SECONDS = 3600


def write_report(
    results: Path,
    warn: Callable[[str], None],
    *,
    sweep: "StoredSweep | None" = None,
    run: str | None = None,
    formats: Sequence[str] = FORMATS,
    progress: Callable[[str], None] = lambda message: None,
) -> list[Path]:
    """Write tables and figures of everything in a results folder, or of one sweep or run, to `results/report/`.

    It is written beside the old report and takes its place when it is whole. Of a sweep, what is small and worth
    committing goes to `results/summaries/<name>/` too, with the figures.

    Args:
        results: the results folder.
        warn: hears once of each run that is skipped because it is corrupt.
        sweep: report on the runs of this sweep only.
        run: report on the run of this id only.
        formats: which of `FORMATS`.
        progress: hears how far it got.

    Returns:
        What was written, `index.html` and `index.md` first, then the tables, then the figures in the order of the
        page; then, of a sweep, what is in `summaries`.

    Raises:
        GradlabError: there is no finished run, or the folder cannot be written.
    """
    told = _read(results, warn, sweep, run, progress)
    target, new = results / "report", results / f".report.{os.getpid()}"
    try:
        _clear_stale(results)
        names, compared = _write(new, told, formats, progress)
        _swap(new, target)
        kept = []
        if told.study and "md" in formats:
            kept = keep(told.study, results / "summaries" / told.study.sweep.name, compared, target / "figures")
    except OSError as error:
        raise GradlabError(f"the report cannot be written to {target}: {error.strerror}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return [*(target / name for name in names), *kept]


def write_page(
    results: Path,
    warn: Callable[[str], None],
    target: Path,
    *,
    sweep: "StoredSweep | None" = None,
    run: str | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Path:
    """Write the page alone, one file that needs no other; arguments and errors as `write_report`.

    Args:
        target: the file.
    """
    told = _read(results, warn, sweep, run, progress)
    told.framed.extend(framed(drawing) for drawing in _drawings(told, progress))
    return put_page(target, web_page(told))


def put_page(target: Path, page: str) -> Path:
    """Write a page whole or not at all.

    Raises:
        GradlabError: the file cannot be written.
    """
    if target.is_dir():
        raise GradlabError(f"the page cannot be written to {target}: it is a folder, give the name of a file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, lambda file: file.write(page.encode("utf-8", "replace")))
    except OSError as error:
        raise GradlabError(f"the page cannot be written to {target}: {error.strerror}") from error
    return target


def _read(
    results: Path,
    warn: Callable[[str], None],
    sweep: "StoredSweep | None",
    run: str | None,
    progress: Callable[[str], None],
) -> Told:
    """What the report is to tell of.

    Raises:
        GradlabError: nothing of it came to an end.
    """
    skipped: list[str] = []

    def note(message: str) -> None:
        skipped.append(message)
        warn(message)

    names = None if sweep is None else sweep.ids
    records = read(results, note, names if run is None else [run], progress)
    study = None if sweep is None else study_of(sweep, records)
    if not (study.there if study else [record for record in records if record.run.finished]):
        raise _nothing(results, study, run)
    if study:
        return Told(study.there, study.records, skipped, study)
    return Told(records, records, skipped, single=run is not None)


def _nothing(results: Path, study: Study | None, run: str | None) -> GradlabError:
    if run is not None:
        return GradlabError(
            f"run {run} did not come to an end, so there is nothing to report: `gradlab show {run}`"
        )
    if study is None:
        make = "make one with `gradlab run adding --len 200 --cell lstm`"
        return GradlabError(f"no finished run in {results}: {make}")
    name, count = study.sweep.name, len(study.sweep.runs)
    return GradlabError(f"none of the {count} runs of sweep {name} is finished in {results}: `{command(study)}`")


def _write(
    folder: Path, told: Told, formats: Sequence[str], progress: Callable[[str], None]
) -> tuple[list[Path], list[Drawing]]:
    """Everything, below `folder`; returns paths relative to it, and what was drawn against length."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "figures").mkdir(parents=True)
    tables = _tables(folder, told, progress) if "csv" in formats else []
    pages: list[Path] = []
    written: list[Path] = []
    shown: list[str] = []
    compared: list[Drawing] = []
    for drawing in _drawings(told, progress) if {"html", "md"} & set(formats) else ():
        if "md" in formats:
            written += [path.relative_to(folder) for path in save(drawing, folder / "figures")]
            shown.append(_shown(drawing))
        if "html" in formats:
            told.framed.append(framed(drawing))
        compared += [drawing._replace(figure=Figure())] if drawing.name.startswith(AGAINST_LENGTH) else []
    if "html" in formats:
        pages.append(Path("index.html"))
        put_page(folder / pages[-1], web_page(told))
    if "md" in formats:
        pages.append(Path("index.md"))
        study = told.study
        text = _sweep_page(study, told.skipped, shown) if study else _page(told.records, told.skipped, shown)
        (folder / pages[-1]).write_text(text, encoding="utf-8", errors="replace")
    else:
        (folder / "figures").rmdir()
    return [*pages, *tables, *written], compared


def _tables(folder: Path, told: Told, progress: Callable[[str], None]) -> list[Path]:
    progress(f"report: tables of {len(told.records):,} runs")
    write_csv(folder / "curves.csv", curve_frames(told.records))
    write_csv(folder / "summaries.csv", [summaries(told.records)])
    write_csv(folder / "seeds.csv", [seeds(told.records)])
    if told.study:
        write_csv(folder / "lengths.csv", [frame(rows(told.study.measured))])
    return [*map(Path, TABLES), *([Path("lengths.csv")] if told.study else [])]


def _drawings(told: Told, progress: Callable[[str], None]) -> Iterator[Drawing]:
    """The figures one after the other, each told of before it is drawn."""
    drawable = [record for record in told.records if record.marks and (record.run.path / "curves.npz").exists()]
    for number, drawing in enumerate(drawings(drawable), 1):
        progress(f"report: figure {number}, {drawing.name}")
        yield drawing


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
