"""What a command computes on; set before jax starts, which is why it is decided here."""

import os
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any

TOGETHER_ON_GPU = 64
"""Runs of equal shape that a GPU trains at once unless told; one small run leaves most of it idle."""


def devices_for(batch: int) -> int:
    """Make each core a device of jax and return how many of them a batch can be split over evenly.

    Where jax has started already its devices are taken as they are.

    Args:
        batch: examples in a training step.
    """
    import jax

    with suppress(RuntimeError):  # jax has started, with the devices that it has
        jax.config.update("jax_num_cpu_devices", cores())
    return max(count for count in range(1, len(jax.devices()) + 1) if batch % count == 0)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shares(jobs: int | None, together: int | None) -> dict[str, Any]:
    """The settings that say how many runs are done at a time: on the GPUs of this machine, else on its cores.

    Args:
        jobs: processes; None is one for each GPU or core.
        together: runs of equal shape in one program; None is 1 on cores.
    """
    found = gpus()
    return {
        "jobs": jobs or len(found) or cores(),
        "together": together or (TOGETHER_ON_GPU if found else 1),
        "gpus": found,
    }


def gpus() -> tuple[str, ...]:
    """The GPUs that jax finds here, as CUDA_VISIBLE_DEVICES names them."""
    if not entry_points(group="jax_plugins") or os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return ()
    # Asked of another process, because one that has started jax holds the memory of every GPU.
    code = "import jax; print(sum(device.platform == 'gpu' for device in jax.devices()))"
    # It need hold none of that memory itself, which another command may be using.
    quiet = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    answer = subprocess.run([sys.executable, "-c", code], env=quiet, capture_output=True, text=True, check=False)
    count = int(answer.stdout) if answer.returncode == 0 else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(named.split(","))[:count] if named else tuple(str(number) for number in range(count))
