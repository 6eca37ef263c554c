"""Numbers do not depend on how jax was set up by the environment or by other code of the process."""

import json
import os

import jax
import numpy as np
import pytest

from gradlab.runs.environment import execution
from gradlab.runs.execute import run
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store
from gradlab.training.numerics import PINNED, numerics

SPEC = RunSpec(cell="rnn", length=6, hidden=3, measure_batch=3, steps=0)
OTHERWISE = {
    "jax_threefry_partitionable": False,
    "jax_default_prng_impl": "rbg",
    "jax_random_seed_offset": 7,
    "jax_numpy_dtype_promotion": "strict",
    "jax_disable_jit": True,
    "jax_disable_most_optimizations": True,
}


def curve(result):
    return result.curve().typical().tobytes()


@pytest.fixture(scope="module")
def expected():
    return curve(run(SPEC))


@pytest.fixture
def changed():
    """Sets jax up in another way for one test."""
    before = {name: jax.config.values[name] for name in OTHERWISE}
    yield jax.config.update
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_setting_of_jax_moves_no_number_and_stays_as_it_was(expected, changed, name):
    changed(name, OTHERWISE[name])
    assert curve(run(SPEC)) == expected
    assert jax.config.values[name] == OTHERWISE[name] != PINNED[name]


def test_one_of_them_would_move_numbers(expected, changed):
    """So the test above can fail."""
    with numerics("float32"):
        pinned = np.asarray(jax.random.uniform(jax.random.key(0), (3,)))
    changed("jax_random_seed_offset", 7)
    assert not np.array_equal(pinned, jax.random.uniform(jax.random.key(0), (3,)))


def test_the_environment_moves_no_number_of_a_command(expected, typed, tmp_path, monkeypatch):
    names = {"JAX_THREEFRY_PARTITIONABLE": "0", "JAX_RANDOM_SEED_OFFSET": "7", "JAX_DEFAULT_PRNG_IMPL": "rbg"}
    for name, value in {**names, "JAX_USE_DIRECT_LINEARIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    words = ["--cell", "rnn", "--len", "6", "--hidden", "3", "--measure-batch", "3", "--results", tmp_path]
    code, out, _ = typed("probe", "adding", *words, "--json", "-q")
    (record,) = json.loads(out)["runs"]
    stored = Store(tmp_path).find(record["id"])
    assert code == 0 and record["id"] == SPEC.id
    assert stored.arrays()["task/state/typical"][-1].tobytes() == expected
    assert stored.env()["execution"]["jax_settings"] == {"JAX_USE_DIRECT_LINEARIZE": "1"}


def test_an_ordinary_environment_adds_nothing(monkeypatch):
    for name in [name for name in os.environ if name.startswith("JAX_")]:
        monkeypatch.delenv(name)
    assert "jax_settings" not in execution("float32")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "somewhere")
    assert "jax_settings" not in execution("float32")
