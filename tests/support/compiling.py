"""One compilation cache for all tests of a session, for its workers and for the commands that they start."""

import os
import shutil
import tempfile

CACHE_OF_TESTS = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES",
)


def share():
    """Set it up, before jax is imported; returns what removes it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return lambda: None
    # XLA logs an error about CPU features for every program that it loads.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    folder = tempfile.mkdtemp(prefix="gradlab-tests-")
    os.environ.update(zip(CACHE_OF_TESTS, (folder, "0", "-1"), strict=True))
    return lambda: shutil.rmtree(folder, ignore_errors=True)
