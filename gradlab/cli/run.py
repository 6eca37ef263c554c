"""`gradlab run` and `gradlab probe`: train and measure, or measure alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradlab.cli import options
from gradlab.cli.batch import Batch
from gradlab.cli.console import Screen
from gradlab.cli.devices import shares
from gradlab.cli.lists import grid
from gradlab.cli.options import Many
from gradlab.cli.present import Record, as_json, failure_of, record_of, show_grid
from gradlab.cli.single import Single, folder_option
from gradlab.runs.jsonable import dumps
from gradlab.runs.store import Store

if TYPE_CHECKING:
    from gradlab.runs.spec import RunSpec


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("run")(run)
    app.command("probe")(probe)


def run(
    task: options.Task,
    cell: options.Cell = None,
    length: options.Length = None,
    seed: options.Seed = None,
    hidden: options.Hidden = None,
    batch: Annotated[Many, typer.Option("--batch", help="Examples in a training step (default: 32).")] = None,
    steps: Annotated[Many, typer.Option("--steps", help="Training steps at most (default: 5000).")] = None,
    stop: Annotated[Many, typer.Option("--stop", help="solved or never (default: solved).")] = None,
    optimizer: Annotated[
        Many, typer.Option("--optimizer", help="adam, rmsprop, sgd, or rmsprop:decay=0.99 (default: adam).")
    ] = None,
    learning_rate: Annotated[Many, typer.Option("--learning-rate", help="Positive (default: 0.01).")] = None,
    clip: Annotated[Many, typer.Option("--clip", help="norm:1, value:1 or none (default: norm:1).")] = None,
    dtype: options.Dtype = None,
    measure: Annotated[
        Many,
        typer.Option(
            "--measure", help="checkpoints, ends or every, that is each training step (default: checkpoints)."
        ),
    ] = None,
    measure_batch: options.MeasureBatch = None,
    jobs: options.Jobs = None,
    together: options.Together = None,
    rerun: options.Rerun = False,
    results: options.Results = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Train one or several runs, measure their gradients, store and show them; lists make a grid.

    gradlab run adding --len 200 --cell lstm

    gradlab run copy --len 50,100 --cell rnn,lstm,gru --seed 0-2
    """
    specs = grid(
        {
            "task": [task],
            "cell": cell,
            "length": length,
            "hidden": hidden,
            "batch": batch,
            "optimizer": optimizer,
            "learning_rate": learning_rate,
            "clip": clip,
            "steps": steps,
            "stop": stop,
            "dtype": dtype,
            "measure": measure,
            "measure_batch": measure_batch,
            "seed": seed,
        }
    )
    return carry_out(options.open_store(results), specs, jobs, together, rerun=rerun, json=json, quiet=quiet)


def probe(
    task: options.Task,
    cell: options.Cell = None,
    length: options.Length = None,
    seed: options.Seed = None,
    hidden: options.Hidden = None,
    dtype: options.Dtype = None,
    measure_batch: options.MeasureBatch = None,
    params: Annotated[
        str | None,
        typer.Option(
            "--params", help="Measure the final weights of this run, whose settings are then the defaults."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Runs at a time.")] = 1,
    rerun: options.Rerun = False,
    results: options.Results = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Measure gradients without training, in seconds; `--params RUN` measures a run's trained weights.

    gradlab probe adding --cell rnn,lstm,gru --len 50,200,1000,5000

    gradlab probe adding --params adding-lstm-T200-s0 --len 2000
    """
    store = options.open_store(results)
    fields = {"cell": cell, "length": length, "hidden": hidden, "dtype": dtype, "seed": seed}
    fixed: dict[str, Any] = {"steps": 0}
    if params is not None:
        source = store.find(params, trained=True)
        fixed["params"] = source.id
        for name, given in fields.items():
            fields[name] = given if given is not None else [str(source.config[name])]
    specs = grid({"task": [task], **fields, "measure_batch": measure_batch}, **fixed)
    if params is not None and (changed := specs[0].has_changed_since(source.config)):
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
    from gradlab.runs.engine import Settings

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
