"""`gradlab sweep FILE`: the runs of a file, resumed by default."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from gradlab.cli import options
from gradlab.cli.completion import complete_files
from gradlab.cli.console import Screen, counted
from gradlab.cli.options import Many
from gradlab.cli.planned import Shard, choices_of, list_runs, share_of
from gradlab.cli.session import Session, folder_option
from gradlab.errors import GradlabError, unknown
from gradlab.report.text.terms import CHOICE_COLUMNS, choice_rows, terms
from gradlab.runs.devices import parallelism
from gradlab.runs.jobs import Settings
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store
from gradlab.runs.sweeps import Sweep, load_sweep, read_toml, store_sweep, stored_sweep, with_choices
from gradlab.runs.tuning import stored_trials
from gradlab.runs.workers import start_early

RERUNS = ("failed", "all")


def sweep(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A TOML file, as in experiments/.", autocompletion=complete_files),
    ],
    set_: Annotated[
        Many, typer.Option("--set", metavar="FIELD=VALUES", help="Replace a field: length=100,200; may repeat.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs and do none.")] = False,
    jobs: options.Jobs = None,
    together: options.Together = None,
    part: Annotated[str | None, typer.Option("--shard", metavar="I/N", help="Only part I of N.")] = None,
    rerun: Annotated[str | None, typer.Option("--rerun", help="Again: failed, or all (default).")] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Begin no run after the first failure.")] = False,
    retries: Annotated[int, typer.Option("--retries", min=0, help="Further tries for a run that fails.")] = 0,
    timeout: Annotated[float | None, typer.Option("--timeout", help="Seconds that each run may take.")] = None,
    results: options.Results = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the sweep (default: the file's name).")] = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="Dask: tcp://HOST:PORT, FILE.json.")] = None,
    tls: Annotated[
        str | None, typer.Option("--tls", metavar="CA,CERT,KEY", help="PEM files for --scheduler tls://….")
    ] = None,
    slurm: Annotated[
        str | None, typer.Option("--slurm", metavar="FILE", help="Start --jobs Slurm jobs as this TOML says.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    log_file: options.LogFile = None,
) -> int:
    """Do all runs of a file that are not done yet.

    gradlab sweep experiments/adding_length.toml

    gradlab sweep experiments/adding_length.toml --set length=100,200 --dry-run
    """
    if not (dry_run or scheduler or slurm):
        start_early()
    screen, store = Screen(), options.open_store(results)
    asked = load_sweep(file, set_ or (), name)
    share = None if part is None else _shard(part)
    again: Any = rerun
    if again not in (None, *RERUNS):
        raise unknown("--rerun", again, RERUNS)
    if dry_run:
        list_runs(screen, store, asked, share, json=json)
        return 0
    _check_workers(jobs, timeout, scheduler, slurm)
    certificates = () if tls is None else tuple(tls.split(","))
    if tls is not None and (len(certificates) != 3 or scheduler is None):
        raise GradlabError(f"--tls is `{tls}`: give CA,CERT,KEY, three PEM files, with --scheduler")
    settings = Settings(
        **parallelism(jobs, together),
        timeout=timeout if timeout is not None or asked.minutes is None else asked.minutes * 60,
        retries=retries,
        fail_fast=fail_fast,
        rerun=again,
        scheduler=scheduler,
        tls=certificates,
        slurm=None if slurm is None else read_toml(slurm, "--slurm"),
    )
    given: dict[str, Any] = {"--jobs": jobs, "--together": together, "--shard": part, "--timeout": timeout}
    given |= {"--retries": retries or None, "--results": results, "--name": name, "--scheduler": scheduler}
    command = _command(file, set_ or (), given | {"--tls": tls, "--slurm": slurm, "--log-file": log_file})
    return carry_out(screen, store, asked, settings, command, share=share, json=json, quiet=quiet)


def carry_out(
    screen: Screen,
    store: Store,
    asked: Sweep,
    settings: Settings,
    command: str,
    *,
    share: Shard = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Do the trials and the runs of a sweep that are not done, show them and return the exit code.

    Args:
        settings: of both stages; `rerun="failed"` repeats the failed trials, and does the runs that they choose.
        command: resumes the sweep. share: the part of it that is done.
    """

    def session_of(specs: Sequence[RunSpec], settings: Settings) -> Session:
        return Session(screen, store, share_of(specs, share), settings, quiet=quiet, each=False)

    trials = session_of(asked.trials, settings)
    if asked.groups:
        _begin(trials, asked, asked.trials, "trials", command)
        choices = choices_of(store, asked.groups)
        if None in choices or (settings.fail_fast and trials.failed):
            return _stop(trials, asked, command, json=json)
        asked = with_choices(asked, [choice for choice in choices if choice])
        settings = replace(settings, rerun=None) if settings.rerun == "failed" else settings
    path = store_sweep(store.root, asked)
    runs = session_of(asked.specs, settings)
    _begin(runs, asked, asked.specs, "runs", command)
    return _show(trials, runs, asked, path, command, json=json)


def _begin(session: Session, asked: Sweep, specs: Sequence[RunSpec], what: str, command: str) -> None:
    """Do the trials or the runs of a sweep, of which a shard has a part; `command` resumes it."""
    screen = session.screen
    whole = len(session.specs) == len(specs)
    of_shard = "" if whole else f", {len(session.specs)} of them in this shard"
    session.tell(f"{asked.name}: {len(specs)} {what}{of_shard}. {asked.title}")
    try:
        session.carry_out()
    except KeyboardInterrupt:
        screen.note(f"interrupted: {_counts(session)}; {session.kept()}")
        screen.note(f"go on: {command}")
        raise


def _stop(trials: Session, asked: Sweep, command: str, *, json: bool) -> int:
    """Say why nothing is chosen yet: trials are missing, or one failed and none is to begin after that."""
    screen = trials.screen
    if json:
        screen.json({"sweep": asked.name, "file": None, "trials": _as_json(trials), "runs": [], "choices": []})
    else:
        trials.show_failures()
        screen.line(_counts(trials).replace("run", "trial", 1))
        ended = len(stored_trials(trials.store, asked.groups))
        why = f"{ended} of {counted(len(asked.trials), 'trial')} ended"
        why += ", and one failed" if trials.failed else ""
        screen.line(f"nothing is chosen yet: {why}; go on: {command}")
    return 1 if trials.failed else 0


def _show(trials: Session, runs: Session, asked: Sweep, path: Path, command: str, *, json: bool) -> int:
    """Show how the runs ended, what was chosen and how they compare; returns the exit code."""
    screen, failed = runs.screen, [*trials.failed, *runs.failed]
    if json:
        found: dict[str, Any] = {"sweep": asked.name, "file": str(path), "runs": _as_json(runs)}
        if asked.groups:
            choices = stored_sweep(runs.store.root, asked.name).choices
            found |= {"trials": _as_json(trials), "choices": list(choices)}
        screen.json(found)
        return 1 if failed else 0
    stored = stored_sweep(runs.store.root, asked.name)
    if asked.groups:
        screen.heading("what the trials chose")
        screen.table(CHOICE_COLUMNS, choice_rows(stored.choices), fold=CHOICE_COLUMNS[::-1])
        trials.show_failures()
    runs.show_failures()
    if asked.groups:
        screen.line(_counts(trials).replace("run", "trial", 1))
    screen.line(_counts(runs))
    screen.prose(terms(stored, [run["config"] for run in stored.runs]))
    screen.line(f"written: {runs.store.runs}/, listed in {path}")
    if failed:
        screen.line(f"try again: {command} --rerun failed")
    screen.line(f"next: gradlab report --sweep {asked.name}{folder_option(runs.store)}")
    return 1 if failed else 0


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


def _check_workers(jobs: int | None, timeout: float | None, scheduler: str | None, slurm: str | None) -> None:
    if timeout is not None and not 0 < timeout < float("inf"):
        raise GradlabError(f"--timeout is {timeout}: give a positive number of seconds")
    if scheduler is not None and slurm is not None:
        raise GradlabError("--scheduler and --slurm: give one of them")
    if scheduler is not None and jobs is not None:
        raise GradlabError("--jobs with --scheduler: that cluster has the workers that it has, leave out --jobs")
    if slurm is not None and jobs is None:
        raise GradlabError("--slurm needs --jobs N: how many Slurm jobs to start")


def _command(file: str, overrides: Sequence[str], given: dict[str, Any]) -> str:
    """The command that resumes this sweep."""
    words = ["gradlab", "sweep", file]
    for text in overrides:
        words += ["--set", text]
    for option, value in given.items():
        if value is not None:
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _counts(session: Session) -> str:
    """How many runs ended with which status, out of how many."""
    counts = Counter(end.status for end in session.outcomes)
    ended = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    missing = len(session.specs) - len(session.outcomes)
    left = f", {missing} not done" if missing else ""
    return f"{counted(len(session.specs), 'run')}: {ended or '0 done'}{left}"


def _as_json(session: Session) -> list[dict[str, Any]]:
    ended = {end.spec.id: end for end in session.outcomes}
    runs = []
    for spec in session.specs:
        end = ended.get(spec.id)
        run: dict[str, Any] = {"id": spec.id, "status": None, "reason": None, "fresh": None}
        if end is not None:
            run |= {"status": end.status, "reason": end.reason, "fresh": end.fresh}
        runs.append(run | {"path": str(session.store.runs / spec.id)})
    return runs
