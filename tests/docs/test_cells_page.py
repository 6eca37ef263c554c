"""docs/cells.md against the registry: every cell with its source, and commands that name cells there are."""

import inspect
import re
import shlex
import sys
from pathlib import Path

import pytest

from gradlab.cells import CELLS
from gradlab.runs.variants import cell_variant

PAGE = (Path(__file__).parents[2] / "docs" / "cells.md").read_text()
README = (Path(__file__).parents[2] / "README.md").read_text()
ROWS = {
    cells[0].strip(" `"): cells[1:] for cells in re.findall(r"^\| (`\w+`) \| (.+) \| (.+) \| (.+) \|$", PAGE, re.M)
}
COMMANDS = [line for line in (PAGE + README).splitlines() if line.startswith("gradlab ") and "--cell" in line]


def test_every_cell_has_a_row_in_the_order_of_the_registry():
    assert list(ROWS) == list(CELLS)


@pytest.mark.parametrize("name", CELLS)
def test_the_source_is_that_of_the_file(name):
    url = re.search(r"\]\((\S+)\)$", ROWS[name][-1])[1]
    assert url in inspect.getsource(sys.modules[CELLS[name].__module__])
    assert all(len(cell) > 5 for cell in ROWS[name])


@pytest.mark.parametrize("line", COMMANDS)
def test_cells_of_commands_exist(line):
    words = shlex.split(line, comments=True)
    for text in words[words.index("--cell") + 1].split(","):
        if not text.startswith("./"):
            cell_variant(text)
    assert (
        "stacked:layers=3:lstm" in PAGE and cell_variant("stacked:layers=3:lstm").name == "stacked:lstm:layers=3"
    )


def test_the_readme_points_here():
    assert "(docs/cells.md)" in README
