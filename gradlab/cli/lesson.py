"""`gradlab lesson`: a page that teaches backpropagation through time with numbers measured now."""

import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gradlab.cli import options
from gradlab.cli.completion import complete_cells, complete_runs, complete_tasks
from gradlab.cli.console import Progress, Screen
from gradlab.cli.session import folder_option
from gradlab.errors import GradlabError
from gradlab.runs.cache import tidy_cache, use_cache
from gradlab.runs.devices import devices_for
from gradlab.runs.fields import parse_texts
from gradlab.runs.spec import FIELDS, RunSpec, command
from gradlab.runs.store import Store, StoredRun

if TYPE_CHECKING:
    from gradlab.report.data.records import Record

PAGE = "lesson.html"
PAGE_OF_SEVERAL = "lesson-cells.html"
_OF_RUN = [name for name, each in FIELDS.items() if "probe" in each.commands and name not in ("length", "params")]
"""Fields that a lesson takes from its run where they are not given."""


@options.with_fields("lesson")
def lesson(
    task: Annotated[
        str | None,
        typer.Argument(metavar="[TASK]", help="As of probe (default: adding).", autocompletion=complete_tasks),
    ] = None,
    cell: Annotated[
        options.Many,
        typer.Option(
            "--cell", help="The cell (default: lstm); several are compared.", autocompletion=complete_cells
        ),
    ] = None,
    length: Annotated[
        options.Many,
        typer.Option("--len", help="Lengths (default: 25,50,100,200,400; of several cells up to 200)."),
    ] = None,
    vary: Annotated[str | None, typer.Option("--vary", help="A hyperparameter axis: gain=0.5,1,2.")] = None,
    run: Annotated[
        options.Many,
        typer.Option(
            "--run", help="Trained runs for the section on training, of each cell.", autocompletion=complete_runs
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help=f"File (default: {PAGE}, of several cells {PAGE_OF_SEVERAL})."),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    results: options.Results = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    **fields: str | None,
) -> None:
    """Write a page that teaches backpropagation through time.

    Its numbers are measured now. Several cells make a page that compares them.

    gradlab lesson adding --cell lstm

    gradlab lesson adding --cell rnn,lstm,gru

    gradlab lesson adding --cell rnn --vary gain=0.8,0.9,1,1.1 --len 50,100,200 -o lesson.html
    """
    from gradlab.report.page.render import put_page

    screen, store = Screen(), options.open_store(results)
    if output and output.is_dir():
        raise GradlabError(f"-o is `{output}`, a folder: give a file, as in {output / PAGE}")
    records = [_record(store, name) for name in dict.fromkeys(parse_texts("--run", run))] if run else []
    asked = {"task": task} | {name: _one(name, text) for name, text in fields.items()}
    cells = FIELDS["cell"].parse("--cell", cell) if cell else [str(record.config["cell"]) for record in records]
    given = {name: value for name, value in asked.items() if value is not None}
    base = _base(given | ({"cell": cells[0]} if cells else {}), records[0] if records else None)
    cells = list(dict.fromkeys(replace(base, cell=each).cell for each in cells)) or [base.cell]
    for record in records:
        _check_source([replace(base, cell=each) for each in cells], record)
    job = _Job(screen, base, cells, length, vary, records, folder_option(store) if run else "", quiet)
    found = _comparison(job) if len(cells) > 1 else _lesson(job)
    target = output or Path(PAGE_OF_SEVERAL if len(cells) > 1 else PAGE)
    put_page(target, found.page)
    if open_page:
        webbrowser.open(target.resolve().as_uri())
    if json:
        screen.json({"page": str(target), **found.numbers})
        return
    screen.line(f"written: {target} ({target.stat().st_size / 1e3:,.0f} kB)")
    then = "" if records else f", or see what training does: {found.train}"
    screen.line(f"next: open {target}{then}")


class _Job(NamedTuple):
    """What was asked for."""

    screen: Screen
    base: "RunSpec"
    cells: list[str]
    length: options.Many
    vary: str | None
    records: list["Record"]
    folder: str
    quiet: bool

    def command(self) -> str:
        """The command that writes the page again."""
        from gradlab.lesson.commands import page_command

        runs = ",".join(record.run.id for record in self.records) or None
        lengths = ",".join(self.length or [])
        return page_command(self.base, self.cells, lengths, self.vary, runs) + self.folder

    def lengths(self, default: Sequence[int]) -> list[int]:
        """In rising order."""
        found = sorted(set(FIELDS["length"].parse("--len", self.length))) if self.length else list(default)
        for each in found:
            replace(self.base, length=each)
        return found


class _Page(NamedTuple):
    """A page, its numbers for `--json`, and the command that trains what it is about."""

    page: str
    numbers: dict[str, Any]
    train: str


def _lesson(job: _Job) -> _Page:
    """The page on one cell."""
    from gradlab.lesson.axes import default_axis, parse_axis
    from gradlab.lesson.commands import LENGTHS
    from gradlab.lesson.measure import measure_lesson
    from gradlab.lesson.page import lesson_numbers, lesson_page

    if len(job.records) > 1:
        raise GradlabError(f"--run names {len(job.records)} runs, and a lesson on one cell shows one: choose one")
    base, lengths = job.base, job.lengths(LENGTHS)
    axis = default_axis(base.cell) if job.vary is None else parse_axis(base.cell, job.vary)
    with _measuring(job) as on_progress:
        found = measure_lesson(base, axis, lengths, devices_for(base.batch), on_progress)
    found = replace(found, commands={**found.commands, "lesson": job.command()})
    page = lesson_page(found, *job.records)
    return _Page(page, lesson_numbers(found), found.commands["train"])


def _comparison(job: _Job) -> _Page:
    """The page on several cells."""
    from gradlab.lesson.commands import COMPARED_LENGTHS
    from gradlab.lesson.comparison import measure_comparison
    from gradlab.lesson.page import comparison_numbers, comparison_page

    if job.vary is not None:
        raise GradlabError(
            f"--vary is `{job.vary}`, and an option is varied of one cell: give one, or name the variants, as in "
            "--cell rnn,rnn:gain=2"
        )
    lengths = job.lengths(COMPARED_LENGTHS)
    for record in job.records:
        _check_is_compared(job, record)
    with _measuring(job) as on_progress:
        found = measure_comparison(job.base, job.cells, lengths, on_progress)
    found = replace(found, commands={**found.commands, "lesson": job.command()})
    page = comparison_page(found, job.records)
    return _Page(page, comparison_numbers(found), found.commands["train"])


@contextmanager
def _measuring(job: _Job) -> Iterator[Callable[[str], None]]:
    """The cache in use, and what shows progress."""
    tidy_cache()
    use_cache()
    with Progress(job.screen) as live:
        yield (lambda text: None) if job.quiet else live.show


def _check_source(specs: Sequence["RunSpec"], record: "Record") -> None:
    """Refuse a run of code that has changed since."""
    if changed := next(filter(None, (spec.has_changed_since(record.run.config) for spec in specs)), ""):
        raise GradlabError(
            f"run {record.run.id} was trained before the source of {changed} changed, and a page must not mix the "
            f"two: train it again, {command(record.run.config)}"
        )


def _check_is_compared(job: _Job, record: "Record") -> None:
    """Refuse a run of another cell, or one that differs in more than cell and seed."""
    config, first = record.run.config, job.records[0].run.config
    if config["cell"] not in job.cells:
        listed = ", ".join(job.cells)
        raise GradlabError(f"run {record.run.id} is of {config['cell']}: give runs of what is compared, {listed}")
    for name in (*_OF_RUN, "length"):
        wanted = first["length"] if name == "length" else getattr(job.base, name)
        if name not in ("cell", "seed") and config.get(name, FIELDS[name].default) != wanted:
            raise GradlabError(
                f"run {record.run.id} has {name}={config.get(name)}, what it is compared with {wanted}: give runs "
                "that differ in cell and seed alone"
            )


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
