import gc
import os
import sys
from pathlib import Path

import pytest

# Tests are imported by path, so the folder of what they share has to be named for `import oracles`.
sys.path.insert(0, str(Path(__file__).parent / "support"))

os.environ.setdefault("KERAS_BACKEND", "jax")  # keras reads it when it is imported

# Tracing makes many small objects that live on; Python's own thresholds have them looked at all the time.
gc.set_threshold(50_000, 50, 100)

import compiling

remove_cache = compiling.share()
memory = compiling.Memory()

import jax

compiling.share_contexts()

from gradlab.cli.app import main


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not pyfuncitem.get_closest_marker("as_users") or not compiling.is_quick():
        return None
    said = compiling.as_users_compile(str(pyfuncitem.path))
    assert f"PASSED {pyfuncitem.nodeid}\n" in said, said
    return True


def pytest_runtest_logfinish():
    memory.check()


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def typed(capsys):
    """Types a command: exit code, stdout, stderr."""

    def type_(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return type_


def pytest_unconfigure():
    remove_cache()
