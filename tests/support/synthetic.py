"""Stored runs whose findings are known, for the tests of what reads a results folder."""

import re

import numpy as np

from gradlab.gradient.curve import GradientCurve
from gradlab.report.data.records import ROLES
from gradlab.runs.result import RunResult, curve_arrays
from gradlab.runs.spec import NUMERICS, STORE
from gradlab.runs.store import Store
from gradlab.training.checkpoint_metrics import CheckpointMetrics
from gradlab.training.loop import Checkpoint

CONFIG = {
    "store": STORE, "numerics": NUMERICS, "task": "adding", "cell": "lstm", "length": 40,
    "hidden": 8, "batch": 4, "seed": 0, "optimizer": "adam", "learning_rate": 0.01, "clip": "norm:1",
    "steps": 100, "stop": "solved", "dtype": "float32", "measure": "checkpoints", "measure_batch": 8,
}  # fmt: skip
STEPS = (0, 10, 100)


def falling(decades, lags=40, examples=8, seed=0):
    """A curve whose typical line falls in a straight line by `decades` from lag 1 to lag T."""
    noise = np.random.default_rng(seed).normal(size=examples)
    line = -decades * np.arange(lags) / (lags - 1)
    return GradientCurve.of({"h": line[:, None] + (noise - noise.mean())})


def put(
    root,
    curves,
    *,
    status="trained",
    step=STEPS,
    total=None,
    future=None,
    loss=None,
    reason="ValueError: broken",
    traces=None,
    **config,
):
    """Store one run with these task curves at the checkpoints, as the engine writes it; `traces` by name."""
    config = CONFIG | config
    task, cell = (
        re.sub(r"[^\w.=-]", "-", config[part], flags=re.ASCII).strip("-")[:80] for part in ("task", "cell")
    )
    run_id = f"{task}-{cell}-T{config['length']}-s{config['seed']}"
    run_id += "" if config["steps"] else "-probe"
    attempt = Store(root).begin(run_id, config)
    attempt.write_json("env.json", {"execution": {"platform": "cpu"}, "command": ["gradlab"]})
    kinds = {"task": curves} | ({"total": total} if total else {}) | ({"task_future": future} if future else {})
    checkpoints = [
        Checkpoint(at, CheckpointMetrics({kind: c[index] for kind, c in kinds.items()}, 0.2, {}))
        for index, at in enumerate(step[: len(curves)])
    ]
    marks = [RunResult(None).summary(checkpoint) for checkpoint in checkpoints]
    for mark in marks:
        attempt.log(mark)
    arrays = curve_arrays(checkpoints) | {f"trace/{name}": values for name, values in (traces or {}).items()}
    if loss is None:
        loss = np.linspace(0.5, 0.005, config["steps"]) if config["steps"] else np.empty(0)
    gates = {"gate/f": np.array([[0.7, 0.0], [0.8, 0.1], [0.9, 0.3]])[: len(curves)]}
    attempt.write_arrays("curves.npz", arrays | gates | {"trace/loss": loss})
    worst = max(range(len(marks)), key=lambda i: curves[i].verdict().severity)
    done = {
        "status": status,
        "training_steps": int(arrays["step"][-1]),
        "solved_at": 100 if status == "solved" else None,
        "diverged": {"step": 101, "what": "loss"} if status == "diverged" else None,
        "reason": reason if status == "failed" else None,
        "losses": {"chance": 1 / 6, "solved": 0.01, "final": 0.2, "test": None},
        "wall_seconds": 1.5,
        "summary": dict(zip(ROLES, (marks[0], marks[worst], marks[-1]), strict=True)),
    }
    return attempt.finish(done)
