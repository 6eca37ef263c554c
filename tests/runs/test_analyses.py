"""What `also` asks for: worked out, stored, shown and drawn."""

import json

import numpy as np
import pytest

from gradlab.errors import GradlabError
from gradlab.report.data.records import labelled, read
from gradlab.report.figures.analyses import analysis_figures
from gradlab.report.text.analyses import sentence
from gradlab.runs.execute import run
from gradlab.runs.schema import ANALYSED
from gradlab.runs.spec import ANALYSES, RunSpec, also_name
from gradlab.runs.store import Store

SMALL = {"length": 12, "hidden": 4, "batch": 4, "measure_batch": 6}
ALL = "+".join(ANALYSES)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    run(RunSpec(cell="lstm", steps=2, also=ALL, **SMALL), folder)
    return folder


def test_analyses_are_stored_before_and_after_training(results):
    (stored,) = Store(results).each()
    assert set(stored.done["analyses"]) == {"initial", "final"}
    arrays = stored.arrays("analyses.npz")
    for when in ("initial", "final"):
        assert list(stored.done["analyses"][when]) == list(ANALYSES)
        assert arrays[f"{when}/spectrum/exponents"].shape == (8,)
        assert arrays[f"{when}/credit/share"].shape == (12,)
        shares = [values for key, values in arrays.items() if key.startswith(f"{when}/paths/share/")]
        np.testing.assert_allclose(sum(shares), 1)
        lags = arrays[f"{when}/remembrance/lags"]
        assert lags[[0, -1]].tolist() == [1, 12] and arrays[f"{when}/remembrance/change"].shape == lags.shape
    assert np.any(arrays["initial/credit/share"] != arrays["final/credit/share"])


def test_analyses_are_shown_and_drawn(results, typed):
    (stored,) = Store(results).each()
    code, out, _ = typed("show", stored.id, "--results", results)
    assert code == 0
    for when in ("initial", "final"):
        for name in ANALYSES:
            assert f"{name}, {when}: " in out
    code, out, _ = typed("show", stored.id, "--results", results, "--json")
    (shown,) = json.loads(out)["runs"]
    assert shown["analyses"] == stored.done["analyses"]
    records = read(results, warn=lambda text: pytest.fail(text))
    figures = list(analysis_figures("run", records[0], "LSTM"))
    assert [figure.name for figure in figures] == [f"{name}-run" for name in ANALYSES]
    for name, figure in zip(ANALYSES, figures, strict=True):
        assert sentence(name, stored.done["analyses"]["initial"][name], 12) in figure.heading
        assert len(figure.figure.axes) == 2


def test_analyses_name_a_run_only_where_nothing_else_does(tmp_path):
    fields = SMALL | {"steps": 0, "seed": 0}
    asked = [("rnn", "spectrum"), ("rnn", "none"), ("gru", "paths"), ("lstm", "credit"), ("lstm", "paths")]
    for cell, also in asked:
        run(RunSpec(**fields | {"cell": cell, "also": also}), tmp_path)
    names = [name for name, _ in labelled(read(tmp_path, pytest.fail))]
    assert sorted(names) == ["GRU", "LSTM", "LSTM, also paths", "RNN", "RNN, also spectrum"]


def test_sentences_follow_the_numbers():
    def spectrum(largest):
        numbers = {"exponents": [largest, -1.0], "singular_values": [3.0, 0.0, -9.0], "entries": 4, "examples": 1}
        return sentence("spectrum", numbers, 10)

    assert "of 4 directions one changes by -0.5 decades per timestep" in spectrum(-0.5)
    assert "of 4 directions one changes by +0.5 decades per timestep" in spectrum(0.5)
    assert "between -9.0 and +3.0 decades" in spectrum(0.5)
    paths = {"alone_share": {"carried": 0.9, "i": 0.01, "f": -0.05}, "share": {}, "alone": {}}
    said = sentence("paths", paths, 7)
    assert said.startswith(
        "at lag 7 90% of the gradient came through the carried state alone, -5% through f alone"
    )
    assert said.endswith("14% changed its path")
    shares = {"10": 0.5}
    credit = {"window": 3, "truncated_at": 0, "share": shares, "cosine": shares, "agreement": [1.0, -0.25]}
    assert "the last 3 of 20 timesteps" in sentence("credit", credit, 20)
    said = sentence("credit", credit, 20)
    assert "(along it 50% from the last 10)" in said and "-0.25 at lag 20" in said


def test_truncated_training_is_said_and_its_share_told(tmp_path, typed):
    spec = RunSpec(cell="rnn", steps=1, window=5, also="credit", **SMALL)
    result = run(spec, tmp_path)
    found = result.analyses["initial"]["credit"]
    assert found.summary["share"] == {"5": found.arrays["share"][4], "10": found.arrays["share"][9]}
    code, out, _ = typed("show", spec.id, "--results", tmp_path)
    assert code == 0 and "training that goes back 5 of 12 timesteps goes" in " ".join(out.split())
    assert json.loads((result.path / "done.json").read_text())["window"] == 5


def test_the_sentence_of_a_precision():
    def said(**more):
        numbers = {"carried_leaves_at": None, "plain_leaves_at": 30, "plain_zero_from": 40, "loss_scale": 9} | more
        return sentence("precision", {"float16": numbers}, 50)

    off = "in float16 plain differentiation is off from lag 30, 0 from lag 40"
    assert said() == f"{off}, unless the loss is scaled by 2^9"
    assert said(loss_scale=None) == f"{off}; no scale of the loss brings all of it into range"
    assert said(plain_leaves_at=None) == "in float16 plain differentiation is right up to lag 50"
    assert said(carried_leaves_at=31) == said()
    off = "in float16 plain differentiation is off from lag 30 by rounding"
    assert said(carried_leaves_at=30) == f"{off}, 0 from lag 40, the latter unless the loss is scaled by 2^9"
    assert said(carried_leaves_at=30, plain_zero_from=None) == off


@pytest.mark.parametrize(
    "command, asked",
    [("spectrum", "spectrum"), ("credit", "credit+paths+remembrance"), ("precision", "precision")],
)
def test_commands_of_their_own(tmp_path, typed, command, asked):
    code, out, error = typed(
        command, "adding", "--cell", "gru", "--len", 6, "--hidden", 3, "--measure-batch", 4, "--results", tmp_path
    )
    assert code == 0, error
    assert all(f"{name}, initial: " in out for name in asked.split("+"))
    (stored,) = Store(tmp_path).each()
    assert stored.config["also"] == asked


def test_of_several_cells_each_is_told(tmp_path, typed):
    words = ["--len", 6, "--hidden", 3, "--measure-batch", 4, "--results", tmp_path, "-q"]
    code, out, error = typed("precision", "adding", "--cell", "gru,rnn", *words)
    assert code == 0, error
    for each in Store(tmp_path).each():
        assert f"{each.id}, precision, initial: in " in out


def test_no_id_changes_and_names_are_sorted():
    assert "also" not in RunSpec().config()
    assert RunSpec(also="credit+spectrum").also == "spectrum+credit" == also_name("spectrum+credit+credit")
    with pytest.raises(GradlabError, match=r"unknown analysis in also `spectrom`.*did you mean `spectrum`"):
        RunSpec(also="spectrom")


@pytest.mark.parametrize(
    "cell, also, reason",
    [("attention", "spectrum", "has no state"), ("residual:gru", "paths", "does not state its gates")],
)
def test_what_cannot_be_worked_out_is_said_before_training(tmp_path, cell, also, reason):
    with pytest.raises(GradlabError, match=reason):
        run(RunSpec(cell=cell, steps=2, also=also, **SMALL), tmp_path)
    assert not list(Store(tmp_path).each())


def test_an_analysis_that_failed_is_stored_and_said():
    check = ANALYSED["credit"]
    assert check({"failed": "why"}) == "" and check({"failed": 3}) and check({"window": 3})
    assert sentence("credit", {"failed": "why"}, 9) == "not worked out: why"


def test_remembrance_where_inputs_are_alike(tmp_path, typed):
    """Nearly all inputs of the copy task are the same blank."""
    spec = RunSpec(task="copy:symbols=2", cell="gru", steps=0, also="remembrance", **SMALL)
    found = run(spec, tmp_path).analyses["initial"]["remembrance"]
    assert found.summary["lags"] == [15, 16] == found.arrays["lags"].tolist()
    assert np.isfinite(found.arrays["change"]).all() and found.summary["horizon_reached"]
    code, out, _ = typed("show", spec.id, "--results", tmp_path)
    assert code == 0 and "of what that at lag 15 does at every lag up to 16" in " ".join(out.split())
    assert sentence("remembrance", {"change": [], "horizon": 0, "horizon_reached": False}, 9).startswith("all ex")


def test_what_does_not_apply_is_said_beside_the_rest(tmp_path, typed):
    words = ["--cell", "indrnn", "--len", 6, "--hidden", 3, "--measure-batch", 4, "--results", tmp_path]
    code, out, error = typed("credit", "adding", *words)
    assert code == 0, error
    assert "paths, initial: not worked out: " in out and "credit, initial: the last" in out
    (record,) = read(tmp_path, warn=lambda text: pytest.fail(text))
    assert [figure.name for figure in analysis_figures("run", record, "IndRNN")] == [
        "credit-run",
        "remembrance-run",
    ]
