"""Batches of runs of equal shape that the engine trains as one program, here on one core."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from faulty import OWN_GPU
from sweeping import (
    BASE,
    CELL,
    RecordingListener,
    arrays_of,
    finish,
    lines_of,
    pid_of,
    start,
    statuses,
    wait_for,
    write_toml,
)

from gradlab.runs import devices
from gradlab.runs.engine import batches, run_all
from gradlab.runs.jobs import Settings
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store

pytestmark = pytest.mark.slow

SPEC = RunSpec(**BASE | {"steps": 20, "dtype": "float64"})
FIELDS = {"learning_rate": [0.01, 0.02], "seed": [0, 1, 2]}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def ends(specs, folder, listener=None, **settings):
    outcomes = run_all(specs, Store(folder), Settings(**settings), listener or RecordingListener())
    return {end.spec.seed: (end.status, end.reason) for end in outcomes}


def test_which_runs_make_a_batch():
    specs = [replace(SPEC, length=length, seed=seed) for seed in range(3) for length in (4, 5)]
    assert batches(specs, 1) == [(spec,) for spec in specs]
    two, one = [[spec.seed for spec in batch] for batch in batches(specs, 2)][:2]
    assert (two, one) == ([0, 1], [2]) and len(batches(specs, 2)) == 4
    assert [len({spec.length for spec in batch}) for batch in batches(specs, 64)] == [1, 1]
    assert len(batches([SPEC, replace(SPEC, learning_rate=0.5)], 2)) == 1
    assert len(batches([SPEC, replace(SPEC, steps=7)], 2)) == 2


def test_runs_in_a_batch_have_the_numbers_of_single_runs(tmp_path):
    specs = [replace(SPEC, length=length, seed=seed) for length in (4, 5) for seed in range(3)]
    run_all(specs, Store(tmp_path / "alone"), Settings(), RecordingListener())
    listener = RecordingListener()
    run_all(specs, Store(tmp_path / "batched"), Settings(together=2), listener)
    assert listener.begins == [spec.id for spec in specs] and not listener.warnings
    for spec in specs:
        one, other = (Store(tmp_path / name).find(spec.id) for name in ("alone", "batched"))
        assert one.status == other.status == "trained"
        assert other.env()["execution"].get("together", 1) == (1 if spec.seed == 2 else 2)
        for file in ("curves.npz", "params.npz"):
            for name, array in one.arrays(file).items():
                np.testing.assert_allclose(other.arrays(file)[name], array, rtol=1e-7, atol=1e-7, err_msg=name)


def test_runs_that_fail_in_a_batch_are_retried_individually(tmp_path):
    alone = [replace(SPEC, seed=seed, steps=0) for seed in range(3)]
    ends(alone, tmp_path / "alone")
    drawn = [Store(tmp_path / "alone").find(spec.id).arrays("params.npz")["cell/a"][0] for spec in alone]
    limit = (sorted(drawn)[1] - 0.5) / 0.1 + 1e-6
    unlucky = drawn.index(max(drawn))
    listener = RecordingListener()
    specs = [replace(SPEC, seed=seed, cell=f"{CELL}:limit={limit}") for seed in range(3)]
    found = ends(specs, tmp_path, listener, together=3)
    assert "no more of this" in found.pop(unlucky)[1]
    assert list(found.values()) == [("trained", None)] * 2
    assert listener.begins == [spec.id for spec in specs] * 2 and not listener.warnings


def test_a_batch_past_its_time_limit(tmp_path):
    specs = [replace(SPEC, steps=10**6, stop="never", seed=seed) for seed in range(2)]
    found = ends(specs, tmp_path, together=2, timeout=2.0)
    # On a slow machine its process is killed before it looks at the time.
    told = {seed: (status, reason.removeprefix("OutOfTime: ")) for seed, (status, reason) in found.items()}
    assert told == dict.fromkeys((0, 1), ("failed", "ran past its 2 s"))


def test_done_runs_of_a_batch_are_not_repeated(tmp_path):
    specs = [replace(SPEC, seed=seed) for seed in range(3)]
    ends(specs[1:2], tmp_path)
    listener = RecordingListener()
    assert set(ends(specs, tmp_path, listener, together=3)) == {0, 1, 2}
    assert listener.begins == [specs[0].id, specs[2].id]


def test_a_worker_that_dies_of_a_batch(tmp_path, cache):
    """Any of them may be at fault, so each is retried individually, with the bits of a single run."""
    base = {"steps": 10_000, "stop": "never"}
    file = write_toml(tmp_path / "trial.toml", base=base, grid={"seed": [0, 1, 2]})
    words, results = ["sweep", file, "--jobs", "2"], tmp_path / "results"
    process = start([*words, "--together", "3"], results, cache)
    wait_for(lambda: sum(lines > 8 for lines in lines_of(results).values()) == 3, process)
    (worker,) = {pid_of(attempt) for attempt in lines_of(results)}
    os.kill(worker, signal.SIGKILL)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0 and "Traceback" not in err and out.startswith("3 runs: 3 trained"), err
    assert finish(words, tmp_path / "alone", cache)[0] == 0
    assert arrays_of(results) == arrays_of(tmp_path / "alone")


def test_a_batch_of_a_cell_that_ends_its_process(tmp_path, cache):
    (tmp_path / "exit").touch()
    grid = {"cell": [CELL, f"{CELL}:fault=exit"], "seed": [0, 1]}
    file = write_toml(tmp_path / "trial.toml", grid=grid)
    words = ["sweep", file, "--jobs", "2", "--together", "2"]
    code, _, err = finish(words, tmp_path / "results", cache, GRADLAB_TEST_FAULTS=tmp_path)
    assert code == 1 and err.count("its process died twice") == 2 and "Traceback" not in err
    assert sorted(statuses(tmp_path / "results").values()) == ["failed"] * 2 + ["trained"] * 2


def test_each_worker_takes_a_gpu(tmp_path, cache, monkeypatch):
    monkeypatch.setenv(OWN_GPU, str(tmp_path))
    monkeypatch.setenv("GRADLAB_CACHE", str(cache))
    specs = [replace(SPEC, cell=f"{CELL}:fault=show", steps=steps) for steps in (20_000, 20_001)]

    run_all(specs, Store(tmp_path / "results"), Settings(jobs=2, gpus=("5", "7")), RecordingListener())
    assert {path.name.partition("-")[0] for path in tmp_path.glob("*-gpu")} == {"5", "7"}
    assert len(list(tmp_path.glob("*-gpu"))) == 2, "a worker keeps the one it has"


def test_without_a_gpu_there_are_cores(monkeypatch):
    expected = {"jobs": devices.cores(), "together": 1, "gpus": ()}
    assert devices.parallelism(None, None) == expected
    assert devices.parallelism(3, 5) == {"jobs": 3, "together": 5, "gpus": ()}
    # With a plug-in installed jax is asked, and finds none here.
    monkeypatch.setattr(devices, "entry_points", lambda group: [group])
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert devices.parallelism(None, None) == expected
    monkeypatch.setattr(devices, "gpus", lambda: ("0", "1"))
    assert devices.parallelism(None, None) == {"jobs": 2, "together": 64, "gpus": ("0", "1")}
