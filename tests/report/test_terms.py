"""On which terms cells are compared: said of every finding of a sweep, tuned or not."""

from dataclasses import replace

import pytest
from studies import LENGTHS, sweep_of, trained
from synthetic import falling, put
from wording import wording

from gradlab.report.data import by_length
from gradlab.report.data.records import labelled, read
from gradlab.report.data.study import study_of
from gradlab.report.data.tables import seeds
from gradlab.report.figures import lengths, training
from gradlab.report.page.build import Selection, report_context
from gradlab.report.page.compare import side
from gradlab.report.page.grid import grid
from gradlab.report.page.render import render_markdown
from gradlab.report.page.tables import lengths_table
from gradlab.report.page.write import html_page
from gradlab.report.text import terms
from gradlab.runs.labels import BUILT_IN, BUILT_IN_INIT, init_of
from gradlab.runs.store import Store
from gradlab.runs.variants import get_cell

RATES = {20: 0.1, 40: 0.01, 80: 0.001}
TUNE = {"learning_rate": [0.1, 0.01, 0.001], "seed": [100, 101]}


def choice(cell, length, **more):
    results = [
        {"values": {"learning_rate": rate}, "runs": ["a", "b"], "solved": solved, "steps": steps, "loss": loss,
         "not_finite": bad, "failed": 0}
        for rate, solved, steps, loss, bad in (
            (0.1, 2, 450.0, 0.01, 0), (0.01, 0, "inf", 0.2, 0), (0.001, 0, "inf", "inf", 2)
        )
    ]  # fmt: skip
    setting = {"task": "adding", "cell": cell, "length": length, "hidden": 8}
    edges = ["learning_rate"] if RATES[length] != 0.01 else []
    values = {"learning_rate": RATES[length]}
    return {"setting": setting, "values": values, "edges": edges, "candidates": results} | more


def tuned_store(root, solves=lambda cell, length, seed: length <= 40):
    """Runs of two cells with a learning rate for each length and a hidden size for each cell, and their sweep."""
    for cell, hidden in (("rnn", 20), ("lstm", 8)):
        for length, rate in RATES.items():
            for seed in range(3):
                status = "solved" if solves(cell, length, seed) else "trained"
                more = {"cell": cell, "hidden": hidden, "length": length, "learning_rate": rate, "seed": seed}
                put(root, [falling(length / 20, length)] * 3, status=status, **more)
    choices = tuple(choice(cell, length) for cell in ("rnn", "lstm") for length in LENGTHS)
    sweep = sweep_of(root, tune=TUNE, choices=choices)
    for run in sweep.runs:
        run["max_params"] = 600
    return sweep


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    root = tmp_path_factory.mktemp("tuned")
    sweep = tuned_store(root)
    return sweep, study_of(sweep, read(root, print)).records


@pytest.fixture(scope="module")
def untuned(tmp_path_factory):
    root = tmp_path_factory.mktemp("untuned")
    trained(root, lambda cell, length, seed: length <= 40, cells=("rnn", "lstm"))
    sweep = sweep_of(root)
    return sweep, study_of(sweep, read(root, print)).records


def findings_about_cells(records):
    """Every text about what cells learned."""
    lines = lengths.lines_of(records, 10)
    some = [group for _, group in labelled(records) if group[0].config["length"] == 80]
    drawn = [lengths.solving_figure("x", lines), training.loss_figure("y", some, ["RNN", "LSTM"])]
    series = labelled(records, without=["length"])
    said = [one.heading for one in drawn] + [line for line in drawn[1].caption.split(". ") if "LSTM: " in line]
    said += [line for line in wording(records).splitlines() if "solve" in line.lower() and " runs, " not in line]
    return [*said, lengths_table(labelled(records)).caption, f"solved{grid(series).terms}"]


def test_a_finding_from_an_untuned_sweep_says_so(untuned):
    _, records = untuned
    said = findings_about_cells(records)
    kept = [text for text in said if "at one setting" not in text]
    assert len(said) > 8 and [text for text in kept if "A cell solves a length if" not in text] == [], kept


def test_a_finding_from_a_tuned_sweep_says_what_was_tuned(tuned):
    _, records = tuned
    said = findings_about_cells(records)
    assert len(said) > 8 and [text for text in said if "at one setting" in text] == []
    assert sum("learning rate tuned" in text for text in said) >= len(said) - 1


def test_probes_have_nothing_to_tune(tmp_path):
    for length in LENGTHS:
        put(tmp_path, [falling(1.0, length)], steps=0, status="measured", length=length)
    records = read(tmp_path, print)
    assert "one setting" not in wording(records)
    sweep = sweep_of(tmp_path)
    said = terms.terms(sweep, [record.config for record in records])
    assert said == "At equal hidden size: 8. Initialisation: orthogonal."
    assert "clip" not in by_length.rows(records)[0] and by_length.rows(records)[0]["init"] == "orthogonal"


def test_lengths_with_their_own_choice_are_one_setting(tuned):
    _, records = tuned
    series = labelled(records, without=["length"])
    assert [(label, len(group)) for label, group in series] == [("RNN", 9), ("LSTM", 9)]
    assert [line.label for line in lengths.lines_of(records, 10)] == ["RNN", "LSTM"]
    rows = by_length.rows(records)
    assert [row["learning_rate"] for row in rows] == [*RATES.values()] * 2
    assert {(row["cell"], row["hidden"]) for row in rows} == {("rnn", 20), ("lstm", 8)}
    assert {(row["init"], row["clip"], row["terms"]) for row in rows} == {
        ("orthogonal", "norm:1", "learning rate tuned")
    }
    shown = lengths_table(labelled(records))
    at = [column.name for column in shown.columns].index("chosen")
    assert shown.rows[0][at] == "learning rate 0.1, hidden 20"
    assert set(seeds(records)["learning_rate"]) == set(RATES.values())


def test_a_chosen_clip_is_that_of_its_length(tmp_path):
    for length, clip in ((20, "none"), (40, "norm:1")):
        put(tmp_path, [falling(1.0, length)] * 3, length=length, clip=clip)
    records = [replace(record, tuned=("clip",)) for record in read(tmp_path, print)]
    assert [(row["length"], row["clip"]) for row in by_length.rows(records)] == [(20, "none"), (40, "norm:1")]


def test_a_sweep_says_its_terms(tuned, untuned):
    sweep, records = tuned
    said = terms.terms(sweep, [record.config for record in records])
    assert said == (
        "Tuned: learning rate of 0.1, 0.01 and 0.001, chosen for each cell, task and length by 6 trials on seeds "
        "100-101 (solved in most seeds, then fewest training steps, then lowest held-out loss); the runs that "
        "count have other seeds, 0-2. 4 choices lie at an edge of the list, beyond which a better value may lie: "
        "RNN at T = 20 (0.1), RNN at T = 80 (0.001), LSTM at T = 20 (0.1), LSTM at T = 80 (0.001). At equal "
        "number of parameters, at most 600: hidden size LSTM 8, RNN 20. Initialisation: orthogonal. "
        "Clipping: norm:1."
    )
    sweep, records = untuned
    configs = [record.config | {"clip": clip} for record in records[:2] for clip in ("none", "norm:1")]
    assert terms.terms(sweep, configs) == (
        "At one setting: nothing was tuned for any cell (learning rate 0.01). At equal hidden size: 8. "
        "Initialisation: orthogonal. Clipping: none, norm:1."
    )


def test_what_was_chosen_and_how_candidates_did():
    (row,) = terms.choice_rows([choice("lstm", 20)])
    assert row == [
        "LSTM", "adding", "20", "learning rate 0.1", "learning rate",
        "0.1: 2 of 2 (450); 0.01: 0 of 2 (loss 0.2); 0.001: 0 of 2 (no loss, 2 not finite)",
    ]  # fmt: skip
    assert terms.choice_rows([choice("lstm", 40)])[0][4] == "-"


def test_initialisations_are_those_of_the_cells():
    assert {get_cell(cell).scheme.init for cell in BUILT_IN} == {BUILT_IN_INIT}
    assert init_of("lstm:forget_bias=3:init=gaussian") == "gaussian"
    assert terms.initialisation(["rnn:init=torch", "lstm", "lru"]) == (
        "torch (RNN init=torch), orthogonal (LSTM), the default of the cell (lru)"
    )


def test_both_sides_of_a_comparison_are_of_their_sweeps(tmp_path, monkeypatch):
    sweep = tuned_store(tmp_path)
    monkeypatch.setattr("gradlab.report.page.compare.sweep_names", lambda root: ["mine"])
    monkeypatch.setattr("gradlab.report.page.compare.stored_sweep", lambda root, name: sweep)
    records = side(Store(tmp_path), "mine", print).records
    assert {record.tuned for record in records} == {("learning_rate",)}


def test_the_summary_and_the_page_say_what_was_chosen(tuned):
    sweep, records = tuned
    context = report_context(Selection(records, records, study=study_of(sweep, records)), [])
    pages = [html_page(context, [])]
    pages += [
        render_markdown(name, {"report": context, "bounds": "", "shown": [], "minutes": 1.0})
        for name in ("report.md.j2", "summary.md.j2")
    ]
    for text in pages:
        assert "chosen for each cell, task and length by 6 trials on seeds 100-101" in text
        assert "0.1: 2 of 2 (450)" in text and "at one setting" not in text.lower()
