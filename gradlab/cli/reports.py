"""`gradlab report`: tables and plots of what is in the results folder."""

import typer

from gradlab.cli import options
from gradlab.cli.console import Screen
from gradlab.runs.jsonable import dumps


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("report")(report)


def report(results: options.Results = None, json: options.Json = False) -> None:
    """Write tables and plots of all runs to results/report/: index.md, CSV, SVG and PNG.

    gradlab report
    """
    from gradlab.report.page import write_report

    screen, store = Screen(), options.open_store(results)
    written = write_report(store.root, screen.warn)
    if json:
        screen.raw(dumps({"report": [str(path) for path in written]}, indent=1))
        return
    figures = sum(path.suffix == ".svg" for path in written)
    tables = sum(path.suffix == ".csv" for path in written)
    screen.line(f"written: {written[0]} with {figures} figures (SVG and PNG) and {tables} CSV tables")
    screen.line(f"next: open {written[0]}, or gradlab ls")
