"""Where the time of a timestep goes: kernels in the loops, time against length, and what could make it less.

Each variant is a process, since XLA reads its flags once; they compile side by side and are timed one by one.
"""

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

from bench import say
from bench.case import Case
from bench.fleet import Worker, WorkerFailed, closing
from bench.gpu.record import Record
from bench.gpu.scale import Scale
from bench.gpu.speed import GPU, answer, whole
from bench.rounds import pilot, share, trains

COMMANDS = "--xla_gpu_enable_command_buffer=FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION"
FLAGS: dict[str, str] = {
    "as it is": "",
    "no command buffers": "--xla_gpu_enable_command_buffer=",
    "loops in command buffers": f"{COMMANDS},WHILE",
    "loops double-buffered": "--xla_gpu_enable_while_loop_double_buffering=true",
    "deterministic": "--xla_gpu_deterministic_ops=true",
}
PATCHES: dict[str, dict[str, int]] = {
    "unroll 4": {"timesteps": 4},
    "weight gradients at the end": {"stretch_bytes": 2**40},
}
WAYS = ("one", "many")
ROUNDS = 3
TIMING = 25.0
"""Seconds kept for the timing of what has compiled by then."""
BODY = re.compile(r"body=(%[\w.\-]+|[\w.\-]+)")
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
OPCODE = re.compile(r"^\s*(?:ROOT )?%?[\w.\-]+ = .*?\s([a-z][\w\-]*)\(")
FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all")
"""Instructions that launch nothing."""


def run(record: Record, scale: Scale, seconds: float) -> None:
    """The variants at the first size, then time against length; what there is no time for is left out."""
    until = time.monotonic() + seconds - 5.0
    case = scale.cases[0]
    flagged, patched = list(FLAGS.items())[: scale.variants], list(PATCHES.items())[: scale.variants]
    variants: dict[str, tuple[Case, dict[str, Any], str]] = {
        **{name: (case, {}, flags) for name, flags in flagged},
        **{name: (case, patch, "") for name, patch in patched},
        **{f"T={length}": (replace(case, length=length), {}, "") for length in scale.slope},
    }
    with closing([]) as workers:
        for of, patch, flags in variants.values():
            options = {"ways": whole(WAYS, scale.runs)} | patch
            workers.append(Worker("batched", options, of, variables=GPU | ({"XLA_FLAGS": flags} if flags else {})))
        late = gathered(workers, until - scale.patience * TIMING)
        for name, worker in zip(variants, workers, strict=True):
            found = late.get(worker) or timed(worker, until)
            record.put("profile", **{name: found})
            say(f"{name}: {found}")
            if name == "as it is" and "failed" not in found:
                record.put(
                    "profile", kernels={way: loops(str(answer(worker, "kernels", way=way))) for way in WAYS}
                )


def gathered(workers: Sequence[Worker], until: float) -> dict[Worker, dict[str, Any]]:
    """Wait for all, so that none is timed while another compiles; what is wrong with those that do not come."""

    def heard(worker: Worker) -> dict[str, Any] | None:
        try:
            worker.receive()
        except WorkerFailed as reason:
            return {"failed": str(reason)[-300:]}
        return None

    with ThreadPoolExecutor(len(workers)) as threads:
        waiting = {worker: threads.submit(heard, worker) for worker in workers}
        wait(waiting.values(), timeout=max(0.0, until - time.monotonic()))
        for worker, future in waiting.items():
            if not future.done():
                worker.kill()
        return {worker: found for worker, future in waiting.items() if (found := future.result())}


def timed(worker: Worker, until: float) -> dict[str, Any]:
    """ms per training step of each way, or what went wrong."""
    try:
        if time.monotonic() > until:
            return {"failed": "no time left"}
        found: dict[str, Any] = {}
        for way in WAYS:
            turn = trains(worker, way=way)
            steps = share(pilot(turn), 0.2, least=1)
            found[way] = [turn(steps) for _ in range(ROUNDS)]
        about = worker.ask("about").result
        return found | {"compile_s": {way: about[way]["compile_s"] for way in WAYS}}
    except WorkerFailed as reason:
        return {"failed": str(reason)[-300:]}


def loops(text: str) -> list[dict[str, Any]]:
    """Of each loop of a compiled program, how often it runs and what a round of it launches, by kind."""
    bodies = _computations(text)
    found = []
    for line in text.splitlines():
        body = BODY.search(line)
        if " while(" not in line or body is None:
            continue
        kinds: dict[str, int] = {}
        for inner in bodies.get(body[1].lstrip("%"), []):
            opcode = OPCODE.match(inner)
            if opcode and opcode[1] not in FREE:
                kinds[opcode[1]] = kinds.get(opcode[1], 0) + 1
        trips = TRIPS.search(line)
        found.append({"times": int(trips[1]) if trips else None, "kinds": kinds})
    return found


def _computations(text: str) -> dict[str, list[str]]:
    """The lines of every computation, by its name."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            name = line.removeprefix("ENTRY ").split()[0].lstrip("%")
            lines = found.setdefault(name, [])
        elif line.startswith("}"):
            lines = []
        else:
            lines.append(line)
    return found
