"""`gradlab import-curve`: a curve that was measured elsewhere becomes a run."""

from pathlib import Path
from typing import Annotated

import typer

from gradlab.cli import options
from gradlab.cli.console import Screen
from gradlab.cli.present import as_json, record_of, show_run
from gradlab.cli.session import folder_option
from gradlab.errors import GradlabError


def import_curve(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=".csv or .npz: lag, leaf, log10_norm or norm.")],
    cell: Annotated[str | None, typer.Option("--cell", help="What was measured (default: its name).")] = None,
    task: Annotated[str, typer.Option("--task", help="What it was measured on.")] = "imported",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Tells curves of one setting apart.")] = 0,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """Store a curve that was measured elsewhere as a run.

    gradlab import-curve lstm.csv --cell my-lstm --task adding

    Columns: lag (1 is the last state), leaf, log10_norm or norm; optionally example and step (a training step).
    """
    screen, store = Screen(), options.open_store(results)
    if not file.is_file():
        raise GradlabError(f"`{file}` is no file: give a .csv or .npz with the columns lag, leaf and log10_norm")
    from gradlab.runs.imported_curves import import_curves

    names = import_curves(file, store, {"cell": cell or file.stem, "task": task, "seed": seed})
    runs = [store.find(name) for name in names]
    if json:
        screen.json(as_json([record_of(run) for run in runs]))
        return
    for run in runs:
        show_run(screen, record_of(run), run.arrays())
    screen.line()
    screen.line(f"written: {', '.join(f'{run.path}/' for run in runs)}")
    screen.line(f"next: gradlab report{folder_option(store)}")
