"""Peak resident memory of a process, from Linux."""

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

MB = 1e6


def growth_mb(work: Callable[[], Any]) -> float:
    """MB by which the resident memory of this process grows at most while `work` runs for the second time.

    The first time also loads code of libraries and starts threads, some 40 MB at any size. Before the second the
    allocator gives back all that it keeps, which would hide the growth, and the kernel's mark of the peak is set
    back to the memory of now.
    """
    work()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    work()
    return (_status("VmHWM") - before) / MB


def _status(name: str) -> int:
    """Bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])
