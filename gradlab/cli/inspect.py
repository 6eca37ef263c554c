"""`gradlab ls`, `gradlab show` and `gradlab rm`: what is in the results folder. None of them loads jax."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from gradlab.cli import options
from gradlab.cli.console import Screen
from gradlab.cli.present import as_json, record_of, show_run
from gradlab.cli.remove import rm
from gradlab.errors import GradlabError
from gradlab.runs.jsonable import dumps
from gradlab.runs.listing import (
    CURVE_NUMBERS,
    RUN_NUMBERS,
    SPEC_NUMBERS,
    Condition,
    chosen,
    condition,
    field_name,
    position,
    value,
)
from gradlab.runs.spec import command
from gradlab.runs.store import StoredRun

_COLUMNS = ("run", "status", "training steps", "span at start", "span at end")
_SHOWN = ("id", "status", "training_steps", "initial.span", "span")
"""The fields of these columns."""
_IN_JSON = (*RUN_NUMBERS, *CURVE_NUMBERS, "verdict")


def register(app: typer.Typer) -> None:
    """Add the commands of this file, and `rm`."""
    app.command("ls")(ls)
    app.command("show")(show)
    app.command("rm")(rm)


def ls(
    where: options.Where = None,
    sort: Annotated[
        str | None, typer.Option("--sort", help="Order by a field such as slope; -slope: largest first.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Turn the order round.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", help="Show at most so many runs.")] = None,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """List the runs of the results folder, finished or not.

    gradlab ls --where cell=lstm --where "length>=200" --sort slope --limit 20
    """
    screen, store = Screen(), options.open_store(results)
    asked = [condition(text) for text in where or []]
    backwards = (sort or "").startswith("-") != reverse
    order = field_name((sort or "id").removeprefix("-"))
    if limit is not None and limit < 1:
        raise GradlabError(f"--limit is {limit}: give a whole number of at least 1")
    fields = (*_SHOWN, *_extra(asked, order))
    # What is shown of a run is a few numbers, so the rest of thousands of runs is not kept.
    runs = chosen(store.each(screen.warn), asked)
    rows = [(value(run, order), _entry(run) if json else _row(run, fields)) for run in runs]
    found = _ordered(rows, backwards)
    shown = found[:limit]
    if json:
        screen.raw('{"runs": [' + ",".join(f"\n {dumps(entry)}" for entry in shown) + "]}")
        return
    if not found:
        nothing = "no runs" if not where else f"no runs with {' and '.join(where)}"
        screen.note(f"{nothing} in {store.root}; make one: gradlab run adding --len 200 --cell lstm")
        return
    columns = (*_COLUMNS, *(name.replace("_", " ").replace(".", " ") for name in fields[len(_SHOWN) :]))
    numbers = [column for column, name in zip(columns, fields, strict=True) if _is_number(name)]
    screen.table(columns, shown, right=numbers, fold=columns[2:])
    if len(shown) < len(found):
        screen.note(f"{len(shown):,} of {len(found):,} runs")
    screen.line(f"next: gradlab show {shown[0][0]}")


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
    again = command(found.config)
    if not found.done:
        raise GradlabError(
            f"run {found.id} is {found.status}, {len(found.log())} checkpoints so far; to run it again: {again}"
        )
    show_run(screen, record, found.arrays() if record.get("summary") else None)
    env = found.env()
    screen.line()
    screen.line(f"made by: {' '.join(env.get('command', ['unknown']))}")
    screen.line(f"made again by: {again}")
    where = env.get("execution", {})
    screen.line(
        f"on: {where.get('cpu')}, jaxlib {where.get('jaxlib')}, {where.get('dtype')}, {env.get('started')}"
    )
    screen.line(f"files: {found.path}/")
    screen.line("next: gradlab report")


def _extra(asked: Sequence[Condition], order: str) -> list[str]:
    """The fields of the command that have no column: what is compared by size, and what sorts."""
    named = [each.field for each in asked if each.sign not in ("=", "!=") or len(each.values) > 1]
    return [name for name in dict.fromkeys((*named, order)) if name not in _SHOWN]


def _ordered(rows: Sequence[tuple[Any, Any]], backwards: bool) -> list[Any]:
    """Rows by the value before each; what has none stays at the end in either direction."""
    there = [row for row in rows if not position(row[0])[0]]
    missing = [row[1] for row in rows if position(row[0])[0]]
    return [row[1] for row in sorted(there, key=lambda row: position(row[0]), reverse=backwards)] + missing


def _entry(run: StoredRun) -> dict[str, Any]:
    """A run in `--json`."""
    numbers = {name: value(run, name) for name in _IN_JSON}
    return {"id": run.id, "status": run.status, "spec": run.config, "numbers": numbers, "path": str(run.path)}


def _row(run: StoredRun, fields: Sequence[str]) -> list[str]:
    return [_cell(name, value(run, name)) for name in fields]


def _cell(name: str, found: Any) -> str:
    if found is None:
        return "-"
    if isinstance(found, float):
        return f"{found:.1f}" if name.endswith("span") else f"{found:.4g}"
    return str(found)


def _is_number(name: str) -> bool:
    return name.rpartition(".")[2] in (*SPEC_NUMBERS, *RUN_NUMBERS, *CURVE_NUMBERS)
