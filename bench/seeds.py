"""The default run, seed by seed, from the shell to `solved`, and how much of it is measuring."""

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from bench import say
from bench.fleet import environment
from bench.rows import Row, aimed
from bench.startup import GRADLAB, RUN
from bench.targets import CHECKPOINT_SHARE, SOLVED_SECONDS

SECTION, CHECKPOINTS = "seeds", "checkpoints"
SEEDS = range(10)


class Solved(NamedTuple):
    """What one seed took: seconds from the shell, and the record that `--json` prints."""

    seed: int
    seconds: float
    record: dict[str, Any]


def run(seeds: Sequence[int] = SEEDS) -> Iterator[Row]:
    """The rows of all seeds, their median, and the share of measuring."""
    with tempfile.TemporaryDirectory() as folder:
        yield from rows_of([_run(seed, folder) for seed in seeds])


def rows_of(runs: Sequence[Solved]) -> Iterator[Row]:
    """A row for each seed, the median over seeds, and the share of their time that measuring took.

    Seeds that were not solved count as never, so the median is of all of them.
    """
    for one in runs:
        note = f"{one.record['status']} at training step {one.record['training_steps']}"
        yield aimed(SECTION, f"seed {one.seed}", value=one.seconds, unit="s", note=note)
    seconds = [one.seconds if one.record["status"] == "solved" else float("inf") for one in runs]
    steps = statistics.median(one.record["training_steps"] for one in runs)
    note = f"{sum(map(_is_finite, seconds))} of {len(runs)} solved, median {steps:g} training steps"
    yield aimed(SECTION, "median", SOLVED_SECONDS, value=statistics.median(seconds), unit="s", note=note)
    shares = [one.record["measure_seconds"] / one.record["wall_seconds"] for one in runs]
    note = f"at most {max(shares):.3f}"
    share = statistics.median(shares)
    yield aimed(
        CHECKPOINTS, "share of a default run", CHECKPOINT_SHARE, value=share, unit="of its time", note=note
    )


def _run(seed: int, folder: str) -> Solved:
    started = time.perf_counter()
    done = subprocess.run(
        [GRADLAB, *RUN, "--seed", str(seed), "--json", "--quiet"],
        env=environment({"GRADLAB_CACHE": f"{folder}/cache", "GRADLAB_RESULTS": f"{folder}/results"}),
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"seed {seed}: exit code {done.returncode}: {done.stderr}")
    (record,) = json.loads(done.stdout)["runs"]
    say(f"seed {seed}: {record['status']} after {seconds:.1f} s")
    return Solved(seed, seconds, record)


def _is_finite(seconds: float) -> bool:
    return seconds < float("inf")
