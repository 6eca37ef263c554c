"""What is said of curves that are hard to sum up: for each what must be said, and what must not."""

import math
import os
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from adversarial import BOTH, CASES, CUT, LAGS, curve_of, store, straight, zero_from
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import CONFIG, falling, put
from wording import wording

from gradlab.cli.console import VERDICT_STYLE, Screen
from gradlab.cli.present import record_of, show_grid, show_run
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.summary import Verdict, Word
from gradlab.judge.over_seeds import Seeds
from gradlab.judge.statistics import rank_correlation, share
from gradlab.report.data import counts, tables
from gradlab.report.data.records import Record, grouped, labelled, read
from gradlab.report.figures import lengths, training
from gradlab.report.page.grid import SIGNS, grid
from gradlab.report.page.tables import lengths_table, number_rows
from gradlab.report.text import answers, findings, length_limit, outcomes, prediction
from gradlab.runs.store import StoredRun

VERDICTS = "vanish|explod|hold|held"
SAID = {
    "disagree": (
        ["vanishes in 1 of 3, explodes in 1 of 3, holds in 1 of 3", r"-5\.0 to \+6\.0 decades", r"mean \+0\.2 \["],
        [r"0\.2 .{0,20}decades (lost|gained)", r"0\.5 decades"],
    ),
    "agree": (
        ["vanishes in 3 of 3 seeds", r"6\.0 \[3\.5, 8\.5\] decades lost", "interval over 3 seeds"],
        [" to "],
    ),
    "hardly": (["holds in 3 of 3 seeds", r"-0\.2 to \+0\.3 decades"], ["vanish|explod"]),
    "one_not_finite": (
        ["vanishes in 2 of 3, is not finite in 1 of 3 seeds", r"5\.5 decades lost \(not finite in 1 of 3\)"],
        [r"\[", "interval over"],
    ),
    "all_not_finite": (["is not finite in 3 of 3"], [VERDICTS, r"\d decades", "zero"]),
    "one_missing": (["vanishes in 3 of 3 seeds", r"7\.0 \[", "over 3 seeds"], ["4 seeds", "of 4"]),
    "one_failed": (["vanishes in 3 of 3 seeds", r"7\.0 \["], []),
    "u_shaped": (["vanishes in 3 of 3 seeds", r"5\.0 \[5\.0, 5\.0\] decades lost"], ["hold", "nothing lost"]),
    "both": (
        ["vanishes and explodes in 3 of 3", r"20\.0 \[20\.0, 20\.0\] decades gained", "lost and gained in 3 of 3"],
        [r"4\.0"],
    ),
    "zero": (["vanishes in 3 of 3 seeds", "zero at some lag in 3 of 3"], [r"\d decades", "cut", "not finite"]),
    "one_zero": (["vanishes in 3 of 3", r"5\.5 decades lost \(zero at some lag in 1"], [r"\[", "not finite"]),
    "rise_then_zero": (["both vanishes and explodes", "zero from lag 7, and more than 3 decades gained"], []),
    "gap": (["vanishes", "zero at lag 5"], ["zero from"]),
    "cut": (
        ["is cut in 3 of 3", "exactly zero at every lag", "a stop_gradient or an unused state?"],
        [VERDICTS, "from lag"],
    ),
    "one_cut": (
        ["vanishes in 2 of 3, is cut in 1 of 3", r"5\.5 decades lost \(cut, exactly"],
        [r"\[", "not finite"],
    ),
    "late_noise": (["vanishes in 3 of 3", r"21\.8 \[", "rounding noise at some lags in 3 of 3"], [r"40\.0"]),
    "noise": (["is rounding noise in 3 of 3"], [VERDICTS, r"\d decades"]),
    "chaotic": (
        [
            "vanishes in 3 of 3",
            "rounding noise at some lags in 3",
            "one trajectory of a chaotic network in 3 of 3",
        ],
        [r"40\.0"],
    ),
    "overflow": (
        ["explodes in 3 of 3", r"23\.7 \[", "NaN or infinity beside the curve in 3 of 3"],
        ["is not finite", "vanish"],
    ),
    "single": ([r"vanishes \(5\.0 decades lost\)", r"\(seed 0\)"], [r"\[", "seeds"]),
    "two": (["vanishes in 2 of 2 seeds", r"6\.0 decades lost", "mean over 2 seeds"], [r"\[", "interval"]),
}
"""Of the statement about each setting before training."""
NEVER = re.compile(r"\binf\b(?<!-inf)|inf decades|\bnan\b|None|--|\[\]|\(\)|-0\.0\b")
"""What no sentence says."""


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    return store(tmp_path_factory.mktemp("probed"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return store(tmp_path_factory.mktemp("trained"), steps=100)


def groups_of(root):
    return {group[0].config["cell"]: group for group in grouped(read(root, print))}


def test_every_case_has_its_sentences(probed):
    assert SAID.keys() == CASES.keys() == groups_of(probed).keys()


@pytest.mark.parametrize("name", CASES)
def test_statements_say_what_is_there_and_nothing_else(probed, name):
    text = str(findings.statement(groups_of(probed)[name], "X")).removeprefix("X on adding, T = 12: ")
    must, must_not = SAID[name]
    assert [words for words in must if not re.search(words, text)] == [], text
    assert [words for words in must_not if re.search(words, text)] == [], text


def test_intervals_need_three_finite_seeds_that_are_not_zero(probed, trained):
    for root in (probed, trained):
        for name, group in groups_of(root).items():
            for role in ("initial", "worst", "final"):
                decades = [one.verdict.decades for one in counts.seeds_of(group, role).finite]
                enough = sum(map(math.isfinite, decades)) >= 3
                assert ("[" in findings.changes(group, role)) == enough, (name, role)


def test_no_sentence_says_nan_or_infinity(probed, trained):
    for root in (probed, trained):
        records = read(root, print)
        said = [wording(records), lengths_said(records)]
        said += [" ".join(filter(None, tile)) for row in grid(labelled(records)).rows for tile in row.tiles]
        for name, group in groups_of(root).items():
            said += [findings.title(group, name), findings.trail(group), str(length_limit.sentence(group, name))]
            said += [findings.when(group, role) for role in ("initial", "worst", "final")] + [
                outcomes.outcome(group)
            ]
            said += [text for one in answers.single(group[0]) for text in (one.short, one.long)]
        assert [text for text in said if NEVER.search(text)] == []
        for row in number_rows(labelled(records)):
            assert not re.search(r"\bnan \(|-?inf \(|inf, inf|None", " ".join(row)), row


def lengths_said(records):
    """The headings and captions of figures against length, which a store of one length has too."""
    lines = lengths.lines_of(records, 40)
    drawn = [lengths.lengths_figure("x", lines)]
    drawn += [lengths.solving_figure("y", lines)] if records[0].trained else []
    return " ".join(f"{one.heading} {one.caption}" for one in drawn)


def made_up(curves, statuses):
    """The runs of one setting that was trained, as they would be read from a store."""
    group = []
    for seed, (curve, status) in enumerate(zip(curves, statuses, strict=True)):
        found = {"state": curve.summary().as_dict(), "non_finite": [], "notes": curve.all_notes()}
        log = [{"step": step, "loss": 0.2, "curves": {"task": found}} for step in (0, 10)]
        config = CONFIG | {"cell": "x", "length": LAGS, "seed": seed}
        done = {"status": status, "solved_at": 10, "training_steps": 10, "diverged": {"step": 11, "what": "loss"}}
        run = StoredRun(f"x-{seed}", Path("x"), status, config, done)
        group.append(Record(run, log, {"initial": 0, "worst": 0, "final": 1}))
    return group


@st.composite
def any_curve(draw):
    line = straight(draw(st.sampled_from((-40.0, -5.0, -0.5, 0.0, 0.5, 6.0, 20.0))))
    for value in draw(st.lists(st.sampled_from((-np.inf, np.nan, np.inf, 20.0, -20.0)), max_size=2)):
        start = draw(st.integers(0, LAGS - 1))
        line[start : draw(st.sampled_from((start + 1, LAGS)))] = value
    noise = np.where(np.arange(LAGS) < draw(st.integers(0, 2 * LAGS)), 0.0, 90.0)
    return curve_of(line, noise={"h": noise, "state": noise}, chaotic=draw(st.booleans()))


ENDS = ("solved", "trained", "diverged", "failed", "interrupted")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(any_curve(), st.sampled_from(ENDS)), min_size=1, max_size=5))
def test_sentences_hold_for_any_seeds(drawn):
    group = made_up(*zip(*drawn, strict=True))
    said = [str(findings.statement(group, "X")), findings.title(group, "X"), outcomes.outcome(group)]
    said += [wording(group), length_limit.relation(group), findings.overall(group)]
    assert [text for text in said if NEVER.search(text)] == []
    for role in ("initial", "worst", "final"):
        runs = counts.counted(group, role)
        text, words = findings.changes(group, role), [run.summary(role).verdict.word for run in runs]
        if len(runs) == 1:
            continue
        for count, of in re.findall(r"in (\d+) of (\d+)", text):
            assert 0 < int(count) <= int(of) == len(runs)
        decades = [run.summary(role).verdict.decades for run in runs]
        pairs = zip(decades, words, strict=True)
        finite = [each for each, word in pairs if math.isfinite(each) and word not in ("noise", "non-finite")]
        if "nothing lost" in text:
            assert max(map(abs, finite)) < 0.05
            continue
        assert ("[" in text) == (len(finite) >= 3)
        if number := re.match(r"(\d+\.\d)(?: \[.*?\])? decades (lost|gained)", text):
            signed = float(number[1]) * (1 if number[2] == "gained" else -1)
            assert signed == pytest.approx(np.mean(finite), abs=0.0501)
            assert min(finite) > -0.05 or max(finite) < 0.05  # a mean of seeds that disagree hides both
    given = [int(count) for count in re.findall(r"(\d+) of \d+", counts.seeds_of(group, "initial").verdict)]
    assert sum(given) == (len(group) if len(group) > 1 else 0)


# ---------------------------------------------------------------- runs that did not end


def test_a_failed_run_counts_before_training_and_not_after_it(trained):
    group = groups_of(trained)["one_failed"]
    assert findings.changes(group, "initial").startswith("7.0 [")  # 5, 6 and 10
    assert findings.changes(group, "final") == "5.5 decades lost"  # 5 and 6
    assert outcomes.outcome(group) == "Not solved by training step 100; 1 failed"
    assert outcomes.solved_of(group) == "0 of 2, 1 failed"
    assert findings.title(group, "X").startswith("X, T = 12, 3 seeds (1 failed): 7.0 [")
    said = str(findings.statement(group, "X"))
    assert "vanishes in 3 of 3 seeds" in said and "at the end it vanishes in 2 of 2 seeds" in said
    frame = tables.seeds(group).query("leaf == 'state'").set_index("checkpoint")
    assert frame.loc["initial", "span_mean"] == pytest.approx(-7) and frame.loc[
        "final", "span_mean"
    ] == pytest.approx(-5.5)


def test_outcomes_of_seeds_are_all_told(tmp_path):
    for seed, status in enumerate(("solved", "diverged", "trained", "failed", "interrupted")):
        put(tmp_path, [falling(1.0)] * 3, seed=seed, status=status)
    group = read(tmp_path, print)
    assert outcomes.outcome(group) == (
        "Solved in 1 of 3 seeds at training step 100, diverged in 1 of 3 seeds at training step 101; "
        "1 failed, 1 interrupted"
    )
    assert outcomes.outcome(group[1:]).startswith(
        "Diverged in 1 of 2 seeds at training step 101, not solved in 1 of 2"
    )
    assert outcomes.outcome(group[3:]) == "No run finished: 1 failed, 1 interrupted"


def test_nothing_measured_is_said(tmp_path):
    put(tmp_path, [falling(1.0)], status="failed")
    (record,) = read(tmp_path, print)
    assert findings.overall([]) == "nothing was measured"
    assert "vanishing" not in findings.overall([record]) and "at the end" not in findings.overall([record])


# ---------------------------------------------------------------- the verdict `both` and the worst checkpoint


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ([0.0, -4.0, 20.0], "20.0 decades gained, and more than 3 lost elsewhere"),
        ([0.0, 4.0, -20.0], "20.0 decades lost, and more than 3 gained elsewhere"),
        ([0.0, -20.0, 4.0], "20.0 decades lost by lag 2, and more than 3 gained elsewhere"),
    ],
)
def test_both_tells_the_furthest_and_the_other_direction(line, words):
    assert findings.change(curve_of(line).summary()) == words


@pytest.mark.parametrize("torn", [False, True])
def test_the_worst_checkpoint_is_the_one_that_gets_furthest(tmp_path, torn):
    put(tmp_path, [curve_of(straight(-10.0)), curve_of(BOTH), curve_of(straight(-12.0))], length=LAGS)
    if torn:  # without done.json the checkpoints are those of the log
        (path,) = tmp_path.glob("runs/*")
        path = path.rename(path.with_name(f".{path.name}.0"))
        os.utime(path, (0, 0))
    (record,) = read(tmp_path, print)
    assert record.step("worst") == 10
    assert (
        findings.change(record.summary("worst")) == "20.0 decades gained by lag 3, and more than 3 lost elsewhere"
    )


def test_severity_orders_verdicts():
    order = [
        Verdict("noise", 60.0, 1),
        Verdict("held", -2.0, 9),
        Verdict("vanishing", -9.0, 9),
        Verdict("both", 20.0, 3),
        Verdict("cut", -np.inf, 1),
        Verdict("non-finite", np.nan, 1),
    ]
    assert sorted(reversed(order), key=lambda one: one.severity) == order


def test_the_worst_checkpoint_of_a_run_is_chosen_alike():
    from gradlab.runs.result import key_checkpoints
    from gradlab.training.checkpoint_metrics import CheckpointMetrics
    from gradlab.training.loop import Checkpoint

    lines = (straight(-10.0), BOTH, straight(-12.0))
    marks = [
        Checkpoint(step, CheckpointMetrics({"task": curve_of(line)}, 0.2, {})) for step, line in enumerate(lines)
    ]
    assert key_checkpoints(marks)["worst"].step == 1


# ---------------------------------------------------------------- lengths


def sweep(root, solved, cells=("a", "b", "c", "d", "e"), span=1.0):
    for cell in cells:
        for length in (10, 20):
            for seed in range(2):
                status = "solved" if (cell, length) in solved else "trained"
                put(root, [falling(span, length)] * 3, cell=cell, length=length, seed=seed, status=status)
    return lengths.lines_of(read(root, print), 10)


def test_settings_that_solved_some_length_are_all_counted(tmp_path):
    lines = sweep(tmp_path, {("a", 10), ("b", 20)})
    heading = lengths.solving_figure("x", lines).heading
    assert heading == "adding: 2 of 5 settings solved some length in every seed, at one setting"
    few = lengths.solving_figure("y", lines[:3]).heading
    assert few.startswith(
        "adding: solved in every seed by a up to T = 10, b at T = 20, not at every shorter one, c"
    )
    assert few.endswith(", c at no tested length, at one setting")


def test_reaches_beyond_a_gap_are_named():
    counts = {10: share(3, 3), 20: share(2, 3), 40: share(3, 3), 80: share(0, 3)}
    assert length_limit.briefly(counts, "X") == "X up to T = 10 and again at T = 40"


def test_what_was_lost_is_never_infinite(tmp_path):
    for seed, line in enumerate((straight(-2.0), zero_from(7))):
        put(tmp_path, [curve_of(line)] * 3, cell="a", seed=seed, length=LAGS, status="solved")
    put(tmp_path, [curve_of(straight(-4.0))] * 3, cell="b", length=LAGS)
    said = length_limit.relation(read(tmp_path, print))
    assert "Solved runs lost up to all of it (exactly zero) there, unsolved ones from 4.0 on." in said
    put(tmp_path / "cut", [CUT] * 3, length=LAGS)
    put(tmp_path / "cut", [curve_of(straight(-1.0))] * 3, cell="b", length=LAGS, status="solved")
    said = length_limit.relation(read(tmp_path / "cut", print))
    assert "where it was cut, 0 of 1 runs" in said and "unsolved ones all of it (exactly zero)." in said


def test_few_points_are_no_correlation_and_are_not_called_alike():
    points = [prediction.Point(10, 1.0, 1.0), prediction.Point(20, 0.5, 3.0), prediction.Point(40, 0.0, 9.0)]
    found = prediction.RankAgreement(points, rank_correlation([1, 2, 3], [3, 2, 1]), 0, 0, 0)
    assert prediction.explanation(found) == "There are 3 settings and lengths, and a correlation needs at least 4."


# ---------------------------------------------------------------- tables, the grid and the terminal


def test_the_grid_shows_how_seeds_differ(probed):
    text = {row.label: row.tiles[0].decades for row in grid(labelled(read(probed, print))).rows}
    assert text["one_failed"] == "▼ −7.0", "the mean, as in the legend"
    assert "1● 1▼ 1▲ −5.0 to +6.0" in text["disagree"] and "−0.5" not in text["disagree"]
    assert "2▼ 1✕ −5.5" in text["one_not_finite"] and "▼ zero" in text["zero"] and "○ zero" in text["cut"]
    assert (
        "≈ noise" in text["noise"] and "▲ +23.7" in text["overflow"] and "✕ not finite" in text["all_not_finite"]
    )


def test_tables_count_the_seeds_that_a_mean_leaves_out(probed):
    frame = tables.seeds(read(probed, print)).query("leaf == 'state'").set_index("cell")
    for name, mean, zero, bad in (
        ("one_not_finite", -5.5, 0, 1), ("one_zero", -5.5, 1, 0), ("one_cut", -5.5, 1, 0), ("agree", -6.0, 0, 0),
    ):  # fmt: skip
        row = frame.loc[name]
        assert (row["span_mean"], row["span_zero"], row["span_not_finite"]) == (pytest.approx(mean), zero, bad)
        assert math.isnan(row["span_low"]) == (zero + bad > 0)
    shown = lengths_table(labelled(read(probed, print))).rows
    cells = {row[0]: row for row in shown}
    assert "-5.5 (1 of 3 zero)" in cells["one_zero"] and "-5.5 (1 of 3 not finite)" in cells["one_not_finite"]
    assert "none (3 of 3 zero)" in cells["cut"] and "10.3 [3.16, 17.5]; 2 of 3 reach T" in cells["disagree"]


def test_no_such_number_is_not_called_not_finite():
    one = Seeds([GradientCurve.of({"h": [[0.0]]}).summary()] * 3)  # a curve of one lag has no slope
    assert str(one.slope) == "none" and str(one.span) == "0 [0, 0]"


def test_the_terminal_tells_cut_zero_and_noise(probed, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # a narrow one folds words
    records = {}
    for record in read(probed, print):
        records.setdefault(record.config["cell"], []).append(record)
    shown = {}
    for name in ("cut", "gap", "late_noise", "noise", "all_not_finite"):
        one = records[name][0]
        show_run(Screen(), record_of(one.run), one.arrays())
        shown[name] = capsys.readouterr().out
    assert "exactly zero; a stop_gradient or an unused state?" in shown["cut"]
    assert "vanishing zero @5" in shown["gap"] and "inf @" not in "".join(shown.values())
    assert "rounding noise from lag 8" in shown["late_noise"]
    assert "noise ± 60.0 @1" in shown["noise"]
    show_grid(Screen(), [record_of(record.run) for some in records.values() for record in some])
    text = capsys.readouterr().out
    assert "-5.5 (1 of 3 zero)" in text and "vanishing in 2 of 3, cut in 1 of 3" in text


@pytest.mark.parametrize(
    ("span", "words"),
    [
        ("-5.5", "-5.5 decades from lag 1; read 0 in 3"),
        ("-inf", "where it is zero; read 0 in 3"),
        ("nan", "not finite or zero at lag 1 already; read 0 in 3"),
    ],
)
def test_what_the_training_pass_saw_at_lag_t_may_be_zero(probed, capsys, monkeypatch, span, words):
    monkeypatch.setenv("COLUMNS", "300")
    (record,) = groups_of(probed)["single"]
    seen = {"h": {"training_step": 7, "span": span, "zero": 3}}
    show_run(Screen(), record_of(record.run) | {"every": seen}, None)
    said = capsys.readouterr().out
    assert f"every training step, h: lag T lowest at training step 7, {words} training steps" in said


def test_the_heading_of_losses_counts_runs_that_ended(trained):
    groups = [groups_of(trained)[name] for name in ("agree", "one_failed")]
    heading = training.loss_figure("x", groups, ["A", "B"]).heading
    assert heading == "adding, T = 12: solved in 0 of 5 runs of 2 settings, 1 failed, at one setting"


@pytest.mark.parametrize(
    "known", [findings.VERBS, length_limit.PAST, SIGNS, VERDICT_STYLE], ids=["verbs", "past", "signs", "style"]
)
def test_every_verdict_has_its_word_and_look(known):
    assert known.keys() == set(get_args(Word))


def test_every_verdict_can_be_asked_for():
    from gradlab.runs.listing import condition

    assert [condition(f"verdict={word}").values for word in get_args(Word)] == [(word,) for word in get_args(Word)]
