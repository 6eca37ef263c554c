"""What this machine computes on; devices have to be set before jax starts."""

import os
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any

from gradlab.errors import GradlabError

TOGETHER_ON_GPU = 64
"""Default number of runs that a GPU trains at once; one small run leaves most of it idle."""


def devices_for(batch: int) -> int:
    """Make each core a device of jax; returns how many devices a batch of that size can be split over evenly.

    If jax has started, its devices stay as they are.
    """
    import jax

    with suppress(RuntimeError):  # jax has started
        jax.config.update("jax_num_cpu_devices", cores())
    return max(count for count in range(1, len(known_devices()) + 1) if batch % count == 0)


def known_devices() -> list[Any]:
    """The devices of jax; GradlabError if it has none."""
    import jax

    try:
        return list(jax.devices())
    except (AssertionError, RuntimeError) as error:
        platforms = os.environ.get("JAX_PLATFORMS") or "any"
        reason = f": {error}" if str(error) else ""
        raise GradlabError(f"jax finds no device of JAX_PLATFORMS={platforms}{reason}") from error


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallelism(jobs: int | None, together: int | None) -> dict[str, Any]:
    """The engine's settings for the GPUs of this machine, or else its cores.

    Args:
        jobs: processes; by default one per GPU or core.
        together: runs of equal shape in one program; by default 1 on cores.
    """
    found = gpus()
    return {
        "jobs": jobs or len(found) or cores(),
        "together": together or (TOGETHER_ON_GPU if found else 1),
        "gpus": found,
    }


def gpus() -> tuple[str, ...]:
    """The GPUs that jax finds, as CUDA_VISIBLE_DEVICES names them."""
    if not entry_points(group="jax_plugins") or os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return ()
    # In another process, because one that has started jax holds the memory of every GPU.
    code = "import jax; print(sum(device.platform == 'gpu' for device in jax.devices()))"
    # That memory may be in use by another command.
    env = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    answer = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    count = int(answer.stdout) if answer.returncode == 0 else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(named.split(","))[:count] if named else tuple(str(number) for number in range(count))
