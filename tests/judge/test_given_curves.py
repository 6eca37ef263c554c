"""Curves that were measured elsewhere, blessed and guarded: tables of a suite, and curves in a test."""

import json

import numpy as np
import pytest

from gradlab import GradlabError
from gradlab.gradient.curve import GradientCurve
from gradlab.testing import assert_curve

LAGS = np.arange(1, 41)


def table(path, slope=-0.1, bump=0.0):
    rows = [f"{lag},{leaf},{slope * lag + bump * (lag > 30) * (leaf == 'c')}" for lag in LAGS for leaf in "hc"]
    path.write_text("\n".join(["lag,leaf,log10_norm", *rows]))


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A suite of one table, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    table(tmp_path / "lstm.csv")
    path = tmp_path / "experiments" / "given.toml"
    path.write_text('title = "t"\nquestion = "q"\n[[scenario]]\ncurve = "../lstm.csv"\ntolerance = 0.01\n')
    return path


def test_a_table_is_blessed_and_guarded(suite, typed):
    code, out, err = typed("check")
    assert code == 3 and "no baseline" in out + err
    code, out, err = typed("bless", "given", "--reason", "measured by another library")
    assert code == 0 and "2 files" in out, err
    assert typed("check")[0] == 0
    table(suite.parents[1] / "lstm.csv", bump=0.005)  # within the tolerance
    assert typed("check")[0] == 0
    table(suite.parents[1] / "lstm.csv", bump=0.015)
    code, out, err = typed("check", "--json")
    (finding,) = json.loads(out)["suites"][0]["scenarios"][0]["findings"]
    assert code == 1 and finding["status"] == "regressed" and "at initialisation" not in out
    assert (finding["curve"], finding["leaf"], finding["tolerance"]) == ("task", "c", 0.01)
    assert finding["lag"] > 30 and finding["decades"] == pytest.approx(0.015)
    code, out, _ = typed("check")
    assert "regressed: lstm as given: task curve of c: +0.015 decades at lag" in out and "new curves over" in out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('curve = "gone.csv"', "curve `experiments/gone.csv` of experiments/given.toml does not exist"),
        (
            'curve = "../lstm.csv"\nlength = 5',
            "unknown field of a scenario with a curve in experiments/given.toml",
        ),
        ('curve = "../lstm.csv"\ntolerance = 0', "tolerance of lstm is 0: give decades, a positive number"),
        ("curve = 3", "curve of a scenario in experiments/given.toml is 3: give the path"),
    ],
)
def test_a_scenario_that_is_wrong(suite, typed, line, message):
    suite.write_text(f'title = "t"\nquestion = "q"\n[[scenario]]\n{line}\n')
    code, _, err = typed("check", "given")
    assert code == 2 and message in " ".join(err.split())


def test_a_curve_of_ones_own_test(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADLAB_RESULTS", str(tmp_path))
    path = tmp_path / "layer.json"

    def curve(shift=0.0, loss=0.5):
        values = -0.1 * LAGS + shift * (LAGS == 40)
        return GradientCurve.of({"h": values[:, None] + np.zeros((1, 3))}, losses=np.full(3, loss))

    with pytest.raises(AssertionError, match="no baseline yet"):
        assert_curve(curve(), baseline=path)
    assert_curve(curve(5e-4), baseline=path)
    with pytest.raises(AssertionError, match=r"layer as given: [-+]0\.005 decades at lag 40") as error:
        assert_curve(curve(5e-3), baseline=path)
    assert "measured" in str(error.value) and str(path) in str(error.value)
    with pytest.raises(AssertionError, match="layer as given: the loss is not finite in 1 of 1 seeds"):
        assert_curve(curve(loss=np.nan), baseline=path)
    with pytest.raises(AssertionError, match="other settings"):
        assert_curve(curve(), baseline=path, tolerance=0.1)
    assert_curve(curve(5e-3), baseline=path, tolerance=0.1, bless=True)
    with pytest.raises(GradlabError, match="assert_curve of a cell has no length"):
        assert_curve("rnn", baseline=path)
    with pytest.raises(GradlabError, match="assert_curve of a cell measures its tolerance"):
        assert_curve("rnn", baseline=path, length=5, tolerance=0.1)
