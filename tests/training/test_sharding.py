"""A batch is split over devices only where no example knows of another, nor of how many there are."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gradlab.cells.rnn import RNN
from gradlab.errors import GradlabError
from gradlab.runs.variants import get_cell, get_task
from gradlab.tasks.adding import Adding
from gradlab.training.model import Model
from gradlab.training.optimizers import Clip
from gradlab.training.sharding import is_divisible
from gradlab.training.step import Plan

pytestmark = pytest.mark.slow


class Plain:
    """h' = tanh(h U + x W)."""

    dtype = None

    def init(self, key, input_size, hidden_size):
        a, b = jax.random.split(key)
        u = jax.random.normal(a, (hidden_size, hidden_size)) / np.sqrt(hidden_size)
        return {"u": u, "w": jax.random.normal(b, (input_size, hidden_size))}

    def carry(self, params, batch_size):
        return {"h": jnp.zeros((batch_size, len(params["u"])), self.dtype or params["u"].dtype)}

    def step(self, params, carry, x_t):
        h_t = jnp.tanh(carry["h"] @ params["u"].astype(self.dtype) + x_t.astype(self.dtype) @ params["w"])
        return carry | {"h": h_t.astype(carry["h"].dtype)}, h_t


class Linear(Plain):
    """h' = h U + x W, whose pullback reads no state."""

    def step(self, params, carry, x_t):
        h_t = carry["h"] @ params["u"] + x_t @ params["w"]
        return {"h": h_t}, h_t


class Centred(Plain):
    """Batch statistics behind a stop_gradient: every example has a gradient of its own, and a loss of all."""

    def step(self, params, carry, x_t):
        carry, h_t = super().step(params, carry, x_t)
        h_t = h_t - 0.1 * jax.lax.stop_gradient(h_t.mean(axis=0))
        return carry | {"h": h_t}, h_t


class Averaged(Plain):
    """A running mean that all examples share."""

    def carry(self, params, batch_size):
        return super().carry(params, batch_size) | {"mean": jnp.zeros(len(params["u"]))}

    def step(self, params, carry, x_t):
        carry, h_t = super().step(params, carry, x_t)
        return carry | {"mean": 0.9 * carry["mean"] + 0.1 * h_t.mean(axis=0)}, h_t


class Masked(Plain):
    """A mask is drawn for the whole batch from a key of the state."""

    def carry(self, params, batch_size):
        return super().carry(params, batch_size) | {"key": jax.random.key(1)}

    def step(self, params, carry, x_t):
        key, now = jax.random.split(carry["key"])
        kept = carry["h"] * jax.random.bernoulli(now, 0.5, carry["h"].shape)
        after, h_t = super().step(params, carry | {"h": kept}, x_t)
        return after | {"key": key}, h_t


class Counting(Plain):
    """What all examples share and none changes: a counter and a key."""

    def carry(self, params, batch_size):
        return super().carry(params, batch_size) | {"t": 0, "key": jax.random.key(1)}

    def step(self, params, carry, x_t):
        after, h_t = super().step(params, carry, x_t)
        return after | {"t": carry["t"] + 1}, h_t + carry["t"]


class Half(Plain):
    dtype = jnp.bfloat16


class Told(RNN):
    """A cell of one's own, though a built-in one in all it does."""


class Ranked(Adding):
    """A loss that looks at all examples."""

    def loss(self, outputs, batch):
        losses = super().loss(outputs, batch)
        return losses - jnp.mean(losses)


class Mine(Adding):
    """A task of one's own, though the built-in one in all it does."""


PLAN = Plan(
    length=9, batch=6, seed=0, steps=4, stop="never", optimizer=optax.sgd(1.0), clip=Clip("none"),
    measure="ends", measure_batch=4, shards=2,
)  # fmt: skip
CELLS = [
    *((cell, True) for cell in (Plain(), Counting(), Half(), Told("tanh", get_cell("rnn").scheme))),
    *((cell, False) for cell in (Centred(), Averaged(), Masked())),
]


@pytest.mark.parametrize("shards", [2, 3, 6])
@pytest.mark.parametrize(("cell", "divisible"), CELLS, ids=lambda given: type(given).__name__)
def test_cells(cell, divisible, shards):
    model = Model(cell, get_task("adding"), 5)
    assert is_divisible(model, replace(PLAN, shards=shards), partial(model.init, 0)) == divisible
    assert is_divisible(model, replace(PLAN, shards=1), lambda: None), "what is not split needs no look"


@pytest.mark.parametrize(("task", "divisible"), [(Mine(), True), (Ranked(), False)])
def test_tasks(task, divisible):
    model = Model(get_cell("rnn"), task, 5)
    assert is_divisible(model, PLAN, partial(model.init, 0)) == divisible


def test_what_is_built_in_is_known():
    assert is_divisible(Model(get_cell("gru"), get_task("copy"), 5), PLAN, lambda: None)


SHARDED = """
import json, sys
import jax
jax.config.update("jax_platforms", "cpu")  # of which there are as many as are asked for
jax.config.update("jax_num_cpu_devices", 2)
from gradlab.runs.execute import run
from gradlab.runs.spec import RunSpec
file, folder = sys.argv[1:]
for name in ("Centred", "Plain"):
    for shards in (1, 2):
        sizes = {"length": 6, "hidden": 4, "batch": 6, "measure_batch": 4, "steps": 5}
        spec = RunSpec(cell=f"{file}:{name}", measure="ends", **sizes)
        result = run(spec, f"{folder}/{shards}", shards=shards)
        env = json.loads((result.path / "env.json").read_text())
        print(json.dumps([result.trace.loss.tolist(), env["execution"]["shards"]]))
"""


def test_a_run_is_split_where_it_may_be_and_says_so(tmp_path):
    code = [sys.executable, "-c", SHARDED, __file__, str(tmp_path)]
    done = subprocess.run(code, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (one, first), (two, second), (plain, third), (split, fourth) = map(json.loads, done.stdout.splitlines())
    assert two == one and (first, second) == (1, 1)
    np.testing.assert_allclose(split, plain, rtol=1e-5)
    assert (third, fourth) == (1, 2)


ON_CPU = os.environ | {"JAX_PLATFORMS": "cpu"}
COMMAND = """
import sys
from unittest import mock
from gradlab.cli.app import main
with mock.patch("gradlab.runs.devices.cores", lambda: 2):
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("name", "shards"), [("Masked", 1), ("Plain", 2), ("Linear", 2)])
def test_the_command_says_on_how_many_devices_it_computes(name, shards, tmp_path):
    words = ["run", "adding", "--cell", f"{__file__}:{name}", "--len", "5", "--hidden", "4", "--steps", "2"]
    words += ["--batch", "4", "--measure-batch", "2", "--measure", "ends", "--results", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words], env=ON_CPU, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    line = "not split over 2 devices: a part of a batch does not give what the whole gives"
    assert (line in done.stderr) == (shards == 1)
    assert f"{shards} shard" in done.stderr
    (env,) = Path(tmp_path).glob("runs/*/env.json")
    assert json.loads(env.read_text())["execution"]["shards"] == shards


def test_what_cannot_run_is_not_said_to_depend(tmp_path):
    words = ["run", "adding", "--cell", f"{__file__}:Heads", "--len", "5", "--hidden", "4", "--steps", "2"]
    words += ["--batch", "4", "--results", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words], env=ON_CPU, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2 and "Heads.step returns the output" in done.stderr.splitlines()[-1]
    assert "not split" not in done.stderr


# ---------------------------------------------------------------- what a model asks of cell and task


class Heads(Plain):
    def step(self, params, carry, x_t):
        carry, h_t = super().step(params, carry, x_t)
        return carry, h_t.reshape(len(h_t), 2, -1)


class Waves(Plain):
    def step(self, params, carry, x_t):
        carry, h_t = super().step(params, carry, x_t)
        return carry, h_t + 1j * h_t


class Drifting(Plain):
    def step(self, params, carry, x_t):
        carry, h_t = super().step(params, carry, x_t)
        return {"h": carry["h"].astype(jnp.bfloat16)}, h_t


class OneLoss(Adding):
    def loss(self, outputs, batch):
        return super().loss(outputs, batch).mean()


REASONS = [
    (Heads(), Adding(), "Heads.step returns the output (1, 2, 2), with a batch of 1: it must be (batch, size)"),
    (Waves(), Adding(), "Waves.step returns a complex output: return its real part, or both parts side by side"),
    (
        Drifting(),
        Adding(),
        "`h` of the state comes into Drifting.step as float32 (1, 4) and leaves it as bfloat16",
    ),
    (Plain(), OneLoss(), "OneLoss.loss has shape () for 5 examples: give one loss for each example, shape (5,)"),
]


@pytest.mark.parametrize(("cell", "task", "reason"), REASONS, ids=lambda given: type(given).__name__)
def test_what_does_not_fit_gets_one_line(cell, task, reason):
    with pytest.raises(GradlabError, match=re.escape(reason)):
        Model(cell, task, 4).check(5, 3)
