"""What is compiled for one cell or task is used for another only where both compute the same."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradlab.cells import gru, lstm, rnn
from gradlab.cells.traced import traced, traced_step, with_pullback
from gradlab.tasks import TASKS, Batch
from gradlab.training.jit_cache import programs_for
from gradlab.training.loop import Checkpoint, train, train_together
from gradlab.training.model import Model
from gradlab.training.optimizers import OPTIMIZERS, Clip
from gradlab.training.step import Plan

pytestmark = pytest.mark.slow

ADAM = OPTIMIZERS["adam"](1.0)
SIZE = 2000  # the text of an array so long shows only its ends


def plan(**changed):
    fields = {"length": 4, "batch": 2, "seed": 0, "steps": 0, "stop": "never", "learning_rate": 0.01}
    fields |= {"optimizer": ADAM, "clip": Clip("none"), "measure": "ends", "measure_batch": 3}
    return Plan(**fields | {"shards": 1} | changed)


# ---------------------------------------------------------------- what is traced


def middle(value):
    array = np.arange(float(SIZE))
    array[SIZE // 2] = value
    return array


CONSTANTS = {
    "number": lambda v, a: lambda x: x * (1 + 1e-6 * v),
    "numpy": lambda v, a: lambda x: x * a,
    "jax": lambda v, a: lambda x: x * jnp.asarray(a),
    "jit": lambda v, a: jax.jit(lambda x: x * a),
    "scan": lambda v, a: lambda x: jax.lax.scan(lambda c, _: (c * a, None), x, None, 3)[0],
    "cond": lambda v, a: lambda x: jax.lax.cond(x[0] > 0, lambda x: x * a, lambda x: x, x),
    "while": lambda v, a: lambda x: jax.lax.while_loop(lambda c: c[0] < 3, lambda c: c * a, x),
    "remat": lambda v, a: jax.checkpoint(lambda x: jnp.sin(x * a)),
    "key": lambda v, a: lambda x: x * jax.random.normal(jax.random.key(v)),
    "names": lambda v, a: lambda x: {f"h{v}": x},
}


@pytest.mark.parametrize("kind", CONSTANTS)
def test_a_trace_is_of_every_constant_and_of_nothing_else(kind):
    x = jnp.ones(SIZE)
    one, again, other = (traced(CONSTANTS[kind](value, middle(value)), x) for value in (1, 1, 2))
    assert one == again != other


def test_a_backward_pass_of_ones_own_is_traced():
    def scaled(factor):
        own = jax.custom_vjp(lambda x: jnp.sin(x))
        own.defvjp(lambda x: (jnp.sin(x), None), lambda _, g: (factor * g,))
        return with_pullback(own)

    x = jnp.ones(3)
    assert traced(scaled(2.0), x) == traced(scaled(2.0), x) != traced(scaled(3.0), x)


def test_of_what_python_computes_nothing_is_known():
    shape = jax.ShapeDtypeStruct((3,), np.float32)

    def called(function):
        return lambda x: jax.pure_callback(function, shape, x)

    one, other = (lambda x: 2 * x), (lambda x: 3 * x)
    assert traced(called(one), jnp.ones(3, np.float32)) != traced(called(other), jnp.ones(3, np.float32))


@pytest.mark.parametrize(
    "one, other, same",
    [
        (rnn(), rnn(gain=2.0, init="gaussian"), True),
        (lstm(), lstm(forget_bias=3.0), True),
        (lstm(), lstm(init="chrono", t_max=9), True),
        (gru(), gru("identity"), True),
        (rnn("tanh"), rnn("relu"), False),
        (rnn("sigmoid"), rnn("relu"), False),
        (lstm(), lstm(forget_gate=False), False),
        (lstm(), gru(), False),
    ],
)
def test_how_a_cell_starts_is_no_part_of_its_step(one, other, same):
    x_t = jnp.ones((2, 3))
    assert (traced_step(one, 4, x_t) == traced_step(other, 4, x_t)) is same


# ---------------------------------------------------------------- what is shared


@dataclasses.dataclass
class Leaky:
    """h = rate h + x, whose equality leaves the rate out; `module` holds a constant of it."""

    rate: float = dataclasses.field(default=0.5, compare=False)
    module: types.SimpleNamespace = dataclasses.field(
        default_factory=lambda: types.SimpleNamespace(scale=1.0), compare=False
    )

    def __hash__(self):
        return 0

    def init(self, key, input_size, hidden_size):
        return {"w": jnp.ones((input_size, hidden_size))}

    def carry(self, params, batch_size):
        return jnp.zeros((batch_size, params["w"].shape[1]))

    def step(self, params, carry, x_t):
        h_t = self.rate * self.module.scale * carry + x_t @ params["w"]
        return h_t, h_t


class Unhashable(Leaky):
    """The same cell without a hash."""

    __hash__ = None


class Weighted:
    """A task whose equality leaves out how it weighs the loss."""

    input_size, output_size, min_length, readout = 1, 1, 1, "last"

    def __init__(self, weight):
        self.weight = weight

    def __eq__(self, other):
        return isinstance(other, Weighted)

    def __hash__(self):
        return 1

    def steps(self, length):
        return length

    def sample(self, key, batch_size, length):
        return Batch(jax.random.normal(key, (length, batch_size, 1)), jnp.zeros((batch_size, 1)))

    def loss(self, outputs, batch):
        return self.weight * jnp.sum((outputs[-1] - batch.targets) ** 2, axis=-1)

    def chance(self, length):
        return 1.0

    def solved(self, length):
        return 0.1

    def task_curve(self, length):
        return None


def curve(cell, task=None):
    """The typical curve of a probe, with the programs that a model of this cell gets."""
    model = Model(cell, task or TASKS["adding"](), 3)
    mark = next(event for event in train(model, plan()) if isinstance(event, Checkpoint))
    return mark.metrics.curves["task"].typical()


def slope(cell):
    """Decades per timestep, which for this linear cell are log10 of its rate."""
    return np.diff(curve(cell))


def test_cells_that_call_themselves_equal_and_are_not_share_nothing():
    assert Leaky(0.5) == Leaky(0.25)
    for rate in (0.5, 0.25, 0.125):
        np.testing.assert_allclose(slope(Leaky(rate)), np.log10(rate), atol=1e-5)


def test_tasks_that_call_themselves_equal_and_are_not_share_nothing():
    one, other = (curve(Leaky(), Weighted(weight)) for weight in (1.0, 100.0))
    np.testing.assert_allclose(other - one, 2.0, atol=1e-5)


@pytest.mark.parametrize("kind", [Leaky, Unhashable])
def test_a_cell_that_was_changed_since_is_compiled_again(kind):
    cell = kind(0.5)
    np.testing.assert_allclose(slope(cell), np.log10(0.5), atol=1e-5)
    cell.rate = 0.25
    np.testing.assert_allclose(slope(cell), np.log10(0.25), atol=1e-5)
    cell.module.scale = 0.5  # as a constant of its module might be set in a notebook
    np.testing.assert_allclose(slope(cell), np.log10(0.125), atol=1e-5)


def test_what_computes_the_same_is_compiled_once():
    task = TASKS["adding"]()

    def programs(cell, **changed):
        return programs_for(Model(cell, task, 3), plan(**changed))

    assert programs(Leaky(0.5)) is programs(Leaky(0.5), seed=3, learning_rate=0.5)
    cell = Unhashable(0.5)
    assert programs(cell) is programs(cell, seed=1)
    assert programs(rnn()) is programs(rnn()) is not programs(rnn(gain=2.0))
    assert programs(Leaky(0.5)) is not programs(Leaky(0.5), length=5)


def test_a_cell_without_a_hash_is_trained_together():
    model, plans = Model(Unhashable(0.5), Weighted(1.0), 3), [plan(steps=2, seed=seed) for seed in range(2)]
    runs = [run for run, event in train_together(model, plans, [None, None]) if isinstance(event, Checkpoint)]
    assert sorted(set(runs)) == [0, 1]
