"""The parts, one after the other, each in a process that ends when its time does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench import say
from bench.fleet import ROOT
from bench.gpu import commands, machine, probe, profile, science, speed
from bench.gpu.record import Record
from bench.gpu.scale import SMALL, Scale

LOG = "bench-gpu.log"
GRACE = 5.0
"""Seconds beyond its time after which a part is ended."""


@dataclass(frozen=True)
class Part:
    """Args: seconds: that it may take at most. least: kept for it while those before it work."""

    name: str
    seconds: float
    least: float


PARTS = (
    Part("machine", 60, 15),
    Part("commands", 120, 45),
    Part("speed", 170, 100),
    Part("probe", 80, 40),
    Part("science", 130, 60),
    Part("profile", 120, 50),
)
NAMES = tuple(part.name for part in PARTS)


def measure(names: Sequence[str], out: Path, budget: float, scale: Scale, command: str) -> int:
    """Do the named parts in their order; 0 where each came to its end."""
    out.mkdir(parents=True, exist_ok=True)
    record, until = Record(out), time.monotonic() + budget
    small = scale is SMALL
    record.put("about", command=command, small=small, budget=budget)
    chosen = [part for part in PARTS if part.name in names]
    codes = []
    for place, part in enumerate(chosen):
        kept = sum(later.least for later in chosen[place + 1 :])
        seconds = min(scale.patience * part.seconds, until - time.monotonic() - kept - GRACE)
        began = time.monotonic()
        code = _in_a_process(part.name, out, seconds, small) if seconds > GRACE else None
        codes.append(code)
        took = time.monotonic() - began
        say(f"== {part.name}: exit {code} after {took:.0f} s of {seconds:.0f}")
        ended = record.read()["about"].get("parts", {})
        record.put("about", parts=ended | {part.name: {"exit": code, "seconds": took, "limit": seconds}})
    return int(any(code != 0 for code in codes))


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
    elif name == "science":
        science.run(record, scale, out, seconds)
    else:
        profile.run(record, scale, seconds)


def order_of(name: str, out: Path, seconds: float, small: bool) -> list[str]:
    """The command of a part."""
    order = [sys.executable, "-m", "bench.gpu", "--out", str(out)]
    return order + ["--part", name, "--seconds-budget", f"{seconds}"] + ["--small"] * small


def _in_a_process(name: str, out: Path, seconds: float, small: bool) -> int | None:
    """The exit code; None where its time was over. What it and its own processes print goes to the log."""
    order = order_of(name, out, seconds, small)
    say(f"== {name}: {seconds:.0f} s at most")
    with (out / LOG).open("a") as log:
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
