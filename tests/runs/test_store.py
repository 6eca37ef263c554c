"""Plain files: whole or not there, whoever dies and whoever else writes."""

import errno
import fcntl
import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from attempts import curves, dead_attempt, ended, line, living_attempt, rewrite
from synthetic import CONFIG

from gradlab.errors import GradlabError
from gradlab.runs.execute import run
from gradlab.runs.jsonable import dumps
from gradlab.runs.lock import LOCK, STALE, holder, is_dead
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store

pytestmark = pytest.mark.slow

TYPICAL = np.array([[0.0, -1.5, -np.inf], [0.0, -1.0, -2.0]])


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def finish(store, name="a-run", status="trained", config=CONFIG, **done):
    attempt = store.begin(name, config)
    attempt.log(line(0))
    attempt.log(line(1, float("nan")))
    attempt.write_arrays("curves.npz", curves((0, 1)) | {"task/state/typical": TYPICAL})
    return attempt.finish(ended(status, **done))


def warnings_of(store):
    heard = []
    runs = list(store.each(heard.append))
    return [(found.id, found.status) for found in runs], heard


# ---------------------------------------------------------------- one writer


def test_what_is_written_is_read(store):
    path = finish(store, span=-np.inf, reason=None)
    found = store.find("a-run")
    assert (found.id, found.path, found.status, found.config) == ("a-run", path, "trained", CONFIG)
    assert found.finished and (found.done["span"], found.done["reason"]) == ("-inf", None)
    assert found.log() == [line(0), line(1, "nan")]
    np.testing.assert_array_equal(found.arrays()["task/state/typical"], TYPICAL)
    assert set(found.done["digests"]) == {"config.json", "log.jsonl", "curves.npz"}
    assert warnings_of(store) == ([("a-run", "trained")], [])
    assert [entry.name for entry in store.runs.iterdir()] == ["a-run"]


def test_nothing_but_strict_json_is_written(store):
    path = finish(store, span=np.float32(-np.inf), slope=float("nan"), top=np.inf, lags=np.arange(2))

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    done = json.loads((path / "done.json").read_text(), parse_constant=refuse)
    assert (done["span"], done["slope"], done["top"], done["lags"]) == ("-inf", "nan", "inf", [0, 1])
    lines = (path / "log.jsonl").read_text().splitlines()
    assert len([json.loads(line, parse_constant=refuse) for line in lines]) == 2


def test_a_run_is_found_by_enough_of_its_name(store):
    for name in ("adding-lstm-T20-s0-aaaa", "adding-lstm-T20-s1-bbbb"):
        finish(store, name)
    name = "adding-lstm-T20-s1-bbbb"
    for text in ("adding-lstm-T20-s1", "bbbb", name, f"{store.runs}/{name}/"):
        assert store.find(text).id == name
    with pytest.raises(GradlabError, match="could be any of 2, such as adding-lstm-T20-s0-aaaa"):
        store.find("adding")
    with pytest.raises(GradlabError, match="did you mean `adding-lstm-T20-s1-bbbb`"):
        store.find("ading-lstm-T20-s1-bbb")
    with pytest.raises(GradlabError, match="`gradlab ls` lists the runs"):
        store.find("zzz")


def test_only_the_same_config_is_the_same_run(store):
    finish(store)
    assert store.completed("a-run", CONFIG).status == "trained"
    assert store.completed("a-run", CONFIG | {"seed": 1}) is None
    assert store.completed("other", CONFIG) is None


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_what_did_not_end_well_is_done_again_and_replaced(store, status):
    finish(store, status=status)
    assert store.completed("a-run", CONFIG) is None
    finish(store, status="solved")
    assert store.find("a-run").status == "solved"
    assert [entry.name for entry in store.runs.iterdir()] == ["a-run"]


@pytest.mark.parametrize("status", ["measured", "solved", "trained", "diverged"])
def test_a_finished_run_wins_over_a_later_one(store, status):
    finish(store, status=status, note="first")
    assert store.completed("a-run", CONFIG).status == status
    finish(store, status="trained", note="second")
    assert store.find("a-run").done["note"] == "first"
    assert [entry.name for entry in store.runs.iterdir()] == ["a-run"]


def test_a_link_to_itself_is_replaced(store):
    store.runs.mkdir(parents=True)
    (store.runs / "a-run").symlink_to("a-run")
    finish(store, status="trained")
    assert store.find("a-run").status == "trained" and not (store.runs / "a-run").is_symlink()


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_run_that_is_done_again_stays_until_that_ends_well(store, status):
    finish(store, status="trained", span=1)
    assert store.redone("a-run") == ""
    store.reopen("a-run")
    assert store.completed("a-run", CONFIG) is None and store.find("a-run").done["span"] == 1
    finish(store, status=status, span=2)
    assert (store.find("a-run").status, store.find("a-run").done["span"]) == ("trained", 1)
    assert store.redone("a-run") == status
    assert store.completed("a-run", CONFIG) is None, "it is still to be done again"
    finish(store, status="measured", span=3)
    assert store.completed("a-run", CONFIG).done["span"] == 3 and store.redone("a-run") == ""
    assert warnings_of(store) == ([("a-run", "measured")], [])


def test_a_failure_leaves_no_mark_in_a_run_that_nobody_asked_to_do_again(store):
    finish(store, status="trained", span=1)
    finish(store, status="failed", span=2)
    assert store.completed("a-run", CONFIG).done["span"] == 1


def test_a_damaged_run_that_is_done_again_is_not_worth_keeping(store):
    path = finish(store, status="trained")
    store.reopen("a-run")
    (path / "curves.npz").write_bytes(b"")
    finish(store, status="failed")
    assert store.find("a-run").status == "failed"


def test_the_default_folder(monkeypatch):
    monkeypatch.setenv("GRADLAB_RESULTS", "/somewhere/else")
    assert str(Store().root) == "/somewhere/else"
    monkeypatch.setenv("GRADLAB_RESULTS", "")
    assert str(Store().root) == "results"


# ---------------------------------------------------------------- torn files


def test_a_torn_last_line_of_the_log_is_skipped(store):
    path = dead_attempt(store.root, "a-run", CONFIG)
    (path / "log.jsonl").write_text(f"{dumps(line(0))}\n{dumps(line(1))}\n")
    whole = (path / "log.jsonl").read_bytes()
    first_line = whole.index(b"\n") + 1
    for end in range(first_line, len(whole) - 1, 50):
        (path / "log.jsonl").write_bytes(whole[:end])
        assert len(store.find("a-run").log()) == 1
    (path / "log.jsonl").write_bytes(whole + b"\xff\xfe{\n[1]\nnull\n")
    assert len(store.find("a-run").log()) == 2
    (path / "log.jsonl").unlink()
    assert store.find("a-run").log() == []


@pytest.mark.parametrize("name", ["config.json", "done.json"])
@pytest.mark.parametrize("text", [None, "", "{", '{"store": 1, "stat', "[1]", "null", "{}", "\x00\x00", "\udce9"])
def test_a_torn_record_is_skipped_with_one_warning_that_names_it(store, name, text):
    finish(store, "good")
    path = finish(store, "torn")
    if text is None:
        (path / name).unlink()
    else:
        (path / name).write_bytes(text.encode(errors="surrogateescape"))
    found, heard = warnings_of(store)
    assert found == [("good", "trained")]
    assert len(heard) == 1 and str(path) in heard[0] and "\n" not in heard[0]
    with pytest.raises(GradlabError, match=rf"torn: {name} cannot be read \(.*\); delete it or run again"):
        store.find("torn")
    finish(store, "torn")
    assert warnings_of(store) == ([("good", "trained"), ("torn", "trained")], [])


@pytest.mark.parametrize("keep", [0, 1, 30, 200, -1])
def test_torn_arrays_are_an_error_that_names_them(store, keep):
    path = finish(store)
    whole = (path / "curves.npz").read_bytes()
    (path / "curves.npz").write_bytes(whole[:keep])
    with pytest.raises(GradlabError, match=r"run a-run: curves.npz cannot be read .*: run it again"):
        store.find("a-run").arrays()
    assert store.completed("a-run", CONFIG) is None, "running it again would skip it"
    finish(store)
    assert store.find("a-run").arrays()["task/state/typical"].shape == (2, 3)


@pytest.mark.parametrize("consistent", [False, True])
def test_a_flipped_byte_is_noticed(store, consistent):
    path = finish(store)
    whole = bytearray((path / "curves.npz").read_bytes())
    whole[whole.index(np.float64(-1.5).tobytes())] ^= 1
    rewrite(path / "curves.npz", whole) if consistent else (path / "curves.npz").write_bytes(whole)
    with pytest.raises(GradlabError, match=r"curves\.npz cannot be read"):
        store.find("a-run").arrays()


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_pickles_are_never_opened(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = finish(store)
    np.savez(path / "trap.npz", trap=np.array([Trap()], dtype=object))
    rewrite(path / "curves.npz", (path / "trap.npz").read_bytes())
    rewrite(path / "params.npz", pickle.dumps(Trap()))
    for name in ("curves.npz", "params.npz"):
        with pytest.raises(GradlabError, match="cannot be read"):
            store.find("a-run").arrays(name)
    assert not (tmp_path / "sprung").exists()


def test_temporary_files_and_strangers_are_ignored(store):
    path = finish(store)
    (path / ".done.json.tmp").write_text("{")
    (path / "notes.txt").write_text("mine")
    (store.runs / "README").write_text("not a run")
    trash = store.runs / ".trash.a-run.1"
    trash.mkdir()
    (trash / "config.json").write_text(json.dumps(CONFIG))
    (store.runs / "nowhere").symlink_to("nothing")
    assert warnings_of(store) == ([("a-run", "trained")], [])


def test_a_newer_store_is_refused(store):
    finish(store, config=CONFIG | {"store": 2})
    for call in (lambda: list(store.each()), lambda: store.find("a-run"), lambda: store.check(print)):
        with pytest.raises(GradlabError, match=r"written by a newer gradlab \(store 2, this reads 1\)") as error:
            call()
        assert error.value.exit_code == 2


# ---------------------------------------------------------------- other writers


def test_a_dead_attempt_is_shown_as_killed_and_replaced(store):
    attempt = store.begin("a-run", CONFIG)
    attempt.log(line(0))
    attempt.lock.release()
    assert warnings_of(store) == ([("a-run", "killed")], [])
    assert store.find("a-run").log() == [line(0)] and not store.find("a-run").finished
    finish(store)
    assert warnings_of(store) == ([("a-run", "trained")], [])
    assert not attempt.path.exists()


def test_an_attempt_without_config_is_no_run(store):
    (dead_attempt(store.root, "a-run", CONFIG) / "config.json").unlink()
    assert warnings_of(store) == ([], [])


def test_a_living_attempt_of_another_process_is_running_and_left_alone(store):
    with living_attempt(store.root, "a-run", CONFIG) as other:
        assert warnings_of(store) == ([("a-run", "running")], [])
        assert store.find("a-run").holder == {"host": socket.gethostname(), "pid": other.pid}
        finish(store)
        assert store.take_over("a-run", CONFIG).path != Path(other.path)
        assert warnings_of(store) == ([("a-run", "trained")], [])
        assert Path(other.path).exists()
        os.kill(other.pid, signal.SIGSTOP)
        assert not is_dead(Path(other.path)), "a process that stands still is not dead"
    assert is_dead(Path(other.path))


def test_a_killed_attempt_is_continued_by_another_process(store):
    with living_attempt(store.root, "a-run", CONFIG) as other:
        (Path(other.path) / "log.jsonl").write_text(dumps(line(0)) + "\n")
        other.kill()
        other.wait()
        assert store.find("a-run").status == "killed"
    attempt = store.take_over("a-run", CONFIG)
    assert not Path(other.path).exists() and store.find("a-run").status == "running"
    assert store.find("a-run").holder["pid"] == os.getpid()
    attempt.finish(ended("failed"))
    assert store.find("a-run").log() == [line(0)]


def test_two_attempts_with_one_process_id_do_not_touch_each_other(store):
    first, second = store.begin("a-run", CONFIG), store.begin("a-run", CONFIG)
    first.log(line(0))
    second.log(line(1))
    assert first.path != second.path and store.find("a-run").status == "running"
    second.finish(ended())
    assert first.path.exists() and store.find("a-run").log() == [line(1)]
    first.finish(ended())
    assert [path.name for path in store.runs.iterdir()] == ["a-run"]


def test_processes_that_are_both_number_1_of_their_container(store):
    alone = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("this system does not let a user make a namespace of processes")
    with living_attempt(store.root, "a-run", CONFIG, alone), living_attempt(store.root, "a-run", CONFIG, alone):
        found = sorted(store.runs.iterdir())
        assert [holder(path)["pid"] for path in found] == [1, 1] and not any(map(is_dead, found))
        assert store.find("a-run").status == "running"
        assert sorted(store.runs.iterdir()) == found


def test_a_process_id_that_another_process_has_now_keeps_nobody_alive(store):
    dead = dead_attempt(store.root, "a-run", CONFIG)
    assert holder(dead)["pid"] == os.getpid() and is_dead(dead)


@pytest.mark.parametrize("lockless", [False, True])
def test_where_a_lock_cannot_tell_the_heartbeat_does(store, monkeypatch, lockless):
    """On another machine, or where the file system refuses to lock."""
    if lockless:
        monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.ENOTSUP, "no locks")))
    path = dead_attempt(store.root, "a-run", CONFIG)
    if not lockless:
        said = json.loads((path / LOCK).read_text())
        (path / LOCK).write_text(json.dumps(said | {"kernel": "another"}))
    assert warnings_of(store) == ([("a-run", "running")], [])
    os.utime(path / LOCK, (0, time.time() - STALE - 1))
    assert warnings_of(store) == ([("a-run", "killed")], [])
    attempt = store.take_over("a-run", CONFIG)
    assert attempt.path != path and not path.exists() and store.find("a-run").status == "running"


def test_a_directory_without_a_lock_is_dead_when_it_is_old(store):
    path = dead_attempt(store.root, "a-run", CONFIG)
    (path / LOCK).unlink()
    assert store.find("a-run").status == "running" and store.find("a-run").holder == {}
    os.utime(path, (0, time.time() - STALE - 1))
    assert store.find("a-run").status == "killed"
    finish(store)
    assert [entry.name for entry in store.runs.iterdir()] == ["a-run"]


BEATING = """
    import sys, time
    from gradlab.runs import lock
    from gradlab.runs.store import Store

    lock.BEAT = 0.01
    attempt = Store(sys.argv[1]).begin("a-run", {"store": 1})
    file = attempt.path / lock.LOCK
    import os
    os.utime(file, (0, 0))
    while file.stat().st_mtime == 0:
        time.sleep(0.005)
"""


def test_the_heart_of_a_process_beats_while_it_computes(tmp_path):
    subprocess.run([sys.executable, "-c", textwrap.dedent(BEATING), tmp_path], check=True, timeout=30)


def test_who_looks_does_not_keep_another_from_taking_over(store):
    path = dead_attempt(store.root, "a-run", CONFIG)
    with open(path / LOCK) as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        timer = threading.Timer(0.01, fcntl.flock, (looking, fcntl.LOCK_UN))
        timer.start()
        assert store.take_over("a-run", CONFIG).path != path and not path.exists()
        timer.join()


def test_an_attempt_that_lives_until_the_end_of_its_process_ends_without_a_word(tmp_path):
    code = (
        "import sys; from gradlab.runs.store import Store; kept = Store(sys.argv[1]).begin('a-run', {'store': 1})"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True)
    assert done.stdout == done.stderr == ""
    assert is_dead(next((tmp_path / "runs").iterdir()))


FORKING = """
    import os, subprocess, sys
    from gradlab.runs.lock import is_dead
    from gradlab.runs.store import Store

    attempt = Store(sys.argv[1]).begin("a-run", {"store": 1})
    began, ends = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(ends[1])
        os.write(began[1], b".")
        os.read(ends[0], 1)
        os._exit(0)
    os.read(began[0], 1)  # from then on Python has closed there what no child inherits
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    assert not is_dead(attempt.path)
    attempt.lock.release()
    assert is_dead(attempt.path), "a child holds the lock"
    child.communicate()
"""


def test_no_child_inherits_the_lock(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORKING), tmp_path]
    subprocess.run(command, check=True, timeout=30)


WRITER = """
    import json, sys, time
    from pathlib import Path
    import numpy as np
    from gradlab.runs.store import Store

    root, me, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    config, line, done = map(json.loads, sys.argv[4:])
    store, gate = Store(root), Path(root)
    for number in range(count):
        attempt = store.begin(f"run-{number}", config | {"seed": number})
        attempt.write_arrays("every.npz", {"who": np.full((1000, 1), float(me))})
        attempt.log(line | {"who": me})
        (gate / f"ready-{number}-{me}").touch()
        while len(list(gate.glob(f"ready-{number}-*"))) < 2:
            time.sleep(0.0005)
        assert attempt.finish(done | {"who": me}) == store.runs / f"run-{number}"
"""


def race(tmp_path, *statuses, count=25):
    """Two processes that finish the same runs at the same moments; who won each of them."""
    (tmp_path / "results").mkdir()
    command = [sys.executable, "-c", textwrap.dedent(WRITER), tmp_path / "results"]
    writers = [
        subprocess.Popen([*command, str(me), str(count), *map(dumps, (CONFIG, line(), ended(status)))])
        for me, status in enumerate(statuses)
    ]
    assert [writer.wait(timeout=600) for writer in writers] == [0, 0]
    store = Store(tmp_path / "results")
    assert sorted(path.name for path in store.runs.iterdir()) == sorted(f"run-{n}" for n in range(count))
    winners = []
    for found in store.each(pytest.fail):
        who = found.done["who"]
        assert found.arrays("every.npz")["who"].tolist() == [[float(who)]] * 1000
        assert found.log() == [line() | {"who": who}]
        winners.append(found.status)
    return winners


def test_two_writers_of_one_run(tmp_path):
    assert race(tmp_path, "trained", "trained") == ["trained"] * 25


def test_a_finished_writer_wins_against_an_interrupted_one(tmp_path):
    assert race(tmp_path, "interrupted", "solved") == ["solved"] * 25


def test_a_run_that_was_finished_while_another_cleared_the_way_is_put_back(store, monkeypatch):
    finish(store, status="interrupted", note="first")
    late = store.begin("a-run", CONFIG)
    slow = store.begin("a-run", CONFIG)
    rename, waiting = os.rename, [late]

    def overtaken(source, target):
        if source == slow.target and waiting:
            waiting.pop().finish(ended("solved", note="late"))
        rename(source, target)

    monkeypatch.setattr(os, "rename", overtaken)
    slow.finish(ended("interrupted", note="slow"))
    assert store.find("a-run").done["note"] == "late"
    assert [entry.name for entry in store.runs.iterdir()] == ["a-run"]


# ---------------------------------------------------------------- disks


@pytest.mark.parametrize("root", ["{tmp}/file", "{tmp}/file/below", "/dev/null/results", "/proc/gradlab"])
def test_a_folder_that_cannot_be_written(tmp_path, root):
    (tmp_path / "file").write_text("in the way")
    store = Store(root.format(tmp=tmp_path))
    with pytest.raises(GradlabError, match=r"results folder `.*` cannot be written") as error:
        store.check(pytest.fail)
        store.begin("a-run", CONFIG)
    assert error.value.exit_code == 2
    assert (tmp_path / "file").read_text() == "in the way"


FULL = """
    import resource, sys
    import numpy as np
    from gradlab.errors import GradlabError
    from gradlab.runs.store import Store

    store = Store(sys.argv[1])
    if sys.argv[2] == "config.json":
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
    try:
        attempt = store.begin("a-run", {"store": 1})
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        for _ in range(100 * (sys.argv[2] == "log.jsonl")):
            attempt.log({"step": 12345})
        attempt.write_arrays("curves.npz", {"a": np.zeros(1000)})
    except GradlabError as error:
        print(error)
"""


@pytest.mark.parametrize("name", ["config.json", "log.jsonl", "curves.npz"])
def test_a_full_disk_is_one_line_that_names_the_file(tmp_path, name):
    # A limit on the size of files fails in the middle of a write, as a full disk does, and needs no rights.
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), tmp_path, name], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == "" and done.returncode == 0
    line = rf"{name} cannot be written to .*: File too large; free some space or give another .*\n"
    assert re.fullmatch(line, done.stdout)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(path.name == name and name != "log.jsonl" for path in left)
    assert list(Store(tmp_path).each(print)) == [] or name != "config.json"


# ---------------------------------------------------------------- real runs

TINY = {"length": 6, "hidden": 4, "batch": 4, "measure_batch": 4, "steps": 3, "learning_rate": 0.01, "seed": 11}
# log10 norm of the task curve of the state: at the start by lag, at the end by lag; and the last training loss.
# These are the numbers of version 1; see the message below before changing them.
DIGEST = {
    "rnn": (
        "adding",
        [-0.5892, -1.1994, -1.5213, -2.1057, -2.2845, -2.4167],
        [-0.6935, -1.2437, -1.5325, -2.1494, -2.3024, -2.4469],
        0.456516,
    ),
    "lstm": (
        "adding",
        [-1.2573, -1.454, -1.6075, -1.722, -1.8096, -1.9029],
        [-0.6101, -0.7915, -0.9401, -1.0565, -1.1333, -1.2086],
        0.638967,
    ),
    "gru": (
        "copy:symbols=2:alphabet=3",
        [-1.2885, -1.5049, -1.6504, -1.8471, -2.0363, -2.2166, -2.4046, -2.5872, -2.7301, -2.9048],
        [-1.2964, -1.5163, -1.6666, -1.8872, -2.1058, -2.3158, -2.5259, -2.7254, -2.883, -3.0745],
        1.358303,
    ),
}


@pytest.mark.parametrize("cell", DIGEST)
def test_an_unchanged_spec_gives_unchanged_numbers(tmp_path, cell):
    task, first, last, loss = DIGEST[cell]
    result = run(RunSpec(task=task, cell=cell, clip="norm:1", **TINY), tmp_path)
    stored = Store(tmp_path).find(result.spec.id)
    curves = stored.arrays()["task/state/typical"]
    got = (curves[0].round(4).tolist(), curves[-1].round(4).tolist(), float(result.trace.loss[-1]))
    message = f"raise numerics (NUMERICS in runs/spec.py) and put the new numbers here: {got}"
    assert [len(got[0]), len(got[1])] == [len(first), len(last)], message
    assert got[0] == pytest.approx(first, abs=1e-3) and got[1] == pytest.approx(last, abs=1e-3), message
    assert got[2] == pytest.approx(loss, rel=1e-3), message
    read_back(result, stored)


def read_back(result, stored):
    """Everything of a result is found again in its directory."""
    assert stored.config == json.loads(json.dumps(result.spec.config()))
    assert all(re.fullmatch(r"[a-z0-9._=-]+", path.name) for path in stored.path.iterdir())
    assert re.fullmatch(r"[a-zT0-9._=-]+", stored.path.name)
    arrays = stored.arrays()
    assert arrays["step"].tolist() == [0, 1, 2, 3] == [line["step"] for line in stored.log()]
    np.testing.assert_array_equal(arrays["trace/loss"], result.trace.loss)
    for mark, row in zip(result.checkpoints, range(4), strict=True):
        for name, curve in mark.metrics.curves.items():
            for leaf in curve.leaves:
                np.testing.assert_array_equal(arrays[f"{name}/{leaf}/typical"][row], curve.typical(leaf))
                np.testing.assert_array_equal(arrays[f"{name}/{leaf}/rms"][row], curve.rms(leaf))
    params = stored.arrays("params.npz")
    assert all(name.startswith(("cell/", "readout/")) for name in params)
    np.testing.assert_array_equal(params["cell/w_h"], result.outcome.params["cell"]["w_h"])
    np.testing.assert_array_equal(params["readout/w"], result.outcome.params["readout"]["w"])
    assert stored.done["losses"]["final"] == result.checkpoints[-1].metrics.loss
    assert stored.env()["execution"]["shards"] == 1 and stored.env()["versions"]["jax"]


def test_of_several_runs_the_trained_one_has_the_weights(tmp_path):
    store = Store(tmp_path)
    for run_id, steps in (("a-run-1", 0), ("a-run-2", 5)):
        attempt = store.begin(run_id, CONFIG | {"steps": steps})
        attempt.write_arrays("params.npz", {"w": np.zeros(1)})
        attempt.finish(ended("trained" if steps else "measured"))
    assert store.find("a-run", trained=True).id == store.find("a-run", prefer_trained=True).id == "a-run-2"
    assert store.find("a-run-1", prefer_trained=True).id == "a-run-1"
    with pytest.raises(GradlabError, match=r"a-run-1 \(measured\), a-run-2 \(trained\)"):
        store.find("a-run")


def test_of_several_runs_the_finished_one_is_shown(tmp_path):
    store = Store(tmp_path)
    for run_id, status in (("a-run-1", "interrupted"), ("a-run-2", "trained")):
        store.begin(run_id, CONFIG | {"steps": 5}).finish(ended(status))
    assert store.find("a-run", prefer_trained=True).id == "a-run-2"
    with pytest.raises(GradlabError, match="could be any of 2"):
        store.find("a-run")
    store.begin("a-run-3", CONFIG | {"steps": 5}).finish(ended("solved"))
    with pytest.raises(GradlabError, match="could be any of 2"):
        store.find("a-run", prefer_trained=True)


def test_of_several_runs_the_one_without_further_options_is_shown(tmp_path):
    store = Store(tmp_path)
    plain, *others = (RunSpec(length=200, **more) for more in ({}, {"window": 50}, {"measure": "every"}))
    for spec in (*others, plain):
        store.begin(spec.id, spec.config()).finish(ended("solved"))
    assert store.find("adding-lstm-T200-s0", prefer_trained=True).id == plain.id
    with pytest.raises(GradlabError, match="could be any of 3"):
        store.find("adding-lstm-T200-s0")


def test_a_run_is_claimed_once_and_again_after_that(store):
    first = store.claim("a-run")
    assert store.claim("a-run") == f" in process {os.getpid()} on {socket.gethostname()}"
    assert list(store.each()) == [], "no reader takes it for a run"
    first.release()
    again = store.claim("a-run")
    assert not isinstance(again, str)
    again.release()
    assert list(store.runs.iterdir()) == []


def test_a_claim_ends_with_its_process(store):
    text = """
import sys
from gradlab.runs.store import Store
kept = Store(sys.argv[1]).claim("a-run")
print(kept, flush=True)
input()
"""
    holds = subprocess.Popen(
        [sys.executable, "-c", text, store.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holds:
        assert holds.stdout.readline().startswith("FileClaim(")
        assert store.claim("a-run") == f" in process {holds.pid} on {socket.gethostname()}"
        holds.kill()
    store.claim("a-run").release()
    assert list(store.runs.iterdir()) == []


def test_a_claim_to_a_file_that_its_holder_removes_meanwhile(store, monkeypatch):
    """The file is opened, and removed before it is locked: whoever comes next would make another one."""
    opened, flock = store.claim("a-run"), fcntl.flock

    def removed(fd, kind):
        monkeypatch.setattr(fcntl, "flock", flock)
        opened.release()
        flock(fd, kind)

    monkeypatch.setattr(fcntl, "flock", removed)
    claimed = store.claim("a-run")
    assert not isinstance(claimed, str) and isinstance(store.claim("a-run"), str)
    claimed.release()


def test_without_locks_whoever_comes_claims(store, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.ENOTSUP, "no locks")))
    claims = [store.claim("a-run"), store.claim("a-run")]
    for each in claims:
        each.release()
    assert list(store.runs.iterdir()) == []
