"""Small runs as the store has them, whole, under way and dead, for the tests of what reads and removes them."""

import json
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import numpy as np

from gradlab.gradient.summary import HalfLife, Horizon, Slope, Summary, Verdict
from gradlab.runs.archive import STATISTICS
from gradlab.runs.files import digest
from gradlab.runs.store import Store

WRITER = textwrap.dedent("""
    import json, sys
    from gradlab.runs.store import Store

    attempt = Store(sys.argv[1]).begin(sys.argv[2], json.loads(sys.argv[3]))
    print(attempt.path, flush=True)
    input()
""")


def dead_attempt(root, run_id, config):
    """The directory of an attempt that nobody holds any more, as after the death of its process."""
    attempt = Store(root).begin(run_id, config)
    attempt.lock.release()
    return attempt.path


@contextmanager
def living_attempt(root, run_id, config, prefix=()):
    """A process that holds an attempt until the end of the block; its standard output has told the directory."""
    words = [*prefix, sys.executable, "-c", WRITER, str(root), run_id, json.dumps(config)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.path = process.stdout.readline().strip()
        assert process.path, "it could not begin"
        try:
            yield process
        finally:
            process.kill()


def summary(lags=3, span=-1.0):
    """The stored numbers of one leaf of one curve."""
    numbers = Summary(
        lags,
        "typical",
        span,
        Slope(span / lags, 0.0, 1.0),
        HalfLife(lags, lags, lags, lags),
        Horizon(lags, True),
        Horizon(lags, True),
        Verdict("held", span, lags),
        0.0,
        None,
    )
    return numbers.as_dict()


def line(step=0, loss=0.5):
    """A line of `log.jsonl`."""
    curve = {"h": summary(), "state": summary(), "non_finite": [], "notes": []}
    return {"step": step, "loss": loss, "curves": {"task": curve}}


def ended(status="trained", **more):
    """The object of `done.json`, without digests, of a run with one checkpoint."""
    done = {
        "status": status,
        "reason": "broken" if status == "failed" else None,
        "diverged": {"step": 1, "what": "loss"} if status == "diverged" else None,
        "training_steps": 0,
        "solved_at": 0 if status == "solved" else None,
        "losses": {"final": 0.5, "test": None, "chance": 1 / 6, "solved": 0.01},
        "summary": dict.fromkeys(("initial", "worst", "final"), line()),
    }
    return done | more


def curves(steps=(0,), lags=3):
    """The arrays of `curves.npz`."""
    fall = np.linspace([0.0] * len(steps), [-1.0] * len(steps), lags).T
    names = [f"task/{leaf}/{name}" for leaf in ("h", "state") for name in STATISTICS]
    return {"step": np.array(steps), "trace/loss": np.empty(0)} | {name: fall for name in names}


def rewrite(path, data):
    """Replace a file of a run that ended, and its digest, so that the content alone can show that it is wrong."""
    path.write_bytes(data)
    done = json.loads((path.parent / "done.json").read_bytes())
    done["digests"][path.name] = digest(data)
    (path.parent / "done.json").write_text(json.dumps(done))
