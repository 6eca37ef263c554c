"""Cells and tasks of an installed package: listed without importing it, used by name."""

import json
import sys

import pytest

from gradlab.cells import CELLS
from gradlab.errors import GradlabError
from gradlab.runs import plugins
from gradlab.runs.variants import cell_variant, get_cell, get_task

CELL = """
import jax.numpy as jnp


class Leaky:
    def __init__(self, rate: float = 0.5):
        self.rate = rate

    def init(self, key, input_size, hidden_size):
        return {"w": jnp.ones((input_size, hidden_size))}

    def carry(self, params, batch_size):
        return jnp.zeros((batch_size, params["w"].shape[1]))

    def step(self, params, carry, x_t):
        h = self.rate * carry + x_t @ params["w"]
        return h, h
"""
OFFERED = ("leaky", "missing", "raising")
"""Names of cells that only the package has, and that can be told without importing it."""
ENTRIES = """
[gradlab.cells]
leaky = plugged_cells:Leaky
lstm = plugged_cells:Leaky
halved = plugged_cells
raising = plugged_broken:Cell
missing = plugged_cells:Other

[gradlab.tasks]
short = plugged_tasks:make
"""


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch):
    """A distribution with a module that works and one that raises."""
    (tmp_path / "plugged_cells.py").write_text(CELL)
    (tmp_path / "plugged_broken.py").write_text("raise RuntimeError('out of order')")
    (tmp_path / "plugged_tasks.py").write_text(
        "from gradlab.tasks import TASKS\n\ndef make():\n    return TASKS['adding']()\n"
    )
    info = tmp_path / "plugged-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(tmp_path)
    plugins._entries.cache_clear()
    yield
    plugins._entries.cache_clear()
    for name in [name for name in sys.modules if name.startswith("plugged")]:
        del sys.modules[name]


def test_they_are_listed_and_not_imported(typed):
    code, out, err = typed("cells")
    assert code == 0 and "leaky: plugged_cells:Leaky of plugged 1.5" in out and "rnn: " in out
    assert err.splitlines() == [
        "gradlab: warning: cell `lstm` of plugged 1.5 is left out: gradlab has a cell of that name",
        "gradlab: warning: cell `halved` of plugged 1.5 is left out: it says `plugged_cells`, and not module:name",
    ]
    code, out, err = typed("tasks", "--json")
    assert code == 0 and not err and json.loads(out)["tasks"]["short"]["options"] == []
    assert not [name for name in sys.modules if name.startswith("plugged")]


def test_they_are_used_by_name():
    variant = cell_variant("leaky:rate=0.25")
    assert variant.name == "leaky:rate=0.25" and variant.value.rate == 0.25 and variant.source
    assert cell_variant("leaky:rate=0.50").name == "leaky"
    assert get_task("short").input_size == 2


def test_gradlabs_own_cell_keeps_its_name():
    assert type(get_cell("lstm")).__module__ == "gradlab.cells.lstm"


@pytest.mark.parametrize(
    "name, words",
    [
        ("raising", "cell `plugged_broken` failed while it was loaded: RuntimeError: out of order"),
        ("missing", "unknown cell in plugged_cells `Other`: known are Leaky"),
        ("leeky", f"known are {', '.join(sorted([*CELLS, *OFFERED]))}; did you mean `leaky`?"),
    ],
)
def test_a_broken_one_is_one_line_and_breaks_nothing_else(name, words):
    with pytest.raises(GradlabError) as error:
        get_cell(name)
    assert words in str(error.value)
    assert get_cell("leaky").rate == 0.5
