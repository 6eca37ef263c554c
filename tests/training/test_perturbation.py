"""Perturbed replicas and frozen keys: rounding is measured on data that no default of jax moves."""

import hashlib
from dataclasses import dataclass

import faulty
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faulty import Faulty, Recall

from gradlab.cells import CELLS
from gradlab.cells.rnn import RNN
from gradlab.training.model import Model
from gradlab.training.perturbation import MovedTask, perturbations
from gradlab.training.seeds import measure_population, measure_seeds
from gradlab.training.step import batch_axes

pytestmark = pytest.mark.slow


def plan_of(steps=0, **fields):
    from gradlab.runs.spec import RunSpec

    tiny = {"cell": "rnn", "length": 6, "hidden": 3, "batch": 4, "measure_batch": 4, "stop": "never"}
    return RunSpec(**tiny | fields, steps=steps).plan()


# ---------------------------------------------------------------- threefry, written again


def rotated(x, by):
    return (x << np.uint32(by)) | (x >> np.uint32(32 - by))


@np.errstate(over="ignore")
def threefry(key, high, low):
    """Threefry-2x32 with 20 rounds. Source: Salmon et al. (2011), https://doi.org/10.1145/2063384.2063405"""
    keys = [*map(np.uint32, key), np.uint32(key[0]) ^ np.uint32(key[1]) ^ np.uint32(0x1BD11BDA)]
    x, y = np.asarray(high, np.uint32) + keys[0], np.asarray(low, np.uint32) + keys[1]
    for group in range(5):
        for by in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            x = x + y
            y = rotated(y, by) ^ x
        x, y = x + keys[(group + 1) % 3], y + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def test_threefry_here_is_that_of_the_paper():
    # Known answers of Random123, kat_vectors: threefry2x32 20.
    ones = 0xFFFFFFFF
    assert [int(word) for word in threefry((0, 0), 0, 0)] == [0x6B200159, 0x99BA4EFE]
    assert [int(word) for word in threefry((ones, ones), ones, ones)] == [0x1CB996FC, 0xBB002BE7]


@pytest.mark.parametrize("partitionable", [True, False])
def test_data_are_those_of_the_algorithm_whatever_jax_defaults_to(partitionable):
    seed, name = 5, int.from_bytes(hashlib.blake2b(b"measure", digest_size=4).digest(), "big")
    folded = threefry((0, seed), 0, name)
    high, low = threefry(folded, np.zeros(24, np.uint32), np.arange(24))
    mantissa = ((high ^ low) >> np.uint32(9)) | np.uint32(0x3F800000)
    expected = mantissa.view(np.float32) - np.float32(1)
    with jax.threefry_partitionable(partitionable):
        (seen,) = measure_seeds(Model(Faulty(), Recall(), 3), plan_of(task=f"{faulty.__file__}:Recall"), [5])
    assert np.asarray(seen.batch.inputs).ravel().tolist() == expected.tolist()


# ---------------------------------------------------------------- perturbed replicas


@dataclass(frozen=True)
class Told(RNN):
    """A gated cell that knows its units apart."""

    def gates(self, pre_t, carry):
        return {"h": jnp.tanh(pre_t * jnp.arange(1.0, 1.0 + pre_t.shape[-1]))}


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_permuted_units_are_the_same_network_in_other_arithmetic(name):
    model, plan = Model(CELLS[name](), Recall(), 5), plan_of(length=6, hidden=5)
    first, second = perturbations(model, 6)
    assert first.name.startswith("hidden units permuted")
    (seen,), (other,), (third,) = (measure_seeds(model, plan, [0], replica) for replica in (None, first, second))
    curve = seen.initial["task"].summarised()
    for one in (other, third):
        assert one.initial["task"].summarised() == pytest.approx(curve, abs=1e-4)
        assert not np.array_equal(one.initial["task"].summarised(), curve)
        assert one.params["cell"]["w_h"].tolist() != seen.params["cell"]["w_h"].tolist()
        sizes = [np.linalg.norm(p.params["cell"]["w_h"]) for p in (one, seen)]
        assert sizes[0] == pytest.approx(sizes[1], rel=1e-5)


def test_what_is_no_symmetry_is_not_used():
    model = Model(Told("tanh", CELLS["rnn"]().scheme), Recall(), 4)
    assert [replica.task for replica in perturbations(model, 5)] == [MovedTask, MovedTask]
    custom = Model(Faulty(), Recall(), 3)
    assert [replica.task for replica in perturbations(custom, 5)] == [MovedTask, MovedTask]


def test_a_moved_task_turns_the_batch_and_moves_the_inputs_by_one_unit():
    task, key = Recall(), jax.random.key(0)
    batch, moved = task.sample(key, 3, 5), MovedTask(task).sample(key, 3, 5)
    turned = np.asarray(batch.inputs)[:, ::-1]
    apart = np.asarray(moved.inputs) - turned
    assert 0 < np.abs(apart).max() <= np.finfo(np.float32).eps
    assert np.array_equal(moved.targets, np.asarray(batch.targets)[::-1])
    assert batch_axes(task, 3, 5) == (1, 0) and MovedTask(task).chance(5) == task.chance(5)


def test_a_population_is_its_seeds_one_by_one():
    model, plan = Model(Faulty(), Recall(), 3), plan_of()
    together, alone = measure_population(model, plan, 5), measure_seeds(model, plan, range(5))
    for one, other in zip(together, alone, strict=True):
        assert one.summarised() == pytest.approx(other.initial["task"].summarised(), abs=1e-5)
