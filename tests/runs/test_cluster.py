"""Runs on real workers, and what happens to them: faults, Ctrl-C, kill -9, a full disk, another sweep, Slurm."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Security
from faulty import SWITCHES
from sweeping import (
    BASE,
    CELL,
    arrays_of,
    finish,
    full_disk,
    lines_of,
    living,
    pid_of,
    start,
    statuses,
    surroundings,
    wait_for,
    write_toml,
)
from torture import LONGEST_AFTERLIFE, interrupt, torture

from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store
from gradlab.runs.sweeps import load_sweep

pytestmark = pytest.mark.slow

LONG, ENDLESS = 10_000, 10**7
"""Training steps for a few seconds, and for ever."""

LIMIT = 30
"""Seconds within which a small run ends on a machine with much else to do, too."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Compiled programs of all tests of this file."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def done(tmp_path_factory, cache):
    """A sweep of six runs that two workers did: its file, its results, and what was printed."""
    folder = tmp_path_factory.mktemp("done")
    file = write_toml(folder / "trial.toml", grid={"steps": [3, 4], "seed": [0, 1, 2]})
    return file, folder / "results", finish(["sweep", file, "--jobs", "2"], folder / "results", cache)


def attempt_at(results, spec, lines):
    """The attempt at a run that has written so many checkpoints, or None."""
    found = lines_of(results).items()
    return next((path for path, count in found if path.name.startswith(f".{spec.id}.") and count >= lines), None)


def no_traceback(err):
    return "Traceback" not in err and "distributed" not in err


# ---------------------------------------------------------------- as it should be


def test_workers_do_what_one_process_does_bit_for_bit(done, cache, tmp_path):
    file, results, (code, out, err) = done
    assert code == 0 and no_traceback(err) and out.startswith("6 runs: 6 trained\n")
    assert sorted(re.findall(r"^\[(\d)/6\]", err, re.M)) == list("123456")
    code, _, err = finish(["sweep", file, "--jobs", "1"], tmp_path / "results", cache)
    assert code == 0, err
    expected = arrays_of(results)
    assert len(expected) == 6 and arrays_of(tmp_path / "results") == expected
    one, many = (list(Store(root).each()) for root in (tmp_path / "results", results))
    assert [run.env()["execution"] for run in one] == [run.env()["execution"] for run in many]
    assert "--xla_cpu_multi_thread_eigen=false" in one[0].env()["execution"]["xla_flags"]
    assert one[0].env()["execution"]["shards"] == 1


def test_lists_of_gradlab_run_use_workers_too(done, cache, tmp_path):
    words = ["run", BASE["task"], "--cell", CELL, "--len", "4", "--seed", "0-2", "--steps", "3,4"]
    words += ["--hidden", "2", "--batch", "2", "--measure-batch", "2", "--jobs", "2"]
    code, out, err = finish(words, tmp_path / "results", cache)
    assert code == 0 and no_traceback(err) and "6 runs, at their last checkpoint" in out
    assert arrays_of(tmp_path / "results") == arrays_of(done[1])


def test_what_a_terminal_shows(tmp_path, cache):
    (tmp_path / "raise").touch()
    vary = {"cell": [f"{CELL}:fault=raise"], "steps": [LONG]}
    file = write_toml(tmp_path / "trial.toml", base={"steps": 3}, vary=vary)
    terminal, err = os.openpty()
    more = {SWITCHES: tmp_path, "TERM": "xterm", "COLUMNS": 160}
    process = start(["sweep", file, "--jobs", "2"], tmp_path / "results", cache, stderr=err, **more)
    os.close(err)
    seen = b""
    try:
        while more := os.read(terminal, 4096):
            seen += more
    except OSError:  # how a terminal says that nobody is left
        pass
    os.close(terminal)
    out, _ = process.communicate(timeout=600)
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", seen.decode())
    assert process.returncode == 1 and "3 runs: 2 trained, 1 failed" in out
    for words in (
        r"0 of 3 done · [12] running · 0 failed · estimating time left",
        r"2 of 3 done · 1 running · 1 fail|3 of 3 done · 0 running · 1 fail",  # the other worker may start last
    ):
        assert re.search(words, text), text
    assert re.search(rf"recall-\S+  training step +[1-9]\d* of at most {LONG}  \d+ s", text)
    assert re.search(r"about \d+ s left · slowest faulty.recall-", text)
    (failure,) = re.findall(r"\[\d/3\] (\S+) failed: RuntimeError: a mistake", text)
    assert "fault=raise" in failure and "not solved within" not in text, "what went well is counted"


# ---------------------------------------------------------------- faults


def test_faults_cost_nobody_else_anything(tmp_path, cache, done):
    """13 runs on two workers: one is killed from outside, one exits, one raises, one hangs, one has no end."""
    faults = ("raise", "exit", "hang")
    vary = {"seed": list(range(1, 8)), "cell": [f"{CELL}:fault={fault}" for fault in faults]}
    file = write_toml(tmp_path / "trial.toml", base={"steps": 3}, vary=vary | {"steps": [LONG, ENDLESS]})
    unlimited = file.read_text()
    file.write_text(unlimited.replace("[budget]", f"[budget]\nminutes = {LIMIT / 60}"))
    short, long, endless = (RunSpec(**BASE, steps=steps) for steps in (3, LONG, ENDLESS))
    innocent = [short.id, long.id, *(replace(short, seed=seed).id for seed in vary["seed"])]
    guilty = [replace(short, cell=cell).id for cell in vary["cell"]] + [endless.id]
    for fault in faults:
        (tmp_path / fault).touch()
    results, words = tmp_path / "results", ["sweep", file, "--jobs", "2"]

    process = start(words, results, cache, **{SWITCHES: tmp_path})
    wait_for(lambda: attempt_at(results, long, lines=9), process)
    victim = pid_of(attempt_at(results, long, lines=9))
    os.kill(victim, signal.SIGKILL)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 1 and no_traceback(err)
    found = {run.id: run for run in Store(results).each(pytest.fail)}
    expected = dict.fromkeys(innocent, "trained") | dict.fromkeys(guilty, "failed")
    assert {name: run.status for name, run in found.items()} == expected and len(expected) == 13
    reasons = [found[name].done["reason"] for name in guilty]
    assert reasons[0].startswith("RuntimeError: a mistake of the user's own (")
    assert reasons[1:] == [
        "its process died twice (exit code 3)",
        f"ran past its {LIMIT} s",
        f"OutOfTime: ran past its {LIMIT} s",
    ]
    for name, reason in zip(guilty, reasons, strict=True):
        assert f"{name} failed: {reason}" in err and f"{results}/runs/{name}/" in err, "told when it happens"
    assert "13 runs: 9 trained, 4 failed" in out and "--jobs 2 --rerun failed" in out
    assert found[endless.id].done["training_steps"] > 0

    # What hindered them is mended: the second call does the rest and nothing else.
    for fault in faults:
        (tmp_path / fault).unlink()
    file.write_text(unlimited)
    code, out, err = finish([*words, "--set", f"steps={LONG}", "--json"], results, cache, **{SWITCHES: tmp_path})
    ended = {run["id"]: (run["status"], run["fresh"]) for run in json.loads(out)["runs"]}
    again = dict.fromkeys(innocent, ("trained", False)) | dict.fromkeys(guilty[:3], ("trained", True))
    assert code == 0 and ended == again


def test_a_full_disk_is_named_and_costs_nothing_that_is_finished(tmp_path, cache, done):
    """A limit on the size of files, which a process hands down to its workers, fails as a full disk does."""
    grid = {"seed": [0, 1, 2], "steps": [3, 4000]}
    file = write_toml(tmp_path / "trial.toml", grid=grid, base={"stop": "never"})
    results, words = tmp_path / "results", ["sweep", file, "--jobs", "2"]
    code, _, err = finish(words, results, cache, code=full_disk(40_000))
    assert code == 1 and no_traceback(err)
    assert len(re.findall(r"^\[\d/6\] faulty.recall-\S+ failed: curves.npz cannot be written to", err, re.M)) == 3
    found = [(run.config["steps"], run.status) for run in Store(results).each(pytest.fail)]
    assert sorted(found) == [(3, "trained")] * 3 + [(4000, "failed")] * 3
    code, _, err = finish(words, results, cache)
    assert code == 0 and "3 of 6 runs are done already" in err and len(arrays_of(results)) == 6


# ---------------------------------------------------------------- stopped


def test_ctrl_c_stops_the_workers_and_the_rest_is_done_later(tmp_path, cache):
    file = write_toml(tmp_path / "trial.toml", base={"steps": ENDLESS}, grid={"seed": [0, 1, 2, 3]})
    results, words = tmp_path / "results", ["sweep", file, "--jobs", "2"]
    process = start(words, results, cache)
    wait_for(lambda: sum(lines > 8 for lines in lines_of(results).values()) == 2, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the parent and its workers alike
    pressed = time.monotonic()
    out, err = process.communicate(timeout=600)
    assert time.monotonic() - pressed < LONGEST_AFTERLIFE and process.returncode == 130
    assert out == "" and no_traceback(err) and "interrupted: 4 runs: 0 done, 4 not done" in err
    assert err.index("stopping: runs under way end") < err.index("interrupted: 4 runs")
    assert err.rstrip().splitlines()[-1] == f"go on: gradlab sweep {file} --jobs 2"
    wait_for(lambda: not living(process.pid), seconds=LONGEST_AFTERLIFE)
    found = list(Store(results).each(pytest.fail))
    assert [run.status for run in found] == ["interrupted"] * 2
    for run in found:
        assert run.done["training_steps"] >= 50 and len(run.log()) == len(run.arrays()["step"]) >= 8
    again = shlex.split(err.rstrip().splitlines()[-1].removeprefix("go on: gradlab "))
    code, out, err = finish([*again, "--dry-run"], results, cache)
    assert code == 0 and out.endswith("4 runs: 2 interrupted, 2 new\n")


def test_no_worker_outlives_its_parent(tmp_path, cache):
    file = write_toml(tmp_path / "trial.toml", base={"steps": ENDLESS}, grid={"seed": [0, 1]})
    process = start(["sweep", file, "--jobs", "2"], tmp_path / "results", cache)
    wait_for(lambda: len(lines_of(tmp_path / "results")) == 2, process)
    workers = {pid_of(attempt) for attempt in lines_of(tmp_path / "results")}
    assert len(workers) == 2 and workers < set(living(process.pid))
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not living(process.pid), seconds=LONGEST_AFTERLIFE)
    process.communicate()
    assert set(statuses(tmp_path / "results").values()) == {"killed"}


def test_kill_9_and_resume_three_times(tmp_path, cache):
    seen = torture(tmp_path, cache, kills=3, seed=1)
    assert seen.kills == 3 and seen.torn >= 1


@pytest.mark.parametrize("name, after", [("run", 0.1), ("run", 3), ("probe", 5), ("lesson", 4)])
def test_ctrl_c_at_any_moment(tmp_path, name, after):
    """While it imports, compiles or measures: 130, no traceback, no signal death, nothing left."""
    assert interrupt(name, tmp_path, "off", after) is not None


def test_nobody_else_can_reach_the_processes_of_a_sweep(tmp_path, cache):
    file = write_toml(tmp_path / "trial.toml", base={"steps": ENDLESS}, grid={"seed": [0, 1]})
    process = start(["sweep", file, "--jobs", "2"], tmp_path / "results", cache)
    wait_for(lambda: len(lines_of(tmp_path / "results")) == 2, process)
    family = living(process.pid)
    sockets = {
        os.readlink(path)
        for pid in family
        for path in Path(f"/proc/{pid}/fd").iterdir()
        if os.readlink(path).startswith("socket:")
    }
    pipes = [f"/proc/{pid}/fd/{fd}" for pid in family for fd in (0, 1, 3, 4)]
    refused = subprocess.run(
        [sys.executable, "-c", OTHER_USER, *pipes], capture_output=True, text=True, check=True
    )
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    assert len(family) == 5 and not sockets, "the command, two processes and their forks, and pipes between them"
    if os.geteuid() == 0:  # only root may become another user
        assert refused.stdout.split() == ["no"] * len(pipes)


OTHER_USER = """
import os, sys
if os.geteuid() == 0:
    os.setuid(65534)
for path in sys.argv[1:]:
    try:
        os.open(path, os.O_RDWR)
    except PermissionError:
        print("no")
"""


# ---------------------------------------------------------------- several at once


def test_two_sweeps_over_one_folder(tmp_path, cache, done):
    file = write_toml(tmp_path / "trial.toml", grid={"steps": [3, 4], "seed": [0, 1, 2]})
    both = [start(["sweep", file, "--jobs", "2"], tmp_path / "results", cache) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0 and no_traceback(err), err
        assert out.startswith("6 runs: 6 trained")
    assert arrays_of(tmp_path / "results") == arrays_of(done[1])
    names = {path.name for path in (tmp_path / "results" / "runs").iterdir()}
    assert names == set(arrays_of(done[1])), "nothing else is left"


@pytest.mark.parametrize("how", ["computed", "claimed"])
def test_a_second_command_does_other_runs_and_waits(tmp_path, cache, how):
    """This process computes one of two runs, or has claimed it, until the other one is done."""
    file, results = write_toml(tmp_path / "trial.toml", grid={"steps": [3, 4]}), tmp_path / "results"
    held, free = load_sweep(file).specs
    store, computed = Store(results), how == "computed"
    hold = store.begin(held.id, held.config()) if computed else store.claim(held.id)
    process = start(["sweep", file], results, cache)
    wait_for((results / "runs" / free.id / "done.json").exists, process)
    time.sleep(0.5)
    assert process.poll() is None and len(store.attempts(held.id)) == computed, "it does not begin the same run"
    if computed:
        hold.discard()
    else:
        hold.release()
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0 and out.startswith("2 runs: 2 trained"), err
    said = f"{held.id}: computed by another command already in process {os.getpid()} on {socket.gethostname()}"
    assert [said in line for line in err.splitlines()].count(True) == 1
    assert {path.name for path in (results / "runs").iterdir()} == {held.id, free.id}, "nothing else is left"


# ---------------------------------------------------------------- clusters


@pytest.fixture
def scheduler(tmp_path, cache, request):
    """A Dask cluster of one worker that runs already, by TCP or TLS; its file, its address, its certificates."""
    where, env = tmp_path / "scheduler.json", surroundings(cache)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    keys, certificates = [], ""
    if request.param == "tls":
        security = Security.temporary()
        for name in ("ca_file", "client_cert", "client_key"):
            (tmp_path / f"{name}.pem").write_text(getattr(security, f"tls_{name}"))
        names = [str(tmp_path / f"{name}.pem") for name in ("ca_file", "client_cert", "client_key")]
        certificates = ",".join(names)
        keys = [
            word for pair in zip(("--tls-ca-file", "--tls-cert", "--tls-key"), names, strict=True) for word in pair
        ]
    words = ["--host", f"{request.param}://127.0.0.1", "--port", str(port), "--no-dashboard", *keys]
    workers = ["--scheduler-file", str(where), "--nthreads", "1", "--no-dashboard", *keys]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": env}
    dask = [sys.executable, "-m", "dask"]
    processes = [subprocess.Popen([*dask, "scheduler", *words, "--scheduler-file", str(where)], **quiet)]
    wait_for(where.exists, processes[0])
    processes.append(subprocess.Popen([*dask, "worker", *workers], cwd=tmp_path, **quiet))
    yield where, f"{request.param}://127.0.0.1:{port}", certificates
    for process in reversed(processes):
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.parametrize("scheduler", ["tcp"], indirect=True)
def test_a_cluster_that_runs_already(scheduler, tmp_path, cache, done):
    file, results = done[0], tmp_path / "results"
    code, _, err = finish(["sweep", file, "--set", "seed=0", "--scheduler", scheduler[0]], results, cache)
    assert code == 0 and no_traceback(err), err
    assert "has no TLS: whoever reaches its port can run code as you" in err
    code, out, err = finish(["sweep", file, "--scheduler", scheduler[1]], results, cache)
    assert code == 0 and no_traceback(err) and "2 of 6 runs are done already" in err
    assert out.startswith("6 runs: 6 trained") and arrays_of(results) == arrays_of(done[1])


@pytest.mark.parametrize("scheduler", ["tls"], indirect=True)
def test_a_cluster_with_certificates(scheduler, tmp_path, cache, done):
    words, results = ["sweep", done[0], "--set", "seed=0", "--scheduler", scheduler[1]], tmp_path / "results"
    code, out, err = finish(words, results, cache)
    assert (code, out) == (2, "") and "wants certificates: give them by --tls" in err.splitlines()[-1]
    made = Security.temporary()
    for name in ("ca_file", "client_cert", "client_key"):
        (tmp_path / f"other-{name}.pem").write_text(getattr(made, f"tls_{name}"))
    others = ",".join(str(tmp_path / f"other-{name}.pem") for name in ("ca_file", "client_cert", "client_key"))
    code, out, err = finish([*words, "--tls", others], results, cache)
    assert (code, out) == (2, "") and "cannot be reached" in err, "nobody gets in with others"
    code, out, err = finish([*words, "--tls", scheduler[2]], results, cache)
    assert code == 0 and no_traceback(err) and "TLS" not in err and out.startswith("2 runs: 2 trained"), err


def test_a_cluster_that_is_not_there(tmp_path, cache, done):
    code, out, err = finish(["sweep", done[0], "--scheduler", "tcp://127.0.0.1:9"], tmp_path / "results", cache)
    assert (code, out) == (2, "") and "scheduler `tcp://127.0.0.1:9` cannot be reached" in err.splitlines()[-1]


SBATCH = """\
#!{python}
import os, shutil, subprocess, sys
folder = {folder!r}
number = str(os.getpid())
script = os.path.join(folder, number)
shutil.copy(sys.argv[-1], script)  # as the real one does: its caller deletes the original
with open(script + ".log", "w") as log:
    process = subprocess.Popen(["bash", script], stdout=log, stderr=log, start_new_session=True)
with open(script + ".pid", "w") as file:
    file.write(str(process.pid))
print("Submitted batch job", number)
"""
SCANCEL = """\
#!{python}
import os, signal, sys
for number in sys.argv[1:]:
    try:
        with open(os.path.join({folder!r}, number + ".pid")) as file:
            os.killpg(int(file.read()), signal.SIGTERM)
    except OSError:
        pass
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for the commands of Slurm that really start the workers."""
    pytest.importorskip("dask_jobqueue", reason="the extra `slurm` is not installed")
    folder, bin_ = tmp_path / "jobs", tmp_path / "bin"
    folder.mkdir()
    bin_.mkdir()
    for name, text in {"sbatch": SBATCH, "scancel": SCANCEL, "squeue": "#!/bin/sh\n"}.items():
        (bin_ / name).write_text(textwrap.dedent(text).format(python=sys.executable, folder=str(folder)))
        (bin_ / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    yield folder
    for path in folder.glob("*.pid"):
        try:
            os.killpg(int(path.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            pass


def test_workers_of_slurm(slurm, tmp_path, cache, done):
    settings = tmp_path / "slurm.toml"
    settings.write_text(
        'memory = "1GB"\nwalltime = "00:10:00"\ninterface = "lo"\njob_extra_directives = ["--nice"]\n'
    )
    words = ["sweep", done[0], "--slurm", settings, "--jobs", "2"]
    code, out, err = finish(words, tmp_path / "results", cache)
    assert code == 0 and no_traceback(err), (err, [path.read_text() for path in slurm.glob("*.log")])
    assert out.startswith("6 runs: 6 trained") and arrays_of(tmp_path / "results") == arrays_of(done[1])
    scripts = [path.read_text() for path in slurm.iterdir() if path.suffix == ""]
    assert len(scripts) == 2 and all("#SBATCH --nice" in text and "-t 00:10:00" in text for text in scripts)
    assert all("tls://" in text and "--tls-key" in text for text in scripts)
    keys = re.findall(r"--tls-key (\S+)", "".join(scripts))
    assert len(keys) == 2 and not any(Path(key).exists() for key in keys), "they are gone with the cluster"


def test_a_key_of_slurm_that_is_unknown(slurm, tmp_path, cache, done):
    settings = tmp_path / "slurm.toml"
    settings.write_text('walltim = "00:10:00"\n')
    words = ["sweep", done[0], "--slurm", settings, "--jobs", "2"]
    code, out, err = finish(words, tmp_path / "results", cache)
    assert (code, out) == (2, "") and "unknown key of --slurm `walltim`" in err and "`walltime`" in err


def test_without_the_extra(tmp_path, cache, done):
    settings = tmp_path / "slurm.toml"
    settings.write_text("")
    code = "import sys; sys.modules['dask_jobqueue'] = None;"
    words = ["sweep", done[0], "--slurm", settings, "--jobs", "2"]
    code, out, err = finish(words, tmp_path / "results", cache, code=code)
    assert (code, out) == (2, "") and "--slurm needs dask-jobqueue" in err.splitlines()[-1]
