"""Every curve and leaf, the norms of training steps and the files of a run are guarded: injected faults."""

from dataclasses import replace

import numpy as np
import pytest
from gating import small_scenario

from gradlab.judge.baseline import Baseline, write_baseline
from gradlab.judge.check import check, environment_now
from gradlab.judge.measure import measure, named_curves
from gradlab.report.data import tables
from gradlab.runs import attempt, execute, result
from gradlab.training import checkpoint_metrics, jit_cache, seeds, step

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def blessed(tmp_path_factory):
    """An LSTM on copy, which has every kind of curve, and its baseline, with a noise that is not measured."""
    folder, scenario = tmp_path_factory.mktemp("blessed"), small_scenario()
    now = measure(scenario)
    noise = {name: np.full(values.shape[1], 1e-7) for name, values in named_curves(now).items()}
    environment, lags = environment_now("float32"), now.lags
    baseline = Baseline(scenario.config, "", environment, "none", noise, now, lags, np.zeros((8, len(lags))))
    write_baseline(folder, scenario.name, baseline)
    return folder, scenario


@pytest.fixture
def checked(blessed):
    def of(table=None):
        return check("small", [blessed[1]], blessed[0], table=table)

    return of


def findings(suite):
    return [one for each in suite.scenarios for one in each.findings if one.status != "unchanged"]


def test_without_a_fault_all_is_unchanged_and_nothing_is_left_unguarded(checked):
    suite = checked(tables.load)
    (judged,) = suite.scenarios
    assert findings(suite) == [] and suite.exit_code() == 0 and suite.stored == judged.scenario
    curves = {f"{curve}/{leaf}" for curve in ("task", "total", "direct") for leaf in ("h", "c", "state")}
    norms = {f"every {step}/{leaf}" for step in (1, 3) for leaf in "hc"}
    parts = judged.baseline.measurement.parts
    assert set(parts["initial"].more) == curves - {"task/state"}
    assert set(parts["trained"].more) == (curves | norms) - {"task/state"}
    assert set(judged.baseline.noise) == {
        *parts,
        *(f"{name}/{key}" for name, part in parts.items() for key in part.more),
    }


# ---------------------------------------------------------------- faults of the measurement


def in_every_curve(monkeypatch, change):
    """Change every curve as it is made, of the task, total and direct one; `change(leaves) -> leaves`."""
    from gradlab.gradient import verified

    for module in (verified, checkpoint_metrics):
        real = module.to_curve

        def faulty(found, *leaves, real=real):
            curve = real(found, *leaves)
            return replace(curve, log10_norm=change(curve.log10_norm))

        monkeypatch.setattr(module, "to_curve", faulty)


def exchanged(leaves):
    return leaves | {"h": leaves["c"], "c": leaves["h"]}


def test_exchanged_names_of_leaves(checked, monkeypatch):
    in_every_curve(monkeypatch, exchanged)
    suite = checked()
    for finding in findings(suite):
        assert finding.status == "regressed" and finding.leaf in "hc" and finding.curve != "every"
        assert f"{finding.curve} curve of {finding.leaf}: " in str(finding)
        assert f"decades at lag {finding.lag}" in str(finding) and "task curve of" in str(finding)
    assert {finding.part for finding in findings(suite)} == {"initial", "trained"} and suite.exit_code() == 1


@pytest.mark.parametrize("leaf", ["c", "h"])
def test_one_leaf_scaled_by_a_thousandth(checked, monkeypatch, leaf):
    in_every_curve(monkeypatch, lambda leaves: leaves | {leaf: leaves[leaf] + np.log10(1.001)})
    first, second = findings(checked())
    for finding in (first, second):
        assert finding.leaf == leaf and finding.decades == pytest.approx(np.log10(1.001), rel=0.05)


def test_a_halved_direct_curve(checked, monkeypatch):
    real = checkpoint_metrics.to_curve  # of the direct curve alone

    def halved(found, *leaves):
        curve = real(found, *leaves)
        return replace(curve, log10_norm={leaf: each - np.log10(2) for leaf, each in curve.log10_norm.items()})

    monkeypatch.setattr(checkpoint_metrics, "to_curve", halved)
    for finding in findings(checked()):
        assert finding.curve == "direct" and finding.decades == pytest.approx(-np.log10(2), abs=1e-4)
        assert "; also the direct curve of" in finding.message


@pytest.fixture
def compiled_anew(monkeypatch):
    """No compiled program of another test is used, nor left to one."""
    monkeypatch.setattr(jit_cache, "_shared", type(jit_cache._shared)(8))


@pytest.mark.usefixtures("compiled_anew")
def test_a_total_curve_that_drops_early_terms(checked, monkeypatch):
    real = checkpoint_metrics.adjoints

    def faulty(segments, params, inputs, start, source, curves, **more):
        def late(outputs):
            losses, g = source(outputs)
            return losses, g.at[:2].set(0)

        found = real(segments, params, inputs, start, source, curves, **more)
        total = {name: asked for name, asked in curves.items() if asked == ("total", None)}
        return found | real(segments, params, inputs, start, late, total, **more)

    monkeypatch.setattr(checkpoint_metrics, "adjoints", faulty)
    found = findings(checked())
    assert {finding.part for finding in found} == {"initial", "trained"}
    for finding in found:
        assert finding.curve == "total" and finding.lag >= 6
        assert f"total curve of {finding.leaf}: {finding.decades:+.3g} decades at lag {finding.lag}" in str(
            finding
        )


@pytest.mark.usefixtures("compiled_anew")
def test_norms_of_training_steps_that_are_shifted_by_a_lag(checked, monkeypatch):
    import jax.numpy as jnp

    real = step.log10_rms
    monkeypatch.setattr(step, "log10_rms", lambda *given: jnp.roll(real(*given), 1))
    (finding,) = findings(checked())
    assert finding.part == "trained" and finding.curve.startswith("every ") and finding.leaf in "hc"
    assert f"after training: norms of {finding.leaf} in training step" in str(finding)
    assert f"decades at lag {finding.lag}" in finding.message


def test_norms_of_another_training_step(checked, monkeypatch):
    real = seeds.measure_seeds

    def late(*given):
        return [
            one._replace(norms={leaf: np.roll(rows, 1, axis=0) for leaf, rows in one.norms.items()})
            for one in real(*given)
        ]

    monkeypatch.setattr(seeds, "measure_seeds", late)
    (finding,) = findings(checked())
    assert finding.curve in ("every 1", "every 3") and "norms of" in finding.message


def test_seeds_in_another_order(checked, monkeypatch):
    real = seeds.measure_seeds
    monkeypatch.setattr(seeds, "measure_seeds", lambda *given: real(*given)[::-1])
    first = findings(checked())[0]
    assert first.status == "regressed" and first.message.startswith("initial weights changed")


def test_curves_of_the_seeds_in_another_order(checked, monkeypatch):
    """The weights are those of their seeds, and one curve beside that of the task is not."""
    real = seeds.measure_seeds

    def swapped(*given):
        found = real(*given)
        return [
            one._replace(initial=one.initial | {"direct": other.initial["direct"]})
            for one, other in zip(found, found[::-1], strict=True)
        ]

    monkeypatch.setattr(seeds, "measure_seeds", swapped)
    (finding,) = findings(checked())
    assert (finding.part, finding.curve) == ("initial", "direct")


def test_a_curve_that_is_gone_is_told_and_a_new_one_too(checked, monkeypatch, blessed):
    real = checkpoint_metrics.CheckpointPrograms.measure_curves

    def renamed(programs, *given):
        curves = real(programs, *given)
        return {{"direct": "input"}.get(name, name): curve for name, curve in curves.items()}

    monkeypatch.setattr(checkpoint_metrics.CheckpointPrograms, "measure_curves", renamed)
    new, *gone = findings(checked())
    assert {finding.part for finding in gone} == {"initial", "trained"}
    assert all(finding.message.startswith("direct curve of c: it is gone") for finding in gone)
    assert new.status == "incomparable" and "the baseline lacks the input curve of c and 2 more" in new.message


# ---------------------------------------------------------------- faults of the store and its readers


def reversed_rows(arrays):
    return {name: rows[:, ::-1] if name.endswith("/typical") else rows for name, rows in arrays.items()}


def exchanged_quantiles(arrays):
    swap = {"q10": "q90", "q90": "q10"}
    return {name: arrays[name.replace(name[-3:], swap.get(name[-3:], name[-3:]))] for name in arrays}


def exchanged_gates(arrays):
    return arrays | {"gate/i": arrays["gate/f"], "gate/f": arrays["gate/i"]}


def late_by_a_step(arrays):
    return {name: np.roll(rows, 1, axis=0) for name, rows in arrays.items()}


def without_a_leaf(arrays):
    return {name: rows for name, rows in arrays.items() if not name.startswith("total/c")}


def without_a_step(arrays):
    return {name: rows[1:] for name, rows in arrays.items()}


@pytest.mark.parametrize(
    "file, fault, words",
    [
        ("curves.npz", reversed_rows, "curves.npz, typical: task curve of c after 0 training steps: "),
        ("curves.npz", exchanged_quantiles, "curves.npz, q10: task curve of"),
        ("curves.npz", exchanged_gates, "curves.npz: gate"),
        (
            "curves.npz",
            lambda arrays: {k: v for k, v in arrays.items() if "total/c" not in k},
            "read back: 'total/c",
        ),
        ("every.npz", late_by_a_step, "every.npz: norms of c in training step 1: "),
        ("every.npz", lambda arrays: {"h": arrays["c"], "c": arrays["h"]}, "every.npz: norms of"),
        (
            "every.npz",
            lambda arrays: {name: rows[1:] for name, rows in arrays.items()},
            "every.npz: c has the shape",
        ),
    ],
)
def test_arrays_that_are_stored_wrongly(checked, monkeypatch, file, fault, words):
    real = attempt.Attempt.write_arrays

    def write(self, name, arrays):
        real(self, name, fault(arrays) if name == file else arrays)

    monkeypatch.setattr(attempt.Attempt, "write_arrays", write)
    suite = checked(tables.load)
    found = findings(suite)
    assert suite.exit_code() == 1 and any(words in finding.message for finding in found), found
    if "read back" not in words and "gate" not in words and "shape" not in words:
        assert all(f"decades at lag {one.lag} from what was measured" in one.message for one in found)


def test_numbers_that_are_exchanged_in_the_json(checked, monkeypatch):
    real = result.RunResult.summary

    def summary(self, mark):
        found = real(self, mark)
        curves = {name: each | {"h": each["c"], "c": each["h"]} for name, each in found["curves"].items()}
        return found | {"curves": curves}

    monkeypatch.setattr(result.RunResult, "summary", summary)
    first, *_ = findings(checked(tables.load))
    assert first.message.startswith("done.json: task curve of c: span is ") and "was measured as" in first.message


def test_a_table_that_reads_curves_backwards(checked, monkeypatch):
    real = tables._curve

    def backwards(*given):
        columns = real(*given)
        return columns | {"lag": columns["lag"][::-1]}

    monkeypatch.setattr(tables, "_curve", backwards)
    first, *_ = findings(checked(tables.load))
    assert first.message.startswith("gradlab.load: task curve of") and f"at lag {first.lag}" in first.message


def test_a_run_that_trains_otherwise_than_the_gate(checked, monkeypatch):
    real = execute.train

    def faulty(model, plan, params):
        return real(model, replace(plan, learning_rate=1.01 * plan.learning_rate), params)

    monkeypatch.setattr(execute, "train", faulty)
    first, *_ = findings(checked(tables.load))
    assert first.message.startswith("in a run of seed 0: ") and first.part == "trained"
    assert f"decades at lag {first.lag}" in first.message


def test_training_without_norms_that_is_another(checked, monkeypatch):
    """A run that keeps no norms of training steps has a program of its own, which no baseline is measured by."""
    real = seeds.programs_for

    def faulty(model, plan):
        programs = real(model, plan)
        if plan.measure == "every":
            return programs
        return programs._replace(chunk=lambda state, until: programs.chunk(faster(state), until))

    def faster(state):
        return state._replace(learning_rate=1.01 * state.learning_rate)

    monkeypatch.setattr(seeds, "programs_for", faulty)
    first, *_ = findings(checked(tables.load))
    assert first.message.startswith("trained without the norms of each step: ") and first.part == "trained"


def test_a_run_that_fails(checked, monkeypatch):
    def fail(*given):
        raise ValueError("a mistake")
        yield

    monkeypatch.setattr(execute, "train", fail)
    (finding,) = findings(checked(tables.load))
    assert finding.message.startswith("a run of it cannot be stored and read back: it failed, ValueError: a mis")
