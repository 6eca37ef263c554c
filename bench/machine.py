"""Where and with what it was measured."""

import importlib.metadata
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bench.fleet import ROOT

LIBRARIES = ("jax", "jaxlib", "optax", "torch", "flax", "equinox", "numpy")


def heading(command: str) -> dict[str, str]:
    """What stands above the tables."""
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return {
        "command": command,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {_memory_gb():.0f} GB",
        "load before": f"{load} (averages over 1, 5 and 15 minutes)",
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {version}" for name, version in _versions()),
        "commit": _commit(),
    }


def _versions() -> Iterator[tuple[str, str]]:
    """Of the libraries that are installed: a section without peers needs none of them."""
    for name in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            yield name, importlib.metadata.version(name)


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    flags = Path("/proc/cpuinfo").read_text()
    return (found[1] if found else platform.machine()) + (" with AVX-512" if "avx512f" in flags else "")


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")
