"""The parts of bench/ that need no peer: targets, tables, arithmetic, and the float64 reference."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bench import page as pages
from bench import problem, rows, seeds, targets, training
from bench.case import Case, initial_weights, product_flops, steps_per_call
from bench.contenders import EVERYONE, OURS, PLAIN, PRODUCT, PRODUCT_FLOPS
from bench.plot import plot
from bench.reference import SEED, first_batch, reference
from bench.rounds import Timing, alternate, share
from gradlab.cells import CELLS
from gradlab.tasks import Batch
from gradlab.tasks.adding import adding
from gradlab.training.model import Model
from gradlab.training.state_grad_norms import combined, log10_rms, zero_sinks

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LSTM = Case("lstm", 200, 32, 20)
GRU = Case("gru", 200, 128, 128)


def timed(case, **ms):
    """Rows of one size, from ms per training step by name; a space in a name is written as it is."""
    return list(training.rows_of_case(case, {name: ("", Timing((value,) * 3)) for name, value in ms.items()}))


@pytest.fixture
def synthetic():
    """Two sizes: everything met at the first, one column missed at the second."""
    one = {OURS.name: 1.0, PLAIN.name: 0.95, PRODUCT.name: 10.0, "torch nn.*, 1 thread": 4.0}
    one |= {"torch nn.*, 2 threads": 3.5, "torch loop + retain_grad": 25.0, "torch augmented input": 5.0}
    one |= {"naive JAX scan + taps": 3.2, "flax nnx.RNN": 3.1, "equinox scan": 3.3}
    two = {OURS.name: 10.0, PLAIN.name: 8.0, "torch nn.*, 2 threads": 17.0, "torch loop + retain_grad": 20.0}
    checks = [rows.of_case(LSTM, training.CHECK, OURS.name, value=2e-6)]
    checks += [rows.of_case(GRU, training.CHECK, "equinox scan", value=0.5, note="w_h")]
    start = rows.aimed("startup", "gradlab --help", targets.Target("<=", 0.4), value=0.3, unit="s", note="fastest")
    return [*checks, *timed(LSTM, **one), *timed(GRU, **two), start]


def test_verdicts_are_met_at_the_target_itself():
    assert targets.Target(">=", 3.0).met(3.0) and not targets.Target(">=", 3.0).met(2.99)
    assert targets.Target("<=", 0.4).met(0.4) and not targets.Target("<=", 0.4).met(0.41)
    assert not targets.Target("<=", 1.0).met(float("nan")) and not targets.Target(">=", 1.0).met(float("nan"))


def test_every_size_has_a_target_in_every_column():
    for cell, columns in targets.SPEED.items():
        assert {len(row) for row in columns.values()} == {len(targets.SIZES)}
        assert set(columns) <= set(targets.GROUPS), cell
    assert targets.speed("gru", (200, 128, 128), targets.LOOP) == targets.Target(">=", 1.45)
    assert targets.speed("gru", (200, 128, 128), targets.AUGMENTED) is None
    assert {name for group in targets.GROUPS.values() for name in group} < {one.name for one in EVERYONE}


def test_floor_is_the_rate_of_the_product(synthetic):
    assert product_flops(LSTM) == 3 * 2 * 200 * 20 * 32 * 128
    (floor,) = rows.select(synthetic, training.FLOOR, cell="lstm")
    assert floor.ratio == pytest.approx(product_flops(LSTM) / PRODUCT_FLOPS * 10.0 / 1.0)
    (rate,) = rows.select(synthetic, training.SECTION, contender=PRODUCT.name)
    assert rate.value == pytest.approx(PRODUCT_FLOPS / 10e-3 / 1e9)


def test_calls_have_ten_to_fifty_training_steps():
    sizes = {str(case): steps_per_call(case) for case in training.CASES}
    assert set(sizes.values()) <= set(range(10, 51))
    assert sizes["lstm 200,32,20"] == 50 and sizes["lstm 200,128,128"] == 10


def test_a_column_counts_its_fastest_contender(synthetic):
    (plain,) = rows.select(synthetic, training.TARGETS, cell="lstm", contender=targets.PLAIN)
    assert plain.ratio == pytest.approx(3.5) and plain.met and plain.note == "torch nn.*, 2 threads"
    (missed,) = rows.select(synthetic, training.TARGETS, cell="gru", contender=targets.PLAIN)
    assert missed.ratio == pytest.approx(1.7) and missed.met is False
    (measuring,) = rows.select(synthetic, training.MEASURE, cell="gru")
    assert measuring.ratio == pytest.approx(1.25) and measuring.met is False


def test_csv_comes_back_as_it_was(synthetic, tmp_path):
    path = tmp_path / "bench.csv"
    rows.write(path, synthetic, {"processor": "a: b", "python": "3.11"})
    again, heading = rows.read(path)
    assert heading == {"processor": "a: b", "python": "3.11"}
    assert [(row.section, row.contender, row.size, row.met) for row in again] == [
        (row.section, row.contender, row.size, row.met) for row in synthetic
    ]
    assert pages.page(again, heading, "") == pages.page(synthetic, heading, "")


def test_page_says_what_was_met_and_what_was_not(synthetic):
    text = pages.page(synthetic, {"python": "3.11"}, "- a note\n")
    assert "| lstm 200,32,20 | 3.50 (≥ 3, met) | 25.00 (≥ 20, met) | 5.00 (≥ 4, met) | 3.10 (≥ 3, met) |" in text
    assert "| gru 200,128,128 | 1.70 (≥ 1.8, **missed**) | 2.00 (≥ 1.45, met) | - | - |" in text
    assert "| gradlab --help | 0.3 s | ≤ 0.4 | met | fastest |" in text
    assert "| equinox scan | 5.0e-01 | gru 200,128,128: w_h |" in text
    assert "- gru 200,128,128, target, torch nn.*: 1.7 against ≥ 1.8" in text
    assert targets.REMARKS["gru", 200, 128, 128] in text
    assert text.endswith("## Notes\n\n- a note\n")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.count("|") == tables[i - 1].count("|") for i, line in enumerate(tables) if "---" in line)


def test_plot_has_every_series_in_words(synthetic, tmp_path):
    plot(synthetic, tmp_path / "bench.svg")
    text = (tmp_path / "bench.svg").read_text()
    assert "LSTM" in text and "flax nnx.RNN" in text and "T=200, H=32, B=20" in text


def test_seeds_that_were_not_solved_count_as_never():
    def record(status, steps):
        return {"status": status, "training_steps": steps, "measure_seconds": 1.0, "wall_seconds": 20.0}

    runs = [
        seeds.Solved(0, 5.0, record("solved", 100)),
        *[seeds.Solved(i, 9.0, record("trained", 900)) for i in (1, 2)],
    ]
    found = {row.contender: row for row in seeds.rows_of(runs)}
    assert found["median"].value == float("inf") and found["median"].met is False
    assert found["share of a default run"].value == pytest.approx(0.05) and found["share of a default run"].met


def test_turns_alternate_and_are_whole_calls():
    taken = []
    turns = [(lambda steps, name=name: taken.append((name, steps)) or 1.0, 3) for name in "ab"]
    alternate(turns, 2)
    assert taken == [("a", 3), ("b", 3), ("b", 3), ("a", 3)]
    assert share(step_ms=2.0, seconds=0.3, least=50) == 150 and share(step_ms=500.0, seconds=0.3, least=10) == 10


def test_wrong_contenders_are_found():
    truth = {"loss": np.array(1.0), "w_h": np.array([1.0, -2.0]), "norm_h": np.array([1e-30, 1e-6, 1.0])}
    good = {"loss": np.array(1.0), "w_h": np.array([1.0, -2.0001]), "norm_h": np.array([0.0, 1.0005e-6, 1.0])}
    assert problem.wrong(problem.errors(truth, good)) == []
    assert problem.wrong(problem.errors(truth, good | {"norm_h": np.array([0.0, 2e-6, 1.0])})) == ["norm_h"]
    assert problem.wrong(problem.errors(truth, good | {"w_h": np.array([-2.0, 1.0])})) == ["w_h"]
    assert problem.wrong(problem.errors(truth, good | {"w_h": np.array([[1.0, -2.0]])})) == ["w_h"]
    assert problem.wrong(problem.errors(truth, good | {"loss": np.array(np.nan)})) == ["loss"]
    assert problem.wrong({}) == ["loss", "w_h"]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_reference_is_gradlab_in_float64(cell):
    case = Case(cell, 12, 5, 4)
    weights, (inputs, targets_) = initial_weights(case), first_batch(case)
    truth = reference(case, weights, inputs, targets_)
    with jax.enable_x64(True):
        given = {name: jnp.asarray(value, jnp.float64) for name, value in weights.items()}
        model = Model(CELLS[cell](), adding(), case.hidden)
        part = {name: given[name] for name in ("w_x", "w_h", "b")}
        part |= {"b_n": jnp.zeros(case.hidden)} if cell == "gru" else {}
        params = {"cell": part, "readout": {"w": given["out_w"], "b": given["out_b"]}}
        batch = Batch(jnp.asarray(inputs, jnp.float64), jnp.asarray(targets_, jnp.float64))
        sinks = zero_sinks(model.cell.carry(part, case.batch), case.length)
        loss, (grads, seen) = jax.value_and_grad(
            lambda params, sinks: jnp.mean(model.losses(params, batch, sinks)), argnums=(0, 1)
        )(params, sinks)
        norms = [10 ** log10_rms(combined(leaf), 1)[::-1] for leaf in seen]
    np.testing.assert_allclose(loss, truth["loss"], rtol=1e-12)
    for name in ("w_x", "w_h", "b"):
        np.testing.assert_allclose(grads["cell"][name], truth[name], atol=1e-13, rtol=1e-10)
    np.testing.assert_allclose(grads["readout"]["w"], truth["out_w"], atol=1e-13, rtol=1e-10)
    for name, norm in zip(("norm_c", "norm_h") if cell == "lstm" else ("norm_h",), norms, strict=True):
        np.testing.assert_allclose(norm, truth[name], rtol=1e-10)
    assert SEED == 0


def test_driver_imports_neither_jax_nor_a_peer():
    code = "import sys, json, bench.__main__; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not {"jax", "torch", "flax", "equinox"} & set(json.loads(done.stdout))
