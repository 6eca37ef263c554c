"""Many runs, one at a time: what is done again and what is not, what a failure does, and what the user is told."""

import itertools
import json
import re
import subprocess
import sys
import time

import pytest
from faulty import FORKED_SECONDS, SWITCHES
from sweeping import BASE, CELL, RecordingListener, arrays_of, statuses, write_toml

from gradlab.cli.live import Forecast, clock
from gradlab.errors import GradlabError
from gradlab.runs import child, jobs, workers
from gradlab.runs.engine import cost, run_all, schedule_order
from gradlab.runs.jobs import Finished, Settings
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store

TAGS = itertools.count(1)
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quiet_surroundings(monkeypatch, tmp_path):
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GRADLAB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv(SWITCHES, str(tmp_path))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.fixture
def switch(tmp_path):
    """Turns a fault on, and returns what turns it off."""

    def on(fault):
        (tmp_path / fault).touch()
        return (tmp_path / fault).unlink

    return on


def some(*seeds, **fields):
    return [RunSpec(**BASE | {"steps": 3, "seed": seed} | fields) for seed in seeds]


@pytest.fixture
def bad():
    """A failing cell that no test has used: what is compiled for a cell once does not call it again."""
    return f"{CELL}:fault=raise:tag={next(TAGS)}"


def go(specs, store, heard=None, **settings):
    heard = heard or RecordingListener()
    outcomes = run_all(specs, store, Settings(**settings), heard)
    assert [(end.spec.id, end.status, end.fresh) for end in outcomes] == heard.ends
    return heard, [end.status for end in outcomes]


def stamps(store):
    return {path.parent.name: path.stat().st_mtime_ns for path in store.runs.glob("*/done.json")}


# ---------------------------------------------------------------- what is done again


def test_done_runs_are_not_repeated(store):
    specs = some(0, 1, 2)
    heard, _ = go(specs[:2], store)
    assert heard.begins == [spec.id for spec in specs[:2]]
    before = stamps(store)
    heard, ended = go(specs, store)
    assert heard.begins == [specs[2].id] and ended == ["trained"] * 3
    assert [fresh for _, _, fresh in heard.ends] == [False, False, True]
    assert {name: stamps(store)[name] for name in before} == before


def test_rerun_all_replaces_each_and_an_interrupted_one_goes_on(store):
    specs = some(0, 1, 2)
    go(specs, store)
    before = stamps(store)

    def stop(spec, progress):
        if spec == specs[1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(specs, store, RecordingListener(stop), rerun="all")
    assert statuses(store.root) == {
        specs[0].id: "trained",
        specs[1].id: "trained",
        specs[2].id: "trained",
    }, "what was not yet done again is still there"
    heard, _ = go(specs, store)
    assert heard.begins == [specs[1].id, specs[2].id]
    assert all(stamps(store)[name] != stamp for name, stamp in before.items())
    assert set(statuses(store.root).values()) == {"trained"}


def test_rerun_failed_does_these_alone(store, switch, bad):
    good, failing, late = *some(0), *some(0, cell=bad), *some(1)
    off = switch("raise")
    _, ended = go([good, failing], store)
    assert ended == ["trained", "failed"]
    off()
    heard, ended = go([good, failing, late], store, rerun="failed")
    assert heard.begins == [failing.id] and ended == ["trained", "trained"]
    assert late.id not in statuses(store.root)


def test_a_rerun_that_fails_leaves_what_was_there_and_is_done_again(store, switch, bad):
    good, failing = *some(0), *some(0, cell=bad)
    go([good, failing], store)
    before = stamps(store)
    off = switch("raise")
    assert go([good, failing], store, rerun="all")[1] == ["trained", "failed"]
    after = stamps(store)
    assert after[failing.id] == before[failing.id] and after[good.id] != before[good.id]
    assert statuses(store.root)[failing.id] == "trained" and store.redone(failing.id) == "failed"
    off()
    heard, ended = go([good, failing], store, rerun="failed")
    assert heard.begins == [failing.id] and ended == ["trained", "trained"]
    assert stamps(store)[failing.id] != before[failing.id]


def test_a_rerun_that_hangs_leaves_what_was_there(store, switch, monkeypatch):
    monkeypatch.setattr(jobs, "GRACE", 0.5)
    (spec,) = some(0, cell=f"{CELL}:fault=hang:tag={next(TAGS)}")
    go([spec], store)
    switch("hang")
    assert go([spec], store, rerun="all", timeout=0.5)[1] == ["failed"]
    assert store.find(spec.id).status == "trained" and store.redone(spec.id) == "failed"
    assert [path.name for path in store.runs.iterdir()] == [spec.id]


def test_a_spec_twice(store):
    with pytest.raises(GradlabError, match="twice: name each run once"):
        go(some(0) * 2, store)


# ---------------------------------------------------------------- failures


def test_a_failure_is_named_and_stops_nobody(store, switch, bad):
    specs = [*some(0), *some(0, cell=bad), *some(1)]
    switch("raise")
    _, ended = go(specs, store)
    assert ended == ["trained", "failed", "trained"]
    reason = store.find(specs[1].id).done["reason"]
    assert re.fullmatch(r"RuntimeError: a mistake of the user's own \(.*faulty\.py, line \d+\)", reason)


def test_the_process_of_a_failed_run_starts_the_next_one(store, switch, bad):
    """The fork that failed has ended; what its parent imported is still there."""
    off = switch("raise")
    assert go(some(0, cell=bad), store)[1] == ["failed"]
    kept = [process.popen.pid for process in workers._kept]
    off()
    assert go(some(0, cell=bad), store, rerun="failed")[1] == ["trained"]
    assert kept and kept[-1] in [process.popen.pid for process in workers._kept]


def test_a_process_whose_command_ended_while_it_imported_says_nothing():
    command = [sys.executable, "-P", child.__file__]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes, bufsize=0) as process:
        child.Channel(process.stdout.fileno(), process.stdin.fileno()).send([path for path in sys.path if path])
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b"" and process.wait() == 0


def test_fail_fast(store, switch, bad):
    specs = [*some(0), *some(0, 1, cell=bad), *some(1)]
    switch("raise")
    _, ended = go(specs, store, fail_fast=True)
    assert ended == ["trained", "failed"]


def test_retries(store, switch, bad):
    specs = some(0, 1, cell=bad)
    off = switch("raise")

    class Mending(RecordingListener):
        def warn(self, text):
            super().warn(text)
            if text.startswith(specs[1].id):
                off()

    heard, ended = go(specs, store, Mending(), retries=2)
    assert ended == ["failed", "trained"]
    assert heard.begins == [specs[0].id] * 3 + [specs[1].id] * 2
    assert [re.search(r"try (\d) of 3", text)[1] for text in heard.warnings] == ["2", "3", "2"]


def test_a_run_that_calls_sys_exit(store, switch):
    switch("sys.exit")
    heard, ended = go([*some(0, cell=f"{CELL}:fault=sys.exit"), *some(1)], store)
    assert ended == ["failed", "trained"]
    done = store.find(heard.begins[0]).done
    assert done["reason"] == "it called sys.exit(5)" and done["losses"]["chance"] == pytest.approx(1 / 12)


@pytest.mark.parametrize("fault, how", [("exit", "exit code 3"), ("kill", "SIGKILL, out of memory?")])
def test_a_run_that_ends_its_process(store, switch, fault, how):
    """With one process as with many: the others are done, and what happened is said."""
    switch(fault)
    specs = [*some(0), *some(0, cell=f"{CELL}:fault={fault}"), *some(1)]
    heard, ended = go(specs, store)
    assert [end for _, end, _ in heard.ends] == ended and sorted(ended) == ["failed", "trained", "trained"]
    assert store.find(specs[1].id).done["reason"] == f"its process died twice ({how})"
    assert [path.name for path in store.runs.iterdir() if path.name.startswith(".")] == []


def test_a_run_that_raises_keyboard_interrupt_itself(store, switch):
    switch("interrupt")
    specs = [*some(0, cell=f"{CELL}:fault=interrupt"), *some(1)]
    assert go(specs, store)[1] == ["failed", "trained"]
    assert store.find(specs[0].id).done["reason"] == "it raised KeyboardInterrupt itself"


def test_what_a_cell_forks_holds_nothing_up(store, switch):
    switch("fork")
    started = time.monotonic()
    assert go(some(0, cell=f"{CELL}:fault=fork"), store)[1] == ["trained"]
    workers.close_kept()
    assert time.monotonic() - started < FORKED_SECONDS


def test_custom_code_moves_no_number_of_a_later_run(store, tmp_path):
    """A cell that turns the process it runs in upside down, before and between runs of a built-in one."""
    own = tmp_path / "vandal.py"
    own.write_text(VANDAL)
    fields = {"task": "adding", "length": 4, "hidden": 2, "batch": 2, "measure_batch": 2, "steps": 2}
    builtin = [RunSpec(cell="rnn", seed=seed, **fields) for seed in (0, 1)]
    other = [RunSpec(cell=f"{own}:Vandal", seed=seed, **fields) for seed in (0, 1)]
    go(builtin, store)
    second = Store(tmp_path / "second")
    _, ended = go([other[0], builtin[0], other[1], builtin[1]], second)
    assert ended == ["trained"] * 4 and (tmp_path / "was-here").exists()
    found = arrays_of(second.root)
    assert {name: found[name] for name in arrays_of(store.root)} == arrays_of(store.root)


VANDAL = """
import os, jax, numpy as np
from pathlib import Path
from gradlab.cells import CELLS

os.environ["JAX_DISABLE_JIT"] = os.environ["XLA_FLAGS"] = "1"
os.chdir("/")
DRAWS = jax.random.normal, jax.random.orthogonal

class Vandal:
    def __init__(self):
        self.cell = CELLS["rnn"]()

    def carry(self, params, batch_size):
        return self.cell.carry(params, batch_size)

    def step(self, params, carry, x_t):
        return self.cell.step(params, carry, x_t)

    def init(self, key, input_size, hidden_size):
        Path(__file__).with_name("was-here").touch()
        jax.config.update("jax_threefry_partitionable", False)
        jax.config.update("jax_default_prng_impl", "rbg")
        jax.random.normal, jax.random.orthogonal = (lambda *a, f=f, **k: f(*a, **k) / 2 for f in DRAWS)
        os.environ["XLA_FLAGS"] = ""
        np.random.seed(7)
        os.chdir("/")
        return self.cell.init(key, input_size, hidden_size)
"""


def test_what_a_process_has_compiled_comes_before_other_cells(store):
    fields = {"task": "adding", "hidden": 2, "batch": 2, "measure_batch": 2}
    cells = ("rnn", "gru", "rnn:gain=0.5", "gru", "rnn")
    specs = [RunSpec(cell=cell, length=4 + place, steps=0, **fields) for place, cell in enumerate(cells)]
    heard, ended = go(specs, store)
    assert heard.begins == [specs[place].id for place in (0, 2, 4, 1, 3)] and ended == ["measured"] * 5
    trained = [RunSpec(cell=cell, length=9, steps=1, **fields) for cell in cells[:3]]
    assert go(trained, store)[0].begins == [spec.id for spec in trained], (
        "programs that train fit one length alone"
    )


def test_a_run_past_its_time(store):
    go(some(2), store)  # what both are compiled to
    specs = [*some(0, steps=10**6, stop="never"), *some(1)]
    started = time.monotonic()
    _, ended = go(specs, store, timeout=15.0)
    assert ended == ["failed", "trained"] and time.monotonic() - started < 300
    stored = store.find(specs[0].id)
    assert stored.done["reason"] == "OutOfTime: ran past its 15 s"
    assert stored.done["training_steps"] > 0 and stored.log(), "what was measured until then is kept"


def test_a_run_that_hangs_is_stopped_too(store, switch, monkeypatch):
    monkeypatch.setattr(jobs, "GRACE", 0.5)
    switch("hang")
    (spec,) = some(0, cell=f"{CELL}:fault=hang")
    assert go([spec], store, timeout=1.0)[1] == ["failed"]
    assert store.find(spec.id).done["reason"] == "ran past its 1 s"


def test_ctrl_c_is_stored_and_ends_the_list(store):
    def stop_at_1(spec, progress):
        if spec.seed == 1 and progress.step >= 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go([*some(0), *some(1, steps=10**7, stop="never"), *some(2)], store, RecordingListener(stop_at_1))
    assert sorted(statuses(store.root).values()) == ["interrupted", "trained"]


def test_another_execution_is_told_once(store):
    specs = some(0, 1, 2, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DEFAULT_MATMUL_PRECISION", "highest")
        patch.setenv("JAX_USE_SHARDY_PARTITIONER", "true")
        go(specs[:2], store)
    heard, _ = go(specs, store)
    (text,) = heard.warnings
    assert text.startswith("2 finished runs were computed with another jax_settings, matmul_precision: equal bits")
    assert go(specs[2:], store)[0].warnings == go([*specs[2:], *some(4)], store)[0].warnings == []


# ---------------------------------------------------------------- order and time


def test_one_of_each_shape_first_and_the_longest_first():
    specs = [spec for length in (4, 8) for spec in some(0, 1, 2, length=length)]
    order = [(spec.length, spec.seed) for spec in schedule_order(specs)]
    assert order == [(8, 0), (4, 0), (8, 1), (8, 2), (4, 1), (4, 2)]


def test_the_time_left_follows_from_what_was_measured():
    specs = [*some(0, 1, length=10), *some(0, length=40), *some(0, length=10, cell="rnn")]
    forecast, now = Forecast(specs), time.monotonic
    assert forecast.seconds_left({}) is None
    forecast.take(Finished(specs[0], "trained", None, fresh=True, seconds=2.0))
    assert forecast.seconds_left({}) == pytest.approx(2 + 8 + 2)
    both = {specs[1].id: now(), specs[3].id: now()}
    assert forecast.seconds_left(both) == pytest.approx(8, abs=0.5), "the longest run takes that long alone"
    forecast.take(Finished(specs[3], "trained", None, fresh=True, seconds=20.0))
    assert forecast.seconds_left({}) == pytest.approx(2 + 8), "of its own cell"
    assert forecast.seconds_left({specs[2].id: now() - 6}) == pytest.approx(2 + 2, abs=0.5)
    forecast.take(Finished(specs[1], "trained", None, fresh=False))
    forecast.take(Finished(specs[2], "failed", None, fresh=True, seconds=100.0))
    assert forecast.seconds_left({}) == 0
    assert cost(specs[2]) == 4 * cost(specs[0])
    assert [clock(seconds) for seconds in (0.4, 99, 130, 7200)] == ["0 s", "99 s", "2 min", "2.0 h"]


# ---------------------------------------------------------------- the command


def test_a_sweep_from_its_file(typed, tmp_path):
    path = write_toml(tmp_path / "trial.toml", grid={"length": [4, 5], "seed": [0, 1]})
    words = ["sweep", path, "--jobs", "1"]
    code, out, err = typed(*words, "--dry-run")
    assert (code, err) == (0, "") and len(re.findall(r"^faulty.recall-\S+ new *$", out, re.M)) == 4
    assert out.endswith("4 runs: 4 new\n") and not (tmp_path / "results").exists()

    code, out, err = typed(*words)
    assert code == 0 and err.startswith("trial: 4 runs. A trial\n")
    assert [line.split()[0] for line in err.splitlines()[1:]] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert out.splitlines()[0] == "4 runs: 4 trained"
    assert out.rstrip().endswith("next: gradlab report --sweep trial")
    kept = json.loads((tmp_path / "results" / "sweeps" / "trial.json").read_text())
    assert sorted(run["id"] for run in kept["runs"]) == sorted(statuses(tmp_path / "results"))

    code, out, err = typed(*words, "--set", "seed=0-2")
    assert code == 0 and "4 of 6 runs are done already" in err and err.count("not solved within") == 2
    listed = json.loads(typed(*words, "--set", "seed=2,3", "--dry-run", "--json")[1])
    assert listed["sweep"] == "trial" and [run["state"] for run in listed["runs"]] == ["done", "new"] * 2
    assert [run["status"] for run in listed["runs"]] == ["trained", None] * 2

    code, out, err = typed(*words, "--json", "-q", "--name", "other")
    document = json.loads(out)
    assert (code, err, document["sweep"]) == (0, "", "other")
    assert [(run["status"], run["fresh"]) for run in document["runs"]] == [("trained", False)] * 4
    assert (tmp_path / "results" / "sweeps" / "other.json").exists()


def test_a_failed_run_of_a_sweep(typed, tmp_path, switch, bad):
    off = switch("raise")
    path = write_toml(tmp_path / "trial.toml", vary={"cell": [bad]})
    words = ["sweep", path, "--jobs", "1"]
    code, out, err = typed(*words)
    folder = next((tmp_path / "results" / "runs").glob("*fault=raise*"))
    assert code == 1 and re.search(
        rf"^\[2/2\] {folder.name} failed: RuntimeError: a mistake.*{folder}/", err, re.M
    )
    assert "1 of 2 runs failed" in out and out.count(folder.name) == 1
    assert "2 runs: 1 trained, 1 failed" in out
    assert f"try again: gradlab sweep {path} --jobs 1 --rerun failed" in out
    assert "failed" in typed(*words, "--dry-run")[1]
    code, out, err = typed(*words, "--rerun", "failed", "--json")
    assert code == 1 and [run["status"] for run in json.loads(out)["runs"]] == ["trained", "failed"]
    off()
    code, out, err = typed(*words, "--rerun", "failed")
    assert code == 0 and "1 of 2 runs are done already" in err and "2 runs: 2 trained" in out


def test_rerun_alone_means_all(typed, tmp_path, store):
    path = write_toml(tmp_path / "trial.toml", grid={"seed": [0, 1]})
    assert typed("sweep", path, "--jobs", "1")[0] == 0
    before = stamps(store)
    for words in (["--rerun"], ["--rerun", "--json"], ["--rerun", "all"]):
        assert typed("sweep", path, "--jobs", "1", *words)[0] == 0
        after = stamps(store)
        assert before.keys() == after.keys() and all(after[name] != before[name] for name in before)
        before = after
    assert typed("sweep", path, "--jobs", "1")[0] == 0 and stamps(store) == before


def test_shards_of_a_sweep(typed, tmp_path):
    path = write_toml(tmp_path / "trial.toml", grid={"seed": list(range(6))})
    seen = []
    for number in (1, 2, 3):
        out = typed("sweep", path, "--dry-run", "--json", "--shard", f"{number}/3")[1]
        seen += [run["id"] for run in json.loads(out)["runs"]]
    whole = json.loads(typed("sweep", path, "--dry-run", "--json")[1])["runs"]
    assert len(seen) == 6 and set(seen) == {run["id"] for run in whole}
    number = 1 + int(whole[0]["id"].rpartition("-")[2], 16) % 3
    code, out, err = typed("sweep", path, "--jobs", "1", "--shard", f"{number}/3")
    assert code == 0 and re.match(r"trial: 6 runs, \d of them in this shard", err)
    assert whole[0]["id"] in statuses(tmp_path / "results")
    kept = json.loads((tmp_path / "results" / "sweeps" / "trial.json").read_text())
    assert len(kept["runs"]) == 6, "the whole is kept, whichever part was done"


@pytest.mark.parametrize(
    "words, told",
    [
        ("nowhere.toml", "sweep file `nowhere.toml` cannot be read: No such file"),
        ("{file} --shard 0/3", "--shard is `0/3`: give I/N"),
        ("{file} --shard 4/3", "--shard is `4/3`"),
        ("{file} --shard 1", "--shard is `1`"),
        ("{file} --rerun al", "unknown --rerun `al`: known are all, failed; did you mean `all`?"),
        ("{file} --timeout 0", "--timeout is 0.0: give a positive number of seconds"),
        ("{file} --jobs 0", "--jobs"),
        ("{file} --retries -1", "--retries"),
        ("{file} --set lenght=3", "unknown field in --set `lenght`"),
        ("{file} --name a/b", "sweep name `a/b`"),
        ("{file} --scheduler nowhere.json", "scheduler file `nowhere.json` does not exist"),
        ("{file} --scheduler tcp://127.0.0.1:1 --jobs 2", "leave out --jobs"),
        ("{file} --scheduler x.json --slurm y.toml", "give one of them"),
        ("{file} --slurm y.toml", "--slurm needs --jobs N"),
        ("{file} --slurm y.toml --jobs 2", "--slurm file `y.toml` cannot be read"),
        ("", "Missing argument 'FILE'"),
    ],
)
def test_a_mistake_is_told_in_one_line(typed, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    path = write_toml(tmp_path / "trial.toml")
    code, out, err = typed("sweep", *words.format(file=path).split())
    assert (code, out) == (2, "") and told in err
    assert err.rstrip().splitlines()[-1].startswith("gradlab: ") and "Traceback" not in err
    assert not (tmp_path / "results" / "runs").exists() or "--scheduler nowhere" in words


def test_more_training_steps_are_a_new_run(typed, tmp_path):
    spec, longer = *some(0), *some(0, steps=6)
    words = ["run", BASE["task"], "--cell", CELL, "--len", "4", "--hidden", "2", "--batch", "2"]
    words += ["--measure-batch", "2"]
    assert typed(*words, "--steps", "3")[0] == 0
    code, _, err = typed(*words, "--steps", "6")
    (line,) = [line for line in err.splitlines() if "nothing is extended" in line]
    assert code == 0 and f"{spec.id} ended `trained` at training step 3; {longer.id} is a new run" in line
    assert set(statuses(tmp_path / "results")) == {spec.id, longer.id}
    assert "nothing is extended" not in typed(*words, "--steps", "6")[2]
    code, _, err = typed(*words, "--steps", "7,8", "--jobs", "1")
    assert code == 0 and err.count("nothing is extended, and so for 1 more") == 1
