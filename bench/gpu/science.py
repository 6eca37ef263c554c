"""The tests of cells, gradient and training on the device that jax finds, spread over processes."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench import say
from bench.fleet import ROOT
from bench.gpu.record import Record
from bench.gpu.scale import Scale

ROOMS = ("tasks", "cells", "gradient", "training")
FIRST = (
    "test_adjoint",
    "test_cells",
    "test_closed_forms",
    "test_unroll",
    "test_state_grad_norms",
    "test_precision",
)
VARIABLES = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Only the plug-ins that are named: what else is installed there may warn, and a warning is an error here.
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    # Nearly all of the time is compiling; what is tuned by trial there is the choice among kernels for a product.
    "XLA_FLAGS": "--xla_gpu_autotune_level=0",
}
PRECISE = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
LEAST = 25.0
"""Seconds that have to be left for a second pass over what failed."""
CLOSING = 12.0
"""Seconds in which pytest writes down what it has when it is interrupted."""
LINE = re.compile(r"^\[gw\d+\] \[ *\d+%\] (PASSED|FAILED|SKIPPED|ERROR) (\S.*?)\s*$", re.MULTILINE)


def run(record: Record, scale: Scale, folder: Path, seconds: float) -> None:
    """All of them; then those that failed once more, with all of float32 asked for everywhere."""
    until = time.monotonic() + seconds
    tests = science_files()[: scale.tests]
    record.put("science", files=[path.name for path in tests])
    words = [str(path.relative_to(ROOT)) for path in tests]
    rooms = [f"gradlab/{name}" for name in ROOMS] if scale.tests is None else []
    found = passed(words + rooms, folder / "junit.xml", scale.jobs, {}, seconds)
    record.put("science", first=found)
    left = until - time.monotonic()
    if found["failed"] and left > LEAST:
        again = passed([*found["failed"]], folder / "junit-highest.xml", scale.jobs, PRECISE, left)
        record.put("science", again=again)


def science_files() -> list[Path]:
    """The test files of the science rooms, those first that say the most."""
    chosen = [path for room in ROOMS for path in sorted((ROOT / "tests" / room).glob("test_*.py"))]
    return sorted(chosen, key=lambda path: FIRST.index(path.stem) if path.stem in FIRST else len(FIRST))


def passed(words: Sequence[str], junit: Path, jobs: int, more: dict[str, str], seconds: float) -> dict[str, Any]:
    """How many passed, and what each of the others said; after the time, of those that were done by then."""
    there = importlib.util.find_spec("pytest_timeout") is not None
    timeout = ["-p", "pytest_timeout", "--timeout=90"] if there else []
    spread = ["-p", "xdist.plugin", "-n", str(jobs), "--dist", "worksteal"]
    order = [sys.executable, "-m", "pytest", *words, *spread, *timeout, "-v", "--tb=short", f"--junitxml={junit}"]
    order += ["-p", "no:cacheprovider"]
    variables = os.environ | VARIABLES | more
    variables["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {VARIABLES['XLA_FLAGS']}".strip()
    say(f"$ {' '.join(order)}")
    started = time.monotonic()
    text, ended = _watched(order, variables, seconds - CLOSING)
    by_line = dict((test, how) for how, test in LINE.findall(text))
    whys = _reasons(junit)
    failed = {test: whys.get(_key(test), "") for test, how in by_line.items() if how in ("FAILED", "ERROR")}
    counts = {how.lower(): sum(one == how for one in by_line.values()) for how in ("PASSED", "FAILED", "SKIPPED")}
    say("\n".join([*text.splitlines()[-12:], f"{counts}", *(f"{test}: {why}" for test, why in failed.items())]))
    took = time.monotonic() - started
    return {"seconds": took, "ended": ended, "counts": counts, "failed": failed, "tail": text[-1500:]}


def _watched(order: Sequence[str], variables: dict[str, str], seconds: float) -> tuple[str, bool]:
    """What it printed, and whether it came to its end; it is interrupted, then killed, where it takes longer."""
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(order, cwd=ROOT, env=variables, stdout=printed, stderr=subprocess.STDOUT)
        ended = _waited(process, seconds)
        for ask in (signal.SIGINT, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(ask)
                _waited(process, CLOSING - 2)
        printed.seek(0)
        return printed.read(), ended


def _waited(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it ended within these seconds."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=max(1.0, seconds))
        return True
    return False


def _reasons(junit: Path) -> dict[str, str]:
    """By test, the first line of its failure."""
    if not junit.exists():
        return {}
    found = {}
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        for kind in ("failure", "error"):
            failure = case.find(kind)
            if failure is not None:
                message = " ".join((failure.get("message") or failure.text or "").split())
                stem = (case.get("classname") or "").rpartition(".")[2]
                found[f"{stem}::{case.get('name')}"] = message[:400]
    return found


def _key(test: str) -> str:
    """`tests/test_a.py::test_b[1]` as junit names it, without the folders."""
    path, _, name = test.partition("::")
    return f"{Path(path).stem}::{name}"
