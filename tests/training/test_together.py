"""Runs that are trained as one batched program, against the same runs one by one."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from gradlab.runs.execute import run, run_together
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store
from gradlab.training.loop import Checkpoint, Chunk, Outcome, train, train_together

pytestmark = pytest.mark.slow

SPEC = RunSpec(
    cell="gru", length=4, hidden=6, batch=8, measure_batch=3, steps=130, dtype="float64", measure="every"
)


def by_run(model, plans):
    events = {index: [] for index in range(len(plans))}
    for index, event in train_together(model, plans, [None] * len(plans)):
        events[index].append(event)
    return list(events.values())


def same(one, other):
    assert [type(event) for event in one] == [type(event) for event in other]
    for got, want in zip(one, other, strict=True):
        if isinstance(got, Chunk):
            assert got.step == want.step
            for leaf, expected in zip(jax.tree.leaves(got.rows), jax.tree.leaves(want.rows), strict=True):
                np.testing.assert_allclose(leaf, expected, rtol=1e-8, atol=1e-8)
        elif isinstance(got, Checkpoint):
            assert got.step == want.step
            curves = (event.metrics.curves["task"].typical() for event in (got, want))
            np.testing.assert_allclose(*curves, atol=1e-7)
        else:
            assert (got.status, got.step, got.solved_at, got.diverged) == (
                want.status,
                want.step,
                want.solved_at,
                want.diverged,
            )
            for leaf, expected in zip(jax.tree.leaves(got.params), jax.tree.leaves(want.params), strict=True):
                np.testing.assert_allclose(leaf, expected, rtol=1e-7, atol=1e-9)


def test_seeds_and_learning_rates_together_equal_each_alone():
    specs = [
        SPEC,
        replace(SPEC, seed=1, learning_rate=0.05),
        replace(SPEC, seed=2, learning_rate=1e300),  # diverges in its first training steps
        replace(SPEC, seed=3),
    ]
    with jax.enable_x64(True):
        model, plans = SPEC.model(), [spec.plan() for spec in specs]
        together = by_run(model, plans)
        for events, plan in zip(together, plans, strict=True):
            same(events, list(train(model, plan)))
    outcomes = [events[-1] for events in together]
    assert all(isinstance(outcome, Outcome) for outcome in outcomes)
    assert [outcome.status for outcome in outcomes].count("diverged") == 1
    assert len({outcome.step for outcome in outcomes}) > 1, "no run ended before another, so no lane was left idle"


def test_runs_together_are_stored_as_each_alone(tmp_path):
    specs = [replace(SPEC, steps=20, seed=seed) for seed in range(2)]
    heard = [[], []]
    run_together(specs, tmp_path / "together", [events.append for events in heard])
    assert [type(events[-1]) for events in heard] == [Outcome, Outcome]
    for spec in specs:
        run(spec, tmp_path / "alone")
        one, other = (Store(tmp_path / name).find(spec.id) for name in ("together", "alone"))
        assert one.status == other.status == "trained" and one.config == other.config
        assert [line["step"] for line in one.log()] == [line["step"] for line in other.log()]
        for file in ("curves.npz", "every.npz", "params.npz"):
            got, want = one.arrays(file), other.arrays(file)
            assert got.keys() == want.keys()
            for name, array in got.items():
                np.testing.assert_allclose(array, want[name], rtol=1e-7, atol=1e-7, err_msg=name)


def test_a_failure_of_runs_together_is_stored_for_each(tmp_path):
    def fail(event):
        raise RuntimeError("no more")

    specs = [replace(SPEC, steps=20, seed=seed) for seed in range(2)]
    results = run_together(specs, tmp_path, [None, fail])
    assert all(result.reason.startswith("RuntimeError: no more (") for result in results)
    assert [run.status for run in Store(tmp_path).each()] == ["failed", "failed"]


def test_specs_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="differ in seed and learning rate alone"):
        run_together([SPEC, replace(SPEC, hidden=7)])


def test_runs_of_different_shape_are_refused():
    plans = [SPEC.plan(), replace(SPEC, length=5).plan()]
    with pytest.raises(ValueError, match="differ in seed and learning rate alone"):
        list(train_together(SPEC.model(), plans, [None, None]))
