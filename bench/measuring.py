"""`python -m bench.measuring REVISION`: what measurements and commands cost here and at an older commit, in turns.

Each commit measures in a process of its own, with its own sources, and the two take turns, so that whatever else
the machine does meets both. Written to results/bench-measuring.md; with --waiting commands that train are timed
instead, and written to results/bench-waiting.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import machine, say
from bench.fleet import ROOT

CASES = tuple((cell, length) for length in (50, 200, 1000) for cell in ("rnn", "lstm", "gru"))
HIDDEN, BATCH = 64, 64
ROUNDS = 9
BARE_GOAL = 1.3
"""Of a later call, divided by bare execution."""
MEASURING = {
    "probe adding --cell rnn,lstm,gru --len 50,200,1000,5000": (2, 0.5),
    "lesson adding --cell lstm": (1, None),
    f"sweep {ROOT / 'experiments' / 'init_length.toml'} --set seed=0": (1, None),
}
"""Commands of users: how often each commit does them with nothing compiled, and as often again; and the goal of
the ratio of the former, if there is one.
"""
WAITING = {
    **{f"run adding --len 200 --cell {cell} --steps 1": (3, 0.5) for cell in ("rnn", "lstm", "gru")},
    f"sweep {ROOT / 'bench' / 'small_runs.toml'} && report": (1, 0.7),
}
"""Likewise. A run of one training step is what a user waits for before the first one of any run."""

WORKER = """
import sys, time
import jax, jax.numpy as jnp
from gradlab import gradient_curve
from gradlab.cells import CELLS

try:
    from gradlab.gradient.program import Program
except ImportError:  # an older commit, of which it is not asked

    class Program:
        compiled = None


executed = 0.0
compiled = Program.compiled


def timed(program, *arguments):
    def execute(*given):
        global executed
        started = time.perf_counter()
        found = jax.block_until_ready(executable(*given))
        executed += time.perf_counter() - started
        return found

    executable = compiled(program, *arguments)
    return execute


Program.compiled = timed
name, hidden, batch = sys.argv[1], *map(int, sys.argv[2:])
cell = CELLS[name]()
params = cell.init(jax.random.key(0), 2, hidden)
for line in sys.stdin:
    inputs = jax.block_until_ready(jax.random.normal(jax.random.key(1), (int(line), batch, 2)))
    outputs = jax.block_until_ready(jnp.zeros((int(line), batch, hidden)))
    executed = 0.0
    started = time.process_time(), time.perf_counter()
    gradient_curve(cell, params, inputs, lambda outputs: jnp.sum(outputs[-1] ** 2, axis=-1))
    ended = time.process_time(), time.perf_counter()
    losses, pullback = jax.vjp(lambda outputs: jnp.sum(outputs[-1] ** 2, axis=-1), outputs)
    jax.block_until_ready(pullback(jnp.ones_like(losses)))
    of_loss = time.perf_counter() - ended[1]
    print(ended[0] - started[0], ended[1] - started[1], executed, of_loss, flush=True)
"""


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.measuring", description=__doc__)
    parser.add_argument("revision", help="the older commit")
    parser.add_argument("--waiting", action="store_true", help="time the commands that train")
    asked = parser.parse_args()
    commands = WAITING if asked.waiting else MEASURING
    with checkout(asked.revision) as older:
        timed = [command_row(older, command, *plan) for command, plan in commands.items()]
        rows = [] if asked.waiting else [row(older, cell, length) for cell, length in CASES]
    name = "waiting" if asked.waiting else "measuring"
    option = " --waiting" if asked.waiting else ""
    heading = machine.heading(f"python -m bench.measuring {asked.revision}{option}")
    heading |= {"before": f"commit {asked.revision}"}
    path = ROOT / "results" / f"bench-{name}.md"
    path.write_text(page(heading, rows, timed, [turns for turns, _ in commands.values()]))
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
        # As those of this commit are: else each process would first compile them.
        for sources in (folder, str(ROOT / "gradlab")):
            subprocess.run([sys.executable, "-m", "compileall", "-q", sources], check=True)
        yield Path(folder)


def row(older: Path, cell: str, length: int) -> str:
    """One line of the table: the first call, one at another length, later ones, of both commits, and ratios."""
    workers = {name: start(sources, cell) for name, sources in (("before", older), ("now", ROOT))}
    first = {name: turn(worker, length)[0] for name, worker in workers.items()}
    other = {name: turn(worker, length + 1)[0] for name, worker in workers.items()}
    later: dict[str, list[float]] = {name: [] for name in workers}
    beyond = []
    for _ in range(ROUNDS):
        for name, worker in workers.items():
            _, wall, executed, of_loss = turn(worker, length)
            later[name].append(wall)
            beyond += [(wall / executed, wall / (executed + of_loss))] if name == "now" else []
    for worker in workers.values():
        worker.communicate()
    again = {name: statistics.median(seconds) for name, seconds in later.items()}
    say(f"{cell} T = {length}: {again['now'] / again['before']:.3f}")
    cells = [f"{cell}, T = {length}"]
    for found in (first, other, again):
        cells += [f"{found['before']:.2f} s", f"{found['now']:.3f} s", f"{found['now'] / found['before']:.2f}"]
    of_programs, of_all = map(statistics.median, zip(*beyond, strict=True))
    cells += [f"{of_programs:.2f}", f"{of_all:.2f} ({_judged(of_all, BARE_GOAL)})"]
    return f"| {' | '.join(cells)} |"


def command_row(older: Path, command: str, rounds: int, goal: float | None) -> str:
    """One line of the second table: medians of what a command takes cold, and again with what it compiled kept."""
    seen: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as before, tempfile.TemporaryDirectory() as now:
            for cache in ("cold", "warm"):
                for name, sources, folder in (("before", older, before), ("now", ROOT, now)):
                    seen.setdefault((cache, name), []).append(wall_of(command, sources, Path(folder), cache))
    cells = [f"`{command.replace(f'{ROOT}/', '')}`"]
    for cache in ("cold", "warm"):
        old, new = (statistics.median(seen[cache, name]) for name in ("before", "now"))
        cells += [f"{old:.1f} s", f"{new:.1f} s", f"{new / old:.2f}"]
    say(" ".join(cells))
    return f"| {' | '.join([*cells[:4], _judged(float(cells[3]), goal), *cells[4:]])} |"


def _judged(ratio: float, goal: float | None) -> str:
    return "" if goal is None else f"≤ {goal}, {'met' if ratio <= goal else '**missed**'}"


def wall_of(command: str, sources: Path, folder: Path, cache: str) -> float:
    """Wall seconds of a command of a checkout, or of several that `&&` joins, with results of their own."""
    started = time.perf_counter()
    for each in command.split(" && "):
        subprocess.run(
            [sys.executable, "-m", "gradlab", *each.split(), *([] if each == "report" else ["--quiet"])],
            env=os.environ
            | {"PYTHONPATH": str(sources), "JAX_PLATFORMS": "cpu", "GRADLAB_CACHE": str(folder / "cache")}
            | {"GRADLAB_RESULTS": str(folder / cache)},
            cwd=folder,
            check=True,
            capture_output=True,
        )
    return time.perf_counter() - started


def start(sources: Path, cell: str) -> "subprocess.Popen[str]":
    """A process that measures when it is told to."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, cell, str(HIDDEN), str(BATCH)],
        env=os.environ | {"PYTHONPATH": str(sources), "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "0"},
        cwd=sources,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def turn(worker: "subprocess.Popen[str]", length: int) -> tuple[float, float, float, float]:
    """Processor and wall seconds of a measurement, those that its programs took, and those of the loss alone."""
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(f"{length}\n")
    worker.stdin.flush()
    cpu, wall, executed, of_loss = map(float, worker.stdout.readline().split())
    return cpu, wall, executed, of_loss


def page(heading: Mapping[str, str], rows: Sequence[str], timed: Sequence[str], turns: Iterable[int]) -> str:
    """The page of results: a table of `gradient_curve` if it was measured, and one of commands."""
    lines = ["# What users wait for, beside an older commit", ""]
    lines += [*(f"- {name}: {value}" for name, value in heading.items()), ""]
    if rows:
        lines += [
            f"`gradlab.gradient_curve` of an untrained cell of H = {HIDDEN} on {BATCH} sequences, with a loss of",
            "the last output that is written anew for each call. `first`, and `other` at length T + 1 after it,",
            f"are processor time with compiling; `again` is the median wall time of {ROUNDS} later calls, divided",
            "by what its compiled programs took, and by bare execution: those programs, and the loss and its",
            "gradient by `jax.vjp` and nothing else.",
            "",
            "| cell | first, before | now | ratio | other, before | now | ratio | again, before | now | ratio | "
            "/ programs | / bare |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
            *rows,
            "",
        ]
    lines += [
        "Commands, wall time from the shell on: `cold` with nothing compiled, `warm` with what the cold one",
        f"compiled, and results of their own; medians of {', '.join(map(str, turns))} turns.",
        "",
        "| command | cold, before | now | ratio | goal | warm, before | now | ratio |",
        "|---|--:|--:|--:|---|--:|--:|--:|",
        *timed,
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
