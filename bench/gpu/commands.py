"""The commands of the README on the GPU, timed from the shell, with the end of what they printed."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import say
from bench.fleet import ROOT
from bench.gpu.record import Record
from bench.gpu.scale import Scale
from bench.gpu.speed import GPU

GRADLAB = (sys.executable, "-c", "from gradlab.__main__ import entry; entry()")
TAIL = 1200
LIMIT = 90.0
"""Seconds for one command."""

SWEEP = """
title = "Many small runs at once"
question = "How long do they take?"

[base]
task = "adding"
cell = "lstm"
length = {length}
steps = {steps}

[grid]
seed = {seeds}
learning_rate = [0.001, 0.01]
"""


def run(record: Record, scale: Scale) -> None:
    """Each command once; a training run twice, then from the cache, to see whether its bits are the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep = folder / "trial.toml"
        sweep.write_text(
            SWEEP.format(length=scale.length, steps=scale.sweep_steps, seeds=list(range(scale.seeds)))
        )
        train = ["run", "adding", "--len", scale.length, "--cell", "lstm", "--steps", scale.run_steps]
        orders: dict[str, Sequence[Any]] = {
            "doctor": ["doctor"],
            "run": [*train, "--results", folder / "one"],
            "run, compiled before": [*train, "--results", folder / "two"],
            "sweep": ["sweep", sweep, "--together", 2 * scale.seeds, "--results", folder / "sweep"],
            "probe": [
                "probe",
                "adding",
                "--cell",
                "lstm",
                "--len",
                f"50,{scale.length}",
                "--results",
                folder / "one",
            ],
        }
        for title, words in orders.items():
            record.put("commands", **{title: execute(words, folder / "cache")})
        record.put("commands", bits=same_bits(folder / "one", folder / "two"))
        record.put("commands", costs={name: costs(folder / name) for name in ("one", "two", "sweep")})


def execute(words: Sequence[Any], cache: Path) -> dict[str, Any]:
    """Exit code, seconds, and the end of both streams."""
    variables = os.environ | GPU | {"GRADLAB_CACHE": str(cache), "PYTHONUNBUFFERED": "1"}
    typed = shlex.join(["gradlab", *map(str, words)])
    say(f"$ {typed}")
    started = time.perf_counter()
    code, text = _finish([*GRADLAB, *map(str, words)], variables)
    seconds = time.perf_counter() - started
    say(f"exit {code} after {seconds:.1f} s\n{text[-TAIL:]}")
    return {"command": typed, "exit": code, "seconds": seconds, "tail": text[-TAIL:]}


def _finish(order: Sequence[str], variables: Mapping[str, str]) -> tuple[int | None, str]:
    """The exit code, None where it took too long, and both streams as one."""
    try:
        done = subprocess.run(
            order,
            cwd=ROOT,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired as late:
        written = late.stdout or b""
        return None, written.decode(errors="replace") if isinstance(written, bytes) else written
    return done.returncode, done.stdout


def costs(results: Path) -> dict[str, Any]:
    """What the stored runs that trained say of their own time, the most of each; a batched program's is of all."""
    found = [json.loads(path.read_text()) for path in sorted(results.glob("runs/*/done.json"))]
    trained = [done for done in found if done.get("training_steps")]
    names = ("compile_seconds", "measure_seconds", "train_seconds", "wall_seconds", "training_bytes")
    return {"runs": len(trained)} | {
        name: max((done.get(name) or 0 for done in trained), default=0) for name in names
    }


def same_bits(one: Path, two: Path) -> dict[str, Any]:
    """For each array of the runs in both folders, the largest difference; 0 is the same bits."""
    found = {}
    for path in sorted(one.glob("**/*.npz")):
        other = two / path.relative_to(one)
        if other.exists():
            with np.load(path) as mine, np.load(other) as theirs:
                for name in mine.files:
                    found[f"{path.stem}/{name}"] = _difference(mine[name], theirs[name])
    apart = {name: value for name, value in found.items() if value}
    return {"arrays": len(found), "apart": apart}


def _difference(mine: np.ndarray, theirs: np.ndarray) -> float:
    if mine.shape != theirs.shape or mine.dtype.kind not in "fiu":
        return 0.0 if mine.shape == theirs.shape and bool(np.all(mine == theirs)) else float("inf")
    if np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f"):
        return 0.0
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.abs(mine.astype(np.float64) - theirs)))
