"""Training against straightforward loops, its ends, and what is looked at on the way."""

import json
import math
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from oracles import curve_by_taps

from gradlab.cells import Cell
from gradlab.errors import GradlabError
from gradlab.gradient import gradient_curve, segments
from gradlab.runs.execute import run
from gradlab.runs.spec import RunSpec
from gradlab.runs.variants import get_cell, get_task
from gradlab.tasks import Batch
from gradlab.training import jit_cache
from gradlab.training.checkpoint_metrics import CheckpointPrograms
from gradlab.training.keys import stream
from gradlab.training.loop import Checkpoint, Chunk, checkpoints, train
from gradlab.training.model import Model
from gradlab.training.optimizers import OPTIMIZERS, Clip
from gradlab.training.step import Plan, _any_lost

pytestmark = pytest.mark.slow

# ---------------------------------------------------------------- a cell and a task of one's own


class Own:
    """hₜ = a hₜ₋₁ + xₜ with only init, carry and step; the state is a bare array."""

    def init(self, key, input_size, hidden_size):
        return {"a": jnp.full(hidden_size, 0.5)}

    def carry(self, params, batch_size):
        return jnp.zeros((batch_size, len(params["a"])))

    def step(self, params, carry, x_t):
        h_t = params["a"] * carry + x_t
        return h_t, h_t


class Flat(Own):
    """hₜ = tanh(a hₜ₋₁ + 3 xₜ·(1, 2, ...)), so flat where x is large that float32 reads a derivative of 0."""

    def step(self, params, carry, x_t):
        h_t = jnp.tanh(params["a"] * carry + 3 * (x_t @ jnp.arange(1.0, 1 + x_t.shape[-1]))[:, None])
        return h_t, h_t


@dataclass(frozen=True)
class Toy:
    """Inputs of one number; the loss is `rate` (y - target)², or `rate` y where there is no target."""

    target: float | None = 1.0
    rate: float = 1.0
    mark: float = 1e-30
    level: float = 0.0
    keys: list | None = None

    input_size = output_size = min_length = 1
    readout = "last"

    def __hash__(self):
        return id(self)

    def steps(self, length):
        return length

    def sample(self, key, batch_size, length):
        if self.keys is not None:
            jax.debug.callback(partial(self._note, batch_size), jax.random.key_data(key))
        noise = jax.random.normal(key, (length, batch_size, 1))
        return Batch(self.level * noise, jnp.zeros(batch_size))

    def _note(self, batch_size, key):
        self.keys.append((batch_size, *map(int, key)))

    def loss(self, outputs, batch):
        y = outputs[-1, :, 0]
        return self.rate * (y if self.target is None else (y - self.target) ** 2)

    def chance(self, length):
        return 1.0

    def solved(self, length):
        return self.mark

    def task_curve(self, length):
        return None


def plan(**changes):
    usual = {"length": 2, "batch": 3, "measure_batch": 2, "seed": 0, "steps": 5, "stop": "never"}
    usual |= {"measure": "ends", "optimizer": optax.sgd(0.1), "clip": Clip("none")}
    return Plan(**usual | changes)


def outcome_of(task, cell: Cell | None = None, hidden=2, **changes):
    """Every event of a training run, and the last of them."""
    *events, outcome = train(Model(cell or Own(), task, hidden), plan(**changes))
    return events, outcome


def rows(events, name):
    return np.concatenate([getattr(event.rows, name) for event in events if isinstance(event, Chunk)])


# ---------------------------------------------------------------- one real run, looked at from all sides

SPEC = RunSpec(
    cell="lstm", length=6, hidden=3, batch=4, measure_batch=5, steps=12, dtype="float64", clip="norm:1", seed=4
)


@pytest.fixture(scope="module")
def result():
    return run(SPEC)


@pytest.fixture(scope="module")
def reference():
    """Weights, loss and gradient norm of each training step, from a plain scan, jax.grad and optax's own clip."""
    cell, task = get_cell("lstm"), get_task("adding")

    def loss(params, batch):
        def timestep(carry, x_t):
            return cell.step(params["cell"], carry, x_t)

        _, outputs = lax.scan(timestep, cell.carry(params["cell"], SPEC.batch), batch.inputs)
        y = outputs[-1] @ params["readout"]["w"] + params["readout"]["b"]
        return jnp.mean((y[:, 0] - batch.targets) ** 2)

    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(SPEC.learning_rate))

    @jax.jit
    def advance(params, state, step):
        key = jax.random.fold_in(stream(SPEC.seed, "train"), step)
        value, gradients = jax.value_and_grad(loss)(params, task.sample(key, SPEC.batch, SPEC.length))
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, value, gradients

    with jax.enable_x64(True):
        params = SPEC.model().init(SPEC.seed)
        state, kept = optimizer.init(params), [(params, None, None)]
        for step in range(SPEC.steps):
            params, state, value, gradients = advance(params, state, step)
            squares = [float((np.asarray(leaf) ** 2).sum()) for leaf in jax.tree.leaves(gradients)]
            kept.append((params, float(value), math.sqrt(sum(squares))))
    return kept


def test_losses_and_weights_equal_a_plain_loop(result, reference):
    np.testing.assert_allclose(result.trace.loss, [loss for _, loss, _ in reference[1:]], rtol=1e-12)
    expected = jax.tree.leaves(reference[-1][0])
    for got, leaf in zip(jax.tree.leaves(result.outcome.params), expected, strict=True):
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, leaf, rtol=1e-10, atol=1e-13)


def test_gradient_norms_are_those_before_clipping(result, reference):
    norms = np.array([norm for _, _, norm in reference[1:]])
    np.testing.assert_allclose(result.trace.log10_grad_norm, np.log10(norms), atol=1e-12)
    np.testing.assert_array_equal(result.trace.clipped, norms > 1)
    assert 0 < result.trace.clipped.mean() < 1, "a clip that always or never acts tests little"


def test_measured_at_the_checkpoints(result):
    assert [mark.step for mark in result.checkpoints] == [0, 1, 2, 5, 10, 12]
    assert (result.status, result.training_steps) == ("trained", 12)
    line = result.log_line(result.checkpoints[3])
    assert line["clipped"] == pytest.approx(result.trace.clipped[2:5].mean())
    assert line["log10_grad_norm"] == result.trace.log10_grad_norm[4]


def test_curves_are_those_of_the_instrument_on_the_same_weights(result, reference):
    cell, task = get_cell("lstm"), get_task("adding")
    with jax.enable_x64(True):
        batch = task.sample(stream(SPEC.seed, "measure"), SPEC.measure_batch, SPEC.length)
        for mark in (result.checkpoints[3], result.checkpoints[-1]):
            params = reference[mark.step][0]

            def loss(outputs, params=params):
                y = outputs[-1] @ params["readout"]["w"] + params["readout"]["b"]
                return (y[:, 0] - batch.targets) ** 2

            curve = gradient_curve(cell, params["cell"], batch.inputs, loss)
            assert set(mark.metrics.curves) == {"task"}
            for leaf in ("h", "c", "state"):
                got = mark.metrics.curves["task"].log10_norm[leaf]
                np.testing.assert_allclose(got, curve.log10_norm[leaf], atol=1e-9)
            assert mark.metrics.loss == pytest.approx(curve.losses.mean(), rel=1e-10)


def test_the_same_seed_gives_the_same_bits():
    runs = [outcome_of(Toy(level=1.0), steps=7, seed=3)[1].params for _ in range(2)]
    first, again = (b"".join(leaf.tobytes() for leaf in jax.tree.leaves(params)) for params in runs)
    assert first == again


def bits(result, row):
    curve = result.checkpoints[row].metrics.curves["task"]
    return {leaf: values.tobytes() for leaf, values in curve.log10_norm.items()}


def test_another_seed_shares_the_compiled_programs_and_gets_its_own_numbers():
    jit_cache._shared.clear()
    segments._shared.clear()
    first = run(replace(SPEC, seed=1))
    second = run(replace(SPEC, seed=2))
    shared = jit_cache.programs_for(SPEC.model(), SPEC.plan())
    used = [shared.init, shared.draw, shared.chunk, shared.test, shared.metrics.source]
    assert [len(program._compiled) for program in used] == [1] * 5
    # Forward and back in float32 on all examples and in float64 on a few, and the gates; this loss reads its last
    # output alone, so that no direct gradient is measured, and nothing of this cell is lossy.
    assert sorted(len(program._compiled) for program in shared.metrics.segments.programs) == [1, 2, 2]
    jit_cache._shared.clear()
    segments._shared.clear()
    alone = run(replace(SPEC, seed=2))
    np.testing.assert_array_equal(alone.trace.loss, second.trace.loss)
    np.testing.assert_array_equal(alone.curve().typical(), second.curve().typical())
    assert not np.array_equal(first.trace.loss, second.trace.loss)


def test_what_a_task_alone_decides_is_compiled_once_for_all_cells():
    plan = SPEC.plan()
    ours = [jit_cache.programs_for(Model(get_cell(name), SPEC.model().task, 4), plan) for name in ("rnn", "gru")]
    longer = jit_cache.programs_for(Model(get_cell("gru"), SPEC.model().task, 4), replace(plan, length=9))
    custom = [jit_cache.programs_for(Model(get_cell(name), Toy(), 4), plan) for name in ("rnn", "gru")]
    for program in (lambda found: found.draw, lambda found: found.metrics.source):
        assert program(ours[0]) is program(ours[1]) is not program(longer)
        assert program(custom[0]) is not program(custom[1]), "which may be equal and compute something else"


def test_a_probe_is_row_zero_of_the_run_with_its_seed(result):
    probe = run(replace(SPEC, steps=0))
    assert (probe.status, len(probe.checkpoints), probe.training_steps) == ("measured", 1, 0)
    assert bits(probe, 0) == bits(result, 0)
    assert probe.checkpoints[0].metrics.loss == result.checkpoints[0].metrics.loss
    assert probe.checkpoints[0].metrics.gates == result.checkpoints[0].metrics.gates


# ---------------------------------------------------------------- gates


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_gate_means_and_saturation_against_numpy():
    model = Model(get_cell("lstm"), get_task("adding"), 3)
    with jax.enable_x64(True):
        batch = model.task.sample(jax.random.key(1), 4, 7)
        params = jax.tree.map(lambda leaf: 8 * leaf, model.init(0))
        got = {
            name: np.asarray(s) for name, s in CheckpointPrograms.of(model, 7).measure_gates(params, batch).items()
        }
    weights = {name: np.asarray(leaf) for name, leaf in params["cell"].items()}
    h, c, seen = np.zeros((4, 3)), np.zeros((4, 3)), []
    for x in np.asarray(batch.inputs):
        i, f, g, o = np.split(x @ weights["w_x"] + h @ weights["w_h"] + weights["b"], 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * c + i * g
        h = o * np.tanh(c)
        seen.append((i, f, g, o))
    assert set(got) == set("ifgo")
    for name, values in zip("ifgo", map(np.array, zip(*seen, strict=True)), strict=True):
        low = -1 if name == "g" else 0
        near = (values < low + 0.01) | (values > 1 - 0.01)
        assert 0.1 < near.mean() < 0.9, "all or nothing tests little"
        np.testing.assert_allclose(got[name], [values.mean(), near.mean()], atol=1e-12)


def test_a_cell_without_gates_reports_none():
    events, _ = outcome_of(Toy(), steps=1)
    assert [event.metrics.gates for event in events if isinstance(event, Checkpoint)] == [{}, {}]


# ---------------------------------------------------------------- streams and checkpoints


def test_train_measure_and_test_data_never_coincide():
    keys = []
    # Always near the mark, so that everything is drawn that ever is.
    task = Toy(target=None, rate=0.0, mark=1.0, keys=keys)
    events, _ = outcome_of(task, steps=101, batch=3, measure_batch=2)
    jax.effects_barrier()
    drawn = {}
    for size, *key in keys:
        drawn.setdefault(size, set()).add(tuple(key))
    assert {size: len(found) for size, found in drawn.items()} == {3: 101, 2: 1, 128: 8}
    assert len(set.union(*drawn.values())) == 110
    assert sum(event.test_loss is not None for event in events if isinstance(event, Chunk)) == 3


def test_streams_of_all_seeds_are_disjoint():
    names = ("train", "measure", "test", "cell", "readout")
    keys = [jax.random.key_data(stream(seed, name)) for seed in (*range(40), 2**31, 2**32 - 1) for name in names]
    assert len({tuple(map(int, key)) for key in keys}) == 42 * len(names)


@pytest.mark.parametrize(
    "steps, marks",
    [
        (0, [0]),
        (1, [0, 1]),
        (2, [0, 1, 2]),
        (7, [0, 1, 2, 5, 7]),
        (100, [0, 1, 2, 5, 10, 20, 50, 100]),
        (3000, [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 3000]),
    ],
)
def test_checkpoint_schedule(steps, marks):
    assert checkpoints(steps) == marks


def test_ends_are_two_checkpoints():
    events, outcome = outcome_of(Toy(), steps=7, measure="ends")
    assert [event.step for event in events if isinstance(event, Checkpoint)] == [0, 7]
    assert outcome.step == 7 and outcome.status == "trained"


# ---------------------------------------------------------------- solving

# With no input the output is the readout's bias b, and gradient descent on (b - 1)² at a rate of 0.002 gives the
# loss 0.996²ⁿ after n training steps: below 0.42, twice the mark, in the mean of training steps 100..149, above
# the mark of 0.21 at 150 (0.300) and below it at 200 (0.201).
FALLING = {"task": Toy(mark=0.21), "optimizer": optax.sgd(0.002)}


@pytest.mark.parametrize("stop, tests, last", [("solved", [150, 200], 200), ("never", [150, 200, 230], 230)])
def test_solving_is_tested_every_50_training_steps_near_the_mark(stop, tests, last):
    events, outcome = outcome_of(**FALLING, steps=230, stop=stop)
    tested = {event.step: event.test_loss for event in events if isinstance(event, Chunk) if event.test_loss}
    assert list(tested) == tests
    assert tested == pytest.approx({step: 0.996 ** (2 * step) for step in tests}, rel=1e-3)
    assert (outcome.status, outcome.solved_at, outcome.step) == ("solved", 200, last)
    assert outcome.test_loss == tested[tests[-1]]
    assert len(rows(events, "loss")) == last
    np.testing.assert_allclose(rows(events, "loss"), 0.996 ** (2 * np.arange(last)), rtol=1e-3)


# ---------------------------------------------------------------- divergence


def finite(params):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_a_loss_that_overflows_ends_the_run_inside_a_chunk():
    # Gradient descent on (b - 1)² at a rate of 4 multiplies 1 - b by -7 at every training step.
    error, expected = np.float32(1), 0
    with np.errstate(over="ignore"):
        while np.isfinite(error * error):
            error, expected = np.float32(-7) * error, expected + 1
    expected += 1  # the first training step, counted from 1, whose loss is not finite
    events, outcome = outcome_of(Toy(), optimizer=optax.sgd(4.0), steps=200, measure="checkpoints")
    assert outcome.status == "diverged" and outcome.diverged == (expected, "loss")
    assert 20 < expected < 50, "the bad training step should lie between two checkpoints"
    assert outcome.step == expected - 1
    losses = rows(events, "loss")
    assert len(losses) == expected and np.isfinite(losses[:-1]).all() and np.isinf(losses[-1])
    bias = float(outcome.params["readout"]["b"][0])
    assert 1 - bias == pytest.approx((-7.0) ** (expected - 1), rel=1e-3)
    assert [event.step for event in events if isinstance(event, Checkpoint)][-2:] == [20, expected - 1]


def test_a_gradient_that_overflows_ends_the_run():
    # The state stays exactly 0, so the loss is 1, but the bias of the cell gets Σ 10^k = 1e49.
    task, cell = Toy(), get_cell("rnn:gain=10")
    events, outcome = outcome_of(task, cell, hidden=1, length=50, clip=Clip("norm", 1.0))
    assert outcome.status == "diverged" and outcome.diverged == (1, "gradient")
    assert rows(events, "loss").tolist() == [1.0]
    assert not np.isfinite(rows(events, "log10_grad_norm")).any()
    start = Model(cell, task, 1).init(0)
    assert jax.tree.map(np.array_equal, outcome.params, start) == jax.tree.map(lambda leaf: True, start)
    assert [event.step for event in events if isinstance(event, Checkpoint)] == [0]


def test_parameters_that_overflow_end_the_run():
    result = run(RunSpec(cell="rnn", length=2, hidden=1, batch=2, measure_batch=1, optimizer="sgd:momentum=0.5",
                         learning_rate=3e38, clip="norm:1000", steps=5))  # fmt: skip
    assert (result.status, result.outcome.diverged[1]) == ("diverged", "parameters")
    step = result.outcome.diverged[0]
    assert result.training_steps == step - 1 and len(result.trace.loss) == step
    assert np.isfinite(result.trace.loss).all() and np.isfinite(result.trace.log10_grad_norm).all()
    assert finite(result.outcome.params)
    record = result.as_dict()
    assert record["diverged"] == {"step": step, "what": "parameters"} and record["status"] == "diverged"


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_a_moment_that_overflows_ends_the_run(name):
    # As above, but the bias gets Σ 10^k = 1e24, which is finite; its square is not, and divided by that it stays.
    task, cell = Toy(), get_cell("rnn:gain=10")
    given = {"hidden": 1, "length": 25, "optimizer": OPTIMIZERS[name](1.0), "learning_rate": 0.01}
    events, outcome = outcome_of(task, cell, **given)
    assert outcome.status == "diverged" and outcome.diverged == (1, "optimizer state")
    assert rows(events, "log10_grad_norm")[0] == pytest.approx(24, abs=0.5)
    start = Model(cell, task, 1).init(0)
    assert jax.tree.map(np.array_equal, outcome.params, start) == jax.tree.map(lambda leaf: True, start)
    with jax.enable_x64(True):  # in float64 there is room, and every weight moves by about the learning rate
        events, outcome = outcome_of(task, cell, steps=1, **given)
        start = Model(cell, task, 1).init(0)
        moved = outcome.params["cell"]["b"] - start["cell"]["b"]
    assert outcome.status == "trained" and abs(float(moved[0])) >= 0.0099
    _, outcome = outcome_of(task, cell, **given | {"clip": Clip("norm", 1.0), "steps": 1})
    assert outcome.status == "trained", "what is clipped has a moment that fits"


def test_only_what_was_finite_can_be_lost():
    before = {"nu": jnp.array([1.0, jnp.inf]), "count": jnp.int32(1), "key": jax.random.key(0)}
    assert not _any_lost(before, before)
    assert _any_lost(before, before | {"nu": jnp.array([jnp.inf, jnp.inf])})
    assert _any_lost(before, before | {"nu": jnp.array([jnp.nan, 0.0])})
    assert not _any_lost((), ())


# ---------------------------------------------------------------- clipping and optimisers


def test_huge_gradients_are_clipped_and_not_lost():
    # The loss 1e25 y is finite, and so is its gradient; its square is not.
    task = Toy(target=None, rate=1e25)
    events, outcome = outcome_of(task, steps=1, optimizer=optax.sgd(1.0), clip=Clip("norm", 0.25))
    before = Model(Own(), task, 2).init(0)
    moved = jax.tree.map(lambda new, old: np.asarray(new, float) - old, outcome.params, before)
    assert np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(moved))) == pytest.approx(0.25, rel=1e-5)
    assert rows(events, "log10_grad_norm")[0] == pytest.approx(25, abs=0.01)
    assert rows(events, "clipped").tolist() == [1.0]
    huge = {"b": jnp.float32(1e25)}
    lost, _ = optax.clip_by_global_norm(0.25).update(huge, optax.EmptyState())
    assert float(lost["b"]) == 0.0, "optax has mended its norm: say so in optimizers.py"


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-19, 1.0, 1e19, 1e30, 1e38, 1e39])
def test_clipping_by_norm_at_every_scale(scale):
    entries = np.array([0.3, -0.2, 0.1]) * scale
    gradients = {"a": jnp.asarray(entries[:2], jnp.float32), "b": jnp.asarray(entries[2], jnp.float32)}
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradients)]).astype(np.float64)
    norm = np.sqrt((flat**2).sum())
    clipped = Clip("norm", 0.5).apply(gradients)
    got = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(clipped.gradients)])
    np.testing.assert_allclose(got, flat * min(1.0, 0.5 / norm) if norm else flat, rtol=1e-6)
    if norm > 1e-37:  # below it a device may read 0
        assert float(clipped.log10_norm) == pytest.approx(np.log10(norm), abs=1e-5)
    assert float(clipped.share) == float(norm > 0.5)


def test_clipping_by_value_and_not_at_all():
    gradients = {"a": jnp.array([3.0, -0.25, -7.0, 0.5])}
    by_value = Clip("value", 0.5).apply(gradients)
    assert by_value.gradients["a"].tolist() == [0.5, -0.25, -0.5, 0.5] and float(by_value.share) == 0.5
    untouched = Clip("none").apply(gradients)
    assert untouched.gradients["a"].tolist() == [3.0, -0.25, -7.0, 0.5] and float(untouched.share) == 0.0


def by_hand(name, gradients, rate):
    """Weights after each gradient, from the equations of the papers in numpy."""
    w, m, v, moved = 0.0, 0.0, 0.0, []
    for t, g in enumerate(gradients, start=1):
        if name == "adam":
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            w -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        elif name == "rmsprop":
            v = 0.9 * v + 0.1 * g**2
            w -= rate * g / (np.sqrt(v) + 1e-8)
        else:
            m = 0.5 * m + g
            w -= rate * m
        moved.append(w)
    return moved


@pytest.mark.parametrize("name, options", [("adam", {}), ("rmsprop", {}), ("sgd", {"momentum": 0.5})])
def test_optimisers_by_hand(name, options):
    gradients = [1.0, -3.0, 0.5, 1e-6]
    with jax.enable_x64(True):
        optimizer = OPTIMIZERS[name](0.1, **options)
        w, got = jnp.zeros(()), []
        state = optimizer.init(w)
        for g in gradients:
            update, state = optimizer.update(jnp.asarray(g), state, w)
            w = optax.apply_updates(w, update)
            got.append(float(w))
    np.testing.assert_allclose(got, by_hand(name, gradients, 0.1), rtol=1e-9)


# ---------------------------------------------------------------- several devices

SHARDED = """
import json, sys
import jax
jax.config.update("jax_platforms", "cpu")  # of which there are as many as are asked for
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_x64", True)
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/../support"]
import test_training as here
clip = here.Clip("norm", 0.1)
for shards in (1, 2):
    cell, task = here.get_cell("rnn"), here.Toy(level=1.0)
    plan = dict(length=4, batch=6, steps=7, clip=clip, shards=shards, measure="every")
    events, outcome = here.outcome_of(task, cell, **plan)
    weights = [leaf.tolist() for leaf in jax.tree.leaves(outcome.params)]
    seen = [event.rows.norms["h"].tolist() for event in events if isinstance(event, here.Chunk)]
    norms = here.rows(events, "log10_grad_norm").tolist()
    print(json.dumps([here.rows(events, "loss").tolist(), norms, weights, seen]))
"""


def test_a_batch_split_over_devices_gives_the_same_training():
    code = [sys.executable, "-c", SHARDED, str(Path(__file__).parent)]
    done = subprocess.run(code, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = map(json.loads, done.stdout.splitlines())
    for whole, split in zip(one, two, strict=True):
        for a, b in zip(whole, split, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-13)
    assert one[0][-1] < 0.9 * one[0][0], "nothing was learned, so nothing was compared"


MEASURED = """
import json, sys
import jax
jax.config.update("jax_platforms", "cpu")  # of which there are as many as are asked for
jax.config.update("jax_num_cpu_devices", 2)
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/../support"]
import test_training as here


class Leak:
    '''Linear: its backward pass reads no state, so that no program needs to say where states lie.'''

    def init(self, key, input_size, hidden_size):
        return jax.random.normal(key, (input_size, hidden_size))

    def carry(self, params, batch_size):
        return jax.numpy.zeros((batch_size, params.shape[1]))

    def step(self, params, h, x_t):
        h = 0.9 * h + x_t @ params
        return h, h


# Five examples cannot be split over two devices; 300 timesteps are more than a segment.
for cell, measure_batch, length in (
    (here.Flat(), 6, 20), (here.Flat(), 5, 20), (Leak(), 6, 300), (here.get_cell("lstm"), 6, 300)
):
    for shards in (1, 2):
        plan = dict(length=length, batch=6, steps=0, shards=shards, measure_batch=measure_batch)
        (looked,), _ = here.outcome_of(here.get_task("copy:symbols=3"), cell, hidden=4, **plan)
        curves = looked.metrics.curves
        print(json.dumps({
            "norms": {name: curve.log10_norm["state"].tolist() for name, curve in sorted(curves.items())},
            "saturated": {name: curve.saturated for name, curve in sorted(curves.items())},
            "losses": [curves["task"].losses.tolist(), looked.metrics.loss],
            "gates": looked.metrics.gates,
        }))
"""


def test_examples_split_over_devices_give_the_same_curves():
    code = [sys.executable, "-c", MEASURED, str(Path(__file__).parent)]
    done = subprocess.run(code, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = list(map(json.loads, done.stdout.splitlines()))
    for one, two in zip(found[::2], found[1::2], strict=True):
        assert sorted(one["norms"]) == ["direct", "task", "total"]
        for key in ("norms", "saturated", "losses", "gates"):
            for a, b in zip(jax.tree.leaves(one[key]), jax.tree.leaves(two[key]), strict=True):
                assert b == pytest.approx(a, rel=1e-6)
    assert found[0]["saturated"]["total"], "nothing was measured again in float64"
    assert len(found[-1]["gates"]) == 4


@pytest.mark.parametrize("shards", [0, 3, 64])
def test_a_batch_that_cannot_be_split(shards):
    with pytest.raises(GradlabError, match=f"shards is {shards}: give a divisor of batch=64, at most"):
        run(RunSpec(batch=64), shards=shards)


# ---------------------------------------------------------------- own cells, arithmetic, the copy task


def test_an_own_cell_with_init_carry_and_step_learns():
    task = Toy(target=None, rate=1.0, level=1.0)  # the loss falls without end as the readout follows the input
    events, outcome = outcome_of(task, steps=30)
    losses = rows(events, "loss")
    assert losses[-5:].mean() < losses[:5].mean()
    start = Model(Own(), task, 2).init(0)
    assert not np.array_equal(outcome.params["cell"]["a"], start["cell"]["a"])
    curve = events[0].metrics.curves["task"]
    assert len(curve.leaves) == 2 and curve.leaves[-1] == "state"
    np.testing.assert_allclose(curve.span(), np.log10(0.5), atol=1e-5)


def test_float32_means_float32_and_float64_float64(result):
    assert result.checkpoints[0].metrics.curves["task"].dtype == "float64"
    with jax.enable_x64(True):  # what surrounds a run does not change it
        assert run(RunSpec(cell="rnn", length=3, hidden=2, measure_batch=2, steps=0)).curve().dtype == "float32"


def test_a_weak_rnn_vanishes_on_the_copy_task_though_its_total_gradient_holds():
    result = run(RunSpec(task="copy", cell="rnn:gain=0.5", length=30, hidden=16, measure_batch=8, steps=0))
    task, total = result.curve(name="task"), result.curve(name="total")
    assert task.verdict().word == "vanishing" and total.verdict().word == "held"
    assert len(task.lags) == len(total.lags) == 50
    assert task.slope().value < np.log10(0.5) + 0.05


def test_the_direct_gradient_is_measured_where_several_outputs_are_read(float64):
    cell, task = get_cell("rnn:gain=0.5"), get_task("copy")
    model = Model(cell, task, 4)
    batch, params = task.sample(jax.random.key(1), 3, 6), model.init(0)
    curves = CheckpointPrograms.of(model, 6).measure(params, batch).curves
    assert set(curves) == {"task", "total", "direct"}

    def loss(outputs):
        return task.loss(outputs @ params["readout"]["w"] + params["readout"]["b"], batch)

    expected = curve_by_taps(cell, params["cell"], batch.inputs, loss, kind="direct")
    np.testing.assert_allclose(curves["direct"].log10_norm["h"], expected["h"], atol=1e-9)
    # At lag 1 there is nothing else.
    np.testing.assert_allclose(curves["direct"].log10_norm["h"][0], curves["total"].log10_norm["h"][0], atol=1e-9)
    model = Model(cell, get_task("adding"), 4)
    batch = model.task.sample(jax.random.key(1), 3, 6)
    assert set(CheckpointPrograms.of(model, 6).measure_curves(model.init(0), batch)) == {"task"}


@pytest.mark.parametrize("draws", ["np.random.randn(8, 8)", "np.random.rand() * jnp.eye(8)"])
def test_weights_that_their_key_does_not_decide_are_refused(draws):
    def cell_of(text):
        def init(self, key, input_size, hidden_size):
            return {"w": jnp.asarray(eval(text)), "x": jax.random.normal(key, (input_size, 8))}

        def carry(self, params, batch_size):
            return jnp.zeros((batch_size, 8))

        def step(self, params, carry, x_t):
            state = jnp.tanh(carry @ params["w"] + x_t @ params["x"])
            return state, state

        return type("Drawn", (), {"init": init, "carry": carry, "step": step})()

    with pytest.raises(GradlabError, match=r"init of Drawn gives other weights whenever .* NumPy"):
        Model(cell_of(draws), get_task("adding"), 8).check(20, 5)
    Model(cell_of("np.random.RandomState(0).randn(8, 8)"), get_task("adding"), 8).check(20, 5)
    Model(cell_of("jax.random.normal(key, (8, 8))"), get_task("adding"), 8).check(20, 5)
