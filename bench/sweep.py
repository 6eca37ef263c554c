"""Throughput of many runs: a pinned process of one thread and one shard on each core, against torch likewise."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from bench import say
from bench.case import Case, steps_per_call
from bench.fleet import Worker, closing
from bench.rounds import Effort, Turn, alternate, pilot, share, trains
from bench.rows import Row, of_case
from bench.targets import SWEEP, SWEEP_TORCH

SECTION = "sweep"
CASES = tuple(Case("lstm", *size) for size in SWEEP_TORCH)
QUICK_CASES = CASES[:1]
ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
}
ALONE, BOTH, TORCH = "gradlab, 1 process", "gradlab, 2 processes", "torch nn.*, 2 processes"


def run(effort: Effort, cases: Sequence[Case] = CASES) -> Iterator[Row]:
    """The rows of every case, where there are two cores."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        say("sweep: needs two cores")
        return
    for case in cases:
        yield from run_case(case, effort, cores)


def run_case(case: Case, effort: Effort, cores: Sequence[int]) -> Iterator[Row]:
    """gradlab on one core and on two, and torch on two, in turns."""
    with closing([]) as workers:
        ours = [_pinned("ours", {"measure": "every"}, case, core) for core in cores]
        torch = [_pinned("torch_peers", {"kind": "plain"}, case, core) for core in cores]
        workers += ours + torch
        for worker in workers:
            worker.receive()
        turns = {ALONE: trains(ours[0]), BOTH: _together(ours), TORCH: _together(torch, threads=1)}
        least = {ALONE: steps_per_call(case), BOTH: steps_per_call(case), TORCH: 2}
        for turn in turns.values():
            turn(2)
        steps = [share(pilot(turn), effort.seconds, least[name]) for name, turn in turns.items()]
        timings = alternate(list(zip(turns.values(), steps, strict=True)), effort.rounds)
    timed = dict(zip(turns, timings, strict=True))
    compared = {
        ALONE: (None, None),
        BOTH: (timed[ALONE].median / timed[BOTH].median, SWEEP),
        TORCH: (timed[TORCH].median / timed[BOTH].median, SWEEP_TORCH[case.size]),
    }
    for name, (ratio, goal) in compared.items():
        numbers: dict[str, Any] = {"value": 1000 / timed[name].median, "unit": "training steps/s", "ratio": ratio}
        yield of_case(case, SECTION, name, goal, median_ms=timed[name].median, min_ms=timed[name].least, **numbers)


def _pinned(module: str, options: dict[str, Any], case: Case, core: int) -> Worker:
    return Worker(module, options, case, cores=[core], variables=ONE_THREAD)


def _together(workers: Sequence[Worker], **way: Any) -> Turn:
    """A turn of several workers at once: ms until all are done, for each training step of any of them."""

    def turn(steps: int) -> float:
        for worker in workers:
            worker.send("train", steps=steps, **way)
        seconds = max(worker.receive().seconds for worker in workers)
        return 1000 * seconds / (steps * len(workers))

    return turn
