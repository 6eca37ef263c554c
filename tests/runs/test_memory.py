"""Memory that was freed is there for the next call: counted in page faults, of which time depends on nothing."""

import os
import platform
import subprocess
import sys

import pytest

PROBE = """
import resource, sys
import numpy as np
if sys.argv[1] == "kept":
    from gradlab.runs.worker import keep_memory
    keep_memory()
def touch():
    np.empty(2**24, np.uint8).fill(1)
    np.empty(2**26, np.uint8).fill(1)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    """Page faults of 40 blocks, in the surroundings that Dask gives a worker."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", PROBE, how]
    env["MALLOC_TRIM_THRESHOLD_"] = "65536"
    return int(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory as it likes")
def test_freed_memory_is_not_faulted_in_again():
    given_back = faults("given back")
    assert given_back >= 20 * 2**26 // 2**21, "a block of 64 MB is at least 32 huge pages"
    assert faults("kept") < given_back / 10
