"""`gradlab lesson`: a page that teaches backpropagation through time with numbers measured now."""

import shlex
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradlab.cli import options
from gradlab.cli.console import Screen
from gradlab.cli.devices import devices_for
from gradlab.cli.single import folder_option
from gradlab.errors import GradlabError
from gradlab.runs.cache import use_cache
from gradlab.runs.commands import command
from gradlab.runs.jsonable import dumps
from gradlab.runs.store import Store, StoredRun
from gradlab.runs.values import read_values

if TYPE_CHECKING:
    from gradlab.lesson.records import Lesson
    from gradlab.report.data.records import Record
    from gradlab.runs.spec import RunSpec

PAGE = "lesson.html"
_OF_RUN = ("task", "cell", "hidden", "seed", "dtype", "measure_batch")
"""Fields that a lesson takes from its run where they are not given."""


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("lesson")(lesson)


def lesson(
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", help="As of probe (default: adding).")] = None,
    cell: Annotated[str | None, typer.Option("--cell", help="One cell, as of probe (default: lstm).")] = None,
    length: Annotated[
        options.Many, typer.Option("--len", help="Lengths to measure (default: 25,50,100,200,400).")
    ] = None,
    hidden: Annotated[str | None, typer.Option("--hidden", help="Size of the state (default: 64).")] = None,
    seed: Annotated[str | None, typer.Option("--seed", help="Seed of weights and data (default: 0).")] = None,
    vary: Annotated[
        str | None, typer.Option("--vary", help="The hyperparameter axis, such as gain=0.5,1,2.")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="A trained run for the section on training.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help=f"File (default: {PAGE}).")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    results: options.Results = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write one page that teaches backpropagation through time with numbers measured now.

    gradlab lesson adding --cell lstm

    gradlab lesson adding --cell rnn --vary gain=0.8,0.9,1,1.1 --len 50,100,200 -o lesson.html
    """
    from gradlab.lesson.page import lesson_numbers, lesson_page
    from gradlab.report.page.render import put_page

    screen, store = Screen(), options.open_store(results)
    target = _target(output)
    record = None if run is None else _record(store, run)
    asked = {"task": task, "cell": cell, "hidden": _one("hidden", hidden), "seed": _one("seed", seed)}
    base = _base({name: value for name, value in asked.items() if value is not None}, record)
    if record is not None and (changed := base.has_changed_since(record.run.config)):
        raise GradlabError(
            f"run {record.run.id} was trained before the source of {changed} changed, and a page must not mix the "
            f"two: train it again, {command(record.run.config)}"
        )
    found = _measure(screen, base, length, vary, quiet=quiet)
    words = _words(base, length, vary, run if record is None else record.run.id, store)
    found = replace(found, commands={**found.commands, "lesson": words})
    put_page(target, lesson_page(found, record))
    if open_page:
        webbrowser.open(target.resolve().as_uri())
    if json:
        screen.raw(dumps({"page": str(target), **lesson_numbers(found)}, indent=1))
        return
    screen.line(f"written: {target} ({target.stat().st_size / 1e3:,.0f} kB)")
    then = "" if record else f", or see what training does: {found.commands['train']}"
    screen.line(f"next: open {target}{then}")


def _target(output: Path | None) -> Path:
    """Where the page goes; refused before anything is measured."""
    target = output or Path(PAGE)
    if target.is_dir():
        raise GradlabError(f"-o is `{target}`, a folder: give a file, as in {target / PAGE}")
    return target


def _record(store: Store, name: str) -> "Record":
    """A trained run as the report reads it."""
    from gradlab.report.data.records import read

    found: StoredRun = store.find(name, trained=True)
    records = read(store.root, lambda message: None, [found.id])
    if not records or not records[0].marks or not records[0].trained:
        raise GradlabError(f"run {found.id} has no training to show: name one that `gradlab run` trained")
    return records[0]


def _one(field: str, text: str | None) -> int | None:
    """The whole number that was typed. typer's own reading of 0-2 is -2."""
    values = [None] if text is None else read_values(field, f"--{field}", [text])
    if len(values) > 1:
        raise GradlabError(f"--{field} is `{text}`: a lesson takes one value")
    number: int | None = values[0]
    return number


def _base(asked: dict[str, Any], record: "Record | None") -> "RunSpec":
    """The probe that all others are made from."""
    from gradlab.runs.spec import RunSpec

    own = {} if record is None else {name: record.run.config[name] for name in _OF_RUN}
    fields = {**own, **asked, "steps": 0}
    least = RunSpec(**{name: value for name, value in fields.items() if name == "task"}).build_task().min_length
    return RunSpec(**fields, length=max(RunSpec.length, least))


def _measure(
    screen: Screen, base: "RunSpec", length: list[str] | None, vary: str | None, *, quiet: bool
) -> "Lesson":
    from gradlab.lesson.axes import default_axis, parse_axis
    from gradlab.lesson.measure import LENGTHS, measure_lesson

    lengths = sorted(set(read_values("length", "--len", length))) if length else LENGTHS
    for each in lengths:
        replace(base, length=each)
    axis = default_axis(base.cell) if vary is None else parse_axis(base.cell, vary)
    use_cache()
    shards = devices_for(base.batch)
    with screen.progress() as live:
        return measure_lesson(base, axis, lengths, shards, (lambda text: None) if quiet else live.show)


def _words(base: "RunSpec", length: list[str] | None, vary: str | None, run: str | None, store: Store) -> str:
    """The command that writes this page again, every default left out."""
    words = ["gradlab", "lesson", base.task, "--cell", base.cell]
    given = {"--len": length and ",".join(length), "--vary": vary, "--run": run}
    if run is None:
        given |= {
            f"--{name}": str(getattr(base, name))
            for name in ("hidden", "seed")
            if getattr(base, name) != getattr(type(base), name)
        }
    for option, value in given.items():
        words += [option, value] if value else []
    return shlex.join(words) + (folder_option(store) if run else "")
