"""`gradlab ls`, `gradlab show` and `gradlab rm`: the runs of the results folder. None of them loads jax."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from gradlab.cli import options
from gradlab.cli.completion import complete_runs
from gradlab.cli.console import Screen, counted
from gradlab.cli.lstm_reference import lstm_beside
from gradlab.cli.present import as_json, record_of, show_run
from gradlab.cli.session import folder_option
from gradlab.errors import GradlabError
from gradlab.gradient.summary import in_decades
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
from gradlab.runs.removal import Removable, clear_trash, removable, remove, select_removable
from gradlab.runs.spec import command
from gradlab.runs.store import Store, StoredRun

_LINE = 100
"""Letters of a line of a command that is broken."""
_COLUMNS = ("run", "status", "training steps", "span at start", "span at end")
_SHOWN = ("id", "status", "training_steps", "initial.span", "span")
"""The fields of these columns."""
_IN_JSON = (*RUN_NUMBERS, *CURVE_NUMBERS, "verdict")
_NUMBERS = (*SPEC_NUMBERS, *RUN_NUMBERS, *CURVE_NUMBERS)


def ls(
    where: options.Where = None,
    sort: Annotated[str | None, typer.Option("--sort", help="A field: slope; -slope: largest first.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Show at most so many runs.")] = None,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """List the runs of the results folder, finished or not.

    gradlab ls --where cell=lstm --where "length>=200" --sort slope --limit 20
    """
    screen, store = Screen(), options.open_store(results)
    asked = [condition(text) for text in where or []]
    order = field_name((sort or "id").removeprefix("-"))
    if limit is not None and limit < 1:
        raise GradlabError(f"--limit is {limit}: give a whole number of at least 1")
    fields = (*_SHOWN, *_extra(asked, order))
    # Only the shown numbers are kept of each run: there may be thousands.
    runs = chosen(store.each(screen.warn), asked)
    rows = [(value(run, order), _entry(run) if json else [_cell(run, name) for name in fields]) for run in runs]
    found = _ordered(rows, backwards=(sort or "").startswith("-"))
    shown = found[:limit]
    if json:
        screen.raw('{"runs": [' + ",".join(f"\n {dumps(entry)}" for entry in shown) + "]}")
        return
    if not found:
        nothing = "no runs" if not where else f"no runs with {' and '.join(where)}"
        screen.note(f"{nothing} in {store.root}; make one: gradlab run adding --len 200 --cell lstm")
        return
    columns = (*_COLUMNS, *(name.replace("_", " ").replace(".", " ") for name in fields[len(_SHOWN) :]))
    numbers = [column for column, name in zip(columns, fields, strict=True) if name.rpartition(".")[2] in _NUMBERS]
    screen.table(columns, shown, right=numbers, fold=columns[2:])
    if len(shown) < len(found):
        screen.note(f"{len(shown):,} of {len(found):,} runs")
    screen.line(f"next: gradlab show {shown[0][0]}{folder_option(store)}")


def show(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="Id of a run, or enough of its beginning or end.", autocompletion=complete_runs
        ),
    ],
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """Show one run: its numbers, its curves, how it was made.

    gradlab show adding-lstm-T200-s0
    """
    screen, store = Screen(), options.open_store(results)
    found = store.find(run, prefer_trained=True)
    record = record_of(found)
    if json:
        screen.json(as_json([record]))
        return
    again = command(found.config, file=found.env().get("file"))
    if not found.done:
        raise GradlabError(
            f"run {found.id} is {found.status}{found.process}, {len(found.log())} checkpoints so far; "
            f"to run it again: {again}"
        )
    show_run(screen, record, found.arrays() if record.get("summary") else None)
    if beside := lstm_beside(store, found):
        screen.prose(beside)
    env = found.env()
    where = env.get("execution", {})
    computed = (where.get("cpu"), f"jaxlib {where.get('jaxlib')}", where.get("dtype"), env.get("started"))
    screen.line()
    screen.line(f"made by: {' '.join(env.get('command', ['unknown']))}")
    for line in _continued(f"made again by: {again}"):
        screen.line(line)
    screen.line(f"on: {', '.join(map(str, computed))}")
    screen.line(f"files: {found.path}/")
    screen.line(f"next: gradlab report{folder_option(store)}")


def _continued(command: str) -> list[str]:
    """A command in lines that a terminal holds, as a shell takes them; broken before options."""
    lines = [""]
    for part in re.split(r" (?=--)", command):
        if len(lines[-1]) + len(part) > _LINE:
            lines[-1] += " \\"
            lines.append(f"    {part}")
        else:
            lines[-1] += f" {part}" if lines[-1] else part
    return lines


def rm(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Ids of runs, or enough of their beginning or end.",
            autocompletion=complete_runs,
        ),
    ] = None,
    where: options.Where = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them.")] = False,
    results: options.Results = None,
    json: options.Json = False,
) -> int:
    """Say what would be removed; with --yes, remove it.

    Without --yes the exit code is 2.

    gradlab rm --where status=failed --yes
    """
    screen, store = Screen(), options.open_store(results)
    if not runs and not where:
        raise GradlabError("name runs to remove, or say --where status=failed: `gradlab ls` lists them")
    found = _removable(screen, store, runs or [], where or [])
    if not found:
        raise GradlabError(f"no run to remove with {' and '.join(where or [])} in {store.root}")
    if yes:
        clear_trash(store)
        for each in found:
            remove(store, each)
    if json:
        listed = [
            {"id": one.id, "status": one.status, "bytes": one.size, "paths": [str(path) for path in one.paths]}
            for one in found
        ]
        screen.json({"runs": listed, "removed": yes})
    else:
        screen.table(("run", "status", "size"), [[one.id, one.status, _bytes(one.size)] for one in found])
    total = f"{counted(len(found), 'run')}, {_bytes(sum(one.size for one in found))}"
    screen.note(f"removed: {total}" if yes else f"nothing is removed: {total} would go with --yes")
    return 0 if yes else 2


def _extra(asked: Sequence[Condition], order: str) -> list[str]:
    """The fields with a column of their own: those compared by size or with several values, and the order's."""
    named = [each.field for each in asked if each.sign not in ("=", "!=") or len(each.values) > 1]
    return [name for name in dict.fromkeys((*named, order)) if name not in _SHOWN]


def _ordered(rows: Sequence[tuple[Any, Any]], *, backwards: bool) -> list[Any]:
    """Rows by the value before each; rows without a value stay at the end in either direction."""
    missing = [row[1] for row in rows if position(row[0])[0]]
    rest = [row for row in rows if not position(row[0])[0]]
    return [row[1] for row in sorted(rest, key=lambda row: position(row[0]), reverse=backwards)] + missing


def _entry(run: StoredRun) -> dict[str, Any]:
    """A run in `--json`."""
    numbers = {name: value(run, name) for name in _IN_JSON}
    about = {"id": run.id, "status": run.status, "spec": run.config, "numbers": numbers, "path": str(run.path)}
    return about | ({"process": found} if (found := run.holder) else {})


def _cell(run: StoredRun, name: str) -> str:
    found = value(run, name)
    if name == "status":
        return f"{found}{run.process}"
    if isinstance(found, float):
        return in_decades(found) if name.endswith("span") else f"{found:.4g}"
    return "-" if found is None else str(found)


def _removable(screen: Screen, store: Store, names: Sequence[str], where: Sequence[str]) -> list[Removable]:
    """The named runs, or those of them (or of all runs) that meet every condition."""
    asked = [condition(text) for text in where]
    status = dict(select_removable(store, name) for name in names)
    if asked:
        fitting = chosen(store.each(screen.warn, status or None), asked)
        status = {run.id: run.status for run in fitting}
    found = removable(store, status)
    if len(found) < len(status):
        screen.warn(f"{len(status) - len(found)} of {len(status)} runs are running and stay")
    return found


def _bytes(size: int) -> str:
    """A size for people.

    Example:
        >>> _bytes(512), _bytes(2_500_000)
        ('512 B', '2.5 MB')
    """
    number, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{number:.3g} {unit}"
