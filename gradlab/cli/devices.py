"""How many devices a command computes on; set before jax starts, which is why it is decided here."""

import os
from contextlib import suppress


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
