"""How a run was computed: versions, the commit, the command, and what decides the bits."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from gradlab.runs.devices import known_devices

_PACKAGES = ("gradlab-rnn", "jax", "jaxlib", "optax", "numpy", "scipy", "pandas", "typer")


def environment(dtype: str, shards: int = 1, together: int = 1) -> dict[str, Any]:
    """Everything for `env.json`; `execution` holds what equal bits depend on."""
    return {
        "versions": versions(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "git": _git(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "execution": execution(dtype, shards, together),
    }


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Version of every package that matters."""
    found = {}
    plugins = {entry.dist.name for entry in importlib.metadata.entry_points(group="jax_plugins") if entry.dist}
    for package in (*_PACKAGES, *sorted(plugins)):  # GPU backends are plug-ins of jax
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


_NEUTRAL = (
    "PLATFORM",
    "COMPILATION_CACHE",
    "PERSISTENT_CACHE",
    "ENABLE_COMPILATION_CACHE",
    "TRACEBACK",
    "LOG",
    "DUMP",
)
_ELSEWHERE = ("ENABLE_X64", "NUM_CPU_DEVICES", "DEFAULT_MATMUL_PRECISION")


def execution(dtype: str, shards: int = 1, together: int = 1) -> dict[str, Any]:
    """Platform, device, shards, arithmetic and compiler: equal bits are promised where all of these agree.

    Environment variables of jax are among them, but those that do not move numbers (`_NEUTRAL`), are recorded in
    another field (`_ELSEWHERE`) or have no effect (`numerics.PINNED`).
    """
    from gradlab.gradient.program import product_precision

    device = known_devices()[0]
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "cpu": _cpu(),
        "shards": shards,
        "dtype": dtype,
        "matmul_precision": product_precision() or "default",
        "jaxlib": importlib.metadata.version("jaxlib"),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    } | {
        name: value
        for name, value in (("together", together), ("jax_settings", _jax_settings()))
        if value not in (1, {})
    }


def _jax_settings() -> dict[str, str]:
    from gradlab.training.numerics import PINNED

    known = (*(f"JAX_{name}" for name in (*_NEUTRAL, *_ELSEWHERE)), *(name.upper() for name in PINNED))
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith("JAX_") and not name.startswith(known)
    }


def _cpu() -> str:
    """The processor's own name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@lru_cache(maxsize=1)  # the code that this process has loaded does not change
def _git() -> dict[str, Any] | None:
    """The commit of the working directory and whether it has changes, None outside a repository."""

    def output_of(*words: str) -> str:
        done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()

    try:
        return {"commit": output_of("rev-parse", "HEAD"), "dirty": bool(output_of("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
