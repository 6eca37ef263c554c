"""`gradlab run` and `gradlab probe`: train and measure, or measure alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradlab.cli import options
from gradlab.cli.batch import Batch
from gradlab.cli.console import Screen
from gradlab.cli.devices import shares
from gradlab.cli.options import Many
from gradlab.cli.present import Record, as_json, failure_of, record_of, show_grid
from gradlab.cli.single import Single, folder_option
from gradlab.runs.grids import specs_of_options
from gradlab.runs.jsonable import dumps
from gradlab.runs.spec import FIELDS
from gradlab.runs.store import Store

if TYPE_CHECKING:
    from gradlab.runs.spec import RunSpec


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("run")(run)
    app.command("probe")(probe)


@options.with_fields("run")
def run(
    jobs: options.Jobs = None,
    together: options.Together = None,
    rerun: options.Rerun = False,
    results: options.Results = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    **fields: Many,
) -> int:
    """Train one or several runs, measure their gradients, store and show them; lists make a grid.

    gradlab run adding --len 200 --cell lstm

    gradlab run copy --len 50,100 --cell rnn,lstm,gru --seed 0-2
    """
    specs = specs_of_options(fields)
    return carry_out(options.open_store(results), specs, jobs, together, rerun=rerun, json=json, quiet=quiet)


@options.with_fields("probe")
def probe(
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Runs at a time.")] = 1,
    rerun: options.Rerun = False,
    results: options.Results = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    **fields: Many,
) -> int:
    """Measure gradients without training, in seconds; `--params RUN` measures a run's trained weights.

    gradlab probe adding --cell rnn,lstm,gru --len 50,200,1000,5000

    gradlab probe adding --params adding-lstm-T200-s0 --len 2000
    """
    store = options.open_store(results)
    fixed: dict[str, Any] = {"steps": 0}
    name = fields.pop("params")
    source = None if name is None else store.find(str(name), trained=True)
    if source is not None:
        fixed["params"] = source.id
        for field, given in fields.items():
            if given is None and FIELDS[field].of_weights:
                fields[field] = [str(source.config[field])]
    specs = specs_of_options(fields, **fixed)
    if source is not None and (changed := specs[0].has_changed_since(source.config)):
        Screen().warn(
            f"{source.id} was trained before the source of {changed} changed: its weights, the code of now"
        )
    return carry_out(store, specs, jobs, together=1, rerun=rerun, json=json, quiet=quiet)


def carry_out(
    store: Store,
    specs: Sequence["RunSpec"],
    jobs: int | None,
    together: int | None,
    *,
    rerun: bool,
    json: bool,
    quiet: bool,
) -> int:
    """Do the runs of a command, show them and return the exit code.

    Args:
        jobs: processes; a single run takes all cores, those of a grid one each, for equal bits.
        together: runs of equal shape in one program.
        rerun: do those too that are stored.
    """
    screen = Screen()
    if len(specs) == 1:
        return Single(screen, store, specs[0], rerun=rerun, json=json, quiet=quiet).carry_out()
    from gradlab.cli.app import INTERRUPTED
    from gradlab.runs.jobs import Settings

    settings = Settings(**shares(jobs, together), rerun="all" if rerun else None)
    batch = Batch(screen, store, specs, settings, quiet=quiet)
    try:
        batch.carry_out(each=True)
    except KeyboardInterrupt:
        screen.note("interrupted; what was measured so far is kept")
        done = len(batch.outcomes) - len(batch.failed)
        screen.note(f"done {done} of {len(specs)}; the same command does the rest")
        return INTERRUPTED
    _show(screen, store, batch, json=json)
    return 1 if batch.failed else 0


def _show(screen: Screen, store: Store, batch: Batch, *, json: bool) -> None:
    reasons = {end.spec.id: end.reason for end in batch.failed}
    records = [_record(store, spec, reasons.get(spec.id)) for spec in batch.specs]
    if json:
        screen.raw(dumps(as_json(records), indent=1))
        return
    show_grid(screen, records)
    batch.show_failures()
    screen.line()
    screen.line(f"written: {len(records)} runs in {store.runs}/")
    if batch.failed:
        screen.line("try again: the same command does those that failed")
    command = f"gradlab show {batch.failed[0].spec.id}" if batch.failed else "gradlab report"
    screen.line(f"next: {command}{folder_option(store)}")


def _record(store: Store, spec: "RunSpec", reason: str | None) -> Record:
    """A run as it is stored, or what is known of one that failed and was not: a full disk, or a rerun."""
    run = store.peek(spec.id)
    if run is None or (reason is not None and run.status != "failed"):
        return failure_of(spec.id, spec.config(), reason)
    return record_of(run)
