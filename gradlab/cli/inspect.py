"""`gradlab ls` and `gradlab show`: what is in the results folder. Neither loads jax."""

from typing import Annotated

import typer

from gradlab.cli import options
from gradlab.cli.console import Screen
from gradlab.cli.present import as_json, record_of, show_run
from gradlab.errors import GradlabError
from gradlab.runs.jsonable import dumps, number
from gradlab.runs.store import StoredRun


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("ls")(ls)
    app.command("show")(show)


def ls(results: options.Results = None, json: options.Json = False) -> None:
    """List the runs of the results folder, finished or not.

    gradlab ls
    """
    screen, store = Screen(), options.open_store(results)
    runs = store.scan(screen.warn)
    if json:
        listed = [{"id": run.id, "status": run.status, "spec": run.config, "path": str(run.path)} for run in runs]
        screen.raw(dumps({"runs": listed}, indent=1))
        return
    if not runs:
        screen.note(f"no runs in {store.root}; make one: gradlab run adding --len 200 --cell lstm")
        return
    columns = ("run", "status", "training steps", "span at start", "span at end")
    screen.table(columns, [_row(run) for run in runs], right=columns[2:], fold=columns[2:])
    screen.line(f"next: gradlab show {runs[0].id}")


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or enough of its beginning or end.")],
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """Show one run: its numbers, its curves, how it was made.

    gradlab show adding-lstm-T200-s0
    """
    screen, store = Screen(), options.open_store(results)
    found = store.find(run)
    record = record_of(found)
    if json:
        screen.raw(dumps(as_json([record]), indent=1))
        return
    if not found.done:
        raise GradlabError(
            f"run {found.id} is {found.status}, {len(found.log())} checkpoints so far: run it again"
        )
    show_run(screen, record, found.arrays() if record.get("summary") else None)
    env = found.env()
    screen.line()
    screen.line(f"made by: {' '.join(env.get('command', ['unknown']))}")
    where = env.get("execution", {})
    screen.line(
        f"on: {where.get('cpu')}, jaxlib {where.get('jaxlib')}, {where.get('dtype')}, {env.get('started')}"
    )
    screen.line(f"files: {found.path}/")
    screen.line("next: gradlab report")


def _row(run: StoredRun) -> list[str]:
    marks = run.done.get("summary") or {}

    def span(when: str) -> str:
        return f"{number(marks[when]['curves']['task']['state']['span']):.1f}" if when in marks else "-"

    steps = str(run.done.get("training_steps", "-"))
    return [run.id, run.status, steps, span("initial"), span("final")]
