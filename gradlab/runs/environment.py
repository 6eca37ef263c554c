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


def execution(dtype: str, shards: int = 1, together: int = 1) -> dict[str, Any]:
    """Platform, device, shards, arithmetic and compiler: equal bits are promised where all of these agree."""
    import jax

    from gradlab.training.jit_cache import product_precision

    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "cpu": _cpu(),
        "shards": shards,
        "dtype": dtype,
        "matmul_precision": product_precision() or "default",
        "jaxlib": importlib.metadata.version("jaxlib"),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    } | ({"together": together} if together > 1 else {})


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
