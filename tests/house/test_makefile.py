"""`make clean` spares what was measured; only the target that says so removes it."""

import shutil
import subprocess
from pathlib import Path

MAKEFILE = Path(__file__).parents[2] / "Makefile"


def test_results_are_removed_by_their_own_target_alone(tmp_path):
    shutil.copy(MAKEFILE, tmp_path)
    kept = ["results/baselines/ci/a.json", "results/summaries/b.csv", "results/bench.md"]
    measured = ["results/runs/a/done.json", "results/sweeps/a.json", "results/report/index.html"]
    for name in (*kept, *measured, "gradlab/__pycache__/a.pyc", ".venv/bin/python"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def make(target):
        done = subprocess.run(["make", target], cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return [name for name in (*kept, *measured) if (tmp_path / name).exists()]

    assert make("clean") == kept + measured
    assert not (tmp_path / ".venv").exists() and not (tmp_path / "gradlab" / "__pycache__").exists()
    assert make("clean-results") == kept
