"""Where the time of an LSTM's forward and backward pass goes, on one core: what is above the matrix products."""

from collections.abc import Iterator, Sequence

from bench.case import Case
from bench.fleet import Worker, closing
from bench.rounds import Effort, alternate, pilot, share, trains
from bench.rows import Row, of_case

SECTION = "anatomy"
CASES = (
    Case("lstm", 200, 32, 10),
    Case("lstm", 200, 64, 16),
    Case("lstm", 200, 128, 10),
    Case("lstm", 200, 128, 64),
)
"""What one of two cores has at the sizes of the table."""
PARTS = {
    "products": "matrix products alone, at these sizes",
    "unsquashed": "all, with gates that are straight lines",
    "whole": "all",
}
CALL = 10
"""Passes at least in one turn, all in one compiled call."""
SINGLE = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "PJRT_NPROC": "1"}


def run(effort: Effort, cases: Sequence[Case] = CASES) -> Iterator[Row]:
    """For every case the parts, in turns; the ratio is to the whole."""
    for case in cases:
        with closing([]) as workers:
            workers += [Worker("parts", {"part": part}, case, cores=[0], variables=SINGLE) for part in PARTS]
            for worker in workers:
                worker.receive()
            turns = [(trains(worker), share(pilot(trains(worker)), effort.seconds, CALL)) for worker in workers]
            timings = alternate(turns, effort.rounds)
        for name, timing in zip(PARTS.values(), timings, strict=True):
            ratio = timing.median / timings[-1].median
            yield of_case(case, SECTION, name, median_ms=timing.median, min_ms=timing.least, ratio=ratio)
