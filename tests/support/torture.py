"""kill -9 at random moments, then resume: `python tests/support/torture.py [KILLS] [SEED]`.

Half of the kills take the whole process group, half the parent alone, after which no worker may live for 5
seconds. Half wait for a new checkpoint line before they strike. In the end the ids of all runs and the arrays of
every `curves.npz` equal those of a sweep that nobody disturbed, bit for bit.
"""

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from sweeping import arrays_of, finish, lines_of, living, pid_of, start, statuses, wait_for, write_toml

from gradlab.runs.sweeps import load_sweep

LONGEST_AFTERLIFE = 5.0
"""Seconds that a worker may live after its parent."""


class Torture:
    """Sweeps that are killed and resumed, and what was seen."""

    def __init__(self, folder, cache, seed=0, tell=lambda line: None):
        self.folder, self.cache, self.tell, self.chance = Path(folder), cache, tell, random.Random(seed)
        # Many checkpoints in the first half second, then one or two seconds of training.
        base, grid, budget = {"stop": "never"}, {"seed": [0, 1, 2, 3, 4]}, {"steps": 30_000}
        self.file = write_toml(self.folder / "torture.toml", base=base, grid=grid, budget=budget)
        self.words = ["sweep", self.file, "--jobs", "2"]
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


def torture(folder, cache, kills, seed=0, tell=lambda line: None):
    """Kill that often, in as many sweeps as it takes; what was seen."""
    work = Torture(folder, cache, seed, tell)
    rounds = 0
    while work.kills < kills:
        work.round(f"round-{rounds}", kills - work.kills)
        rounds += 1
    return work


def main(kills=20, seed=0):
    with tempfile.TemporaryDirectory() as folder:
        work = torture(folder, Path(folder) / "cache", int(kills), int(seed), print)
    print(
        f"{work.kills} kills, {work.after_a_line} after a checkpoint line, {work.torn} runs torn, "
        f"no process lived longer than {work.longest:.1f} s; {len(work.expected)} runs equal bit for bit"
    )
    assert work.torn >= 5 and work.after_a_line >= work.kills / 2


if __name__ == "__main__":
    main(*sys.argv[1:])
