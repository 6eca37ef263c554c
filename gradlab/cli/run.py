"""`gradlab run` and `gradlab probe`: train and measure, or measure alone."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from gradlab.cli import options
from gradlab.cli.console import Screen
from gradlab.cli.lstm_reference import lstm_beside
from gradlab.cli.options import Many
from gradlab.cli.present import as_json, show_grid, show_run
from gradlab.cli.session import Session, folder_option
from gradlab.runs.devices import parallelism
from gradlab.runs.foreign_weights import find_weights
from gradlab.runs.grids import ASKED, specs_of_options
from gradlab.runs.jobs import Settings
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store
from gradlab.runs.workers import start_early


@options.with_fields("run")
def run(
    jobs: options.Jobs = None,
    together: options.Together = None,
    rerun: options.Rerun = False,
    results: options.Results = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    log_file: options.LogFile = None,
    **fields: Many,
) -> int:
    """Train runs, measure their gradients, store and show them. Lists make a grid.

    gradlab run adding --len 200 --cell lstm

    gradlab run copy --len 50,100 --cell rnn,lstm,gru --seed 0-2
    """
    start_early()
    specs = specs_of_options(fields)
    return carry_out(options.open_store(results), specs, jobs, together, rerun=rerun, json=json, quiet=quiet)


@options.with_fields("probe")
def probe(
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Runs at a time.")] = 1,
    rerun: options.Rerun = False,
    results: options.Results = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    log_file: options.LogFile = None,
    **fields: Many,
) -> int:
    """Measure gradients without training, in seconds. `--params RUN` measures a run's trained weights.

    gradlab probe adding --cell rnn,lstm,gru --len 50,200,1000,5000

    gradlab probe adding --params adding-lstm-T200-s0 --len 2000

    gradlab probe adding --params model.safetensors --len 2000
    """
    start_early()
    store = options.open_store(results)
    fixed: dict[str, Any] = {"steps": 0}
    name = fields.pop("params")
    foreign = None if name is None else find_weights(store, str(name))
    source = None if name is None or foreign else store.find(str(name), trained=True)
    of_weights: dict[str, Any] = {}
    if foreign is not None:
        fixed["params"], of_weights = foreign.name, foreign.fields
    elif source is not None:
        fixed["params"], of_weights = source.id, source.config
    for field, given in fields.items():
        if given is None and ASKED[field].of_weights and field in of_weights:
            fields[field] = [str(of_weights[field])]
    specs = specs_of_options(fields, **fixed)
    if foreign is not None:
        for spec in specs:
            foreign.check(spec)
    if source is not None and (changed := specs[0].has_changed_since(source.config)):
        Screen().warn(
            f"{source.id} was trained before the source of {changed} changed: its weights, the present code"
        )
    return carry_out(store, specs, jobs, together=1, rerun=rerun, json=json, quiet=quiet)


def _probe_with(also: str) -> Callable[[Callable[[], None]], Callable[..., int]]:
    """Makes a command of the name and text of a function: a probe with these analyses."""

    def decorate(described: Callable[[], None]) -> Callable[..., int]:
        def command(
            rerun: options.Rerun = False,
            results: options.Results = None,
            json: options.Json = False,
            quiet: options.Quiet = False,
            log_file: options.LogFile = None,
            **fields: Many,
        ) -> int:
            return probe(rerun=rerun, results=results, json=json, quiet=quiet, also=[also], **fields)

        command.__name__, command.__doc__ = described.__name__, described.__doc__
        return options.with_fields("probe", without=["also"])(command)

    return decorate


@_probe_with("spectrum")
def spectrum() -> None:
    """Lyapunov exponents and singular values of the Jacobians.

    gradlab spectrum adding --cell lstm --len 200

    gradlab spectrum adding --params adding-lstm-T200-s0
    """


@_probe_with("credit+paths+remembrance")
def credit() -> None:
    """Which lags and gates the gradient of the weights comes from.

    gradlab credit adding --cell lstm --len 200

    gradlab credit adding --params adding-lstm-T200-s0
    """


@_probe_with("precision")
def precision() -> None:
    """What 16 and 32 bits make of the curve, and the loss scale.

    gradlab precision adding --cell rnn,lstm,gru --len 200
    """


def carry_out(
    store: Store,
    specs: Sequence[RunSpec],
    jobs: int | None,
    together: int | None,
    *,
    rerun: bool,
    json: bool,
    quiet: bool,
    screen: Screen | None = None,
) -> int:
    """Do the runs of a command, show them and return the exit code.

    Args:
        jobs: processes; a single run takes all cores, those of a grid one each, for equal bits.
        together: runs of equal shape in one program.
        rerun: do stored runs again.
    """
    screen = screen or Screen()
    again: Any = "all" if rerun else None
    alone = specs[0] if len(specs) == 1 else None
    if alone is None:
        settings = Settings(**parallelism(jobs, together), rerun=again)
    else:
        settings = Settings(all_cores=True, rerun=again)
    session = Session(screen, store, specs, settings, quiet=quiet)
    try:
        session.carry_out()
    except KeyboardInterrupt:
        screen.note(f"interrupted; {session.kept()}")
        done = len(session.outcomes) - len(session.failed)
        rest = "this run again" if alone else "the rest"
        command = "the same command without --rerun" if rerun and not alone else "the same command"
        screen.note(f"done {done} of {len(specs)}; {command} does {rest}")
        if alone:
            screen.note(f"this run alone: {alone.command()}{folder_option(store)}")
        raise
    if json:
        screen.json(as_json(session.records()))
    else:
        _show(session)
    return 1 if session.failed else 0


def _show(session: Session) -> None:
    screen, store, records = session.screen, session.store, session.records()
    if len(records) == 1:
        record, run = records[0], store.peek(records[0]["id"])
        if run is None or "losses" not in record:  # it failed, and was not stored
            if session.quiet:  # else its line said so
                stays = "" if run is None else "; the stored run stays"
                screen.note(f"{record['id']} failed: {record['reason']}{stays}")
            return
        show_run(screen, record, run.arrays() if record.get("summary") else None)
        if beside := lstm_beside(store, run):
            screen.prose(beside)
        written = f"{run.path}/ ({', '.join(sorted(path.name for path in run.path.iterdir()))})"
    else:
        show_grid(screen, records)
        session.show_failures()
        written = f"{len(records)} runs in {store.runs}/"
    screen.line()
    screen.line(f"written: {written}")
    if session.failed and len(records) > 1:
        screen.line("try again: the same command does those that failed")
    command = f"gradlab show {session.failed[0].spec.id}" if session.failed else "gradlab report"
    screen.line(f"next: {command}{folder_option(store)}")
