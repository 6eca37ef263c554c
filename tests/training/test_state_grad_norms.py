"""What `measure=every` records, against other routes, and at numbers that float32 nearly loses."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gradlab import gradient_curve
from gradlab.report.page.write import write_report
from gradlab.runs.execute import run
from gradlab.runs.result import norms_summary
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store
from gradlab.runs.variants import get_cell, get_task
from gradlab.training.keys import stream
from gradlab.training.state_grad_norms import combined, leaf_statistics, log10_rms, zero_sinks
from gradlab.training.unroll import unroll

pytestmark = pytest.mark.slow

TINY = RunSpec(hidden=5, batch=4, measure_batch=2, dtype="float64", clip="none", seed=3, measure="every")


def spec_of(**changed):
    return RunSpec(
        **{field: getattr(TINY, field) for field in TINY.__dataclass_fields__ if field != "cell_source"} | changed
    )


def plain(cell):
    """The same cell without its two parts, which sends it through the plain scan."""

    class OnlyStep:
        init, carry, step = cell.init, cell.carry, cell.step

    return OnlyStep()


def seen_by(cell, params, inputs, loss, budget):
    """log10 rms norms by lag of the mean loss, through the sinks."""
    batch_size = inputs.shape[1]
    sinks = zero_sinks(cell.carry(params, batch_size), len(inputs))

    def mean_loss(sinks):
        return jnp.mean(loss(unroll(cell, params, inputs, budget=budget, sinks=sinks)))

    @jax.jit
    def norms(sinks):
        return [log10_rms(combined(leaf), batch_size) for leaf in jax.grad(mean_loss)(sinks)]

    return norms(sinks)


def loss_of(outputs):
    return jnp.sum(jnp.sin(outputs * jnp.arange(1.0, 6.0)), axis=(0, 2))


@cache
def perturbed_gradients(name, timesteps):
    """The gradient of every leaf of every state, (T, B, H), of explicit zeros that are added to it."""
    cell, params, inputs = setting(name, timesteps)
    start = cell.carry(params, 3)
    zeros = jax.tree.map(lambda leaf: jnp.zeros((timesteps, *leaf.shape)), start)

    def perturbed(zeros):
        def timestep(s_tm1, given):
            x_t, extra = given
            return cell.step(params, jax.tree.map(jnp.add, s_tm1, extra), x_t)

        return jnp.sum(loss_of(lax.scan(timestep, start, (inputs, zeros))[1]))

    return jax.tree.leaves(jax.jit(jax.grad(perturbed))(zeros))


def setting(name, timesteps):
    cell = get_cell(name)
    params = cell.init(jax.random.key(0), 2, 5)
    return cell, params, jax.random.normal(jax.random.key(1), (timesteps, 3, 2))


@pytest.mark.parametrize("path", ["stored", "segments", "plain scan"])
@pytest.mark.parametrize("timesteps", [1, 2, 3, 17])
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_norms_equal_those_of_explicit_perturbations(name, timesteps, path):
    with jax.enable_x64(True):
        cell, params, inputs = setting(name, timesteps)
        gradients = perturbed_gradients(name, timesteps)
        budget = 1 if path == "segments" else 2**40
        got = seen_by(plain(cell) if path == "plain scan" else cell, params, inputs, loss_of, budget)
    for leaf, norms in zip(gradients, got, strict=True):
        rms = np.sqrt(np.sum(np.asarray(leaf) ** 2, axis=(1, 2)) / 3)
        np.testing.assert_allclose(norms, np.log10(rms)[::-1], atol=1e-12)


@pytest.mark.parametrize(("task", "length"), [("adding", 7), ("copy", 3)])
def test_the_first_training_step_saw_the_rms_curve_of_its_own_batch(task, length):
    spec = spec_of(task=task, length=length, steps=3)
    result = run(spec)
    with jax.enable_x64(True):
        model = spec.model()
        params = model.init(spec.seed)
        key = jax.random.fold_in(stream(spec.seed, "train"), 0)
        batch = get_task(task).sample(key, spec.batch, length)
        curve = gradient_curve(
            model.cell, params["cell"], batch.inputs, lambda outputs: model.read(params, outputs, batch)
        )
    assert sorted(result.trace.norms) == ["c", "h"]
    for leaf, rows in result.trace.norms.items():
        assert rows.shape == (3, len(curve.lags))
        np.testing.assert_allclose(rows[0], curve.rms(leaf), atol=1e-9)
        assert np.abs(rows[1] - rows[0]).max() > 1e-6, "the weights changed, so the norms must have"


def test_recording_changes_nothing_of_the_training():
    with_norms = run(spec_of(length=9, steps=60))
    without = run(spec_of(length=9, steps=60, measure="checkpoints"))
    assert without.trace.norms == {} and len(with_norms.trace.norms["h"]) == 60
    np.testing.assert_allclose(with_norms.trace.loss, without.trace.loss, rtol=1e-10)
    assert [mark.step for mark in with_norms.checkpoints] == [mark.step for mark in without.checkpoints]


def test_norms_are_stored_apart_from_the_curves(tmp_path):
    result = run(spec_of(length=9, steps=60), tmp_path)
    (stored,) = list(Store(tmp_path).each())
    every = stored.arrays("every.npz")
    assert sorted(every) == ["c", "h"]
    np.testing.assert_array_equal(every["c"], result.trace.norms["c"])
    assert "every.npz" in stored.done["digests"]
    assert not any("seen" in name or name in every for name in stored.arrays("curves.npz"))
    run(spec_of(length=9, steps=1, measure="ends"), tmp_path)
    assert len(list(tmp_path.glob("runs/*/every.npz"))) == 1


def norm_seen(rows):
    return float(log10_rms(combined(leaf_statistics(jnp.asarray(rows, jnp.float32))[None]), 1)[0])


@pytest.mark.parametrize("exponent", [-37.5, -30, -19.5, 0, 19.5, 30, 37])
def test_float32_entries_set_the_floor_and_not_their_squares(exponent):
    rows = 10.0**exponent * np.array([[3.0, 0.0], [0.0, -4.0]])
    assert norm_seen(rows) == pytest.approx(exponent + np.log10(5), abs=1e-5)


def test_a_large_unit_does_not_hide_behind_a_small_one():
    assert norm_seen([[1e-30, 1e30], [2e-30, 0.0]]) == pytest.approx(30, abs=1e-5)


@pytest.mark.parametrize(("entry", "norm"), [(0.0, -np.inf), (1e-46, -np.inf), (np.inf, np.inf), (np.nan, np.nan)])
def test_zero_infinity_and_nan_are_told(entry, norm):
    np.testing.assert_equal(norm_seen([[entry, 0.0]]), norm)


def test_half_of_a_complex_leaf_is_measured_by_modulus():
    (statistics,) = [leaf_statistics(jnp.array([[3 + 4j], [0j]]))]
    np.testing.assert_allclose(statistics[:, 0], [5, 1], rtol=1e-6)


def test_the_summary_names_the_deepest_training_step():
    seen = {"h": np.array([[0.0, -1.0], [0.5, -2.0], [0.0, -np.inf], [np.nan, 1.0]])}
    assert norms_summary(seen) == {"h": {"training_step": 3, "span": -np.inf, "zero": 1}}
    assert norms_summary({}) is None


def test_the_report_draws_it_and_says_what_was_zero(tmp_path):
    run(spec_of(cell="rnn:gain=0.001", length=40, steps=130, dtype="float32", learning_rate=1e-9), tmp_path)
    write_report(tmp_path, pytest.fail)
    page = (tmp_path / "report" / "index.md").read_text()
    assert "every training step (seed 3)" in page and "the deepest of 2 training steps" in page
    assert "lag 40 read zero in 130 of 130 training steps" in page
    assert len(list((tmp_path / "report" / "figures").glob("every-*.svg"))) == 1
