"""What tests of sweeps share: a file that asks for small runs, and a command in a process group of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from compiling import CACHE_OF_TESTS

from gradlab.runs.lock import holder
from gradlab.runs.store import Store

OWN = Path(__file__).with_name("faulty.py")
CELL = f"{OWN}:Faulty"
BASE = {"task": f"{OWN}:Recall", "cell": CELL, "length": 4, "hidden": 2, "batch": 2, "measure_batch": 2}
NOT_A_USERS = {"TF_CPP_MIN_LOG_LEVEL", "XLA_FLAGS", *CACHE_OF_TESTS}
"""Variables of the environment that tests set, or jax when they import it."""
ENTRY = "from gradlab.__main__ import entry; entry()"


class RecordingListener:
    """A listener that records what it receives; `then` is called with the progress of every run."""

    def __init__(self, then=lambda spec, progress: None):
        self.then, self.begins, self.ends, self.warnings = then, [], [], []

    def begun(self, spec, execution, devices):
        self.begins.append(spec.id)

    def reached(self, spec, progress):
        self.then(spec, progress)

    def ended(self, finished):
        self.ends.append((finished.spec.id, finished.status, finished.fresh))

    def tick(self):
        pass

    def warn(self, text):
        self.warnings.append(text)

    def presses(self):
        return 0


def write_toml(path, *, title="A trial", question="Does it work?", base=(), budget=(), grid=(), vary=(), tune=()):
    """A sweep's file; `base`, `budget`, `grid`, `vary` and `tune` are mappings, or pairs."""
    limit = {} if "steps" in (*dict(base), *dict(grid), *dict(vary)) else {"steps": 3}
    lines = [f'title = "{title}"', f'question = "{question}"']
    own = {field: value for field, value in BASE.items() if field not in dict(tune)} | dict(base)
    fixed = {field: value for field, value in own.items() if field not in dict(grid)}
    tables = [("[base]", fixed), ("[grid]", dict(grid)), ("[budget]", limit | dict(budget))]
    tables += [("[tune]", dict(tune))] if tune else []
    for head, table in [*tables, *(("[[vary]]", {field: values}) for field, values in dict(vary).items())]:
        lines += [head, *(f"{field} = {value!r}" for field, value in table.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def surroundings(cache, **more):
    """The environment of a command, independent of that of the tests but for how it compiles, which is quick."""
    clean = {key: value for key, value in os.environ.items() if key not in NOT_A_USERS - {"XLA_FLAGS"}}
    return (
        clean | {"GRADLAB_CACHE": str(cache), "COLUMNS": "80"} | {key: str(value) for key, value in more.items()}
    )


def start(words, results, cache, *, code="", stderr=subprocess.PIPE, **more):
    """A command in a session of its own, so that all its processes can be found and killed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": stderr, "text": True, "start_new_session": True}
    env = surroundings(cache, GRADLAB_RESULTS=results, **more)
    return subprocess.Popen([sys.executable, "-c", code + ENTRY, *map(str, words)], env=env, **pipes)


def finish(words, results, cache, **more):
    """A command to its end: exit code, stdout, stderr."""
    process = start(words, results, cache, **more)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def full_disk(limit):
    """Code at the start of a command to which, and to its workers, files end at `limit` bytes, as on a full disk.

    CPython would leave bytecode that ends there, and every later process fail of it (python/cpython#126606).
    """
    return f"""
import os, resource, sys
os.environ["PYTHONDONTWRITEBYTECODE"], sys.dont_write_bytecode = "1", True
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
"""


def living(session):
    """The ids of the processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(sid) == session and state not in "ZX":
            found.append(int(path.parent.name))
    return found


def wait_for(condition, process=None, seconds=600):
    """Wait for a condition while a process lives."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def lines_of(folder):
    """How many whole checkpoint lines each attempt has, by its directory."""
    logs = {path.parent: path for path in folder.glob("runs/.*/log.jsonl")}
    counts = {}
    for attempt, path in logs.items():
        try:
            counts[attempt] = path.read_bytes().count(b"\n")
        except OSError:
            continue
    return counts


def pid_of(attempt):
    """The process that writes an attempt, or wrote it; None where it is gone."""
    return holder(attempt).get("pid")


def arrays_of(folder):
    """Of every finished run, the bytes of each array of its curves."""
    runs = list(Store(folder).each())
    return {
        run.id: {
            name: (array.dtype, array.shape, np.ascontiguousarray(array).tobytes())
            for name, array in run.arrays().items()
        }
        for run in runs
        if run.finished
    }


def statuses(folder):
    """The status of every run by its id."""
    return {run.id: run.status for run in Store(folder).each()}
