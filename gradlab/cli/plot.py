"""`gradlab plot`: one picture of several runs, for a slide or a paper. Loads no jax."""

from pathlib import Path
from typing import Annotated

import typer

from gradlab.cli import options
from gradlab.cli.completion import complete_runs
from gradlab.cli.console import Screen
from gradlab.errors import GradlabError
from gradlab.runs.listing import chosen, condition


def plot(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...", help="Runs, by id or enough of it, or sweeps.", autocompletion=complete_runs
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file: .pdf, .svg or .png.", show_default=False)
    ] = Path("figure.pdf"),
    where: options.Where = None,
    by: Annotated[str | None, typer.Option("--by", help="A line for each cell (default), length or step.")] = None,
    at: Annotated[str, typer.Option("--at", help="Which checkpoint: initial, worst or final.")] = "initial",
    style: Annotated[str, typer.Option("--style", help="Its size: paper, talk or page.")] = "paper",
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """Draw the gradient of runs by lag, in one picture.

    Its caption is printed. Seeds of one setting are one line: their mean, and their range as a band.

    gradlab plot adding-rnn-T200-s0 adding-lstm-T200-s0 -o cells.pdf

    gradlab plot adding_length --where cell=lstm --by length -o lengths.svg --style talk
    """
    screen, store = Screen(), options.open_store(results)
    if not runs and not where:
        raise GradlabError("name runs or sweeps to draw, or say --where task=adding: `gradlab ls` lists the runs")
    from gradlab.report.comparison import stored_records
    from gradlab.report.figures.single import write_figure

    asked = [condition(text) for text in where or []]
    measured = (run for run in store.each(screen.warn) if run.finished and run.done.get("summary"))
    names = runs or [run.id for run in chosen(measured, asked)]
    records = stored_records(store, names, screen.warn)
    fitting = {run.id for run in chosen((record.run for record in records), asked)}
    records = [record for record in records if record.run.id in fitting]
    if not records:
        raise GradlabError(f"no measured run with {' and '.join(where or [])} among those in {store.root}")
    caption = write_figure(records, output, by=by, at=at, style=style)
    if json:
        screen.json({"figure": str(output), "caption": caption, "runs": [record.run.id for record in records]})
        return
    screen.line(caption)
    screen.note(f"written: {output}")
