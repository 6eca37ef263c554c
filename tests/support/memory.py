"""Compiled programs of finished test files are dropped before a worker holds too many of them."""

import ctypes
import gc
import os

import jax

from gradlab.cells.traced import TraceCache

MOST = 1.0e9
"""Resident bytes of a worker, above which it starts the next file without compiled programs."""


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def drop_programs():
    # By type: isinstance asks an object for its class, and there are proxies among all objects that fail at that.
    for cache in [each for each in gc.get_objects() if type(each) is TraceCache]:
        cache.clear()
    jax.clear_caches()
    gc.collect()
    # The allocator keeps what is free unless it is asked to return it.
    ctypes.CDLL(None).malloc_trim(0)
