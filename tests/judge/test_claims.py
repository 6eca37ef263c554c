"""Verdicts of claims, from files and tables made by hand."""

import math

import numpy as np
import pytest
from attempts import ended, summary
from claiming import FALLS, HEAD, SWEEP, claim_of, rows_of, write_claim

from gradlab.errors import GradlabError
from gradlab.judge.claims.files import load_claim, load_claims
from gradlab.judge.claims.records import differences, exit_code, record_of_claim, tally, wording
from gradlab.judge.claims.tables import metric_of, read_rows, row_of, write_rows
from gradlab.judge.claims.verdicts import judge_claim
from gradlab.runs.store import StoredRun

INF, NAN = math.inf, math.nan
QUORUM = FALLS + "quorum = 4\n"
AGAINST = '[[expect]]\nmetric = "initial.span"\nwhere = {cell = "rnn"}\nagainst = {cell = "lstm"}\n'


def verdict_of(folder, table, **spans):
    return judge_claim(claim_of(folder, table), rows_of(**spans)).verdict


@pytest.mark.parametrize(
    "spans, expected",
    [
        ([-5, -6, -7, -5.5, -6.5], "holds"),
        ([-1, -1.2, -0.8, -1.1, -0.9], "fails"),
        ([-1, -5, -2, -4, -3.1], "undecided"),
        ([-5, -6, -7, -5.5], "not run"),
        ([], "not run"),
        ([-5, -6, -7, -5.5, NAN], "undecided"),
        ([-5, -6, -7, -5.5, INF], "undecided"),
        ([-5, -6, -7, -5.5, None], "undecided"),
        ([-5, -6, -7, -5.5, -INF], "holds"),
        ([-5, -6, NAN, NAN, NAN], "undecided"),
        ([-3, -3, -3, -3, -3], "fails"),
    ],
)
def test_the_interval_over_seeds_decides(tmp_path, spans, expected):
    assert verdict_of(tmp_path, FALLS, rnn=spans) == expected


@pytest.mark.parametrize(
    "spans, expected",
    [
        ([-5, -6, -7, -5, 0], "holds"),
        ([-5, -6, -7, 0, 0], "fails"),
        ([-5, -6, -7, NAN, INF], "fails"),
        ([-5, -6, -7, -INF], "holds"),
        ([-5, -6, -7], "not run"),
        ([0, 0], "fails"),
        ([], "not run"),
    ],
)
def test_a_quorum_of_seeds_decides(tmp_path, spans, expected):
    """With four of five needed: two that are not as expected cannot be made up for, whatever is still missing."""
    assert verdict_of(tmp_path, QUORUM, rnn=spans) == (expected if spans != [0, 0] else "fails")


@pytest.mark.parametrize(
    "spans, expected",
    [
        ([0.0, 0.1, -0.1, 0.05, 0], "holds"),
        ([2, 2.1, 1.9, 2, 2], "fails"),
        ([-9, 9, -8, 8, 0], "undecided"),
        ([0.9, 1.1, 1.0, 1.05, 0.95], "undecided"),
    ],
)
def test_within_a_range(tmp_path, spans, expected):
    table = FALLS.replace('"<"', '"within"').replace("value = -3", "value = [-1, 1]")
    assert verdict_of(tmp_path, table, rnn=spans) == expected


def test_seeds_are_compared_in_pairs(tmp_path):
    """Between seeds both spread by 40; of each seed the RNN loses 2 more."""
    lstm = [-10.0, -20, -30, -40, -50]
    rnn = [span - 2 + 0.1 * seed for seed, span in enumerate(lstm)]
    table = AGAINST + 'comparison = "<"\nvalue = -1\n'
    assert verdict_of(tmp_path, table, rnn=rnn, lstm=lstm) == "holds"
    assert verdict_of(tmp_path, table, rnn=lstm, lstm=rnn) == "fails"
    assert verdict_of(tmp_path, table, rnn=rnn, lstm=lstm[:4]) == "not run"
    assert verdict_of(tmp_path, table, rnn=[-INF] * 5, lstm=[-INF] * 5) == "undecided"


def test_a_quotient(tmp_path):
    table = AGAINST + 'quotient = true\ncomparison = "within"\nvalue = [1.9, 2.1]\n'
    assert verdict_of(tmp_path, table, rnn=[2, 4, 6, 8, 10.2], lstm=[1, 2, 3, 4, 5]) == "holds"
    assert verdict_of(tmp_path, table, rnn=[2, 4, 6, 8, 10], lstm=[1, 2, 3, 4, 0]) == "undecided"


def test_a_correlation_over_all_runs(tmp_path):
    table = '[[expect]]\nmetric = "a"\ncorrelate = "b"\ncomparison = ">"\nvalue = 0\n'
    claim = claim_of(tmp_path, table)
    up = rows_of("a", rnn=[1, 2, 3, 4, 5], lstm=[6, 7, 8, 9, 10])
    for sign, expected in ((1, "holds"), (-1, "fails")):
        rows = [row._replace(metrics={**row.metrics, "b": sign * row.metrics["a"]}) for row in up]
        assert judge_claim(claim, rows).verdict == expected
    assert judge_claim(claim, rows[1:]).verdict == "not run"
    mixed = [row._replace(metrics={"a": row.metrics["a"], "b": at % 3}) for at, row in enumerate(up)]
    assert judge_claim(claim, mixed).verdict == "undecided"


def test_every_setting_counts_and_the_worst_decides(tmp_path):
    table = FALLS.replace('where = {cell = "rnn"}\n', "")
    low, high = [-5, -6, -7, -5, -6], [0, 1, 0, 1, 0]
    judged = judge_claim(claim_of(tmp_path, table), rows_of(rnn=low, lstm=high))
    assert judged.verdict == "fails"
    assert {result.setting["cell"]: result.verdict for result in judged.results} == {
        "rnn": "holds",
        "lstm": "fails",
    }
    assert judge_claim(claim_of(tmp_path, table), rows_of(lstm=high)).verdict == "fails"
    assert judge_claim(claim_of(tmp_path, table), rows_of(rnn=low)).verdict == "not run"


def test_runs_of_another_grid_do_not_count(tmp_path):
    rows = rows_of(rnn=[-5, -6, -7, -5, -6])
    claim = claim_of(tmp_path, FALLS)
    assert judge_claim(claim, rows).verdict == "holds"
    longer = load_claim(write_claim(tmp_path, (HEAD + SWEEP + FALLS).replace("length = 50", "length = 60")))
    assert judge_claim(longer, rows).verdict == "not run"
    assert judge_claim(longer, rows).seconds == 0
    another = load_claim(write_claim(tmp_path, (HEAD + SWEEP + FALLS).replace("initial.span", "initial.slope")))
    assert judge_claim(another, rows).verdict == "not run"


def test_what_is_told_of_a_claim(tmp_path):
    judged = judge_claim(claim_of(tmp_path, QUORUM), rows_of(rnn=[-5, -6, -7, NAN]))
    record = record_of_claim(judged)
    assert (record["verdict"], record["seeds"], record["runs"], record["seconds"]) == ("not run", 5, 10, 4.0)
    (told,) = record["expectations"]
    assert told["expected"] == "initial.span < -3 in 4 seeds" and told["setting"] == "rnn"
    assert told["observed"] == "3 of 5 seeds, mean -6 [-8.48, -3.52] (1 of 4 not finite), 1 of 5 not run"


def test_exit_codes_and_the_tally(tmp_path):
    claim = claim_of(tmp_path, FALLS)
    holds, fails, unsure = (
        judge_claim(claim, rows_of(rnn=spans))
        for spans in ([-5, -6, -7, -5, -6], [0, 1, 0, 1, 0], [-1, -5, -2, -4, -3])
    )
    missing = judge_claim(claim, [])
    assert [exit_code(some) for some in ([holds], [holds, fails, missing], [missing, holds], [unsure])] == [
        0,
        1,
        3,
        3,
    ]
    assert tally([holds, holds, fails, missing]) == "4 claims: 2 hold, 1 not run, 1 fails"
    assert tally([holds]) == "1 claim: 1 holds"


def test_a_changed_verdict_is_told(tmp_path):
    claim = claim_of(tmp_path, FALLS.replace('where = {cell = "rnn"}\n', ""))
    low, high = [-5, -6, -7, -5, -6], [0, 1, 0, 1, 0]
    before, after, worse = (
        judge_claim(claim, rows_of(rnn=rnn, lstm=lstm)) for rnn, lstm in ((low, low), (low, high), (high, high))
    )
    assert differences([before], [before]) == []
    assert differences([before], [after]) == ["one: fails, holds in results/claims"]
    (line,) = differences([after], [worse])
    assert line.startswith("one: initial.span < -3 at rnn: fails (mean 0.4") and "holds (mean -5.8" in line


# ---------------------------------------------------------------- tables


def test_a_table_comes_back(tmp_path):
    rows = rows_of(rnn=[-5.25, NAN, -INF, INF, None]) + rows_of(lstm=[1e-9])
    rows = [row._replace(chosen={"learning_rate": "0.01"}) for row in rows]
    path = tmp_path / "claims" / "one.csv"
    write_rows(path, rows)
    assert str(read_rows(path)) == str(rows)
    assert path.read_text().splitlines()[0] == (
        "task,length,cell,seed,steps,chosen learning_rate,metric initial.span,seconds"
    )
    assert read_rows(tmp_path / "none.csv") == []


@pytest.mark.parametrize("damage", ["no number", "no column"])
def test_a_damaged_table_is_one_line(tmp_path, damage):
    path = tmp_path / "one.csv"
    write_rows(path, rows_of(rnn=[-5.0]))
    path.write_text(path.read_text().replace("-5", "x") if damage == "no number" else "task,cell\nadding,rnn\n")
    with pytest.raises(GradlabError, match="gradlab claims --run one"):
        read_rows(path)


def test_numbers_of_a_stored_run(tmp_path):
    claim = load_claim(write_claim(tmp_path, HEAD + SWEEP + FALLS.replace("initial.span", "final.h.slope")))
    done = ended("solved") | {"measure_seconds": 2.0, "compile_seconds": 0.5, "solved_at": 150}
    for mark in done["summary"].values():
        mark["curves"]["task"]["state"] = summary(span=-4.0)
    run = StoredRun("one", tmp_path, "solved", {}, done)
    assert metric_of(run, "initial.span") == metric_of(run, "final.task.state.span") == -4.0
    assert metric_of(run, "final.h.span") == -1.0 and metric_of(run, "initial.loss") == 0.5
    assert metric_of(run, "solved") == 1.0 and metric_of(run, "solved_at") == 150
    assert metric_of(run, "losses.test") is None and metric_of(run, "losses.chance") == pytest.approx(1 / 6)
    others = [StoredRun("one", tmp_path, status, {}, ended(status)) for status in ("trained", "diverged")]
    assert [metric_of(other, "solved") for other in others] == [0.0, 0.0]
    assert [metric_of(other, "diverged") for other in others] == [0.0, 1.0]
    for wrong in ("initial.c.span", "final", "losses", "initial.spam"):
        with pytest.raises(GradlabError, match="metric"):
            metric_of(run, wrong)
    row = row_of(claim, claim.points[0], run)
    assert row.fields == {"task": "adding", "length": "50", "steps": "0", "cell": "rnn", "seed": "0"}
    assert row.metrics == {"final.h.slope": pytest.approx(-1 / 3)} and row.seconds == 2.5


def test_statistics_over_training_steps(tmp_path, monkeypatch):
    losses = {"test/step": np.array([50, 100, 150]), "test/loss": np.array([0.5, 0.1, 0.3])}
    monkeypatch.setattr(StoredRun, "arrays", lambda run: losses | {"trace/loss": np.arange(1.0, 151.0)})
    run = StoredRun("one", tmp_path, "trained", {}, {})
    assert metric_of(run, "test.min@0-150") == 0.1 and metric_of(run, "test.median@100-150") == 0.2
    assert metric_of(run, "train.mean@101-150") == 125.5 and metric_of(run, "train.max@1-10") == 10
    assert metric_of(run, "test.min@0-49") is None


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    "change, said",
    [
        (("minutes = 0.5", ""), "minutes: Field required"),
        (("[[expect]]", "[[expects]]"), "unknown key"),
        (('comparison = "<"', 'comparison = "~"'), "expect.0.comparison"),
        (("value = -3", "value = [-3, 3]"), "give value = \\[low, high\\]"),
        (("value = -3", "value = -3\nquorom = 3"), "expect.0.quorom"),
        (("{cell", "{cel"), "expect names cel, which no table"),
        (('"rnn"}', '"gru"}'), "where is cell=gru: no table of the file asks for such a run"),
        (("value = -3", "value = -3\nagainst = {cell = 'gru'}"), "against is cell=gru: no table"),
        (("value = -3", "value = -3\nquorum = 6"), "quorum is 6: there are only 5 seeds"),
        (("value = -3", "value = nan"), "value must be finite"),
        (('"<"\nvalue = -3', '"within"\nvalue = [1, 0]'), "low the smaller"),
        (("steps = 0", "stepz = 0"), "unknown field in \\[budget\\]"),
        (("minutes = 0.5", "minutes = 0.5\nmeasure = 'a.py:f'"), "with `measure` give \\[base\\]"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, change, said):
    with pytest.raises(GradlabError, match=said) as error:
        load_claim(write_claim(tmp_path, (HEAD + SWEEP + FALLS).replace(*change)))
    assert "\n" not in str(error.value)


def test_an_unknown_claim_names_the_nearest(tmp_path):
    write_claim(tmp_path, HEAD + SWEEP + FALLS, "rnn_falls")
    assert [claim.name for claim in load_claims((), tmp_path)] == ["rnn_falls"]
    with pytest.raises(GradlabError, match="rnn_falls"):
        load_claims(["rnn_fals"], tmp_path)
    with pytest.raises(GradlabError, match="no claim in"):
        load_claims((), tmp_path / "empty")


def test_what_is_quick(tmp_path):
    quick = claim_of(tmp_path, FALLS)
    timed = claim_of(tmp_path, FALLS, head=HEAD + "timed = true\n")
    trained = load_claim(write_claim(tmp_path, (HEAD + SWEEP + FALLS).replace("steps = 0", "steps = 10")))
    assert [claim.is_quick for claim in (quick, timed, trained)] == [True, False, False]


def test_a_function_takes_any_grid(tmp_path):
    grid = "measure = 'm.py:f'\n[base]\nsize = 3\n[grid]\nvariance = [0.5, 1]\nseed = [0, 1]\n"
    claim = load_claim(
        write_claim(tmp_path, HEAD + grid + '[[expect]]\nmetric = "x"\ncomparison = ">"\nvalue = 0\n')
    )
    assert claim.points[1] == {"size": 3, "variance": 0.5, "seed": 1} and len(claim.points) == 4
    assert claim.is_quick and claim.varying == ["variance"]
    assert wording(claim.stated.expect[0]) == "x > 0"
