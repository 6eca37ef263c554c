"""Complex weights: the same training as with two real ones where it is that, and by their modulus where not."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gradlab.judge.compare import changed_arrays
from gradlab.judge.measure import sketch
from gradlab.runs.execute import run
from gradlab.runs.spec import RunSpec
from gradlab.runs.variants import get_task
from gradlab.tasks import Batch
from gradlab.training.loop import Chunk, train
from gradlab.training.model import Model
from gradlab.training.optimizers import OPTIMIZERS, Clip
from gradlab.training.perturbation import MovedTask, perturbations
from gradlab.training.step import Plan

pytestmark = pytest.mark.slow


class One:
    """s' = λ s + x B, y = Re s C with one complex matrix C beside a real B: damped rotations, read out."""

    def init(self, key, input_size, hidden_size):
        a, b, c = jax.random.split(key, 3)
        real, imaginary = (jax.random.normal(one, (hidden_size, hidden_size)) / hidden_size for one in (b, c))
        return {"b": jax.random.normal(a, (input_size, hidden_size)), "c": real + 1j * imaginary}

    def mix(self, params):
        return params["c"]

    def carry(self, params, batch_size):
        return {"s": jnp.zeros((batch_size, params["b"].shape[1]), self.mix(params).dtype)}

    def step(self, params, carry, x_t):
        rotation = 0.9 * jnp.exp(1j * jnp.arange(params["b"].shape[1]))
        s_t = rotation * carry["s"] + x_t @ params["b"]
        return {"s": s_t}, (s_t @ self.mix(params)).real


class Two(One):
    """The same with the parts of C as two real matrices."""

    def init(self, key, input_size, hidden_size):
        params = super().init(key, input_size, hidden_size)
        return {"b": params["b"], "re": params["c"].real, "im": params["c"].imag}

    def mix(self, params):
        return params["re"] + 1j * params["im"]


PLAN = Plan(
    length=6, batch=4, seed=3, steps=12, stop="never", optimizer=optax.sgd(1.0), clip=Clip("none"),
    measure="ends", measure_batch=3, learning_rate=0.05,
)  # fmt: skip


def trained(cell, **changes):
    *events, outcome = train(Model(cell, get_task("adding"), 5), replace(PLAN, **changes))
    chunks = [event.rows for event in events if isinstance(event, Chunk)]
    rows = {name: np.concatenate([getattr(rows, name) for rows in chunks]) for name in ("loss", "log10_grad_norm")}
    return rows, outcome.params


@pytest.mark.parametrize(("clip", "momentum"), [(Clip("none"), 0.5), (Clip("norm", 0.1), 0.0)])
def test_descent_is_that_of_two_real_weights(clip, momentum, float64):
    optimizer = OPTIMIZERS["sgd"](1.0, momentum=momentum)
    one, params = trained(One(), clip=clip, optimizer=optimizer)
    two, pair = trained(Two(), clip=clip, optimizer=optimizer)
    for name, row in one.items():
        np.testing.assert_allclose(row, two[name], rtol=1e-9)
    np.testing.assert_allclose(params["cell"]["c"], pair["cell"]["re"] + 1j * pair["cell"]["im"], rtol=1e-9)
    np.testing.assert_allclose(params["cell"]["b"], pair["cell"]["b"], rtol=1e-9)
    assert one["loss"][-1] < one["loss"][0]
    moved = params["cell"]["c"] - Model(One(), get_task("adding"), 5).init(3)["cell"]["c"]
    assert np.abs(moved.imag).max() > 1e-3, "nothing imaginary was trained, so nothing was compared"


def by_hand(name, gradients, rate):
    """Weights after each gradient dL/dRe + i dL/dIm, in numpy: moments of the gradient and of its modulus."""
    w, m, v, moved = 0j, 0j, 0.0, []
    for t, g in enumerate(gradients, start=1):
        v = 0.999 * v + 0.001 * abs(g) ** 2 if name == "adam" else 0.9 * v + 0.1 * abs(g) ** 2
        m = 0.9 * m + 0.1 * g
        if name == "adam":
            w -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        else:
            w -= rate * g / (np.sqrt(v) + 1e-8)
        moved.append(w)
    return moved


class Plane:
    """The loss is Re(conj(a) c) summed over two weights, so its gradient is a, whatever c is."""

    pull = np.array([3 - 4j, 0.5j])

    def init(self, key, input_size, hidden_size):
        return {"c": jnp.zeros(2, jnp.result_type(1j))}

    def carry(self, params, batch_size):
        return {"h": jnp.zeros((batch_size, 1))}

    def step(self, params, carry, x_t):
        y = jnp.sum((np.conj(self.pull) * params["c"]).real)
        return carry, carry["h"] + y


class Told:
    """A task whose loss is the readout itself."""

    input_size = output_size = min_length = 1
    readout = "last"

    def steps(self, length):
        return length

    def sample(self, key, batch_size, length):
        return Batch(jnp.zeros((length, batch_size, 1)), jnp.zeros(batch_size))

    def loss(self, outputs, batch):
        return outputs[-1, :, 0] + batch.targets

    def chance(self, length):
        return 1.0

    def solved(self, length):
        return -1e30

    def task_curve(self, length):
        return None


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_moments_are_those_of_the_modulus(name, float64):
    model = Model(Plane(), Told(), 1)
    start = model.init(0)
    start["readout"]["w"] = jnp.ones((1, 1))
    plan = replace(PLAN, steps=1, optimizer=OPTIMIZERS[name](1.0), learning_rate=0.1)
    *_, outcome = train(model, plan, start)
    expected = [by_hand(name, [g], 0.1)[0] for g in Plane.pull]
    np.testing.assert_allclose(outcome.params["cell"]["c"], expected, rtol=1e-9)
    optimizer, w, got = OPTIMIZERS[name](0.1), jnp.zeros((), jnp.complex128), []
    state, gradients = optimizer.init(w), [3 - 4j, -1e-3 + 2j, 1e-6j, 0.5 + 0j]
    for g in gradients:
        update, state = optimizer.update(jnp.asarray(g), state, w)
        w = optax.apply_updates(w, update)
        got.append(complex(w))
    np.testing.assert_allclose(got, by_hand(name, gradients, 0.1), rtol=1e-9)


def test_a_step_does_not_depend_on_the_axes_of_the_plane(float64):
    turn = np.exp(0.7j)
    gradients = np.array([3 - 4j, 0.1 + 2j])
    for optimizer in (OPTIMIZERS["adam"](0.1), OPTIMIZERS["rmsprop"](0.1)):
        for clip in (Clip("value", 0.5), Clip("norm", 0.5), Clip("none")):
            steps = []
            for factor in (1, turn):
                g = clip.apply({"c": jnp.asarray(factor * gradients)}).gradients
                steps.append(np.asarray(optimizer.update(g, optimizer.init(g), g)[0]["c"]) / factor)
            np.testing.assert_allclose(steps[1], steps[0], rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-19, 1.0, 1e19, 1e30, 1e38])
def test_mixed_trees_are_clipped_by_norm_at_every_scale(scale):
    parts = np.float32(scale) * np.array([[0.3, -0.2], [1.5, 2.0]], np.float32)
    tree = {"a": jnp.asarray(parts[0]), "c": jax.lax.complex(jnp.asarray(parts[0]), jnp.asarray(parts[1]))}
    flat = np.concatenate([parts[0], parts[0], parts[1]]).astype(np.float64)
    norm = np.sqrt((flat**2).sum())
    clipped = Clip("norm", 0.5).apply(tree)
    c = np.asarray(clipped.gradients["c"])
    got = np.concatenate([clipped.gradients["a"], c.real, c.imag])
    np.testing.assert_allclose(got, flat * min(1.0, 0.5 / norm), rtol=1e-6)
    if norm > 1e-37:  # below it a device may read 0
        assert float(clipped.log10_norm) == pytest.approx(np.log10(norm), abs=1e-5)
    assert float(clipped.share) == float(norm > 0.5) and c.dtype == np.complex64


def test_clipping_by_value_takes_the_modulus():
    entries = np.array([3 + 4j, 0.3 - 0.4j, 3e38 + 3e38j, 0, -1e-30j], np.complex64)
    clipped = Clip("value", 1.0).apply({"c": jnp.asarray(entries), "a": jnp.array([-2.0, 0.5])})
    expected = [0.6 + 0.8j, 0.3 - 0.4j, (1 + 1j) / np.sqrt(2), 0, -1e-30j]
    np.testing.assert_allclose(clipped.gradients["c"], expected, rtol=1e-6)
    assert clipped.gradients["a"].tolist() == [-1.0, 0.5]
    assert float(clipped.share) == pytest.approx(3 / 7)


def test_a_part_that_is_not_finite_ends_the_run():
    class Overflows(Plane):
        pull = np.array([1j, 1e30j])

    model = Model(Overflows(), Told(), 1)
    start = model.init(0)
    start["readout"]["w"] = jnp.full((1, 1), 1e10)
    *_, outcome = train(model, PLAN, start)
    assert outcome.status == "diverged" and outcome.diverged == (1, "gradient")


SHARDED = """
import json, sys
import jax
jax.config.update("jax_platforms", "cpu")  # of which there are as many as are asked for
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_x64", True)
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/../support"]
import test_complex_training as here
for shards in (1, 2):
    rows, params = here.trained(here.One(), shards=shards, clip=here.Clip("norm", 0.1))
    c = params["cell"]["c"]
    print(json.dumps([rows["loss"].tolist(), rows["log10_grad_norm"].tolist(), c.real.tolist(), c.imag.tolist()]))
"""


def test_a_batch_split_over_devices_keeps_imaginary_parts():
    code = [sys.executable, "-c", SHARDED, str(Path(__file__).parent)]
    done = subprocess.run(code, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for whole, split in zip(*map(json.loads, done.stdout.splitlines()), strict=True):
        np.testing.assert_allclose(split, whole, rtol=1e-10, atol=1e-13)


def test_a_run_keeps_complex_weights_and_a_probe_finds_them(tmp_path):
    spec = RunSpec(cell=f"{__file__}:One", length=8, hidden=5, batch=4, measure_batch=3, steps=6, measure="every")
    result = run(spec, tmp_path)
    assert result.status == "trained", result.reason
    stored = np.load(result.path / "params.npz")
    assert stored["cell/c"].dtype == np.complex64
    np.testing.assert_array_equal(stored["cell/c"], result.outcome.params["cell"]["c"])
    assert result.parameters == 2 * 5 + 5 * 5 + 5 + 1, "a complex number is one number"
    probe = run(replace(spec, steps=0, params=result.spec.id, measure="checkpoints"), tmp_path)
    np.testing.assert_allclose(probe.curve().log10_norm["s"], result.curve("final").log10_norm["s"], rtol=1e-6)
    np.testing.assert_array_equal(probe.outcome.params["cell"]["c"], stored["cell/c"])


def test_a_sketch_sees_a_phase_and_a_twin_moves_both_parts():
    random = np.random.RandomState(0)
    c = random.standard_normal((4, 4)) + 1j * random.standard_normal((4, 4))
    assert sketch({"c": c})["c"][:2] == [16.0, pytest.approx(np.sqrt(np.mean(np.abs(c) ** 2)), rel=1e-5)]
    assert changed_arrays([sketch({"c": c})], [sketch({"c": c * (1 + 1e-7)})]) == ""
    assert changed_arrays([sketch({"c": c})], [sketch({"c": 1j * c})]).endswith("in direction")
    first, _ = perturbations(Model(One(), get_task("adding"), 5), 6)
    params = Model(One(), get_task("adding"), 5).init(0)
    moved = first.params(params)["cell"]["c"] - params["cell"]["c"]
    assert first.task is MovedTask and np.any(moved.real) and np.any(moved.imag)
    assert np.abs(moved).max() < 1e-4 * np.abs(params["cell"]["c"]).max()
