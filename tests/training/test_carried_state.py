"""Truncated backpropagation: the state goes on from window to window, its gradient does not."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from gradlab.cells import CELLS
from gradlab.gradient.program import Program
from gradlab.runs.execute import run
from gradlab.runs.result import RunResult
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store
from gradlab.runs.tuning import _held_out_loss
from gradlab.tasks import Batch, language
from gradlab.tasks.base import carries_state
from gradlab.training.keys import stream
from gradlab.training.model import Model
from gradlab.training.perturbation import _permuted
from gradlab.training.sharding import is_divisible
from gradlab.training.step import chunk_program, evaluation_program, start_state
from gradlab.training.unroll import unroll_from

WINDOW, BATCH, HIDDEN = 8, 4, 12
TASK = language(embedding=6)
MODEL = Model(CELLS["lstm"](), TASK, HIDDEN)
SPEC = RunSpec(task="language:embedding=6", length=WINDOW, batch=BATCH, hidden=HIDDEN, steps=300, seed=5)
PLAN = SPEC.plan()


class Plain:
    """An LSTM that does not state its parts, which is unrolled by a plain scan."""

    def __init__(self):
        self.cell = CELLS["lstm"]()
        self.init, self.carry, self.step = self.cell.init, self.cell.carry, self.cell.step


@pytest.fixture(scope="module")
def chunk():
    return Program(chunk_program(MODEL, PLAN))


@pytest.fixture(scope="module")
def params():
    return jax.jit(MODEL.init)(5)


def windows(count):
    key = stream(PLAN.seed, "train")
    return [TASK.stream(key, step, BATCH, WINDOW) for step in range(count)]


@pytest.mark.parametrize("cell", [CELLS["lstm"](), Plain()], ids=["parts", "step"])
def test_carried_state_is_one_long_forward_pass(cell, params):
    model, batches = Model(cell, TASK, HIDDEN), windows(3)
    state, losses = cell.carry(params["cell"], BATCH), []
    for batch in batches:
        found, state = model.losses_from(state, params, batch)
        losses.append(found)
    # By hand: every timestep of all windows in a row, from the initial state.
    inputs = np.concatenate([batch.inputs for batch in batches])
    vectors, s, long = np.asarray(params["embedding"]), cell.carry(params["cell"], BATCH), []
    for ids, target in zip(inputs[..., 0], np.concatenate([batch.targets for batch in batches]), strict=True):
        s, y = cell.step(params["cell"], s, vectors[ids])
        logits = np.asarray(y @ params["readout"]["w"] + params["readout"]["b"], np.float64)
        long.append(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(BATCH), target])
    np.testing.assert_allclose(np.mean(losses, axis=0), np.mean(long, axis=0), rtol=1e-5)
    for leaf in s:
        np.testing.assert_allclose(state[leaf], s[leaf], atol=1e-5)


def test_no_gradient_crosses_the_boundary(params):
    """Of the state that a window starts from the loss depends, and its gradient is zero."""
    batch, start = windows(1)[0], {"h": jnp.full((BATCH, HIDDEN), 0.3), "c": jnp.full((BATCH, HIDDEN), 0.3)}

    def loss(start, of):
        return jnp.sum(of(start, params, batch)[0])

    def uncut(start, params, batch):
        inputs = MODEL.embedded(params, batch).inputs
        return MODEL.read(params, unroll_from(start, MODEL.cell, params["cell"], inputs)[1], batch), None

    zero = jax.tree.map(jnp.zeros_like, start)
    value, cut = jax.value_and_grad(loss)(start, MODEL.losses_from)
    assert value == pytest.approx(float(loss(start, uncut))) and value != loss(zero, MODEL.losses_from)
    whole = jax.grad(loss)(start, uncut)
    for leaf in start:
        np.testing.assert_array_equal(cut[leaf], 0)
        assert float(jnp.abs(whole[leaf]).max()) > 1e-3


def test_training_goes_on_from_the_state_of_the_training_step_before(chunk, params):
    found, _ = chunk(start_state(MODEL, PLAN, params), jnp.int32(3))
    # The same by a loop; the state that goes on is that of the weights before the update.
    state, optimizer = MODEL.cell.carry(params["cell"], BATCH), optax.adam(PLAN.learning_rate)
    moments, expected = optimizer.init(params), params

    def loss(params, state, batch):
        def timestep(s, given):
            s, y = MODEL.cell.step(params["cell"], s, params["embedding"][given[0]])
            log_p = jax.nn.log_softmax(y @ params["readout"]["w"] + params["readout"]["b"])
            return s, log_p[jnp.arange(BATCH), given[1]]

        state, log_p = lax.scan(timestep, state, (batch.inputs[..., 0], batch.targets))
        return -log_p.mean(), state

    @jax.jit
    def update(params, moments, state, batch):
        gradients, state = jax.grad(loss, has_aux=True)(params, state, batch)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradients)))
        gradients = jax.tree.map(lambda leaf: leaf / jnp.maximum(norm, 1.0), gradients)
        updates, moments = optimizer.update(gradients, moments)
        return optax.apply_updates(params, updates), moments, state

    for batch in windows(3):
        expected, moments, state = update(expected, moments, state, batch)
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found.params), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
    for leaf in state:
        np.testing.assert_allclose(found.carry[leaf], state[leaf], atol=1e-4)


def test_a_language_model_beats_the_frequencies_of_characters(chunk, params):
    state = start_state(MODEL, PLAN, params)
    for until in range(50, 301, 50):
        state, _ = chunk(state, jnp.int32(until))
    loss = Program(evaluation_program(MODEL, TASK, "validation", 50))
    assert loss(params, state.seed) > TASK.chance(WINDOW) > loss(state.params, state.seed) + 0.2


def test_only_a_carried_state_keeps_a_batch_on_one_device():
    two = replace(PLAN, shards=2)
    assert not is_divisible(MODEL, two, lambda: None) and is_divisible(MODEL, PLAN, lambda: None)
    drawn = Model(MODEL.cell, language(embedding=6, carry=False), HIDDEN)
    assert is_divisible(drawn, two, lambda: None) and not carries_state(drawn.task)
    assert start_state(drawn, PLAN, drawn.init(0)).carry is None
    assert start_state(Model(CELLS["attention"](), TASK, HIDDEN), PLAN, {"cell": {}}).carry is None


def test_units_of_a_model_with_embedded_tokens_can_be_permuted(params):
    (batch,) = windows(1)
    found = MODEL.losses(_permuted(params, HIDDEN, 1), batch)
    np.testing.assert_allclose(found, MODEL.losses(params, batch), rtol=1e-5)


# ---------------------------------------------------------------- a whole run


RUN = RunSpec(task="language:embedding=3:window=5", cell="rnn", length=20, batch=4, hidden=5, steps=150,
              measure="ends", measure_batch=3, learning_rate=0.1)  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def done(results):
    return run(RUN, results)


def test_validation_decides_and_the_test_part_judges(done):
    losses = done.as_dict()["losses"]
    steps, tests = zip(*done.tests, strict=True)
    assert steps == (50, 100, 150) and losses["validation"] == min(tests)
    assert len(done.curve("final").lags) == 20, "the curve goes on behind the window"
    # The same run up to its best test ends at the weights that were judged.
    best = run(replace(RUN, steps=steps[tests.index(min(tests))]))
    assert best.as_dict()["losses"]["test"] == pytest.approx(losses["test"], rel=1e-6)
    assert losses["test"] == pytest.approx(in_numpy(best.outcome.params, RUN.build_task(), 20), rel=1e-4)
    assert done.as_dict()["score"] == f"{losses['test'] / math.log(2):.4g} bits per character"


def test_tuning_sees_the_validation_part_alone(done, results):
    losses = done.as_dict()["losses"]
    assert _held_out_loss(Store(results).find(done.spec.id)) == losses["validation"] != losses["test"]


def in_numpy(params, task, length):
    """The mean loss over the windows of the test part, the state carried on."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    cell, readout, h, losses = params["cell"], params["readout"], np.zeros((32, 5)), []
    batches = jax.tree.map(np.asarray, task.evaluation("test", length))
    for batch in map(Batch, batches.inputs, batches.targets):
        for ids, targets in zip(batch.inputs[..., 0], batch.targets, strict=True):
            h = np.tanh(params["embedding"][ids] @ cell["w_x"] + h @ cell["w_h"] + cell["b"])
            logits = h @ readout["w"] + readout["b"]
            losses.append(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(32), targets])
    return np.mean(losses)


def test_what_a_reader_sees(done, results, typed):
    code, out, _ = typed("show", done.spec.id, "--results", results)
    assert code == 0 and "trained for 150 training steps; test loss" in " ".join(out.split())
    assert "bits per character), chance 3.2" in " ".join(out.split())
    code, _, _ = typed("report", "--results", results)
    text = (results / "report" / "index.md").read_text()
    assert code == 0 and "Dotted grey: training goes back 5 timesteps" in text
    assert "bits per character) by training step 150" in text and "solved by" not in text


def test_the_baselines_of_a_forecast_are_stored():
    losses = RunResult(RunSpec(task="forecast", length=6)).as_dict()["losses"]
    assert losses["chance"] == 1 and losses["autoregression"] == pytest.approx(0.7, abs=0.1)
    assert losses["validation"] is None and losses["test"] is None
