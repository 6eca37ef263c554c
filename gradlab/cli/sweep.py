"""`gradlab sweep FILE`: the runs of a file, resumed by default."""

import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradlab.cli import options
from gradlab.cli.console import Screen, counted
from gradlab.cli.options import Many
from gradlab.cli.session import Session, folder_option
from gradlab.errors import GradlabError, unknown
from gradlab.runs.devices import parallelism
from gradlab.runs.jsonable import dumps
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store

if TYPE_CHECKING:
    from gradlab.runs.jobs import Settings
    from gradlab.runs.sweeps import Sweep

RERUNS = ("failed", "all")


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("sweep")(sweep)


def sweep(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A TOML file, as in experiments/.")],
    set_: Annotated[
        Many, typer.Option("--set", metavar="FIELD=VALUES", help="Replace a field: length=100,200; may repeat.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs and do none.")] = False,
    jobs: options.Jobs = None,
    together: options.Together = None,
    part: Annotated[
        str | None, typer.Option("--shard", metavar="I/N", help="Only part I of N, by the runs' ids.")
    ] = None,
    rerun: Annotated[
        str | None,
        typer.Option("--rerun", help="failed: only failed runs; all, the default value: finished ones again too."),
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Begin no run after the first failure.")] = False,
    retries: Annotated[int, typer.Option("--retries", min=0, help="Further tries for a run that fails.")] = 0,
    timeout: Annotated[float | None, typer.Option("--timeout", help="Seconds that each run may take.")] = None,
    results: options.Results = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the sweep (default: the file's name).")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="A Dask cluster: tcp://HOST:PORT, or its FILE.json.")
    ] = None,
    slurm: Annotated[
        str | None, typer.Option("--slurm", metavar="FILE", help="Start --jobs Slurm jobs as this TOML says.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Do all runs of a file that are not done yet; finished runs are never repeated.

    gradlab sweep experiments/adding_length.toml

    gradlab sweep experiments/adding_length.toml --set length=100,200 --dry-run
    """
    from gradlab.runs.sweeps import load_sweep, shard, store_sweep

    screen, store = Screen(), options.open_store(results)
    asked = load_sweep(file, set_ or (), name)
    specs = shard(asked.specs, *_shard(part)) if part is not None else list(asked.specs)
    if rerun is not None and rerun not in RERUNS:
        raise unknown("--rerun", rerun, RERUNS)
    if dry_run:
        _list(screen, store, asked, specs, json=json)
        return 0
    execution = {"--jobs": jobs, "--together": together, "--timeout": timeout, "--scheduler": scheduler}
    execution |= {"--slurm": slurm, "--shard": part, "--retries": retries or None}
    settings = _settings(asked, jobs, together, timeout, retries, fail_fast, rerun, scheduler, slurm)
    command = _command(file, set_ or (), execution | {"--results": results, "--name": name})
    if not quiet:
        of_shard = "" if len(specs) == len(asked.specs) else f", {len(specs)} of them in this shard"
        screen.note(f"{asked.name}: {len(asked.specs)} runs{of_shard}. {asked.title}")
    path = store_sweep(store.root, asked)
    session = Session(screen, store, specs, settings, quiet, each=False)
    try:
        session.carry_out()
    except KeyboardInterrupt:
        kept = session.kept() if rerun == "all" else "begun runs are kept as interrupted"
        screen.note(f"interrupted: {_counts(session)}; {kept}")
        screen.note(f"go on: {command}")
        raise
    if json:
        screen.raw(dumps(_as_json(session, asked.name, path), indent=1))
    else:
        _show(session, asked.name, path, command)
    return 1 if session.failed else 0


def with_rerun_value(words: Sequence[str]) -> list[str]:
    """The words of a command, with the value that `sweep --rerun` may leave out.

    Example:
        >>> with_rerun_value(["sweep", "a.toml", "--rerun", "--json"])
        ['sweep', 'a.toml', '--rerun', 'all', '--json']
    """
    found = list(words)
    if found[:1] == ["sweep"] and "--rerun" in found:
        after = found.index("--rerun") + 1
        if after == len(found) or found[after].startswith("-"):
            found.insert(after, "all")
    return found


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise GradlabError(f"--shard is `{text}`: give I/N with I from 1 to N, such as 1/3")
    return int(match[1]), int(match[2])


def _settings(
    asked: "Sweep",
    jobs: int | None,
    together: int | None,
    timeout: float | None,
    retries: int,
    fail_fast: bool,
    rerun: Any,
    scheduler: str | None,
    slurm: str | None,
) -> "Settings":
    from gradlab.runs.jobs import Settings

    if timeout is not None and not 0 < timeout < float("inf"):
        raise GradlabError(f"--timeout is {timeout}: give a positive number of seconds")
    if scheduler is not None and slurm is not None:
        raise GradlabError("--scheduler and --slurm: give one of them")
    if scheduler is not None and jobs is not None:
        raise GradlabError("--jobs with --scheduler: that cluster has the workers that it has, leave out --jobs")
    if slurm is not None and jobs is None:
        raise GradlabError("--slurm needs --jobs N: how many Slurm jobs to start")
    return Settings(
        **parallelism(jobs, together),
        timeout=timeout if timeout is not None or asked.minutes is None else asked.minutes * 60,
        retries=retries,
        fail_fast=fail_fast,
        rerun=rerun,
        scheduler=scheduler,
        slurm=None if slurm is None else _toml(slurm),
    )


def _toml(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise GradlabError(f"--slurm file `{path}` cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GradlabError(f"--slurm file `{path}` is not TOML: {error}") from error


def _command(file: str, overrides: Sequence[str], given: dict[str, Any]) -> str:
    """The command that resumes this sweep."""
    words = ["gradlab", "sweep", file]
    for text in overrides:
        words += ["--set", text]
    for option, value in given.items():
        if value is not None:
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _list(screen: Screen, store: Store, asked: "Sweep", specs: Sequence[RunSpec], *, json: bool) -> None:
    """Every run and whether it is to be done."""
    stored = {run.id: run for run in store.each(screen.warn, [spec.id for spec in specs])}
    rows = []
    for spec in specs:
        run = stored.get(spec.id)
        state, status = ("new", "") if run is None else (run.status, "")
        if run is not None and run.finished:
            state, status = "done" if store.completed(spec.id, spec.config()) else "again", run.status
        rows.append((spec.id, state, status))
    if json:
        runs = [{"id": name, "state": state, "status": status or None} for name, state, status in rows]
        screen.raw(dumps({"sweep": asked.name, "runs": runs}, indent=1))
        return
    screen.table(("run", "state", "status"), rows)
    counts = Counter(state for _, state, _ in rows)
    screen.line(f"{counted(len(rows), 'run')}: {', '.join(f'{count} {state}' for state, count in counts.items())}")


def _counts(session: Session) -> str:
    """How many runs ended with which status, out of how many."""
    counts = Counter(end.status for end in session.outcomes)
    ended = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    missing = len(session.specs) - len(session.outcomes)
    left = f", {missing} not done" if missing else ""
    return f"{counted(len(session.specs), 'run')}: {ended or '0 done'}{left}"


def _show(session: Session, name: str, path: Path, command: str) -> None:
    screen = session.screen
    session.show_failures()
    screen.line(_counts(session))
    screen.line(f"written: {session.store.runs}/, listed in {path}")
    if session.failed:
        screen.line(f"try again: {command} --rerun failed")
    screen.line(f"next: gradlab report --sweep {name}{folder_option(session.store)}")


def _as_json(session: Session, name: str, path: Path) -> dict[str, Any]:
    ended = {end.spec.id: end for end in session.outcomes}
    runs = []
    for spec in session.specs:
        end = ended.get(spec.id)
        run: dict[str, Any] = {"id": spec.id, "status": None, "reason": None, "fresh": None}
        if end is not None:
            run |= {"status": end.status, "reason": end.reason, "fresh": end.fresh}
        runs.append(run | {"path": str(session.store.runs / spec.id)})
    return {"sweep": name, "file": str(path), "runs": runs}
