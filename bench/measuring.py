"""`python -m bench.measuring REVISION`: what one measurement costs here and at an older commit, in turns.

Each commit measures in a process of its own, with its own sources, and the two take turns, so that whatever else
the machine does meets both. Written to results/bench-measuring.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import machine, say
from bench.fleet import ROOT

CASES = tuple((cell, length) for length in (50, 200, 1000) for cell in ("rnn", "lstm", "gru"))
HIDDEN, BATCH = 64, 64
ROUNDS = 9

WORKER = """
import sys, time
import jax, jax.numpy as jnp
from gradlab.cells import CELLS
from gradlab.tasks.adding import adding
from gradlab.training.keys import stream
from gradlab.training.model import Model

try:
    from gradlab.training.checkpoint_metrics import CheckpointPrograms
    from gradlab.gradient.program import Program
except ImportError:  # the name of an older commit
    CheckpointPrograms = None
    from gradlab.training.observe import Observer

cell, length, hidden, batch = sys.argv[1], *map(int, sys.argv[2:])
model = Model(CELLS[cell](), adding(), hidden)
params = model.init(0)
examples = jax.block_until_ready(model.task.sample(stream(0, "measure"), batch, length))
for line in sys.stdin:
    if line.strip() == "compile":
        if CheckpointPrograms is None:
            measure = Observer.of(model, length, examples).observe
        else:
            programs = CheckpointPrograms.of(model, length, Program)
            measure = lambda params: programs.measure(params, examples)
    started = time.process_time(), time.perf_counter()
    measure(params)
    print(time.process_time() - started[0], time.perf_counter() - started[1], flush=True)
"""


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.measuring", description=__doc__)
    parser.add_argument("revision", help="the older commit")
    revision = parser.parse_args().revision
    with checkout(revision) as older:
        rows = [row(older, cell, length) for cell, length in CASES]
    path = ROOT / "results" / "bench-measuring.md"
    path.write_text(page(revision, rows))
    say(f"written: {path}")
    return 0


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """The sources of a commit in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", revision, "gradlab"], cwd=ROOT, check=True, capture_output=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        yield Path(folder)


def row(older: Path, cell: str, length: int) -> str:
    """One line of the table: processor time of the first and of a later measurement, both commits, and ratios."""
    workers = {name: start(sources, cell, length) for name, sources in (("before", older), ("now", ROOT))}
    first = {name: turn(worker, "compile")[0] for name, worker in workers.items()}
    later: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(ROUNDS):
        for name, worker in workers.items():
            later[name].append(turn(worker, "again")[1])
    for worker in workers.values():
        worker.communicate()
    again = {name: 1000 * statistics.median(seconds) for name, seconds in later.items()}
    say(f"{cell} T = {length}: {again['now'] / again['before']:.2f}")
    return (
        f"| {cell}, T = {length} | {first['before']:.1f} s | {first['now']:.1f} s | "
        f"{first['now'] / first['before']:.2f} | {again['before']:.1f} ms | {again['now']:.1f} ms | "
        f"{again['now'] / again['before']:.2f} |"
    )


def start(sources: Path, cell: str, length: int) -> "subprocess.Popen[str]":
    """A process that measures when it is told to."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, cell, str(length), str(HIDDEN), str(BATCH)],
        env=os.environ | {"PYTHONPATH": str(sources), "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "0"},
        cwd=sources,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def turn(worker: "subprocess.Popen[str]", word: str) -> tuple[float, float]:
    """Processor and wall seconds of one measurement."""
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(word + "\n")
    worker.stdin.flush()
    cpu, wall = worker.stdout.readline().split()
    return float(cpu), float(wall)


def page(revision: str, rows: list[str]) -> str:
    """The page of results."""
    heading = machine.heading(f"python -m bench.measuring {revision}")
    lines = [
        "# What a measurement costs, beside an older commit",
        "",
        *(f"- {name}: {value}" for name, value in heading.items()),
        f"- before: commit {revision}",
        "",
        f"Curves and gates of an untrained cell of H = {HIDDEN} on {BATCH} examples of the adding problem, as at",
        "a checkpoint. `first` is processor time with compilation, `again` the median wall time of",
        f"{ROUNDS} turns.",
        "`now` holds the measurement in float32 and, on four examples, in float64; `before` float32 alone.",
        "",
        "| cell | first, before | first, now | ratio | again, before | again, now | ratio |",
        "|---|--:|--:|--:|--:|--:|--:|",
        *rows,
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
