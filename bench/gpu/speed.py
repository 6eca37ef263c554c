"""A training step: one run and many at once, against cuDNN through torch and against flax under `jax.vmap`."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from bench import say
from bench.case import Case
from bench.fleet import ROOT, Worker, WorkerFailed, closing, environment
from bench.gpu.record import Record
from bench.gpu.scale import Scale
from bench.problem import wrong
from bench.rounds import Turn, alternate, pilot, share, trains

OURS, TORCH, FLAX = "gradlab", "torch", "flax"
MODULES = {OURS: "batched", TORCH: "cudnn", FLAX: "flax_many"}
WAYS: dict[str, dict[str, tuple[str, ...]]] = {
    "lstm": {
        OURS: ("one", "many", "one, no norms", "many, no norms", "one, TF32", "many, TF32"),
        TORCH: ("one", "row", "one, TF32", "row, TF32", "streams", "one, graph", "graphs", "graphs on streams"),
        FLAX: ("one", "many"),
    },
    "gru": {OURS: ("one", "many"), TORCH: ("one", "row", "one, graph", "graphs"), FLAX: ("one", "many")},
}
GPU = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Several processes share the memory of the card."""
PRECISE = {FLAX: {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}}
"""gradlab asks for all of float32 itself; to torch it is said by flags."""
LAST = 12.0
"""Seconds before the end of the time of this part at which no other round is begun."""


class Entry(NamedTuple):
    """A way to train, and about how many ms a step takes."""

    key: str
    turn: Turn
    step_ms: float


def run(record: Record, scale: Scale, seconds: float) -> None:
    """Start everyone side by side, then compare, then take turns: each round is written when it is done."""
    until = time.monotonic() + seconds - LAST
    record.put("speed", runs=scale.runs)
    with tempfile.TemporaryDirectory() as folder, closing([]) as started:
        there: dict[tuple[Case, str], Worker] = {}
        for case, problem in zip(scale.cases, problems(scale.cases, Path(folder)), strict=True):
            for who in MODULES:
                worker = Worker(MODULES[who], options(who, case, scale), case, problem, variables=variables(who))
                there[case, who] = worker
                started.append(worker)
        ready = {place: worker for place, worker in there.items() if is_ready(record, place, worker)}
        compare(record, ready)
        for case in scale.cases:
            workers = {who: worker for (of, who), worker in ready.items() if of == case}
            if time.monotonic() < until:
                time_case(record, case, workers, scale, until)
        for (case, who), worker in ready.items():
            note(record, "about", f"{case.cell} {who}", answer(worker, "about"))


def problems(cases: Sequence[Case], folder: Path) -> list[str]:
    """The float64 truth of every case, computed on the processor."""
    paths = [folder / f"{case.cell}.npz" for case in cases]
    orders = [
        [sys.executable, "-m", "bench.reference", json.dumps(asdict(case)), str(path)]
        for case, path in zip(cases, paths, strict=True)
    ]
    on_cpu = environment({"JAX_PLATFORMS": "cpu"})
    running = [subprocess.Popen(order, cwd=ROOT, env=on_cpu) for order in orders]
    if any(process.wait() for process in running):
        raise RuntimeError("the float64 reference could not be computed")
    return [str(path) for path in paths]


def options(who: str, case: Case, scale: Scale) -> dict[str, Any]:
    return {"ways": whole(WAYS[case.cell][OURS], scale.runs)} if who == OURS else {"runs": scale.runs}


def whole(ways: Sequence[str], runs: int) -> dict[str, dict[str, Any]]:
    """What the name of a way of gradlab's means; jax's default on a GPU is TF32."""
    return {
        way: {
            "runs": runs if way.startswith("many") else 1,
            "measure": "ends" if "no norms" in way else "every",
            "precision": "default" if "TF32" in way else None,
        }
        for way in ways
    }


def variables(who: str) -> dict[str, str]:
    return GPU | PRECISE.get(who, {})


def is_ready(record: Record, place: tuple[Case, str], worker: Worker) -> bool:
    case, who = place
    began = time.perf_counter()
    try:
        worker.receive()
    except WorkerFailed as reason:
        note(record, "failed", f"{case.cell} {who}", str(reason)[-500:])
        return False
    say(f"{case}: {who} is there, {time.perf_counter() - began:.0f} s after the one before")
    return True


def compare(record: Record, ready: dict[tuple[Case, str], Worker]) -> None:
    """The errors of the first training step of each against float64, and of torch's with TF32."""
    for given in ({}, {"tf32": True}):
        asked = {place: worker for place, worker in ready.items() if not given or place[1] == TORCH}
        for worker in asked.values():
            worker.send("check", **given)
        for (case, who), worker in asked.items():
            found = heard(worker)
            errors = found if isinstance(found, dict) else {}
            largest = max(errors.values(), default=None)
            name = f"{case.cell} {who}" + ", TF32" * bool(given)
            say(f"{name}: largest error {largest} {found if not errors else ''}")
            note(record, "errors", name, {"largest": largest, "wrong": wrong(errors), "each": errors})


def heard(worker: Worker) -> Any:
    """The next result, or what went wrong, as text."""
    try:
        return worker.receive().result
    except WorkerFailed as reason:
        return str(reason)[-500:]


def answer(worker: Worker, do: str, **given: Any) -> Any:
    """Ask and wait."""
    worker.send(do, **given)
    return heard(worker)


def time_case(record: Record, case: Case, workers: dict[str, Worker], scale: Scale, until: float) -> None:
    """Rounds in which every way of everyone takes a turn."""
    entries = [
        entry
        for who, worker in workers.items()
        for way in WAYS[case.cell][who]
        if (entry := tried(record, case, who, worker, way))
    ]
    turns = [(entry.turn, share(entry.step_ms, scale.seconds, least=1)) for entry in entries]
    rounds: list[list[float]] = [[] for _ in entries]
    while turns and len(rounds[0]) < scale.rounds and time.monotonic() < until:
        for found, timing in zip(rounds, alternate(turns, 1), strict=True):
            found.extend(timing.rounds)
        times = {entry.key: {"ms": found} for entry, found in zip(entries, rounds, strict=True)}
        record.put("speed", **{f"times {case}": times})
    for entry, found in zip(entries, rounds, strict=True):
        say(f"{case}: {entry.key}: {min(found, default=0):.3f} ms at best of {len(found)}")


def tried(record: Record, case: Case, who: str, worker: Worker, way: str) -> Entry | None:
    """A way that works here, with the time of a short turn; what does not work is noted."""
    turn = trains(worker, way=way)
    try:
        return Entry(f"{who}: {way}", turn, pilot(turn))
    except WorkerFailed as reason:
        note(record, "failed", f"{case.cell} {who}: {way}", str(reason)[-500:])
        return None


def note(record: Record, kind: str, name: str, found: Any) -> None:
    """Add one thing to a table of this part."""
    table = record.read().get("speed", {}).get(kind, {})
    record.put("speed", **{kind: table | {name: found}})
