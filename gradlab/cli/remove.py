"""`gradlab rm`: what would go, and with `--yes` it goes. Loads no jax."""

from collections.abc import Sequence
from typing import Annotated

import typer

from gradlab.cli import options
from gradlab.cli.console import Screen, counted
from gradlab.errors import GradlabError
from gradlab.runs.jsonable import dumps
from gradlab.runs.listing import chosen, condition
from gradlab.runs.removal import Removable, clear_trash, removable, remove, select_removable
from gradlab.runs.store import Store


def rm(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Ids of runs, or enough of their beginning or end."),
    ] = None,
    where: options.Where = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them.")] = False,
    results: options.Results = None,
    json: options.Json = False,
) -> None:
    """Say what would be removed and exit with 2; with --yes, remove it.

    gradlab rm --where status=failed --yes
    """
    screen, store = Screen(), options.open_store(results)
    if not runs and not where:
        raise GradlabError("name runs to remove, or say --where status=failed: `gradlab ls` lists them")
    found = _wanted(screen, store, runs or [], where or [])
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
        screen.raw(dumps({"runs": listed, "removed": yes}, indent=1))
    else:
        screen.table(("run", "status", "size"), [[one.id, one.status, _bytes(one.size)] for one in found])
    total = f"{counted(len(found), 'run')}, {_bytes(sum(one.size for one in found))}"
    if not yes:
        screen.note(f"nothing is removed: {total} would go with --yes")
        raise typer.Exit(2)
    screen.note(f"removed: {total}")


def _wanted(screen: Screen, store: Store, names: Sequence[str], where: Sequence[str]) -> list[Removable]:
    """Runs that are named, or of those named (else of all) the ones that every condition fits."""
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
