"""The parts, one after the other, each in a process that ends when its time does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench import say
from bench.fleet import ROOT
from bench.gpu import commands, machine, persistent, probe, profile, science, speed
from bench.gpu.record import Record
from bench.gpu.scale import SMALL, Scale

GRACE = 5.0
"""Seconds beyond its time after which a part is ended."""


@dataclass(frozen=True)
class Stage:
    """Parts that run side by side.

    Args:
        seconds: that it may take at most.
        least: kept for it while those before it work.
    """

    parts: tuple[str, ...]
    seconds: float
    least: float


STAGES = (
    Stage(("machine",), 60, 15),
    # No target is about the time of a command, and the tests would take another two minutes.
    Stage(("commands", "science"), 150, 90),
    Stage(("speed",), 170, 100),
    Stage(("probe",), 80, 40),
    Stage(("kernel",), 60, 30),
    Stage(("profile",), 200, 50),
)
NAMES = tuple(part for stage in STAGES for part in stage.parts)


def measure(names: Sequence[str], out: Path, budget: float, scale: Scale, command: str) -> int:
    """Do the named parts in their order; 0 where each came to its end."""
    out.mkdir(parents=True, exist_ok=True)
    record, until = Record(out), time.monotonic() + budget
    record.put("about", command=command, small=scale is SMALL, budget=budget)
    chosen = [(stage, [part for part in stage.parts if part in names]) for stage in STAGES]
    chosen = [(stage, parts) for stage, parts in chosen if parts]
    codes: list[int | None] = []
    for place, (stage, parts) in enumerate(chosen):
        kept = sum(later.least for later, _ in chosen[place + 1 :])
        seconds = min(scale.patience * stage.seconds, until - time.monotonic() - kept - GRACE)
        with ThreadPoolExecutor() as threads:
            codes += threads.map(lambda part, limit=seconds: one(record, part, limit, scale is SMALL), parts)
    return int(any(code != 0 for code in codes))


def one(record: Record, name: str, seconds: float, small: bool) -> int | None:
    """A part in its process, and how it ended; nothing where there is no time for it."""
    say(f"== {name}: {seconds:.0f} s at most")
    began = time.monotonic()
    code = _in_a_process(name, record.path.parent, seconds, small) if seconds > GRACE else None
    took = time.monotonic() - began
    say(f"== {name}: exit {code} after {took:.0f} s of {seconds:.0f}")
    record.put("parts", **{name: {"exit": code, "seconds": took, "limit": seconds}})
    return code


def do(name: str, out: Path, scale: Scale, seconds: float) -> None:
    """One part, here."""
    record = Record(out)
    if name == "machine":
        record.put(name, **machine.look())
    elif name == "commands":
        commands.run(record, scale)
    elif name == "speed":
        speed.run(record, scale, seconds)
    elif name == "probe":
        probe.run(record, scale)
    elif name == "kernel":
        persistent.run(record, scale)
    elif name == "science":
        science.run(record, scale, out, seconds)
    else:
        profile.run(record, scale, seconds)


def order_of(name: str, out: Path, seconds: float, small: bool) -> list[str]:
    """The command of a part."""
    order = [sys.executable, "-m", "bench.gpu", "--out", str(out)]
    return order + ["--part", name, "--seconds-budget", f"{seconds}"] + ["--small"] * small


def _in_a_process(name: str, out: Path, seconds: float, small: bool) -> int | None:
    """The exit code; None where its time was over. What it and its own processes print goes to a log."""
    order = order_of(name, out, seconds, small)
    with (out / ("science.log" if name == "science" else "bench-gpu.log")).open("a") as log:
        log.write(f"\n==== {name}\n")
        log.flush()
        process = subprocess.Popen(order, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        try:
            return process.wait(timeout=seconds + GRACE)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with suppress(ProcessLookupError):  # whatever is left of it would disturb the next one
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
