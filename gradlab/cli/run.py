"""`gradlab run` and `gradlab probe`: train and measure, or measure alone."""

import shlex
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradlab.cli import options
from gradlab.cli.cache import use_cache
from gradlab.cli.console import Progress, Screen
from gradlab.cli.devices import devices_for
from gradlab.cli.interrupts import Interrupts
from gradlab.cli.lists import grid
from gradlab.cli.options import Many
from gradlab.cli.present import Record, as_json, headline, record_of, show_grid, show_run
from gradlab.runs.jsonable import dumps
from gradlab.runs.store import Store

if TYPE_CHECKING:
    from gradlab.runs.execute import Observe
    from gradlab.runs.spec import RunSpec
    from gradlab.training.loop import Event


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
    batch: Annotated[Many, typer.Option("--batch", help="Examples in a training step.")] = None,
    steps: Annotated[Many, typer.Option("--steps", help="Training steps at most.")] = None,
    stop: Annotated[Many, typer.Option("--stop", help="solved or never.")] = None,
    optimizer: Annotated[
        Many, typer.Option("--optimizer", help="adam, rmsprop, sgd, or rmsprop:decay=0.99.")
    ] = None,
    learning_rate: Annotated[Many, typer.Option("--learning-rate", help="Positive.")] = None,
    clip: Annotated[Many, typer.Option("--clip", help="norm:1, value:1 or none.")] = None,
    dtype: options.Dtype = None,
    measure: Annotated[Many, typer.Option("--measure", help="checkpoints, ends or every (training step).")] = None,
    measure_batch: options.MeasureBatch = None,
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
    return Session(Screen(), options.open_store(results), specs, json=json, quiet=quiet).carry_out()


def probe(
    task: options.Task,
    cell: options.Cell = None,
    length: options.Length = None,
    seed: options.Seed = None,
    hidden: options.Hidden = None,
    dtype: options.Dtype = None,
    measure_batch: options.MeasureBatch = None,
    params: Annotated[str | None, typer.Option("--params", help="Measure the final weights of this run.")] = None,
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
    return Session(Screen(), store, specs, json=json, quiet=quiet).carry_out()


class Session:
    """The runs of one command, from the header to the next useful command."""

    def __init__(
        self, screen: Screen, store: Store, specs: Sequence["RunSpec"], *, json: bool, quiet: bool
    ) -> None:
        self.screen, self.store, self.specs = screen, store, specs
        self.json, self.quiet = json, quiet
        self.records: list[Record] = []
        self.current: RunSpec | None = None

    def carry_out(self) -> int:
        """Run everything, show it, and return the exit code."""
        from gradlab.runs.engine import run_all

        self.store.check(self.screen.warn)
        use_cache()
        # A single run takes all cores; the runs of a grid take one each, whatever their number, for equal bits.
        alone = len(self.specs) == 1 and self.specs[0].steps > 0
        self.shards = devices_for(self.specs[0].batch) if alone else 1
        with self.screen.progress() as progress, Interrupts() as interrupts:
            self.progress, self.interrupts = progress, interrupts
            try:
                run_all(self.specs, self.store, self._begin, self._end, shards=self.shards)
            except KeyboardInterrupt:
                return self._interrupted()
        self._show()
        return 1 if any(record["status"] == "failed" for record in self.records) else 0

    def _begin(self, spec: "RunSpec") -> "Observe":
        self.current = spec
        if self.quiet:
            return lambda event: self.interrupts.check()
        if len(self.specs) == 1:
            for line in header(spec, self.shards):
                self.screen.note(line)
        else:
            self.progress.show(f"[{len(self.records) + 1}/{len(self.specs)}] {spec.id}")
        ticker = _Ticker(self.screen, self.progress, spec, plain=len(self.specs) == 1)

        def hear(event: "Event") -> None:
            self.interrupts.check()
            ticker.hear(event)

        return hear

    def _end(self, finished: Any) -> None:
        run = self.store.find(finished.spec.id)
        record = record_of(run)
        self.records.append(record)
        if self.quiet:
            return
        place = f"[{len(self.records)}/{len(self.specs)}] " if len(self.specs) > 1 else ""
        if finished.result is None:
            self.screen.note(f"{place}{record['id']}: already {record['status']}, read from {record['path']}")
        else:
            self.screen.note(f"{place}{record['id']}: {headline(record)} ({record['wall_seconds']:.1f} s)")

    def _show(self) -> None:
        if self.json:
            self.screen.raw(dumps(as_json(self.records), indent=1))
            return
        if len(self.records) == 1:
            record = self.records[0]
            run = self.store.find(record["id"])
            show_run(self.screen, record, run.arrays() if record.get("summary") else None)
            self.screen.line()
            self.screen.line(f"written: {run.path}/ ({', '.join(sorted(p.name for p in run.path.iterdir()))})")
        else:
            show_grid(self.screen, self.records)
            self.screen.line()
            self.screen.line(f"written: {len(self.records)} runs in {self.store.runs}/")
        self.screen.line(f"next: {self._next()}")

    def _folder(self) -> str:
        """The option that names the results folder, where it is not the default one."""
        return "" if self.store.root == Store().root else f" --results {shlex.quote(str(self.store.root))}"

    def _next(self) -> str:
        folder = self._folder()
        failed = next((record for record in self.records if record["status"] == "failed"), None)
        if failed:
            return f"gradlab show {failed['id']}{folder}"
        return f"gradlab report{folder}"

    def _interrupted(self) -> int:
        from gradlab.cli.app import INTERRUPTED

        spec = self.current
        self.screen.note("interrupted; what was measured so far is kept")
        if spec is not None:
            done = sum(record["status"] != "failed" for record in self.records)
            self.screen.note(
                f"done {done} of {len(self.specs)}; the same command does this run again and then the rest"
            )
            self.screen.note(f"this run alone: {spec.command()}{self._folder()}")
        return INTERRUPTED


class _Ticker:
    """Progress of one run: a live line on a terminal, and a plain line for each checkpoint.

    Args:
        plain: whether checkpoints are told; in a grid they are not, where the live line is enough.
    """

    def __init__(self, screen: Screen, progress: Progress, spec: "RunSpec", *, plain: bool) -> None:
        self.screen, self.progress, self.spec = screen, progress, spec
        self.plain = plain or not screen.live
        self.chance = spec.build_task().chance(spec.length)
        self.started: float | None = None

    def hear(self, event: "Event") -> None:
        """Show one event of the loop."""
        from gradlab.training.loop import Checkpoint, Chunk

        if isinstance(event, Checkpoint):
            self._checkpoint(event)
        elif isinstance(event, Chunk):
            self.progress.show(self._line(event.step, float(event.rows.loss.mean())))

    def _checkpoint(self, event: Any) -> None:
        if self.started is None:
            self.started = time.perf_counter()
        if not (self.plain and self.spec.steps):
            return
        curve = event.observation.curves["task"]
        verdict = curve.verdict()
        self.screen.note(
            f"training step {event.step:>6}  loss {event.observation.loss:.4g}  span {curve.span():.1f} decades  "
            f"{verdict}"
        )

    def _line(self, step: int, loss: float) -> str:
        elapsed = time.perf_counter() - (self.started or time.perf_counter())
        rate = step / elapsed if elapsed > 0 else 0.0
        left = (self.spec.steps - step) / rate if rate else 0.0
        return (
            f"training step {step} of at most {self.spec.steps}  loss {loss:.4g} (chance {self.chance:.4g})  "
            f"{rate:.0f} training steps/s  at most {_clock(left)} left"
        )


def header(spec: "RunSpec", shards: int) -> list[str]:
    """Everything that was resolved, in a few lines."""
    from gradlab.runs.environment import execution

    task = spec.build_task()
    where = execution(spec.dtype, shards)
    lines = [
        f"{spec.id}",
        f"  task {spec.task}, length {spec.length} ({task.steps(spec.length)} timesteps), chance "
        f"{task.chance(spec.length):.4g}, solved at {task.solved(spec.length):.4g}",
        f"  cell {spec.cell}, hidden {spec.hidden}, {spec.dtype}, seed {spec.seed}, "
        f"curves on {spec.measure_batch} held-out examples",
    ]
    if spec.params:
        lines.append(f"  weights: final ones of {spec.params}")
    if spec.steps:
        lines.append(
            f"  {spec.optimizer}, learning rate {spec.learning_rate:g}, clip {spec.clip}, batch {spec.batch}, "
            f"at most {spec.steps} training steps, stop {spec.stop}, measure {spec.measure}"
        )
    lines.append(
        f"  on {where['device']} ({where['cpu']}), {shards} shard{'s' * (shards > 1)}, jaxlib {where['jaxlib']}"
    )
    return lines


def _clock(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
