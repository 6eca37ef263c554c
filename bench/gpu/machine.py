"""The card, the driver, the versions, and whether gradlab starts there."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.fleet import ROOT

LIBRARIES = (
    "jax",
    "jaxlib",
    "jax-cuda13-plugin",
    "jax-cuda13-pjrt",
    "torch",
    "nvidia-cudnn-cu13",
    "flax",
    "optax",
)
MORE = (
    "equinox",
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "typer",
    "rich",
    "distributed",
    "pytest",
    "hypothesis",
)
QUERY = "name,memory.total,driver_version,clocks.sm,clocks.max.sm,power.limit,temperature.gpu"

IMPORT = """
import time
started = time.perf_counter()
import jax
from gradlab.runs.environment import execution
from gradlab.runs.selftest import rounded_products
device = jax.devices()[0]
print("platform:", device.platform)
print("device:", device.device_kind)
print("client:", " ".join(device.client.platform_version.split()))
print("execution:", execution("float32"))
print("products:", rounded_products().seen)
print(f"seconds: {time.perf_counter() - started:.1f}")
"""


def look() -> dict[str, Any]:
    """Everything that stands above the tables."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "card": _nvidia(),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in (*LIBRARIES, *MORE)},
        "jax": _jax(),
        "environment": {
            name: value for name, value in os.environ.items() if name.startswith(("XLA", "JAX", "CUDA"))
        },
    }


def _nvidia() -> dict[str, str]:
    if shutil.which("nvidia-smi") is None:
        return {"name": "no GPU"}
    order = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]
    answer = subprocess.run(order, capture_output=True, text=True, check=False, timeout=60)
    values = (answer.stdout.strip().splitlines() or [answer.stderr.strip()])[0].split(", ")
    return dict(zip(QUERY.split(","), values, strict=False))


def _jax() -> dict[str, str]:
    """What jax and gradlab say of the device, from a process of their own."""
    answer = subprocess.run([sys.executable, "-c", IMPORT], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line.split(": ", 1) for line in answer.stdout.splitlines() if ": " in line]
    found = {name: value for name, value in lines}
    return found if answer.returncode == 0 else found | {"failed": answer.stderr[-2000:]}


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not there"
