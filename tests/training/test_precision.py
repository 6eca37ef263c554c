"""What matrix products are computed in: all of float32, also where a device would round the factors."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from gradlab.gradient.program import Program, product_precision
from gradlab.runs.environment import execution, versions
from gradlab.training.jit_cache import compile_in_parallel

SQUARE = jnp.ones((8, 8), jnp.float32)


def asked(program):
    return "operand_precision={highest,highest}" in program.compiled(SQUARE).as_text()


@pytest.fixture
def gpu(monkeypatch):
    """jax names a GPU as its device; everything else stays, so that what is asked of the compiler can be read."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def test_a_gpu_is_asked_for_all_of_float32(gpu):
    program = Program(lambda x: x @ x)
    assert asked(program)
    assert execution("float32")["matmul_precision"] == "highest"


def test_what_jax_was_told_comes_first(gpu):
    program = Program(lambda x: x @ x)
    with jax.default_matmul_precision("tensorfloat32"):
        assert not asked(program)
        assert execution("float32")["matmul_precision"] == "tensorfloat32"
    assert asked(program), "it was not compiled anew"


def test_threads_that_compile_know_what_jax_was_told():
    program = Program(lambda x: x @ x)
    with jax.default_matmul_precision("highest"):
        compile_in_parallel(partial(program.compiled, SQUARE))
        seconds = program.compile_seconds
        assert asked(program)
        assert program.compile_seconds == seconds, "it was compiled twice"


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="another device may round")
def test_a_cpu_is_asked_for_nothing():
    assert product_precision() is None
    assert execution("float32")["matmul_precision"] == "default"
    program = Program(lambda x: x @ x)
    assert not asked(program)
    with jax.default_matmul_precision("highest"):
        assert asked(program)


def test_what_computes_on_a_gpu_is_among_the_versions(monkeypatch):
    class Plugin:
        class dist:
            name = "pytest"  # stands for a distribution that is installed

    import importlib.metadata

    versions.cache_clear()
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [Plugin] if group == "jax_plugins" else []
    )
    found = versions()
    versions.cache_clear()
    assert found["pytest"] == pytest.__version__ and found["jax"] == jax.__version__
