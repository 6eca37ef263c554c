"""`gradlab report`: tables and plots of what is in the results folder."""

from typing import Annotated

import typer

from gradlab.cli import options
from gradlab.cli.console import Screen
from gradlab.runs.jsonable import dumps


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("report")(report)


def report(
    sweep: Annotated[
        str | None, typer.Option("--sweep", help="Only the runs of this sweep, by its name in results/sweeps/.")
    ] = None,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """Write tables and plots of all runs, or of one sweep, to results/report/: index.md, CSV, SVG and PNG.

    Of a sweep, a table and figures small enough to commit go to results/summaries/NAME/ too.

    gradlab report
    """
    from gradlab.report.page import write_report
    from gradlab.runs.sweeps import stored_sweep

    screen, store = Screen(), options.open_store(results)
    asked = None if sweep is None else stored_sweep(store.root, sweep)
    with screen.progress() as live:
        written = write_report(store.root, screen.warn, sweep=asked, progress=live.show)
    if json:
        screen.raw(dumps({"report": [str(path) for path in written]}, indent=1))
        return
    page = [path for path in written if path.is_relative_to(store.root / "report")]
    figures = sum(path.suffix == ".svg" for path in page)
    tables = sum(path.suffix == ".csv" for path in page)
    screen.line(f"written: {page[0]} with {figures} figures (SVG and PNG) and {tables} CSV tables")
    kept = written[len(page) :]
    if kept:
        names = ", ".join(path.name for path in kept)
        screen.line(f"to be kept and committed: {kept[0].parent}/ ({names})")
    screen.line(f"next: open {page[0]}, or gradlab ls")
