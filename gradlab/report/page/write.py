"""`results/report/`: a page in HTML and in Markdown, CSV tables, figures. Derived, and safe to delete."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from gradlab.errors import GradlabError
from gradlab.report.data.by_length import rows
from gradlab.report.data.progress import bar
from gradlab.report.data.records import read
from gradlab.report.data.study import study_of
from gradlab.report.data.tables import seeds, summaries, write_csv, write_curves
from gradlab.report.figures.embed import EmbeddedFigure
from gradlab.report.figures.figure_cache import FIGURES, Drawer, Earlier
from gradlab.report.figures.gallery import BOUNDS, plans
from gradlab.report.made import (
    FORMATS,
    Manifest,
    Sources,
    digest_of,
    files_below,
    folder_of,
    named,
    read_made,
    sources_of,
    unchanged,
    write_made,
)
from gradlab.report.page.build import Selection, report_context
from gradlab.report.page.context import ReportContext
from gradlab.report.page.render import put_page, render, render_markdown
from gradlab.runs.jsonable import number
from gradlab.runs.sweeps import StoredSweep

STYLES, SCRIPTS = ("page.css", "figures.css", "report.css"), ("page.js", "figures.js")
DIGITS = 5
"""Significant digits of the table that is kept: enough for every figure, and its changes stay readable."""
OTHERS = ("sweeps", "runs", "compare.html")
"""What of other reports lies in the folder of the report of everything."""
_STALE_SECONDS = 3600

Progress = Callable[[str], None]


def write_report(
    results: Path,
    warn: Callable[[str], None],
    *,
    sweep: StoredSweep | None = None,
    run: str | None = None,
    formats: Sequence[str] = FORMATS,
    progress: Progress = lambda message: None,
    sources: Sources | None = None,
) -> list[Path]:
    """Write tables and figures of everything in a results folder, or of one sweep or run, to its `folder_of`.

    It takes the place of the old report when it is whole. What cannot have changed since the old one is kept. Of a
    sweep, what is small and worth committing goes to `results/summaries/<name>/` too, with the figures.

    Args:
        results: the results folder. warn: called once for each run that is skipped because it is corrupt.
        sweep, run: report on the runs of this sweep or on the run of this id only.
        formats: which of `FORMATS`. progress: called with messages on progress.
        sources: of these arguments, if they are known.

    Returns:
        What was written: pages, tables, figures in the order of the page; then, of a sweep, its summaries.

    Raises:
        GradlabError: there is no finished run, or the folder cannot be written.
    """
    sources = sources or sources_of(results, sweep, run, formats)
    target, new = folder_of(results, sweep, run), results / f".report.{os.getpid()}"
    if (written := unchanged(results, target, sources, warn)) is not None:
        return written
    selection = select(results, warn, sweep, run, progress)
    try:
        _clear_stale(results)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        drawer = Drawer(sources, _earlier(results, target), new, files="md" in formats)
        names, context = _write(new, selection, formats, progress, drawer)
        kept = []
        if sweep and "md" in formats:
            kept = _keep(context, selection, results / "summaries" / sweep.name, new / FIGURES)
        files = files_below(new, results, target) | {named(path, results): digest_of(path) for path in kept}
        paths = [*(target / name for name in names), *kept]
        written_names = [named(path, results) for path in paths]
        write_made(new, Manifest(sources.whole, list(selection.skipped), written_names, drawer.names, files))
        _swap(new, target)
    except OSError as error:
        raise GradlabError(f"the report cannot be written to {target}: {error.strerror}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return paths


def write_page(
    results: Path,
    warn: Callable[[str], None],
    target: Path,
    *,
    sweep: StoredSweep | None = None,
    run: str | None = None,
    progress: Progress = lambda message: None,
) -> Path:
    """Write the page alone, one file that needs no other, to `target`; the rest as `write_report`."""
    sources = sources_of(results, sweep, run, ("html",))
    selection = select(results, warn, sweep, run, progress)
    drawer = Drawer(sources, _earlier(results, folder_of(results, sweep, run)))
    figures = list(_figures(selection, drawer, progress))
    return put_page(target, html_page(report_context(selection, figures), figures))


def _earlier(results: Path, folder: Path) -> Earlier:
    return Earlier(results, folder, read_made(folder))


def html_page(context: ReportContext, figures: Sequence[EmbeddedFigure]) -> str:
    """The page; the same bytes from the same results."""
    data = {figure.name: figure.data for figure in figures if figure.data}
    variables = {"report": context, "bounds": BOUNDS}
    return render("report.html.j2", variables, styles=STYLES, scripts=SCRIPTS, data={"figure-data": data})


def select(
    results: Path, warn: Callable[[str], None], sweep: StoredSweep | None, run: str | None, progress: Progress
) -> Selection:
    """The runs that the report is about.

    Raises:
        GradlabError: none of them came to an end.
    """
    skipped: list[str] = []

    def note(message: str) -> None:
        skipped.append(message)
        warn(message)

    records = read(results, note, [run] if run else sweep.ids if sweep else None, progress)
    if sweep:
        study = study_of(sweep, records)
        if not study.finished:
            none = f"none of the {len(sweep.runs)} runs of sweep {sweep.name} is finished in {results}"
            raise GradlabError(f"{none}: `{study.command}`")
        return Selection(study.finished, study.records, skipped, study)
    if not any(record.run.finished for record in records):
        if run:
            raise GradlabError(
                f"run {run} did not come to an end, so there is nothing to report: `gradlab show {run}`"
            )
        make = "make one with `gradlab run adding --len 200 --cell lstm`"
        raise GradlabError(f"no finished run in {results}: {make}")
    return Selection(records, records, skipped, single=len(records) == 1)


def _write(
    folder: Path, selection: Selection, formats: Sequence[str], progress: Progress, drawer: Drawer
) -> tuple[list[Path], ReportContext]:
    """Everything, below `folder`; returns paths relative to it, and what the pages say."""
    tables = _tables(folder, selection, progress) if "csv" in formats else []
    figures = list(_figures(selection, drawer, progress)) if {"html", "md"} & set(formats) else []
    progress("report: pages")
    context = report_context(selection, figures, csv="csv" in formats)
    pages = []
    if "html" in formats:
        pages.append(Path("index.html"))
        put_page(folder / pages[-1], html_page(context, figures))
    if "md" in formats:
        pages.append(Path("index.md"))
        put_page(folder / pages[-1], render_markdown("report.md.j2", {"report": context, "bounds": BOUNDS}))
    return [*pages, *tables, *drawer.written], context


def _tables(folder: Path, selection: Selection, progress: Progress) -> list[Path]:
    progress(f"report: tables of {len(selection.records):,} runs")
    records = selection.records
    write_curves(folder / "curves.csv", records)
    tables = {"summaries.csv": summaries(records), "seeds.csv": seeds(records)}
    if selection.study:
        tables["lengths.csv"] = pd.DataFrame(rows(selection.measured))
    for name, frame in tables.items():
        write_csv(folder / name, [frame])
    return [Path(name) for name in ("curves.csv", *tables)]


def _figures(selection: Selection, drawer: Drawer, progress: Progress) -> Iterator[EmbeddedFigure]:
    """The figures one after the other, with a message on progress before each."""
    planned = list(plans([one for one in selection.measured if one.has_arrays]))
    for count, plan in enumerate(planned):
        progress(f"report: {bar(count, len(planned))} figures, {plan.arguments[0]}")
        yield from drawer.figures(plan)


def _keep(context: ReportContext, selection: Selection, folder: Path, figures: Path) -> list[Path]:
    """Write the small files that are worth committing: a table, the figures against length, and the findings."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "lengths.csv", [pd.DataFrame(rows(selection.measured))], digits=DIGITS)
    shown = next((one.figures for one in context.sections if one.name == "lengths"), [])
    for one in shown:
        (folder / f"{one.file}.svg").write_bytes((figures / f"{one.file}.svg").read_bytes())
    seconds = sum(number(record.run.done.get("wall_seconds")) for record in selection.records)
    text = render_markdown("summary.md.j2", {"report": context, "shown": shown, "minutes": seconds / 60})
    put_page(folder / "README.md", text)
    return [folder / name for name in ("README.md", "lengths.csv", *(f"{one.file}.svg" for one in shown))]


def _swap(new: Path, target: Path) -> None:
    """Put a whole report in the place of the old one; those of sweeps and runs that lie in it stay there."""
    old = new.with_name(f"{new.name}.old")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        os.rename(target, old)
    os.rename(new, target)
    for other in (old / name for name in OTHERS):
        if other.exists():
            os.rename(other, target / other.name)
    shutil.rmtree(old, ignore_errors=True)


def _clear_stale(results: Path) -> None:
    """Remove what reports that were killed left behind."""
    for path in results.glob(".report.*"):
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
