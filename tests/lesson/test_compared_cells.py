"""The page on several cells: its sentences turn with what was measured, its factors are those of the equations."""

import json
import re
from dataclasses import replace

import jax
import numpy as np
import pytest
from lessons import FACTORS, HIDDEN, compared
from synthetic import falling, put

from gradlab.gradient.curve import GradientCurve
from gradlab.lesson import explanation
from gradlab.lesson.comparison import measure_comparison, step_factors
from gradlab.lesson.measure import drawn_params, held_out_of
from gradlab.lesson.page import comparison_numbers, comparison_page
from gradlab.report.data.records import read
from gradlab.runs.spec import RunSpec

TEXTBOOK = "Textbooks say"


def text_of(page):
    return " ".join(re.sub(r"<(script|style)>.*?</\1>|<[^>]+>", " ", page, flags=re.S).split())


# ---------------------------------------------------------------- what was measured


def unrolled(spec):
    """The gates and states of a spec's cell on its held-out examples, by its equations in NumPy."""
    params = drawn_params(spec)
    own = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["cell"])
    inputs = np.asarray(held_out_of(spec).inputs, np.float64)[:, :16]
    h = c = np.zeros((inputs.shape[1], spec.hidden))
    rows = []
    for x in inputs:
        z, r = x @ own["w_x"] + own["b"], h @ own["w_h"]
        if spec.cell.startswith("rnn"):
            h = np.tanh(z + r)
            rows.append({"h": h})
        elif spec.cell.startswith("gru"):
            parts = np.split(z, 3, axis=1), np.split(r, 3, axis=1)
            reset, keep = (1 / (1 + np.exp(-parts[0][at] - parts[1][at])) for at in (0, 1))
            n = np.tanh(parts[0][2] + reset * parts[1][2])
            h = (1 - keep) * n + keep * h
            rows.append({"r": reset, "z": keep, "n": n})
        else:
            i, f, g, o = np.split(z + r, 4, axis=1)
            i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
            rows.append({"i": i, "f": f, "g": np.tanh(g), "o": o, "c": c})
            c = f * c + i * np.tanh(g)
            h = o * np.tanh(c)
    return own["w_h"], {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("cell", ["rnn:init=gaussian:gain=1.3", "lstm:forget_bias=2", "gru"])
def test_factors_are_those_of_the_equations(cell):
    spec = RunSpec(cell=cell, length=5, hidden=HIDDEN, steps=0)
    found = step_factors(spec, drawn_params(spec), held_out_of(spec))
    weights, each = unrolled(spec)
    if cell.startswith("rnn"):
        keep, write, block = 0.0, np.sqrt(np.mean((1 - each["h"] ** 2) ** 2)), weights
    elif cell.startswith("gru"):
        keep, block = each["z"].mean(), weights[:, 2 * HIDDEN :]
        write = (1 - keep) * each["r"].mean() * np.mean(1 - each["n"] ** 2)
    else:
        keep, block = each["f"].mean(), weights[:, 2 * HIDDEN : 3 * HIDDEN]
        inner = each["i"].mean() * np.mean(1 - each["g"] ** 2)
        write = inner * each["o"].mean() * np.mean(1 - np.tanh(each["c"]) ** 2)
    np.testing.assert_allclose([found.keep, found.write], [keep, write], rtol=1e-6)
    singular = np.linalg.svd(block, compute_uv=False)
    np.testing.assert_allclose(found.singular, singular[[-1, 0]], rtol=1e-6)
    assert (found.scale is None) == ("gaussian" in cell)
    jacobian = keep * np.eye(HIDDEN) + write * block
    np.testing.assert_allclose(found.together, np.abs(np.linalg.eigvals(jacobian)).max(), rtol=1e-6)


@pytest.mark.slow
def test_each_cell_is_what_its_own_probe_measures(tmp_path, typed):
    own = tmp_path / "kind.py"
    own.write_text("""
import jax.numpy as jnp
class Kind:
    def init(self, key, input_size, hidden_size): return {"w": jnp.ones((input_size, hidden_size))}
    def carry(self, params, batch_size): return jnp.zeros((batch_size, params["w"].shape[1]))
    def step(self, params, carry, x_t):
        h = jnp.tanh(0.5 * carry + x_t @ params["w"])
        return h, h
""")
    target, cells = tmp_path / "page.html", f"rnn,gru,{own}:Kind"
    words = ["--len", "4,8", "--hidden", HIDDEN, "-o", target, "--json", "-q"]
    code, out, err = typed("lesson", "adding", "--cell", cells, *words)
    assert code == 0, err
    told = json.loads(out)
    names = told["cells"]
    assert [(one["cell"], one["length"]) for one in told["positions"]] == [
        (name, length) for name in names for length in (4, 8)
    ]
    for one in told["positions"][1::2]:
        code, out, err = typed(*one["command"].split()[1:], "--json", "-q", "--results", tmp_path / "results")
        assert code == 0, err
        (run,) = json.loads(out)["runs"]
        assert one["numbers"] == run["summary"]["initial"]["curves"]["task"]["state"]
    assert [bool(told["factors"][name]) for name in names] == [True, True, False]
    text = text_of(target.read_text())
    assert "Its equations are not known here" in text
    assert re.search(
        rf"gradlab lesson adding --cell rnn,gru,\S*kind.py:Kind --len 4,8 --hidden {HIDDEN} ", text + " "
    )


# ---------------------------------------------------------------- sentences


def test_what_contradicts_textbooks_is_said_where_it_was_measured():
    first = explanation.contrast(compared({"rnn": -4.1, "gru": -25.0}).cells)
    assert TEXTBOOK in first[0] and "4.1 decades lost against 25.0" in first[0]
    assert "orthogonal (every singular value is 1)" in first[1] and "update gate z starts at 0.50" in first[2]
    turned = explanation.contrast(compared({"rnn": -25.0, "gru": -4.1}).cells)
    assert turned == ["Here every gated cell loses no more than every plain RNN."]
    alike = explanation.contrast(compared({"rnn": -4.1, "lstm": -4.3}).cells)
    assert alike == ["Here every gated cell loses as much as every plain RNN."]
    assert explanation.contrast(compared({"lstm": -4.1, "gru": -25.0}).cells) == []


def test_only_an_orthogonal_start_is_called_so():
    for singular, words in (
        ((1.0, 1.0), "orthogonal (every singular value is 1)"),
        ((0.9, 0.9), "0.9 times an orthogonal matrix"),
        ((0.02, 1.9), "singular values from 0.02 to 1.9"),
    ):
        factors = {"rnn": FACTORS["rnn"]._replace(singular=singular)}
        (cell,) = compared({"rnn": -2.0}, factors=factors).cells
        said = " ".join(explanation.explained(cell).sentences)
        assert words in said and ("orthogonal" in said) == (singular[1] < 1.5)


@pytest.mark.parametrize(
    "span, words", [(-0.869, "So these factors account for the curve"), (-9.0, "8.1 decades")]
)
def test_whether_the_factors_account_for_the_curve_turns_with_the_data(span, words):
    (cell,) = compared({"rnn": span}).cells
    said = explanation.explained(cell).sentences[-1]
    assert words in said and ("account for" in said) == (span > -1)


def test_a_gate_is_described_by_what_it_starts_with():
    spans = {"lstm:forget_bias=-2": -9.0, "lstm:forget_gate=false": -1.0, "gru:init=chrono:t_max=9": -2.0}
    factors = dict.fromkeys(spans, FACTORS["lstm"])
    low, none, chrono = (
        explanation.explained(cell).sentences[0] for cell in compared(spans, factors=factors).cells
    )
    assert "its bias starts at −2, and σ(−2) = 0.12" in low
    assert "There is no forget gate" in none and "bias" not in none
    assert "update gate z keeps 0.74" in chrono and "bias" not in chrono


def test_what_is_zero_or_not_finite_or_unknown_has_no_invented_factor():
    found = compared({"rnn": -2.0, "janet": -3.0, "gru": -1.0})
    dead = GradientCurve.of({"h": [[0.0], [-np.inf], [-np.inf]]})
    rnn, janet, gru = found.cells
    rnn = rnn._replace(points=tuple(point._replace(curve=dead) for point in rnn.points))
    gru = gru._replace(factors=None)
    page = text_of(comparison_page(replace(found, cells=(rnn, janet, gru))))
    assert "There is no measured factor to set beside it" in page and "zero from lag 2" in page
    assert "Its equations are not known here" in page and "A state is not finite" in page
    assert TEXTBOOK not in page


# ---------------------------------------------------------------- the page


def test_the_page_has_every_number_and_its_commands():
    found = compared({"rnn": -4.1, "lstm": -3.2, "gru": -25.0})
    page = comparison_page(found)
    assert comparison_page(found) == page
    text = text_of(page)
    for each in found.cells:
        for point in each.points:
            assert explanation.lost(point.curve.span()) in text
    for command in found.commands.values():
        assert all(line in text for line in command.split("\n"))
    assert found.commands["then"].count("-T40-s0-") == 3
    assert {each["cell"] for each in comparison_numbers(found)["positions"]} == {"rnn", "lstm", "gru"}
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert not re.search(r'(?:src|href)="(?!#|data:)', page) and " style=" not in page
    shown = re.findall(r'class="compared( unchosen)?" data-options="([^"]*)"', page)
    assert [bool(hidden) for hidden, _ in shown] == [True, False]


def test_runs_show_what_training_did(tmp_path):
    found = compared({"rnn": -4.1, "gru": -25.0})
    for cell, decades in (("rnn", (4.1, 20.0, 11.0)), ("gru", (25.0, 30.0, 2.5))):
        put(tmp_path, [falling(each) for each in decades], status="solved", cell=cell)
    text = text_of(comparison_page(found, read(tmp_path, print)))
    assert "4.1 decades lost at initialisation" in text and "2.5 when solved" in text
    assert "At the end of training: GRU 2.5 decades lost; RNN 11.0 decades lost." in text
    assert found.commands["then"] not in text and found.commands["train"] not in text
    assert found.commands["then"] in text_of(comparison_page(found))


def test_gates_are_shown_before_and_after_training(tmp_path):
    put(tmp_path, [falling(1.0), falling(2.0)], cell="gru")
    (record,) = read(tmp_path, print)
    first, last = ({"z": {"mean": mean, "saturation": 0.0}, "n": {"mean": -mean}} for mean in (0.5, 0.9))
    log = [record.log[0] | {"gates": first}, *record.log[1:-1], record.log[-1] | {"gates": last}]
    record = replace(record, log=log)
    assert explanation.gates_moved("GRU", record) == [("GRU", "z", 0.5, 0.9), ("GRU", "n", -0.5, -0.9)]
    assert "GRU z 0.50 0.90 GRU n −0.50 −0.90" in text_of(
        comparison_page(compared({"rnn": -1, "gru": -2}), [record])
    )


def test_what_a_person_names_is_no_markup():
    evil = "<img src=x onerror=alert(1)></script><script>alert(1)</script>"
    found = compared({"rnn": -4.1, "gru": -25.0})
    cells = tuple(each._replace(label=evil) for each in found.cells)
    page = comparison_page(replace(found, cells=cells, task=evil, commands=dict.fromkeys(found.commands, evil)))
    assert page.count("<script") == 2 and "<img" not in page and "onerror=alert(1)" in text_of(page)


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "words, said",
    [
        (["--cell", "rnn,gru", "--vary", "gain=1,2"], "an option is varied of one cell"),
        (["--cell", "rnn,lstn"], "did you mean `lstm`"),
        (["--cell", "rnn,attention"], "has no state"),
        (["--cell", "rnn,gru", "--run", "adding-lstm-T40-s0"], "is of lstm: give runs of what is compared"),
        (["--cell", "rnn,lstm", "--hidden", "9", "--run", "adding-lstm-T40-s0"], "has hidden=8"),
        (["--run", "adding-lstm-T40-s0,adding-lstm-T40-s1"], "a lesson on one cell shows one"),
    ],
)
def test_a_mistake_is_one_line(words, said, tmp_path, typed):
    for seed in (0, 1):
        put(tmp_path, [falling(1.0), falling(2.0)], seed=seed)
    code, _, err = typed("lesson", "adding", *words, "-o", tmp_path / "x.html", "--results", tmp_path)
    assert code == 2 and said in err and "\n" not in err.strip() and not (tmp_path / "x.html").exists()


def test_a_network_is_refused():
    with pytest.raises(Exception, match="has no state"):
        measure_comparison(RunSpec(steps=0), ["rnn", "attention"], (4,), print)
