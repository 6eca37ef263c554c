"""`gradlab sweep` itself: two workers against one, and what a run costs beside training and measuring."""

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.fleet import environment
from bench.rows import Row, aimed
from bench.startup import GRADLAB
from bench.targets import ENGINE, OVERHEAD_MS

SECTION = "engine"
ROUNDS, RUNS, PROBES = 2, 24, 500
TRAINING_STEPS = 2000
ONE, TWO = "gradlab sweep --jobs 1, pinned to one core", "gradlab sweep --jobs 2"
BASE = {"task": "adding", "cell": "lstm", "length": 100, "hidden": 32, "batch": 20}


class Swept(NamedTuple):
    """Seconds from the shell to the end of a sweep, and those that its runs trained and measured."""

    seconds: float
    worked: float


def run(rounds: int = ROUNDS, runs: int = RUNS, probes: int = PROBES) -> Iterator[Row]:
    """Throughput in turns, compiled programs in the cache, then the overhead of many probes."""
    core = min(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        training = _file(folder, "training", {"stop": "never"}, runs, steps=TRAINING_STEPS)
        measuring = _file(folder, "measuring", {}, probes, steps=0)
        one, two = ["taskset", "-c", str(core), *_words(training, 1)], _words(training, 2)
        for words in (one, two):
            _sweep(folder, [*words, "--set", "seed=1000,1001"])  # compiles
        seconds: dict[str, list[float]] = {ONE: [], TWO: []}
        for _ in range(rounds):
            seconds[ONE].append(_sweep(folder, one).seconds)
            seconds[TWO].append(_sweep(folder, two).seconds)
        medians = {name: statistics.median(each) for name, each in seconds.items()}
        for name, each in seconds.items():
            goal, ratio = (ENGINE, medians[ONE] / medians[TWO]) if name == TWO else (None, None)
            note = f"{runs} runs of {TRAINING_STEPS:,} training steps, fastest {min(each):.1f} s of {rounds}"
            yield aimed(SECTION, name, goal, value=medians[name], unit="s", ratio=ratio, note=note)
        for jobs in (1, 2):
            swept = _sweep(folder, _words(measuring, jobs))
            beside = 1000 * (swept.seconds - swept.worked / jobs) / probes
            note = f"{probes} runs in {swept.seconds:.1f} s, {swept.worked:.1f} s of it training and measuring"
            yield aimed(
                SECTION, f"overhead of a run, --jobs {jobs}", OVERHEAD_MS, value=beside, unit="ms", note=note
            )


def _file(folder: str, name: str, more: dict[str, str], runs: int, steps: int) -> Path:
    fields = "\n".join(f"{field} = {json.dumps(value)}" for field, value in (BASE | more).items())
    grid = f"[grid]\nseed = {list(range(runs))}\n[budget]\nsteps = {steps}\n"
    path = Path(folder, f"{name}.toml")
    path.write_text(f'title = "{name}"\nquestion = "How long?"\n[base]\n{fields}\n{grid}')
    return path


def _words(file: Path, jobs: int) -> list[str]:
    return [GRADLAB, "sweep", str(file), "--jobs", str(jobs), "--quiet", "--json"]


def _sweep(folder: str, words: list[str]) -> Swept:
    """Do a sweep into a results folder that is new."""
    with tempfile.TemporaryDirectory(dir=folder) as results:
        variables = environment({"GRADLAB_CACHE": f"{folder}/cache", "GRADLAB_RESULTS": results})
        started = time.perf_counter()
        subprocess.run(words, env=variables, stdout=subprocess.DEVNULL, check=True)
        seconds = time.perf_counter() - started
        done = [json.loads(path.read_text()) for path in Path(results, "runs").glob("*/done.json")]
    return Swept(seconds, sum(run["train_seconds"] + run["measure_seconds"] for run in done))
