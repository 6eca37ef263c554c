"""The main table: a training step of gradlab against everyone else's, at every cell and size."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from bench import say
from bench.case import Case, product_flops, steps_per_call
from bench.contenders import EVERYONE, OURS, PLAIN, PRODUCT, PRODUCT_FLOPS, Contender
from bench.fleet import ROOT, Worker, WorkerFailed, closing, environment
from bench.problem import wrong
from bench.rounds import Effort, Timing, alternate, pilot, share, trains
from bench.rows import Row, of_case
from bench.targets import GROUPS, MEASURING, REMARKS, SIZES, floor_share, speed

SECTION, TARGETS, MEASURE, FLOOR, CHECK = "training step", "target", "measuring", "floor", "correctness"
CASES = tuple(Case(cell, *size) for cell in ("lstm", "gru", "rnn") for size in SIZES)
QUICK_CASES = (
    Case("lstm", 200, 32, 20),
    Case("lstm", 200, 128, 20),
    Case("gru", 200, 32, 20),
    Case("rnn", 200, 32, 20),
)


class Entry(NamedTuple):
    """A contender that runs, and how it trains: the name of the way, and about how many ms a step takes."""

    contender: Contender
    worker: Worker
    way: str = ""
    step_ms: float = 0.0


def run(effort: Effort, cases: Sequence[Case] = CASES) -> Iterator[Row]:
    """The rows of every case."""
    for case in cases:
        try:
            yield from run_case(case, effort)
        except (WorkerFailed, subprocess.CalledProcessError) as reason:
            say(f"{case}: no times: {reason}")


def run_case(case: Case, effort: Effort) -> Iterator[Row]:
    """Check every contender at one size, choose how each trains fastest, and time them in turns."""
    with tempfile.TemporaryDirectory() as folder, closing([]) as workers:
        entries = _start(case, _problem(case, Path(folder)), workers)
        found = _checks(entries)
        yield from (_check_row(case, entry, errors) for entry, errors in found)
        right = [_fastest_way(entry) for entry, errors in found if not wrong(errors)]
        turns = [(trains(e.worker, **e.contender.ways[e.way]), _share(case, e, effort)) for e in right]
        timings = alternate(turns, effort.rounds)
    named = {entry.contender.name: (entry.way, timing) for entry, timing in zip(right, timings, strict=True)}
    yield from rows_of_case(case, named)


def rows_of_case(case: Case, timed: dict[str, tuple[str, Timing]]) -> Iterator[Row]:
    """Times, ratios and verdicts, from the variant and the rounds of each contender by its name."""
    if OURS.name not in timed:
        return
    ours = timed[OURS.name][1]
    say(f"{case}: gradlab {ours.median:.2f} ms")
    for name, (label, timing) in timed.items():
        numbers: dict[str, Any] = {"median_ms": timing.median, "min_ms": timing.least, "note": label}
        if name == PRODUCT.name:
            numbers |= {"value": PRODUCT_FLOPS / timing.median / 1e6, "unit": "GFLOP/s"}
        yield of_case(case, SECTION, name, ratio=timing.median / ours.median, **numbers)
    for column, names in GROUPS.items():
        there = {name: timed[name][1].median for name in names if name in timed}
        if there:
            best = min(there, key=lambda name: there[name])
            note = REMARKS.get((case.cell, *case.size), "") if column.startswith("torch loop") else ""
            ratio, goal = there[best] / ours.median, speed(case.cell, case.size, column)
            yield of_case(case, TARGETS, column, goal, ratio=ratio, note=note or best)
    if PLAIN.name in timed:
        yield of_case(case, MEASURE, OURS.name, MEASURING, ratio=ours.median / timed[PLAIN.name][1].median)
    if PRODUCT.name in timed:
        floor_ms = product_flops(case) / PRODUCT_FLOPS * timed[PRODUCT.name][1].median
        goal = floor_share(case.cell, case.hidden)
        yield of_case(case, FLOOR, OURS.name, goal, median_ms=floor_ms, ratio=floor_ms / ours.median)


def _problem(case: Case, folder: Path) -> str:
    path = folder / "problem.npz"
    order = [sys.executable, "-m", "bench.reference", json.dumps(asdict(case)), str(path)]
    subprocess.run(order, check=True, cwd=ROOT, env=environment({}))
    return str(path)


def _start(case: Case, problem: str, workers: list[Worker]) -> list[Entry]:
    """A worker for each contender; they start and compile side by side."""
    there = [contender for contender in EVERYONE if case.cell in contender.cells]
    workers += [Worker(contender.module, contender.options, case, problem) for contender in there]
    for worker in workers:
        worker.receive()
    return [Entry(contender, worker) for contender, worker in zip(there, workers, strict=True)]


def _checks(entries: Sequence[Entry]) -> list[tuple[Entry, dict[str, float]]]:
    """Each contender with its errors against float64; the matrix product has no truth to compare with."""
    judged = [entry for entry in entries if entry.contender is not PRODUCT]
    for entry in judged:
        entry.worker.send("check")
    exempt = [(entry, {"loss": 0.0, "w_h": 0.0}) for entry in entries if entry.contender is PRODUCT]
    return [(entry, _answer(entry)) for entry in judged] + exempt


def _answer(entry: Entry) -> dict[str, float]:
    try:
        found: dict[str, float] = entry.worker.receive().result
        return found
    except WorkerFailed as reason:
        say(str(reason))
        return {}


def _check_row(case: Case, entry: Entry, errors: dict[str, float]) -> Row:
    faults = wrong(errors)
    if faults:
        say(f"{case}: {entry.contender.name} is wrong in {', '.join(faults)} and gets no time")
    largest = max(errors.values(), default=0.0)
    return of_case(case, CHECK, entry.contender.name, value=largest, note=" ".join(faults))


def _fastest_way(entry: Entry) -> Entry:
    """The contender in the fastest of its ways."""
    ways = entry.contender.ways
    tried = {way: pilot(trains(entry.worker, **given)) for way, given in ways.items()}
    best = min(tried, key=lambda way: tried[way])
    return entry._replace(way=best, step_ms=tried[best])


def _share(case: Case, entry: Entry, effort: Effort) -> int:
    return share(entry.step_ms, effort.seconds, steps_per_call(case) if entry.contender.compiles else 2)
