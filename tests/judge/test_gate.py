"""The judge of curves: tiers, tolerances, fingerprints and baselines, on synthetic numbers and on a tiny cell."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from adversarial import CASES, measured
from gating import write_cell, write_suite

from gradlab.errors import GradlabError, UnreadableBaseline
from gradlab.judge.baseline import Baseline, orphans, paths_of, read_baseline, write_baseline
from gradlab.judge.bless import bless
from gradlab.judge.check import ScenarioResult, SuiteResult, check, environment_now, judge
from gradlab.judge.compare import (
    CHAOTIC_TOLERANCE,
    Finding,
    changed_arrays,
    compare_part,
    environment_changes,
    tolerance,
)
from gradlab.judge.measure import Measurement, Part, measure, named_curves, sketch
from gradlab.judge.samples import compare_samples, judge_samples
from gradlab.judge.statistics import difference
from gradlab.judge.suite import Scenario, load_suite, log_spaced, suite_names

pytestmark = pytest.mark.slow

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
LAGS = [1, 2, 4, 8]
SEEDS = 5


def curves_like(seed=0):
    return -np.outer(np.ones(SEEDS), LAGS) + np.random.default_rng(seed).normal(size=(SEEDS, 4))


def measurement(initial, trained=None, losses=(1.0, 0.5), weights=1.0):
    parts = {"initial": Part(initial, np.full(SEEDS, 8), np.full(SEEDS, losses[0]))}
    if trained is not None:
        parts["trained"] = Part(trained, np.full(SEEDS, 8), np.full(SEEDS, losses[1]))
    sketches = [sketch({"cell/w": weights * np.arange(1.0, 7.0)}) for _ in range(SEEDS)]
    return Measurement(LAGS, parts, sketches, [sketch({"inputs": np.ones(3)})] * SEEDS, "00")


def baseline_of(found, noise=1e-9, jax="1", platform="cpu", population=None):
    noises = {part: np.full(4, noise) if np.ndim(noise) == 0 else np.array(noise) for part in found.parts}
    sample = np.zeros((8, 4)) if population is None else population
    environment = {"jax": jax, "platform": platform}
    return Baseline({"cell": "x"}, "why", environment, "twin", noises, found, LAGS, sample)


def compared(shift, noise=1e-9):
    base = measurement(curves_like())
    return compare_part("s", "initial", baseline_of(base, noise), measurement(curves_like() + shift))


# ---------------------------------------------------------------- tier A


@pytest.mark.parametrize("shift, status", [(0.9e-4, "unchanged"), (1.1e-4, "regressed"), (-1.1e-4, "regressed")])
def test_the_smallest_tolerance_is_a_ten_thousandth_of_a_decade(shift, status):
    finding = compared(shift)
    assert finding.status == status and finding.tolerance == 1e-4 and finding.tier == "A"


def test_tolerance_follows_the_noise_and_names_lag_and_decades():
    assert tolerance(np.array([0.0, 1e-5, 2e-5, 0.02])).tolist() == pytest.approx([1e-4, 1e-4, 2e-4, 0.2])
    finding = compared(np.array([0, 0, 0.05, 0]), noise=[0, 0, 1e-3, 0])
    assert (finding.status, finding.lag, finding.tolerance) == ("regressed", 4, pytest.approx(0.01))
    assert finding.decades == pytest.approx(0.05) and finding.message == "+0.05 decades at lag 4 (tolerance 0.01)"
    assert compared(np.array([0, 0, 0.05, 0]), noise=[0, 0, 6e-3, 0]).status == "unchanged"


def test_one_seed_may_move_three_times_as_far_as_the_median():
    one = np.zeros((SEEDS, 4))
    one[2, 1] = 2.9e-4
    assert compared(one).status == "unchanged"
    one[2, 1] = 3.1e-4
    finding = compared(one)
    assert (finding.status, finding.lag, finding.decades) == ("regressed", 2, pytest.approx(3.1e-4))


def test_chaotic_lags_are_named_and_left_out():
    finding = compared(np.array([0, 0, 0, 5.0]), noise=[0, 0, 0, CHAOTIC_TOLERANCE / 9])
    assert finding.status == "unchanged" and finding.chaotic == (8,)
    assert compared(5.0, noise=1.0).status == "inconclusive"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_new_nan_or_infinity_fails_even_where_lags_are_chaotic(value):
    after = curves_like()
    after[1, 2] = value
    base = baseline_of(measurement(curves_like()), noise=1.0)
    finding = compare_part("s", "initial", base, measurement(after))
    assert (finding.status, finding.lag, finding.message) == (
        "regressed",
        4,
        "nan decades at lag 4, the first that is not finite",
    )
    kept = compare_part("s", "initial", baseline_of(measurement(after)), measurement(after))
    assert kept.status == "unchanged"


def test_a_gradient_that_became_zero_fails_and_one_that_stayed_zero_does_not():
    dead = curves_like()
    dead[:, 3] = -np.inf
    alive = measurement(curves_like())
    finding = compare_part("s", "initial", baseline_of(alive), measurement(dead))
    assert finding.status == "regressed" and finding.message == "became exactly zero at lag 8"
    back = compare_part("s", "initial", baseline_of(measurement(dead)), alive)
    assert back.status == "regressed" and back.message == "is no longer exactly zero at lag 8"
    assert compare_part("s", "initial", baseline_of(measurement(dead)), measurement(dead)).status == "unchanged"
    assert difference(np.array([np.nan, 1.0]), np.array([np.nan, np.nan])).tolist() == [0.0, np.inf]


def test_a_float32_horizon_that_moves_is_told_as_a_lag():
    base, now = measurement(curves_like()), measurement(curves_like())
    now.parts["initial"] = now.parts["initial"]._replace(horizons=np.full(SEEDS, 5))
    finding = compare_part("s", "initial", baseline_of(base), now)
    assert (finding.status, finding.message) == ("regressed", "the float32 horizon moved from lag 8 to 5")
    now.parts["initial"] = now.parts["initial"]._replace(horizons=np.full(SEEDS, 7))
    assert compare_part("s", "initial", baseline_of(base), now).status == "unchanged"


def test_what_is_at_most_is_the_largest_of_all_seeds_and_lags():
    shift = np.zeros((SEEDS, 4))
    shift[:, 0] = 0.9e-4  # nearest its tolerance of 1e-4
    shift[3, 2] = 0.04  # the largest, where 0.06 are allowed
    finding = compared(shift, noise=[0, 0, 6e-3, 0])
    assert finding.message == "at most 0.04 decades apart, at lag 4" and finding.lag == 1
    assert finding.largest == pytest.approx(0.04)
    assert compared(0.0, noise=1.0).largest is None  # every lag is chaotic: nothing was compared


def test_a_baseline_that_is_not_finite_is_told_as_that_and_not_as_zero():
    odd = curves_like()
    odd[:, 1:3] = np.nan, np.inf
    finding = compare_part("s", "initial", baseline_of(measurement(odd)), measurement(curves_like()))
    assert finding.status == "regressed" and "zero" not in finding.message
    assert finding.message.startswith("finite at lag 2, where the baseline is not finite")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("other", ["agree", "zero", "cut", "one_not_finite", "gap", None])
def test_sentences_of_the_gate_on_curves_that_are_hard_to_sum_up(name, other):
    before, after = measured(name), measured(other or name)
    seeds = min(len(one.parts["initial"].curves) for one in (before, after))
    before, after = (shortened(one, seeds) for one in (before, after))
    finding = compare_part("s", "initial", baseline_of(before, noise=np.zeros(12)), after)
    old, new = before.parts["initial"].curves, after.parts["initial"].curves
    assert (finding.status == "unchanged") == (other in (name, None) or np.array_equal(old, new))
    assert ("became exactly zero" in finding.message) <= (np.isneginf(new) & ~np.isneginf(old)).any()
    assert ("no longer exactly zero" in finding.message) <= (np.isneginf(old) & ~np.isneginf(new)).any()
    assert ("not finite" in finding.message) <= (np.isnan(old) != np.isnan(new)).any()
    if np.isnan(new).any() and not np.isnan(old).any():
        assert finding.message == "nan decades at lag 4, the first that is not finite"
    if finding.status == "unchanged":
        assert finding.message == "at most 0 decades apart, at lag 1" and finding.largest == 0.0


def shortened(found, seeds):
    part = found.parts["initial"]
    short = part._replace(curves=part.curves[:seeds], horizons=part.horizons[:seeds], losses=part.losses[:seeds])
    return replace(found, parts={"initial": short}, weights=[{}] * seeds, data=[{}] * seeds)


# ---------------------------------------------------------------- fingerprints and which tier


def test_a_sketch_knows_a_change_from_rounding():
    w = np.random.default_rng(0).normal(size=(20, 20))
    before = [sketch({"cell/w": w.astype(np.float32)})]
    assert changed_arrays(before, [sketch({"cell/w": (w * (1 + 1e-6)).astype(np.float32)})]) == ""
    assert changed_arrays(before, [sketch({"cell/w": 1.01 * w})]) == "cell/w by 1 %"
    for other in (w.T, -w, w[::-1], w[:, np.random.default_rng(1).permutation(20)]):
        assert changed_arrays(before, [sketch({"cell/w": other})]).endswith("in direction")
    assert changed_arrays(before, [sketch({"cell/w": w[1:]})]) == "cell/w has 380 numbers and had 400"
    assert changed_arrays(before, [sketch({"cell/v": w})]) == "cell/w is gone"
    assert changed_arrays([{"w": [4.0, 1.0]}], [{"w": [4.0, 1.0, 2.0]}]) == "w is sketched in another way"
    assert changed_arrays([sketch({"b": np.zeros(3)})], [sketch({"b": np.ones(3)})]).startswith("b by 1")
    assert "not finite" in changed_arrays(before, [sketch({"cell/w": w * np.nan})])


SCENARIO = Scenario("s", {"cell": "x"}, SEEDS, 8, 1, "float32", lambda: None)


def test_other_weights_under_the_same_jax_are_a_regression():
    base = baseline_of(measurement(curves_like(), curves_like()))
    now = measurement(curves_like() + 0.2, curves_like(), weights=1.01)
    judged, waiting = judge(SCENARIO, base, now, {"jax": "1", "platform": "cpu"})
    assert not waiting and {finding.status for finding in judged.findings} == {"regressed"}
    assert judged.worst.message.startswith("initial weights changed (cell/w by 1 %); +0.2 decades at lag ")
    assert "the curves are at most 0 decades apart" in judged.findings[1].message
    chaotic = baseline_of(measurement(curves_like(), curves_like()), noise=1.0)
    judged, _ = judge(SCENARIO, chaotic, now, {"jax": "1", "platform": "cpu"})
    assert judged.worst.message == (
        "initial weights changed (cell/w by 1 %); every lag is chaotic: rounding alone moves them"
    )


def test_other_data_under_the_same_jax_are_a_regression():
    now = measurement(curves_like())
    now = replace(now, data=[sketch({"inputs": np.array([1.0, 0.0, 1.0])})] * SEEDS)
    judged, _ = judge(SCENARIO, baseline_of(measurement(curves_like())), now, {"jax": "1", "platform": "cpu"})
    assert judged.worst.status == "regressed" and judged.worst.message.startswith("the data changed (inputs by ")


@pytest.mark.parametrize("where", [{"jax": "2", "platform": "cpu"}, {"jax": "1", "platform": "gpu"}])
def test_elsewhere_the_same_weights_are_still_compared_one_by_one(where):
    base = baseline_of(measurement(curves_like(), curves_like()))
    judged, waiting = judge(SCENARIO, base, measurement(curves_like(), curves_like()), where)
    assert not waiting and judged.worst.status == "unchanged" and len(judged.changes) == 1


def test_another_jax_does_not_excuse_a_curve_whose_weights_are_the_same():
    base = baseline_of(measurement(curves_like()))
    judged, _ = judge(SCENARIO, base, measurement(curves_like() + 0.01), {"jax": "2", "platform": "cpu"})
    assert judged.worst.status == "regressed" and judged.changes == ["jax 1 -> 2"]


def test_a_run_whose_loss_is_no_number_is_told_so_and_not_that_it_stayed():
    nan = np.full((SEEDS, 4), np.nan)
    found = measurement(curves_like(), nan, losses=(0.5, np.nan))
    base = baseline_of(measurement(curves_like(), curves_like()))
    judged, _ = judge(SCENARIO, base, found, {"jax": "1", "platform": "cpu"})
    assert judged.worst.message == "nan decades at lag 1, the first that is not finite"


def test_a_run_that_did_not_train_never_passes():
    found = measurement(curves_like(), curves_like(), losses=(0.5, 0.5000001))
    judged, _ = judge(SCENARIO, baseline_of(found), found, {"jax": "1", "platform": "cpu"})
    assert judged.worst.status == "regressed" and judged.worst.message == "did not train: the loss stayed at 0.5"


# ---------------------------------------------------------------- tier B


def sample(seed, shift=0.0, count=60, spread=0.4):
    return shift + spread * np.random.default_rng(seed).normal(size=(count, 3))


def tier_b(*pairs):
    return judge_samples([compare_samples(f"s{i}", [1, 2, 4], *pair, "why") for i, pair in enumerate(pairs)])


def test_samples_pass_only_where_the_band_is_narrow():
    same, large, wide = tier_b(
        (sample(1), sample(2)), (sample(1), sample(2, [0, 0.8, 0])), (sample(1, count=8), sample(2, count=8))
    )
    assert same.status == "unchanged" and "within 0.3 decades" in same.message
    assert (large.status, large.lag) == ("regressed", 2) and large.decades == pytest.approx(0.8, abs=0.3)
    assert wide.status == "inconclusive" and f"about {wide.seeds_needed} seeds would decide" in wide.message


def test_a_shift_within_the_margin_is_no_failure_however_significant():
    (finding,) = tier_b((sample(1, count=400), sample(2, [0, 0.2, 0], count=400)))
    assert finding.p < 0.01 and finding.status != "regressed"


def test_samples_that_are_the_same_are_seldom_an_alarm():
    findings = [tier_b((sample(2 * i, count=8), sample(2 * i + 1, count=8)))[0] for i in range(60)]
    assert sum(finding.status == "regressed" for finding in findings) <= 2


def test_zeros_and_nan_in_samples():
    dead = sample(2)
    dead[:, 2] = -np.inf
    (finding,) = tier_b((sample(1), dead))
    assert (finding.status, finding.lag) == ("regressed", 4)
    dead[0, 1] = np.nan
    found = compare_samples("s", [1, 2, 4], sample(1), dead, "why")
    assert isinstance(found, Finding) and found.status == "regressed" and found.lag == 2
    assert "in 1 of 60 seeds" in found.message
    assert "zero in 60 of 60 seeds and in 0 of 60 before, which counts as a decade below" in finding.message


def test_seeds_that_are_not_finite_are_no_zeros():
    odd = sample(1)
    odd[:3, 2] = np.nan
    (finding,) = tier_b((odd, sample(1)[3:]))
    assert finding.decades == pytest.approx(0, abs=1e-12) and "zero" not in finding.message
    none = compare_samples("s", [1, 2, 4], odd * np.nan, sample(2), "why")
    assert none.status == "inconclusive" and none.message == "fewer than 2 seeds of a sample are finite"


# ---------------------------------------------------------------- exit codes


@pytest.mark.parametrize(
    "statuses, allowed, code",
    [
        (["unchanged"], [], 0),
        (["regressed", "missing"], ["missing"], 1),
        (["missing"], [], 3),
        (["missing", "unchanged"], ["missing"], 0),
        (["missing"], ["inconclusive"], 3),
        (["inconclusive"], [], 3),
        (["inconclusive"], ["inconclusive"], 0),
        (["incomparable"], ["missing", "inconclusive"], 3),
        (["unreadable"], ["missing", "inconclusive"], 3),
    ],
)
def test_exit_codes(statuses, allowed, code):
    judged = [ScenarioResult(f"s{i}", [Finding(f"s{i}", "all", status, "")]) for i, status in enumerate(statuses)]
    assert SuiteResult("suite", Path(), judged, []).exit_code(allowed) == code


# ---------------------------------------------------------------- baselines


def test_a_baseline_comes_back_as_it_was_to_six_decimals(tmp_path):
    found = measurement(curves_like(), curves_like(1))
    found.parts["initial"].curves[0, 3] = -np.inf
    wanted = baseline_of(found, noise=[1e-9, 2e-8, 3e-7, 0.04], population=sample(3)[:, [0, 1, 2, 2]])
    write_baseline(tmp_path / "new", "s", wanted)
    back = read_baseline(tmp_path / "new", "s")
    for part in ("initial", "trained"):
        assert back.measurement.parts[part].curves == pytest.approx(found.parts[part].curves, abs=5.1e-7)
        assert back.noise[part].tolist() == wanted.noise[part].tolist()
    assert back.population == pytest.approx(wanted.population, abs=5.1e-4)
    assert back.measurement.weights == found.weights and back.config == wanted.config
    assert changed_arrays(found.data, back.measurement.data) == ""
    again = tmp_path / "again"
    write_baseline(again, "s", back)
    assert [path.read_text() for path in paths_of(again, "s")] == [
        path.read_text() for path in paths_of(tmp_path / "new", "s")
    ]


def test_a_changed_seed_is_one_changed_line(tmp_path):
    path = tmp_path / "s.json"
    write_baseline(tmp_path, "s", baseline_of(measurement(curves_like())))
    before = path.read_text().splitlines()
    other = curves_like()
    other[3] += 0.01
    write_baseline(tmp_path, "s", baseline_of(measurement(other)))
    after = path.read_text().splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1 and changed[0].strip().startswith('"3": [')


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda text: text[: len(text) // 2], "cannot be read"),
        (lambda text: "<<<<<<< HEAD\n" + text, "cannot be read"),
        (lambda text: "[]", "is no baseline"),
        (lambda text: text.replace('"baseline": 2', '"baseline": 99'), "of a newer gradlab"),
        (lambda text: text.replace('"noise"', '"nose"'), "is damaged"),
        (lambda text: text.replace('"lags": [1, 2', '"lags": [1'), "is damaged"),
        (lambda text: text.replace('"noise": [', '"noise": ["nan", '), "is damaged"),
        (lambda text: text.replace('"loss": [', '"loss": ["x", '), "is damaged"),
    ],
)
def test_a_damaged_baseline_says_so(tmp_path, damage, words):
    write_baseline(tmp_path, "s", baseline_of(measurement(curves_like())))
    path = tmp_path / "s.json"
    text = damage(path.read_text())
    assert text != path.read_text()
    path.write_text(text)
    with pytest.raises(UnreadableBaseline, match=words):
        read_baseline(tmp_path, "s")


def test_missing_and_unasked_baselines(tmp_path):
    assert read_baseline(tmp_path, "s") is None and orphans(tmp_path, []) == []
    write_baseline(tmp_path, "old", baseline_of(measurement(curves_like())))
    assert orphans(tmp_path, ["s"]) == ["old"] and orphans(tmp_path, ["old"]) == []


def test_differences_of_the_environment_are_told():
    before, now = (
        {"jax": "1", "xla_flags": "", "cpu": "A"},
        {"jax": "2", "xla_flags": "--x", "cpu": "A", "new": "1"},
    )
    assert environment_changes(before, now) == ["jax 1 -> 2", "xla_flags none -> --x", "new none -> 1"]
    assert {"jax", "jaxlib", "platform", "device", "cpu", "xla_flags"} <= set(environment_now("float32"))


# ---------------------------------------------------------------- suites


def test_the_shipped_suite_guards_what_it_should():
    assert suite_names(EXPERIMENTS) == ["ci"]
    suite = load_suite("ci", EXPERIMENTS)
    asked = {(one.config["task"], one.config["cell"], one.dtype) for one in suite.scenarios}
    assert asked == {(task, cell, "float32") for task in ("adding", "copy") for cell in ("rnn", "lstm", "gru")} | {
        ("adding", cell, "float64") for cell in ("rnn", "lstm", "gru")
    }
    assert all(one.steps > 0 and one.paired == 8 and one.population == 128 for one in suite.scenarios)


def test_every_shipped_scenario_has_a_baseline_of_its_settings():
    folder = EXPERIMENTS.parent / "results" / "baselines" / "ci"
    scenarios = load_suite("ci", EXPERIMENTS).scenarios
    assert orphans(folder, [one.name for one in scenarios]) == []
    for scenario in scenarios:
        baseline = read_baseline(folder, scenario.name)
        assert dict(baseline.config) == dict(scenario.config)
        assert baseline.measurement.moved() and baseline.population.shape == (128, len(baseline.population_lags))
        assert all((tolerance(noise) < CHAOTIC_TOLERANCE).all() for noise in baseline.noise.values())


@pytest.mark.parametrize("longest", [1, 2, 31, 32, 33, 100, 120, 10_000])
def test_lags_reach_from_one_to_the_last_without_repeats(longest):
    lags = log_spaced(longest, 32)
    assert lags[0] == 1 and lags[-1] == longest and len(lags) == min(longest, 32)
    assert all(a < b for a, b in itertools.pairwise(lags))


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "has no scenario"),
        ("[[scenario]]\nseed = 3", "unknown field of a scenario in .*`seed`"),
        ("[base]\nstop = 'never'\n[[scenario]]", "unknown field of a scenario in .*`stop`.*steps"),
        ("[[scenario]]\ncell = []", "give a list of values"),
        ("[[scenario]]\ncell = ['rnn', 'rnn']", "has 'rnn' twice"),
        ("[[scenario]]\ncell = 'lstn'", "did you mean `lstm`"),
        ("[[scenario]]\n[[scenario]]\nlearning_rate = 0.5", "two scenarios called adding-lstm-T200-H64-float32"),
        ("[seeds]\npaired = 2\n[[scenario]]", "paired in .* is 2: give a whole number of at least 3"),
        ("[seeds]\npairs = 2\n[[scenario]]", "did you mean `paired`"),
        ("grid = 1\n[[scenario]]", "unknown key in .* `grid`"),
        ("[[scenario]]\nlength = 1", "length is 1: adding needs at least 2"),
    ],
)
def test_a_suite_that_is_wrong_says_what(tmp_path, text, words):
    path = tmp_path / "s.toml"
    path.write_text('title = "t"\nquestion = "q?"\n' + text)
    with pytest.raises(GradlabError, match=words):
        load_suite(str(path))


def test_training_steps_of_a_suite_that_states_none(tmp_path):
    path = tmp_path / "s.toml"
    texts = ("[[scenario]]", "[base]\nsteps = 3\n[[scenario]]", "[base]\nsteps = 3\n[[scenario]]\nsteps = 0")
    found = []
    for text in texts:
        path.write_text('title = "t"\nquestion = "q?"\n' + text)
        (scenario,) = load_suite(str(path)).scenarios
        found.append((scenario.steps, scenario.config["steps"], scenario.name))
    assert found == [(steps, steps, "adding-lstm-T200-H64-float32") for steps in (10, 3, 0)]


def test_a_suite_that_is_not_there_names_the_nearest():
    with pytest.raises(GradlabError, match="suite `cj` does not exist: known are ci; did you mean `ci`"):
        load_suite("cj", EXPERIMENTS)


# ---------------------------------------------------------------- a real, tiny scenario


@pytest.fixture(scope="module")
def blessed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blessed")
    write_cell(folder)
    suite = load_suite(str(write_suite(folder)))
    bless(suite.scenarios, folder / "small", "for the tests")
    return folder, suite


def test_what_is_measured_again_is_the_same_to_the_bit(blessed):
    folder, suite = blessed
    (judged,) = check("small", suite.scenarios, folder / "small").scenarios
    assert judged.worst.status == "unchanged" and judged.now.bits == judged.baseline.measurement.bits
    assert judged.changes == [] and {finding.part for finding in judged.findings} == {"initial", "trained"}
    assert set(judged.baseline.noise) == set(named_curves(judged.now)) > {"trained/every 3/s", "trained/task/s"}
    assert judged.baseline.reason == "for the tests" and "last place" in judged.baseline.noise_source


def test_values_are_those_of_a_run_of_the_same_seed(blessed):
    from gradlab.runs.execute import run
    from gradlab.runs.spec import RunSpec

    _, suite = blessed
    (scenario,) = suite.scenarios
    found = measure(scenario)
    result = run(RunSpec(**scenario.config, seed=1, stop="never"))
    for part, when in (("initial", "initial"), ("trained", "final")):
        curve = result.curve(when).summarised()[np.array(found.lags) - 1]
        assert found.parts[part].curves[1] == pytest.approx(curve, abs=1e-6)


def test_where_another_jax_draws_other_weights_samples_decide_and_training_cannot_be_compared(blessed, tmp_path):
    folder, suite = blessed
    shutil.copytree(folder / "small", tmp_path / "small")
    (scenario,) = suite.scenarios
    path, _ = paths_of(tmp_path / "small", scenario.name)
    value = json.loads(path.read_text())
    value["environment"]["jax"] = "0.0.1"
    value["weights"]["0"]["cell/a"][2] += 0.5
    path.write_text(json.dumps(value))
    verdict = check("small", suite.scenarios, tmp_path / "small")
    (judged,) = verdict.scenarios
    by_part = {finding.part: finding for finding in judged.findings}
    assert (by_part["initial"].tier, by_part["initial"].status) == ("B", "unchanged")
    assert by_part["trained"].status == "incomparable" and verdict.exit_code() == 3
    assert judged.changes == [f"jax 0.0.1 -> {environment_now('float32')['jax']}"]


def test_settings_that_changed_are_not_compared(blessed):
    folder, suite = blessed
    scenario = replace(suite.scenarios[0], config=dict(suite.scenarios[0].config) | {"batch": 5})
    (judged,) = check("small", [scenario], folder / "small").scenarios
    assert judged.worst.status == "incomparable" and "batch 4 -> 5" in judged.worst.message


def test_what_did_not_train_is_not_blessed(blessed, tmp_path):
    folder, _ = blessed
    suite = load_suite(str(write_suite(folder, "still", learning_rate=1e-30)))
    with pytest.raises(GradlabError, match="did not train, its loss stayed the same") as caught:
        bless(suite.scenarios, tmp_path / "still")
    assert caught.value.exit_code == 1 and not (tmp_path / "still").exists()


def test_a_cut_gradient_is_blessed_only_where_that_is_said(tmp_path):
    write_cell(tmp_path, "detached")
    suite = load_suite(str(write_suite(tmp_path)))
    with pytest.raises(GradlabError, match="exactly zero; a stop_gradient or an unused state") as caught:
        bless(suite.scenarios, tmp_path / "small")
    assert str(caught.value).endswith("; --allow-zero accepts it") and caught.value.exit_code == 2
    assert not (tmp_path / "small").exists()
    (done,) = bless(suite.scenarios, tmp_path / "small", allow_zero=True)
    assert any("exactly zero at every lag in 3 of 3 seeds (initial)" in note for note in done.notes)
    verdict = check("small", suite.scenarios, tmp_path / "small")
    assert verdict.exit_code() == 0 and verdict.scenarios[0].worst.status == "unchanged"
    write_cell(tmp_path)
    (judged,) = check("small", load_suite(str(tmp_path / "small.toml")).scenarios, tmp_path / "small").scenarios
    assert judged.worst.status == "regressed" and "no longer exactly zero" in judged.worst.message


def test_a_population_that_is_not_finite_is_not_blessed(tmp_path):
    write_cell(tmp_path, "rare")  # finite at the seeds that are paired
    suite = load_suite(str(write_suite(tmp_path)))
    with pytest.raises(GradlabError, match=r"not finite in \d+ of the 256 seeds of its population"):
        bless(suite.scenarios, tmp_path / "small")
    assert not (tmp_path / "small").exists()
