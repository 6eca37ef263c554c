"""docs/notebooks/first-steps.ipynb: its cells run, and what it says of their numbers is so."""

import ast
import json
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from matplotlib.axes import Axes

from gradlab.gradient import GradientCurve
from gradlab.report.comparison import Comparison
from gradlab.runs.result import RunResult

pytestmark = pytest.mark.slow

NOTEBOOK = json.loads((Path(__file__).parents[2] / "docs" / "notebooks" / "first-steps.ipynb").read_text())
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The names of the notebook after its last cell, and the value that each cell ends with."""
    names, values = {"__name__": "notebook"}, []
    with pytest.MonkeyPatch.context() as patch, matplotlib.rc_context({"backend": "Agg"}):
        patch.chdir(tmp_path_factory.mktemp("notebook"))
        patch.setenv("GRADLAB_RESULTS", "results")
        for text in CELLS:
            *body, last = ast.parse(text).body
            exec(compile(ast.Module(body, []), "first-steps.ipynb", "exec"), names)
            assert isinstance(last, ast.Expr), "each cell ends with something to see"
            values.append(eval(compile(ast.Expression(last.value), "first-steps.ipynb", "eval"), names))
    return names, values


def test_every_cell_shows_something(shown):
    kinds = [type(value) for value in shown[1]]
    assert kinds[:2] == [GradientCurve, Axes] and RunResult in kinds and kinds[-2:] == [Comparison, pd.DataFrame]
    for value in shown[1]:
        if not isinstance(value, Axes):
            assert value._repr_html_().count("<tr") > 1
    lines = [len(value.get_legend_handles_labels()[1]) for value in shown[1] if isinstance(value, Axes)]
    assert lines[1:3] == [3, 4] and lines[3] > 1


def test_what_the_text_says_is_so(shown):
    names = shown[0]
    spans = {name: curve.span() for name, curve in names["curves"].items()}
    assert spans["GRU"] < spans["RNN"]
    assert names["curve_of"]("rnn:init=torch").span() < spans["GRU"]
    spans = [curve.span() for curve in names["biases"].values()]
    assert spans == sorted(spans)
    assert names["result"].status == "solved"
    assert "fault" not in set(shown[1][-1].verdict)


def test_the_notebook_carries_no_output():
    assert all(not cell.get("outputs") for cell in NOTEBOOK["cells"])
    assert len(CELLS) == 10
