"""How tests compile: into one cache of a session, its workers and the commands they start, and not optimised.

Most of what tests compute is compiled once and run for milliseconds. Without LLVM's optimisation and the fusion
emitters, and in one part, XLA compiles in a third of the time, from the same program
(`python tests/support/compiling.py`).
"""

import ctypes
import functools
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import threading

CACHE_OF_TESTS = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES",
)
QUICK = " ".join(
    (
        "--xla_backend_optimization_level=0",
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_cpu_parallel_codegen_split_count=1",
    )
)


LIMIT = 1_200_000_000
"""Bytes in memory from which on a worker drops what it has compiled."""


class Memory:
    """Keeps a worker small: without it one of two grows to 5.6 GB."""

    def __init__(self):
        self.limit = LIMIT

    def check(self):
        """Drop compiled programs, all of which are in the cache, if there are many."""
        if resident() < self.limit:
            return
        import jax

        from gradlab.cells.traced import TraceCache

        jax.clear_caches()
        modules = [module for name, module in sys.modules.items() if name.startswith("gradlab.")]
        for cache in (value for module in modules for value in vars(module).values()):
            if isinstance(cache, TraceCache):
                cache.clear()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what lies between blocks in use
        self.limit = max(LIMIT, resident() + LIMIT // 4)


class Contexts(threading.local):
    """Lowers many programs of a thread in one MLIR context: making one takes longer than lowering a small program.

    What is lowered is the same. A program that is lowered within another one gets a context of its own, as in jax.
    """

    PROGRAMS = 200
    """After these a new one is made, because a context keeps every constant."""

    def __init__(self, make, mlir):
        self.make, self.mlir, self.count, self.shared = make, mlir, 0, None

    def __call__(self):
        """What stands for `make_ir_context` of jax."""
        try:
            self.mlir.Context.current  # noqa: B018
        except ValueError:
            if self.count % self.PROGRAMS == 0:
                self.shared = self.make()
            self.count += 1
            return self.shared
        return self.make()


def share_contexts():
    """Have jax lower in `Contexts` from now on, if it is one whose inside is known."""
    from jax._src.interpreters import mlir

    if is_quick() and hasattr(mlir, "make_ir_context"):
        mlir.make_ir_context = Contexts(mlir.make_ir_context, mlir.ir)


def resident():
    """Bytes of this process in memory; 0 where no file says so."""
    if not os.path.exists("/proc/self/statm"):
        return 0
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def is_quick():
    """Whether this process compiles as tests do."""
    return os.environ.get("XLA_FLAGS") == QUICK


@functools.cache
def as_users_compile(path):
    """What pytest says of the tests of a file marked `as_users`, in a process that compiles as users do."""
    command = [sys.executable, "-m", "pytest", "-rA", "-q", "-m", "as_users", "-p", "no:cacheprovider", path]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, env=quiet | {"XLA_FLAGS": ""}, capture_output=True, text=True)
    return done.stdout + done.stderr


def share():
    """Set it up, before jax is imported; returns what removes it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return lambda: None
    # XLA logs an error about CPU features for every program that it loads.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("XLA_FLAGS", QUICK)
    folder = tempfile.mkdtemp(prefix="gradlab-tests-")
    os.environ.update(zip(CACHE_OF_TESTS, (folder, "0", "-1"), strict=True))
    return lambda: shutil.rmtree(folder, ignore_errors=True)


def measure():
    """Processor seconds of two small runs, as users compile and as tests do, in turns."""
    code = """
import time
from gradlab.runs.execute import run
from gradlab.runs.spec import RunSpec
started = time.process_time()
for cell, hidden in (("lstm", 8), ("gru", 7)):
    run(RunSpec(cell=cell, length=10, hidden=hidden, steps=3, batch=4, measure_batch=5))
print(f"{time.process_time() - started:.1f}")
"""
    for _ in range(3):
        for flags in ("", QUICK):
            environment = os.environ | {"XLA_FLAGS": flags, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
            print(
                flags or "default",
                subprocess.check_output([sys.executable, "-c", code], env=environment, text=True),
            )


if __name__ == "__main__":
    measure()
