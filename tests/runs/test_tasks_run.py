"""Every synthetic task is trained and measured by a run."""

import numpy as np
import pytest

from gradlab.runs.execute import run
from gradlab.runs.spec import RunSpec

SMALL = {"hidden": 3, "batch": 4, "measure_batch": 3}
LENGTHS = {  # the shortest, or a little more
    "adding:markers=1997": 20,
    "multiplication": 3,
    "delayed_xor": 3,
    "latch:noise=0.5": 3,
    "temporal_order": 11,
    "temporal_order:variant=hochreiter:symbols=3": 20,
    "variable_copy:symbols=2": 3,
    "selective_copy:symbols=2": 3,
    "associative_recall:pairs=2": 1,
    "mackey_glass:horizon=6": 18,
}


@pytest.mark.parametrize("task", LENGTHS)
def test_a_task_is_trained_and_probed(task):
    trained = run(RunSpec(task=task, cell="lstm", length=LENGTHS[task], steps=2, measure="ends", **SMALL))
    assert trained.status == "trained", trained.reason
    probed = run(RunSpec(task=task, cell="rnn", length=LENGTHS[task], steps=0, **SMALL))
    assert probed.status == "measured", probed.reason
    curve = probed.curve("initial")
    assert np.isfinite(curve.typical()).all() and len(curve.lags) > LENGTHS[task] * 0.9
