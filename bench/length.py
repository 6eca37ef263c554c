"""How measuring grows with the length of the sequence, up to 100,000 timesteps."""

import math
from collections.abc import Iterator, Sequence

from bench.case import Case
from bench.fleet import Worker, closing
from bench.rounds import Effort, alternate, trains
from bench.rows import Row, of_case
from bench.targets import LENGTH_TIME, Target

SECTION = "length"
LENGTHS = (1000, 10_000, 100_000)
QUICK_LENGTHS = LENGTHS[:2]
HIDDEN, EXAMPLES = 32, 64
TIME, MEMORY = "probe: time", "probe: peak growth"


def run(effort: Effort, lengths: Sequence[int] = LENGTHS) -> Iterator[Row]:
    """Time per timestep against that of the shortest, memory against that of the next shorter."""
    cases = [Case("lstm", length, HIDDEN, EXAMPLES) for length in lengths]
    with closing([]) as workers:
        workers += [Worker("probing", {}, case) for case in cases]
        for worker in workers:
            worker.receive()
        growth, curves = zip(*(worker.ask("growth").result for worker in workers), strict=True)
        turns = [
            (trains(worker), max(1, LENGTHS[1] // case.length))
            for worker, case in zip(workers, cases, strict=True)
        ]
        timings = alternate(turns, effort.rounds)
    base = timings[0].median / cases[0].length
    for i, case in enumerate(cases):
        per_timestep, first = timings[i].median / case.length, i == 0
        numbers = {"median_ms": timings[i].median, "min_ms": timings[i].least, "ratio": per_timestep / base}
        note = f"{1000 * per_timestep:.1f} µs per timestep"
        yield of_case(case, SECTION, TIME, None if first else LENGTH_TIME, note=note, **numbers)
        # As √T at most: a sequence ten times as long may take 3.2 times the memory.
        goal = None if first else Target("<=", math.sqrt(case.length / cases[i - 1].length))
        ratio = None if first else growth[i] / growth[i - 1]
        note = f"{curves[i]:.0f} MB of it are the curves"
        yield of_case(case, SECTION, MEMORY, goal, value=growth[i], unit="MB", ratio=ratio, note=note)
