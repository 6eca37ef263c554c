"""kill -9 and Ctrl-C at random moments: `python tests/support/torture.py [KILLS] [SEED]`.

Kills: sweeps with one process and with two. Half of the kills take the whole process group, half the parent alone,
after which no process may live for 5 seconds. Half wait for a new checkpoint line before they strike. In the end
the ids of all runs and the arrays of every `curves.npz` equal those of a sweep that nobody disturbed, bit for bit.

Interrupts: as many, of commands that compile, train, measure and write. Each ends with 130, without a traceback,
with no process left and no attempt in the store.

Namespaces: two commands that have the same process id, each in a namespace of its own, share a store.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sweeping import (
    ENTRY,
    arrays_of,
    finish,
    lines_of,
    living,
    pid_of,
    start,
    statuses,
    surroundings,
    wait_for,
    write_toml,
)

from gradlab.runs.sweeps import load_sweep

LONGEST_AFTERLIFE = 60.0
"""Seconds that a worker may live after its parent on a slow machine; one of them on an idle one."""


class Torture:
    """Sweeps that are killed and resumed, and what was seen."""

    def __init__(self, folder, cache, seed=0, tell=lambda line: None, jobs=2):
        self.folder, self.cache, self.tell, self.chance = Path(folder), cache, tell, random.Random(seed)
        # Many checkpoints in the first half second, then one or two seconds of training.
        base, grid, budget = {"stop": "never"}, {"seed": [0, 1, 2, 3, 4]}, {"steps": 30_000}
        self.file = write_toml(self.folder / "torture.toml", base=base, grid=grid, budget=budget)
        self.words = ["sweep", self.file, "--jobs", str(jobs)]
        self.ids = sorted(spec.id for spec in load_sweep(self.file).specs)
        self.kills = self.torn = self.after_a_line = self.longest = 0
        self.expected = self.finish("undisturbed")

    def finish(self, name):
        """Let a sweep come to its end; the arrays of its runs."""
        code, _, err = finish(self.words, self.folder / name, self.cache)
        assert code == 0, err
        found = statuses(self.folder / name)
        assert sorted(found) == self.ids and set(found.values()) == {"trained"}, found
        return arrays_of(self.folder / name)

    def round(self, name, kills):
        """Kill one sweep until it is through or was killed so often, resume it to its end, and compare."""
        results = self.folder / name
        for _ in range(kills):
            if not self.kill_once(results):
                break
        assert self.finish(name) == self.expected, "the arrays are others"
        left = [path.name for path in (results / "runs").iterdir() if path.name.startswith(".")]
        assert not left, f"attempts were left: {left}"

    def kill_once(self, results):
        """Start the sweep and kill it; False where it was through before."""
        late, whole = self.kills % 2 == 0, self.kills // 2 % 2 == 0
        process = start(self.words, results, self.cache)
        before = dict(lines_of(results))
        if late:
            new = lambda: any(count > before.get(path, 0) for path, count in lines_of(results).items())  # noqa: E731
            while process.poll() is None and not new():
                time.sleep(0.005)
            time.sleep(self.chance.uniform(0, 0.6))
        else:
            time.sleep(self.chance.uniform(0.1, 4))
        if process.poll() is not None:
            process.communicate()
            return False
        own = set(living(process.pid))
        (os.killpg if whole else os.kill)(process.pid, signal.SIGKILL)
        died = time.monotonic()
        process.communicate()
        wait_for(lambda: not set(living(process.pid)), seconds=LONGEST_AFTERLIFE)
        # What was torn is of a process that was killed now, not earlier.
        lines = {path: count for path, count in lines_of(results).items() if pid_of(path) in own}
        self.kills += 1
        self.torn += len(lines)
        self.after_a_line += any(lines.values())
        self.longest = max(self.longest, time.monotonic() - died)
        self.tell(
            f"kill {self.kills} of {'the group' if whole else 'the parent'} ({len(own)} processes): "
            f"{len(lines)} runs torn, all gone after {time.monotonic() - died:.1f} s"
        )
        return True


def torture(folder, cache, kills, seed=0, tell=lambda line: None, jobs=2):
    """Kill that often, in as many sweeps as it takes; what was seen."""
    work = Torture(folder, cache, seed, tell, jobs)
    rounds = 0
    while work.kills < kills:
        work.round(f"round-{rounds}", kills - work.kills)
        rounds += 1
    return work


COMMANDS = {
    "run": ["run", "copy", "--cell", "lstm", "--len", "20", "--steps", "200", "--stop", "never"],
    "probe": ["probe", "adding", "--cell", "gru,lstm", "--len", "50,60"],
    "grid": [
        "run",
        "adding",
        "--cell",
        "rnn,gru",
        "--len",
        "20",
        "--steps",
        "200",
        "--stop",
        "never",
        "--jobs",
        "2",
    ],
    "lesson": ["lesson", "--cell", "gru"],
}
"""What is interrupted; together they compile, train, measure, draw and write."""


def interrupt(name, folder, cache, after):
    """Press Ctrl-C in a command after so many seconds; what it wrote to stderr, None if it was through before."""
    results = Path(folder) / "results"
    words = [*COMMANDS[name], *(["--output", f"{folder}/lesson.html"] if name == "lesson" else [])]
    process = start(words, results, cache)
    time.sleep(after)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=600)
    if process.returncode == 0:
        return None
    assert process.returncode == 130 and "Traceback" not in err and "Error" not in err, (process.returncode, err)
    wait_for(lambda: not living(process.pid), seconds=LONGEST_AFTERLIFE)
    assert not list(results.glob("runs/.*")), "an attempt was left"
    assert set(statuses(results).values()) <= {"interrupted", "trained", "measured"}
    return err


def same_pid(folder, cache):
    """Two sweeps of the same process ids, in namespaces of their own, over one store; False if not allowed."""
    unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        return False
    base, grid = {"stop": "never"}, {"seed": [0, 1]}
    file = write_toml(Path(folder) / "same.toml", base=base, grid=grid, budget={"steps": 20_000})
    command = [*unshare, sys.executable, "-c", ENTRY, "sweep", str(file), "--jobs", "1"]
    env = surroundings(cache, GRADLAB_RESULTS=Path(folder) / "results")
    both = [subprocess.Popen(command, env=env, stdout=-1, stderr=-1, text=True) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0 and out.startswith("2 runs: 2 trained"), err
    return True


def main(kills=20, seed=0):
    for jobs in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            work = torture(folder, Path(folder) / "cache", int(kills), int(seed), print, jobs)
        print(
            f"{work.kills} kills with --jobs {jobs}, {work.after_a_line} after a checkpoint line, {work.torn} "
            f"torn runs, no process lived over {work.longest:.1f} s; {len(work.expected)} runs equal in bits"
        )
        assert work.torn >= 5 and work.after_a_line >= work.kills / 2
    chance, ended = random.Random(int(seed)), 0
    for number in range(int(kills)):
        name = list(COMMANDS)[number % len(COMMANDS)]
        with tempfile.TemporaryDirectory() as folder:
            after = chance.uniform(0.1, 12)
            err = interrupt(name, folder, "off", after)
        ended += err is not None
        print(
            f"interrupt {number + 1} of {name} after {after:.1f} s: {'through before' if err is None else '130'}"
        )
    print(f"{ended} interrupted commands ended with 130, without a traceback and with no process left")
    with tempfile.TemporaryDirectory() as folder:
        seen = same_pid(folder, Path(folder) / "cache")
    print(
        f"two commands of the same process id over one store: {'both ended well' if seen else 'not allowed here'}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
