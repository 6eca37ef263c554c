"""Every task can be trained and measured by a run."""

import jax
import numpy as np
import pytest

from gradlab.runs.execute import run
from gradlab.runs.spec import RunSpec
from gradlab.tasks import TASKS
from gradlab.training import step as training_step

SMALL = {"hidden": 3, "batch": 4, "measure_batch": 3, "measure": "ends"}
VARIANTS = [*TASKS, "adding:markers=1997", "multiplication:markers=1997", "temporal_order:variant=hochreiter"]


@pytest.mark.parametrize("task", VARIANTS)
def test_a_training_step_takes_the_batches_of_every_task(task):
    """Traced and not compiled, which takes seconds for each."""
    length = RunSpec(task=task, length=64).build_task().min_length
    spec = RunSpec(task=task, cell="lstm", length=length, steps=2, **SMALL)
    model, plan = spec.model(), spec.plan()
    model.check(length, 2)
    state = jax.eval_shape(lambda: training_step.start_state(model, plan, model.init(0)))
    until = jax.ShapeDtypeStruct((), "int32")
    after, rows = jax.eval_shape(training_step.chunk_program(model, plan), state, until)
    assert jax.tree.map(lambda leaf: leaf.shape, after) == jax.tree.map(lambda leaf: leaf.shape, state)
    assert rows.loss.shape == (training_step.TEST_EVERY,)
    assert jax.eval_shape(training_step.test_program(model, plan), state.params, state.seed).shape == ()


@pytest.mark.parametrize(
    "task, cell, length, lags",
    [
        ("adding:markers=1997", "lstm", 20, (20, 21, 22)),  # the longest of a few examples
        ("selective_copy:symbols=2", "rnn", 3, (3 + 2 + 1,)),  # the first marker
        ("temporal_order", "rnn", 11, (11,)),
    ],
)
def test_a_task_is_trained_and_measured(task, cell, length, lags):
    found = run(RunSpec(task=task, cell=cell, length=length, steps=2, **SMALL))
    assert found.status == "trained", found.reason
    for when in ("initial", "final"):
        assert np.isfinite(found.curve(when).typical()[: length - 1]).all()
        assert len(found.curve(when).lags) in lags
