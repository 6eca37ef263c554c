"""The parts of bench/gpu that need no GPU: what it takes for a science test, reads, judges, and writes."""

import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from bench.case import Case
from bench.fleet import Worker, closing
from bench.gpu import commands, driver, page, profile, science, targets
from bench.gpu.record import NAME, Record
from bench.gpu.scale import FULL, SMALL

pytestmark = pytest.mark.slow

SPEED = {
    "times lstm 200,128,32": {
        "gradlab: one": {"ms": [10.0, 12.0, 11.0]},
        "gradlab: many": {"ms": [20.0]},
        "torch: row": {"ms": [199.0, 201.0, 200.0]},
        "flax: one": {"ms": [22.0]},
        "torch: graphs": {"ms": []},
    },
    "failed": {"lstm torch: graphs": "capture | refused"},
    "errors": {"lstm gradlab": {"largest": 1e-6, "wrong": [], "each": {"loss": 1e-6}}},
    "about": {"lstm gradlab": {"one": {"planned_mb": 31.4, "compile_s": 1.0}}},
    "runs": 64,
}


def test_what_is_found_is_kept_part_by_part(tmp_path):
    record = Record(tmp_path)
    record.put("speed", a=1, b=2)
    record.put("probe", a=3)
    record.put("speed", b=4)
    assert record.read() == {"speed": {"a": 1, "b": 4}, "probe": {"a": 3}}
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_the_science_tests_are_those_of_the_rooms_below_the_runs():
    names = {path.stem for path in science.science_files()}
    assert {"test_cells", "test_adjoint", "test_closed_forms", "test_curve", "test_training"} <= names
    assert {"test_unroll", "test_state_grad_norms", "test_segments", "test_together", "test_tasks"} <= names
    assert not names & {
        "test_cli",
        "test_report",
        "test_bench",
        "test_gate",
        "test_web",
        "test_layout",
        "test_store",
    }


def test_tests_are_heard_line_by_line_and_their_reasons_read(tmp_path):
    test = tmp_path / "test_three.py"
    test.write_text(
        "def test_good():\n    pass\n\ndef test_bad():\n    assert 1 == 2, 'one is not two'\n\n"
        "import pytest\n@pytest.mark.skip\ndef test_not():\n    pass\n"
    )
    found = science.passed([str(test)], tmp_path / "junit.xml", 2, {}, 120.0)
    assert found["ended"] and found["counts"] == {"passed": 1, "failed": 1, "skipped": 1}
    ((name, why),) = found["failed"].items()
    assert name.endswith("::test_bad") and "one is not two" in why


def test_tests_that_take_too_long_are_stopped_and_the_others_count(tmp_path):
    test = tmp_path / "test_slow.py"
    test.write_text("import time\n\ndef test_good():\n    pass\n\ndef test_slow():\n    time.sleep(600)\n")
    started = time.monotonic()
    found = science.passed([str(test)], tmp_path / "junit.xml", 2, {}, science.CLOSING + 10.0)
    assert time.monotonic() - started < 60 and not found["ended"]
    assert found["counts"]["passed"] == 1 and found["counts"]["failed"] <= 1


def test_loops_of_a_compiled_program_are_counted():
    def program(x):
        def row(x, _):
            return jnp.tanh(x @ x), None

        return lax.scan(row, x, None, length=37)[0]

    text = jax.jit(program).lower(jnp.ones((64, 64))).compile().as_text()
    (loop,) = profile.loops(text)
    assert loop["times"] == 37
    assert sum(loop["kinds"].values()) >= 2 and not set(loop["kinds"]) & set(profile.FREE)


def test_time_per_timestep_is_the_slope():
    found = {f"T={length}": {"one": [0.5 + 0.03 * length]} for length in (100, 200, 400)}
    assert targets.slope_us(found, "one") == pytest.approx(30.0)
    assert targets.slope_us(found, "many") is None
    assert targets.slope_us({"T=100": {"failed": "no time left"}}, "one") is None


def test_launches_are_those_of_the_forward_and_the_backward_loop():
    loops = [
        {"times": None, "kinds": {"while": 3, "fusion": 9}},  # training steps
        {"times": 5, "kinds": {"fusion": 100}},  # random numbers
        {"times": 200, "kinds": {"fusion": 3, "custom-call": 1}},
        {"times": 12, "kinds": {"while": 1, "custom-call": 2}},  # stretches
        {"times": 16, "kinds": {"fusion": 4, "custom-call": 1}},
    ]
    assert targets.launches({"kernels": {"one": loops}}, "one") == 9
    assert targets.launches({}, "one") is None


def test_targets_are_judged_by_medians():
    judged = {one.what.removeprefix("lstm 200,128,32, "): one for one in targets.targets({"speed": SPEED})}
    row, flax = judged["many: cuDNN, one after the other"], judged["one: flax"]
    assert (row.ratio, row.verdict) == (10.0, "met")
    assert (flax.ratio, flax.verdict) == (2.0, "**missed**")
    assert not any("graphs" in what for what in judged), "nothing was measured"


def test_the_page_says_what_was_met_missed_and_not_done(tmp_path):
    record = Record(tmp_path)
    record.put("about", command="python -m bench.gpu")
    record.put("parts", speed={"exit": None, "seconds": 3.0})
    record.put("machine", card={"name": "A CARD", "driver_version": "1.2"}, versions={"jax": "0"}, jax={})
    record.put("speed", **SPEED)
    record.put("probe", **{"lstm 1000,128,32": {"seconds": [0.5], "planned_mb": 10.0, "peak_mb": None}})
    profiled = {f"T={length}": {"one": [0.1 * length], "many": [1.0]} for length in (100, 200)}
    record.put("profile", **profiled, **{"unroll 2": {"failed": "not known"}})
    record.put("science", first={"seconds": 1, "ended": True, "counts": {"passed": 2}, "failed": {"a::b": "why"}})
    again, results = tmp_path / "again", tmp_path / "results"
    again.mkdir()
    results.mkdir()
    Record(again).put("about", command="python -m bench.gpu --only science")
    Record(again).put("science", first={"seconds": 1, "ended": True, "counts": {"passed": 3}, "failed": {}})
    assert page.write([tmp_path, again], results) == str(results / "bench-gpu.md")
    assert json.loads((results / NAME).read_text())["speed"] == SPEED
    assert "3 passed" in (results / "bench-gpu.md").read_text()
    page.write([again, tmp_path], results)
    text = (results / "bench-gpu.md").read_text()
    assert "`python -m bench.gpu --only science`; `python -m bench.gpu`" in text
    assert "A CARD" in text and "speed 3 s on A CARD (exit None)" in text
    assert "10.00 | >= 10 | met" in text and "2.00 | >= 3 | **missed**" in text
    assert "a timestep more costs 100.0 µs" in text
    assert "capture | refused" in text and "not known" in text
    assert "| lstm 1000,128,32 | 0.5 | 500 | 10 | - |" in text
    assert "`a::b`: why" in text and "31.4" in text


def test_arrays_of_two_runs_are_compared_to_the_bit(tmp_path):
    for name, last in (("one", 3.0), ("two", 3.5)):
        folder = tmp_path / name / "runs" / "a"
        folder.mkdir(parents=True)
        np.savez(folder / "curves.npz", same=np.array([1.0, np.nan]), other=np.array([1.0, last]))
    assert commands.same_bits(tmp_path / "one", tmp_path / "two") == {"arrays": 2, "apart": {"curves/other": 0.5}}


def test_a_worker_that_does_not_come_is_not_waited_for(monkeypatch):
    case = Case("lstm", 3, 2, 2)
    workers = [Worker("probing", {}, case), Worker("no_such_module", {}, case), Worker("probing", {}, case)]
    with closing(workers):
        assert workers[2].receive().result == "ready"  # it has nothing more to say
        late = profile.gathered(workers, time.monotonic() + 12.0)
        assert set(late) == {workers[1], workers[2]} and all("exit code" in one["failed"] for one in late.values())
        assert workers[0].ask("train", steps=1).error == ""


def test_a_part_that_hangs_or_breaks_costs_no_other_its_result(tmp_path, monkeypatch):
    code = "import sys, time\nname = sys.argv[1]\nif name == 'probe': time.sleep(600)\nsys.exit(name == 'speed')"
    script = tmp_path / "part.py"
    script.write_text(code)
    monkeypatch.setattr(driver, "GRACE", 0.5)
    monkeypatch.setattr(driver, "STAGES", tuple(driver.Stage((name,), 1.0, 0.0) for name in driver.NAMES))
    monkeypatch.setattr(driver, "order_of", lambda name, *_: [sys.executable, str(script), name])
    assert driver.measure(["machine", "speed", "probe", "science"], tmp_path / "out", 60.0, SMALL, "it") == 1
    parts = Record(tmp_path / "out").read()["parts"]
    assert {name: part["exit"] for name, part in parts.items()} == {
        "machine": 0,
        "speed": 1,
        "probe": None,
        "science": 0,
    }


def test_the_parts_fit_into_their_time():
    assert sum(stage.least for stage in driver.STAGES) < 360
    assert {case.cell for case in FULL.cases} == {case.cell for case in SMALL.cases} == {"lstm", "gru"}
