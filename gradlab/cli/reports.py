"""`gradlab report`: pages, tables and figures of the results folder."""

import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gradlab.cli import options
from gradlab.cli.completion import complete_runs, complete_sweeps
from gradlab.cli.console import Progress, Screen
from gradlab.cli.session import folder_option
from gradlab.errors import GradlabError, unknown
from gradlab.report.made import FORMATS, folder_of, sources_of, unchanged
from gradlab.runs.store import Store
from gradlab.runs.sweeps import stored_sweep


def report(
    sweep: Annotated[
        str | None,
        typer.Option("--sweep", help="Only the runs of this sweep, by name.", autocompletion=complete_sweeps),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", help="Only this run, by its id or enough of it.", autocompletion=complete_runs),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--compare", metavar="A B", help="Two runs or two sweeps overlaid.", autocompletion=complete_runs
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the HTML page alone here.")] = None,
    formats: Annotated[
        str | None, typer.Option("--format", help="Any of html,md,csv (default: all); figures come with md.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    results: options.Results = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a page, tables and figures of the runs.

    They lie in results/report/, those of a sweep in results/report/sweeps/NAME/ and those of a run in
    results/report/runs/RUN/. What cannot have changed since the last report is kept.

    The page, index.html, is one file that needs no network; beside it lie index.md, CSV tables, SVG and PNG. Of a
    sweep, a table and figures small enough to commit go to results/summaries/NAME/ too. A comparison is a page,
    compare.html.

    gradlab report --open

    gradlab report --sweep adding_length

    gradlab report --compare adding-lstm-T200-s0 adding-gru-T200-s0 -o compare.html
    """
    screen, store = Screen(), options.open_store(results)
    if sum(choice is not None for choice in (sweep, run, compare)) > 1:
        raise GradlabError("--sweep, --run and --compare exclude each other: give one of them")
    wanted = _formats(formats, alone=output is not None or compare is not None)
    if show and "html" not in wanted:
        raise GradlabError("--open shows the page, which --format leaves out: add html to it")
    with Progress(screen) as live:
        progress = (lambda text: None) if quiet or json else live.show
        if compare is not None:
            written = [_compare(store, screen, compare, output, progress)]
        else:
            written = _report(store, screen, sweep, run, output, wanted, progress)
    if json:
        screen.json({"report": [str(path) for path in written]})
    else:
        _show(screen, written, store)
    if show and not webbrowser.open(written[0].resolve().as_uri()):
        screen.warn(f"no browser was found: open {written[0]} yourself")


def _formats(asked: str | None, *, alone: bool) -> tuple[str, ...]:
    """The formats of `--format`; a page alone is HTML."""
    default = ("html",) if alone else FORMATS
    names = default if asked is None else [name.strip() for name in asked.split(",")]
    for name in names:
        if name not in FORMATS:
            raise unknown("--format", name, FORMATS)
    if alone and set(names) != {"html"}:
        raise GradlabError(f"--format is {asked}: with -o or --compare the page alone is written, --format html")
    return tuple(name for name in FORMATS if name in names)


def _report(
    store: Store,
    screen: Screen,
    sweep: str | None,
    run: str | None,
    output: Path | None,
    formats: tuple[str, ...],
    progress: Callable[[str], None],
) -> list[Path]:
    """Write it; one that is as it would be is there at once, before anything that draws is imported."""
    swept = None if sweep is None else stored_sweep(store.root, sweep)
    run_id = None if run is None else store.find(run, prefer_trained=True).id
    if output is None:
        sources = sources_of(store.root, swept, run_id, formats)
        kept = unchanged(store.root, folder_of(store.root, swept, run_id), sources, screen.warn)
        if kept is not None:
            return kept
    from gradlab.report.page.write import write_page, write_report

    some: dict[str, Any] = {"sweep": swept, "run": run_id, "progress": progress}
    if output is not None:
        return [write_page(store.root, screen.warn, output, **some)]
    return write_report(store.root, screen.warn, formats=formats, sources=sources, **some)


def _compare(
    store: Store, screen: Screen, names: tuple[str, str], output: Path | None, progress: Callable[[str], None]
) -> Path:
    from gradlab.report.page.compare import side, write_comparison

    first, second = (side(store, name, screen.warn) for name in names)
    return write_comparison(first, second, output or store.root / "report" / "compare.html", progress)


def _show(screen: Screen, written: list[Path], store: Store) -> None:
    """What was written, and what to do with it."""
    page = [path for path in written if path.is_relative_to(store.root / "report")] or written
    figures = sum(path.suffix == ".svg" for path in page)
    tables = sum(path.suffix == ".csv" for path in page)
    extras = [f"{figures} figures (SVG and PNG)"] * bool(figures) + [f"{tables} CSV tables"] * bool(tables)
    size = f", {page[0].stat().st_size / 1e6:.2g} MB" if page[0].suffix == ".html" else ""
    screen.line(f"written: {page[0]}{size}{', with ' * bool(extras)}{' and '.join(extras)}")
    kept = written[len(page) :]
    if kept:
        screen.line(f"to be kept and committed: {kept[0].parent}/ ({', '.join(path.name for path in kept)})")
    screen.line(f"next: open {page[0]}, or gradlab ls{folder_option(store)}")
