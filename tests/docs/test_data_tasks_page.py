"""docs/data-tasks.md against the tasks: each has a row, and the figures are those of the data."""

import re
from pathlib import Path

import numpy as np
import pytest

from gradlab.runs.variants import get_task
from gradlab.tasks.data import DATA_TASKS
from gradlab.tasks.data.series import SERIES, series_of
from gradlab.tasks.data.text import characters

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data-tasks.md").read_text()
NAMES, *ROWS = re.findall(r"^\| `(?:losses.autoregression|horizon=(\d+))`[^|]*\| (.+) \|$", PAGE, re.M)


def test_every_task_has_a_row_and_the_readme_points_here():
    assert {name for name in DATA_TASKS if f"\n| `{name}" in PAGE} == set(DATA_TASKS)
    assert "(docs/data-tasks.md)" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("horizon, figures", ROWS)
def test_the_errors_of_the_autoregression(horizon, figures):
    names = NAMES[1].split(" | ")
    assert names == list(SERIES)
    found = [get_task(f"forecast:series={name}:horizon={horizon}").baselines(20) for name in names]
    np.testing.assert_allclose(
        [each["autoregression"] for each in found], [*map(float, figures.split(" | "))], atol=0.006
    )


def test_the_sizes_of_the_data():
    assert sum(map(len, characters().parts)) == pytest.approx(
        373_000, rel=0.1
    )  # it differs between versions of Python
    assert {f"{len(series_of(name)):,}" for name in SERIES if name != "eeg"} <= set(re.findall(r"[\d,]*\d", PAGE))
    assert series_of("eeg").shape == (800, 4) and "800 × 4" in PAGE
