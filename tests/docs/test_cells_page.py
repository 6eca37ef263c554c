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
TABLE = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
SOURCES = {name: source for name, *_, source in TABLE}
COMMANDS = [line for line in PAGE.splitlines() if re.match(r"(\$ )?gradlab .*--cell", line)]


def test_every_cell_has_a_row_in_the_order_of_the_registry():
    assert [name for name, *_ in TABLE] == list(CELLS)


@pytest.mark.parametrize("name", CELLS)
def test_the_source_is_that_of_the_file(name):
    url = re.search(r"\]\((\S+)\)$", SOURCES[name])[1]
    assert url in inspect.getsource(sys.modules[CELLS[name].__module__])


@pytest.mark.parametrize("line", COMMANDS)
def test_cells_of_commands_exist(line):
    words = shlex.split(line)
    for text in words[words.index("--cell") + 1].split(","):
        cell_variant(text)


def test_the_canonical_name_is_the_one_that_is_told():
    given, canonical = re.search(r"canonical: `(\S+)` is `(\S+)`", PAGE).groups()
    assert cell_variant(given).name == canonical != given


def test_the_readme_points_here():
    assert "(docs/cells.md)" in README
