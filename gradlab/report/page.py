"""`results/report/`: one page for a newcomer, CSV tables, figures. Derived, and safe to delete."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gradlab.errors import GradlabError
from gradlab.report.figures import Drawing, save
from gradlab.report.gallery import BOUNDS, drawings
from gradlab.report.records import Record, read
from gradlab.report.sections import (
    endings,
    environments,
    how_to_read,
    reproduce,
    statements,
    summary_table,
)
from gradlab.report.tables import curve_frames, seeds, summaries, write_csv

TABLES = ("curves.csv", "summaries.csv", "seeds.csv")
_STALE_SECONDS = 3600


def write_report(results: Path, warn: Callable[[str], None]) -> list[Path]:
    """Write tables and figures of everything in a results folder to `results/report/`.

    It is written beside the old report and takes its place when it is whole.

    Args:
        results: the results folder.
        warn: hears once of each run that is skipped because it is corrupt.

    Returns:
        What was written, `index.md` first, then the tables, then the figures in the order of the page.

    Raises:
        GradlabError: there is no finished run, or the folder cannot be written.
    """
    skipped: list[str] = []

    def note(message: str) -> None:
        skipped.append(message)
        warn(message)

    records = read(results, note)
    if not any(record.run.finished for record in records):
        raise GradlabError(
            f"no finished run in {results}: make one with `gradlab run adding --len 200 --cell lstm`"
        )
    target, new = results / "report", results / f".report.{os.getpid()}"
    try:
        _clear_stale(results)
        names = _write(new, records, skipped)
        _swap(new, target)
    except OSError as error:
        raise GradlabError(f"the report cannot be written to {target}: {error.strerror}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return [target / name for name in names]


def _write(folder: Path, records: Sequence[Record], skipped: Sequence[str]) -> list[Path]:
    """Everything, below `folder`; returns paths relative to it."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "figures").mkdir(parents=True)
    write_csv(folder / "curves.csv", curve_frames(records))
    write_csv(folder / "summaries.csv", [summaries(records)])
    write_csv(folder / "seeds.csv", [seeds(records)])
    written: list[Path] = []
    shown: list[str] = []
    drawable = [record for record in records if record.marks and (record.run.path / "curves.npz").exists()]
    for drawing in drawings(drawable):
        written += [path.relative_to(folder) for path in save(drawing, folder / "figures")]
        shown.append(_shown(drawing))
    (folder / "index.md").write_text(_page(records, skipped, shown), encoding="utf-8")
    return [Path("index.md"), *map(Path, TABLES), *written]


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
