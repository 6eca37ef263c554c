"""`gradlab lesson`: a page that teaches backpropagation through time with numbers measured now."""

import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradlab.cli import options
from gradlab.cli.completion import complete_runs, complete_tasks
from gradlab.cli.console import Progress, Screen
from gradlab.cli.session import folder_option
from gradlab.errors import GradlabError
from gradlab.runs.cache import tidy_cache, use_cache
from gradlab.runs.devices import devices_for
from gradlab.runs.spec import FIELDS, RunSpec, command
from gradlab.runs.store import Store, StoredRun

if TYPE_CHECKING:
    from gradlab.lesson.records import Lesson
    from gradlab.report.data.records import Record

PAGE = "lesson.html"
_OF_RUN = [name for name, each in FIELDS.items() if "probe" in each.commands and name not in ("length", "params")]
"""Fields that a lesson takes from its run where they are not given."""


@options.with_fields("lesson")
def lesson(
    task: Annotated[
        str | None,
        typer.Argument(metavar="[TASK]", help="As of probe (default: adding).", autocompletion=complete_tasks),
    ] = None,
    length: Annotated[options.Many, typer.Option("--len", help="Lengths (default: 25,50,100,200,400).")] = None,
    vary: Annotated[str | None, typer.Option("--vary", help="A hyperparameter axis: gain=0.5,1,2.")] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", help="A trained run for the section on training.", autocompletion=complete_runs),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help=f"File (default: {PAGE}).")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    results: options.Results = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    **fields: str | None,
) -> None:
    """Write a page that teaches backpropagation through time.

    Its numbers are measured now.

    gradlab lesson adding --cell lstm

    gradlab lesson adding --cell rnn --vary gain=0.8,0.9,1,1.1 --len 50,100,200 -o lesson.html
    """
    from gradlab.lesson.measure import page_command
    from gradlab.lesson.page import lesson_numbers, lesson_page
    from gradlab.report.page.render import put_page

    screen, store = Screen(), options.open_store(results)
    target = output or Path(PAGE)
    if target.is_dir():
        raise GradlabError(f"-o is `{target}`, a folder: give a file, as in {target / PAGE}")
    record = None if run is None else _record(store, run)
    asked = {"task": task} | {name: _one(name, text) for name, text in fields.items()}
    base = _base({name: value for name, value in asked.items() if value is not None}, record)
    if record is not None and (changed := base.has_changed_since(record.run.config)):
        raise GradlabError(
            f"run {record.run.id} was trained before the source of {changed} changed, and a page must not mix the "
            f"two: train it again, {command(record.run.config)}"
        )
    found = _measure(screen, base, length, vary, quiet=quiet)
    again = page_command(base, ",".join(length or []), vary, run if record is None else record.run.id)
    again += folder_option(store) if run else ""
    found = replace(found, commands={**found.commands, "lesson": again})
    put_page(target, lesson_page(found, record))
    if open_page:
        webbrowser.open(target.resolve().as_uri())
    if json:
        screen.json({"page": str(target), **lesson_numbers(found)})
        return
    screen.line(f"written: {target} ({target.stat().st_size / 1e3:,.0f} kB)")
    then = "" if record else f", or see what training does: {found.commands['train']}"
    screen.line(f"next: open {target}{then}")


def _record(store: Store, name: str) -> "Record":
    """A trained run as the report reads it."""
    from gradlab.report.data.records import read

    found: StoredRun = store.find(name, trained=True)
    records = read(store.root, lambda message: None, [found.id])
    if not records or not records[0].marks or not records[0].trained:
        raise GradlabError(f"run {found.id} has no training to show: name one that `gradlab run` trained")
    return records[0]


def _one(field: str, text: str | None) -> Any:
    """The one value of an option. typer's own reading of 0-2 is -2."""
    option = FIELDS[field].option
    values = [None] if text is None else FIELDS[field].parse(option, [text])
    if len(values) > 1:
        raise GradlabError(f"{option} is `{text}`: a lesson takes one value")
    return values[0]


def _base(asked: dict[str, Any], record: "Record | None") -> "RunSpec":
    """The probe that all others are made from."""
    stored = {} if record is None else record.run.config
    own = {name: stored[name] for name in _OF_RUN if name in stored}
    fields = {**own, **asked, "steps": 0}
    least = RunSpec(**{name: value for name, value in fields.items() if name == "task"}).build_task().min_length
    return RunSpec(**fields, length=max(RunSpec.length, least))


def _measure(
    screen: Screen, base: "RunSpec", length: list[str] | None, vary: str | None, *, quiet: bool
) -> "Lesson":
    from gradlab.lesson.axes import default_axis, parse_axis
    from gradlab.lesson.measure import LENGTHS, measure_lesson

    lengths = sorted(set(FIELDS["length"].parse("--len", length))) if length else LENGTHS
    for each in lengths:
        replace(base, length=each)
    axis = default_axis(base.cell) if vary is None else parse_axis(base.cell, vary)
    tidy_cache()
    use_cache()
    shards = devices_for(base.batch)
    with Progress(screen) as live:
        return measure_lesson(base, axis, lengths, shards, (lambda text: None) if quiet else live.show)
