"""A sequence too long to keep: memory and time of the default budget against keeping every activation."""

from collections.abc import Iterator

from bench.case import Case
from bench.fleet import Worker, closing
from bench.rounds import Effort, alternate, trains
from bench.rows import Row, of_case
from bench.targets import MEMORY_MB, MEMORY_TIME

SECTION = "memory"
CASE = Case("lstm", 5000, 128, 128)
DEFAULT, STORED = "default budget", "everything stored"


def run(effort: Effort, case: Case = CASE) -> Iterator[Row]:
    """Memory first, each in its own fresh process; then passes in turns."""
    with closing([]) as workers:
        workers += [Worker("long_pass", {"stored": stored}, case) for stored in (False, True)]
        for worker in workers:
            worker.receive()
        growth = [worker.ask("growth").result for worker in workers]
        planned = [worker.ask("planned").result for worker in workers]
        timings = alternate([(trains(worker), 1) for worker in workers], effort.rounds)
    for name, mb, plan, timing in zip((DEFAULT, STORED), growth, planned, timings, strict=True):
        goal = MEMORY_MB if name == DEFAULT else None
        note = f"{plan:.0f} MB of temporary buffers planned by the compiler"
        yield of_case(case, SECTION, f"{name}: peak growth", goal, value=mb, unit="MB", note=note)
        ratio, goal = timing.median / timings[1].median, MEMORY_TIME if name == DEFAULT else None
        numbers = {"median_ms": timing.median, "min_ms": timing.least, "ratio": ratio}
        yield of_case(case, SECTION, f"{name}: forward and backward", goal, **numbers)
