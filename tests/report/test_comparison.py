"""Curves and runs in notebooks: tables, `compare`, `plot`; and the one picture of `gradlab plot`."""

import json
import re

import matplotlib
import pytest
from markdown_it import MarkdownIt
from matplotlib import pyplot
from synthetic import falling, put

import gradlab
from gradlab.cli.app import main
from gradlab.errors import GradlabError
from gradlab.runs.imported_curves import store_curve
from gradlab.runs.result import RunResult
from gradlab.runs.spec import RunSpec
from gradlab.training.checkpoint_metrics import CheckpointMetrics
from gradlab.training.loop import Checkpoint


@pytest.fixture(autouse=True)
def no_windows(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADLAB_RESULTS", str(tmp_path / "results"))
    with matplotlib.rc_context({"backend": "Agg"}):
        yield
        pyplot.close("all")


@pytest.fixture
def stored(tmp_path):
    """Two cells at two lengths with two seeds; at the initial checkpoint the GRU loses more than the LSTM."""
    for length, seed in [(40, 0), (40, 1), (80, 0), (80, 1)]:
        for cell, decades in (("lstm", 4), ("gru", 9)):
            curves = [falling(decades * length / 40, length), falling(12, length), falling(1, length)]
            put(tmp_path / "results", curves, cell=cell, length=length, seed=seed, status="solved")
    return tmp_path / "results"


def result_of(*curves, **fields):
    marks = [
        Checkpoint(10 * index, CheckpointMetrics({"task": curve}, 0.2, {})) for index, curve in enumerate(curves)
    ]
    return RunResult(RunSpec(**fields), "trained", checkpoints=marks)


def cells(markdown):
    """The rows of the table of a text."""
    found = MarkdownIt("commonmark").enable("table").parse(markdown)
    inside = [token.content for token in found if token.type == "inline" and token.level == 4]
    width = sum(token.type == "th_open" for token in found)
    return [inside[start : start + width] for start in range(0, len(inside), width)]


def labels(axes):
    return axes.get_legend_handles_labels()[1]


def test_a_curve_is_a_table():
    curve = falling(4.4)
    head, row = cells(curve._repr_markdown_())
    assert head == ["leaf", "span", "slope", "half-life", "horizon", "verdict"]
    assert row[:2] == ["h", "-4.4"] and row[-2:] == ["27", "vanishing (-4.4 at lag 40)"]
    assert curve._repr_html_().count("<tr>") == 2 and "<td>-4.4</td>" in curve._repr_html_()


def test_a_result_is_one_line_and_a_table():
    result = result_of(falling(4), falling(12), falling(1), cell="gru", length=40)
    assert repr(result) == (
        f"<RunResult {result.spec.id}: trained, initial vanishing (-4.0 at lag 40), "
        "worst vanishing (-12.0 at lag 40), final held (-1.0 at lag 40)>"
    )
    rows = cells(result._repr_markdown_())
    assert [row[:3] for row in rows[1:]] == [
        ["initial", "0", "0.2"],
        ["worst", "10", "0.2"],
        ["final", "20", "0.2"],
    ]
    assert repr(RunResult(RunSpec(steps=0), "failed")).endswith("failed>")


def test_texts_of_users_stay_texts():
    text = gradlab.compare({"<b>|*a*": falling(1), "b": falling(2)})._repr_html_()
    assert "<td>&lt;b&gt;|*a*</td>" in text and text.count("<tr>") == 3


def test_what_compare_takes(stored):
    result = result_of(falling(5), cell="rnn", length=40, steps=0)
    both = gradlab.compare([falling(2), result, "adding-gru-T40-s0", "adding-gru-T40-s0"])
    table = both.table[["setting", "checkpoint", "span", "horizon_reached"]]
    assert sorted(table.itertuples(index=False, name=None)) == [
        ("GRU", "final", -1.0, True),
        ("GRU", "initial", pytest.approx(-9), False),
        ("GRU", "worst", pytest.approx(-12), False),
        ("RNN", "initial", pytest.approx(-5), False),
        ("curve 1", "initial", pytest.approx(-2), True),
    ]
    assert len(cells(both._repr_markdown_())) == 6 and "<td>curve 1</td>" in both._repr_html_()
    assert len(repr(both).splitlines()) == 7
    for wrong, why in (([], "nothing to compare"), ([3], "int is no curve"), (["no"], "is not in")):
        with pytest.raises(GradlabError, match=why):
            gradlab.compare(wrong)


def test_a_line_for_each_cell_length_or_checkpoint(stored):
    runs = [f"adding-{cell}-T40-s{seed}" for cell in ("lstm", "gru") for seed in (0, 1)]
    axes = gradlab.plot(runs)
    assert labels(axes) == ["LSTM", "GRU"]
    ends = [line.get_ydata()[-1] for line in axes.get_lines()]
    assert ends == pytest.approx([-4, -9])
    assert [line.get_ydata()[-1] for line in gradlab.plot(runs, at="worst").get_lines()] == pytest.approx(
        [-12] * 2
    )
    gru = [f"adding-gru-T{length}-s0" for length in (80, 40)]
    assert labels(gradlab.plot(gru, by="length")) == ["T = 40", "T = 80"]
    assert labels(gradlab.plot(gru)) == ["GRU, T = 40", "GRU, T = 80"]
    words = [f"{word} (training step {at})" for word, at in (("initial", 0), ("worst", 10), ("final", 100))]
    assert labels(gradlab.plot("adding-gru-T40-s0")) == words
    titles = [gradlab.plot(runs, at=at).figure.legends[0].get_title().get_text() for at in ("initial", "final")]
    assert titles == ["at initialisation", "final checkpoint of training"], "runs were trained: which curve is it?"
    own = pyplot.figure().subplots()
    assert gradlab.plot({"a": falling(1), "b": falling(2)}, own) is own and own.get_legend() is not None
    assert gradlab.compare({"a": falling(1)}).plot().get_lines()[0].get_label() == "a"
    for wrong in ({"by": "seed"}, {"at": "end"}, {"relative": False}):
        with pytest.raises(GradlabError):
            gradlab.plot(runs, **wrong)


def test_a_picture_for_a_paper(stored, tmp_path, capsys):
    for style, name, begins in (
        ("paper", "a.pdf", b"%PDF"),
        ("talk", "b.png", b"\x89PNG"),
        ("page", "c.svg", b"<?xml"),
    ):
        words = ["plot", "adding-gru-T80-s0", "adding-lstm-T80", "--where", "seed=0", "-o", str(tmp_path / name)]
        if style == "paper":
            assert main([*words, "--style", style]) == 2, "two runs begin so"
        assert main(["plot", "--where", "length=80", "-o", str(tmp_path / name), "--style", style]) == 0
        assert (tmp_path / name).read_bytes().startswith(begins)
    out = capsys.readouterr().out.splitlines()
    assert len(set(out)) == 1 and out[0].startswith(
        "Gradient norm of the state against lag, relative to lag 1 (adding, T = 80), at initialisation. "
        "LSTM: 8.0 decades lost; GRU: 18.0 decades lost. Line: mean over seeds"
    )
    svg = (tmp_path / "c.svg").read_text()
    assert ">LSTM<" in svg and ">GRU<" in svg


def test_the_same_runs_give_the_same_file(stored, tmp_path):
    for kind in ("svg", "pdf", "png"):
        files = [tmp_path / f"{number}.{kind}" for number in (1, 2)]
        for file in files:
            assert main(["plot", "adding-gru-T40-s0", "-o", str(file)]) == 0
        assert files[0].read_bytes() == files[1].read_bytes()


def test_what_plot_refuses(stored, tmp_path, capsys):
    words = ["plot", "adding-gru-T40-s0", "-o"]
    put(stored, [falling(1)], cell="rnn", status="failed", seed=7)
    for wrong, why in (
        ([*words, "a.gif"], "known are pdf, png, svg"),
        ([*words, str(tmp_path / "none" / "a.pdf")], "cannot be written"),
        ([*words, str(tmp_path / "a.pdf"), "--style", "slide"], "known are page, paper, talk"),
        (["plot"], "name runs or sweeps"),
        (["plot", "--where", "cell=rnn"], "no measured run with cell=rnn"),
    ):
        assert main(wrong) == 2
        err = capsys.readouterr().err
        assert why in err and err.count("\n") == 1
    assert main([*words, str(tmp_path / "a.pdf"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == ["adding-gru-T40-s0"]


def test_a_page_says_of_an_imported_curve_only_what_it_states(stored, tmp_path):
    name = store_curve(falling(3), "mine", task="adding", results=stored)
    page = tmp_path / "both.html"
    assert main(["report", "--compare", "adding-lstm-T40-s0", name, "-o", str(page)]) == 0
    text = page.read_text()
    section = text[text.index("Configuration differences</h2>") :]
    rows = re.findall(
        r'<tr><th scope="row">(.*)</th><td>(.*)</td><td>(.*)</td></tr>', section.split("</table>")[0]
    )
    other = {field: value for field, _, value in rows}
    assert other["cell"] == "mine" and other["hidden"] == other["learning rate"] == "-"
    assert "as imported" in text and "final weights of imported" not in text
