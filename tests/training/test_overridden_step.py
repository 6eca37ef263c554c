"""Cells that state their parts and do more, or less, in `step`: what is trained is `step`."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from gradlab.cells import CELLS
from gradlab.cells.base import gated_step, is_built_in, is_gated, pre_activation
from gradlab.cells.gru import GRU
from gradlab.cells.lstm import LSTM
from gradlab.cells.rnn import RNN
from gradlab.runs.variants import get_task
from gradlab.training.checkpoint_metrics import CheckpointPrograms
from gradlab.training.keys import stream
from gradlab.training.loop import Checkpoint, Chunk, Outcome, train
from gradlab.training.model import Model
from gradlab.training.optimizers import Clip
from gradlab.training.perturbation import MovedTask, perturbations
from gradlab.training.step import Plan
from gradlab.training.unroll import takes_fast_path, unroll

pytestmark = pytest.mark.slow

LSTM_OF, GRU_OF = (True, 1.0, CELLS["lstm"]().scheme), (CELLS["gru"]().scheme,)
HIDDEN = 5


class Peephole(LSTM):
    """Gates see the cell state, by parameters that the parts do not know."""

    def init(self, key, input_size, hidden_size):
        peepholes = {name: jnp.zeros(hidden_size) for name in ("p_i", "p_f", "p_o")}
        return super().init(key, input_size, hidden_size) | peepholes

    def step(self, params, carry, x_t):
        pre = x_t @ params["w_x"] + carry["h"] @ params["w_h"] + params["b"]
        i, f, g, o = jnp.split(pre, 4, axis=-1)
        c = carry["c"]
        i, f = jax.nn.sigmoid(i + params["p_i"] * c), jax.nn.sigmoid(f + params["p_f"] * c)
        c = f * c + i * jnp.tanh(g)
        h = jax.nn.sigmoid(o + params["p_o"] * c) * jnp.tanh(c)
        return {"h": h, "c": c}, h


class Frozen(LSTM):
    def step(self, params, carry, x_t):
        return carry, carry["h"]


class Clipped(LSTM):
    """A cell state that is clipped where few random states are."""

    def step(self, params, carry, x_t):
        carry, h_t = super().step(params, carry, x_t)
        return carry | {"c": jnp.clip(carry["c"], -3, 3)}, h_t


class Cleared(LSTM):
    """A state that is cleared where an input is exactly 1, which no random input is."""

    def step(self, params, carry, x_t):
        return super().step(params, jax.tree.map(lambda leaf: jnp.where(x_t[:, 1:] == 1, 0, leaf), carry), x_t)


class Detached(LSTM):
    """The same values by another gradient."""

    def step(self, params, carry, x_t):
        return super().step(params, carry | {"c": lax.stop_gradient(carry["c"])}, x_t)


class Projected(LSTM):
    """The output is no leaf of the state."""

    def init(self, key, input_size, hidden_size):
        return super().init(key, input_size, hidden_size) | {"out": jnp.ones((hidden_size, hidden_size))}

    def step(self, params, carry, x_t):
        carry, h_t = super().step(params, carry, x_t)
        return carry, h_t @ params["out"]


class ResetBefore(GRU):
    """The reset gate before the product, as in the paper."""

    def step(self, params, carry, x_t):
        size, h = carry["h"].shape[-1], carry["h"]
        z = x_t @ params["w_x"] + params["b"]
        gates = jax.nn.sigmoid(z[:, : 2 * size] + h @ params["w_h"][:, : 2 * size])
        r, u = gates[:, :size], gates[:, size:]
        n = jnp.tanh(z[:, 2 * size :] + (r * h) @ params["w_h"][:, 2 * size :] + params["b_n"])
        h = (1 - u) * n + u * h
        return {"h": h}, h


class Bent(LSTM):
    """A `join` that is not linear."""

    def join(self, z_t, r_t):
        return z_t * r_t


class HalfDetached(LSTM):
    """A `join` whose gradient is not that of its linear map."""

    def join(self, z_t, r_t):
        return lax.stop_gradient(z_t) + r_t


class Tied(LSTM):
    """One bias in two places."""

    def recurrent_bias(self, params):
        return params["b"]


class OneBias(LSTM):
    """A bias that is the same number for every unit."""

    def init(self, key, input_size, hidden_size):
        return super().init(key, input_size, hidden_size) | {"b": jnp.zeros(1)}


def weighted(factors):
    """A jitted product with a constant, which a trace shows as an array within a function."""
    return staticmethod(jax.jit(lambda h_t: h_t * factors))


class Weighed(RNN):
    """The same operations on another constant."""

    one, other = weighted(np.arange(5.0)), weighted(np.array([0.0, 1.0, 3.0, 3.0, 4.0]))

    def gates(self, pre_t, carry):
        return {"h": self.one(jnp.tanh(pre_t))}

    def step(self, params, carry, x_t):
        h_t = self.other(jnp.tanh(pre_activation(self, params, carry, x_t)))
        return {"h": h_t}, h_t


class Nothing(LSTM):
    """A subclass that overrides nothing."""


class Written(LSTM):
    """A step that applies the very operations of the gated step."""

    def step(self, params, carry, x_t):
        pre = self.join(x_t @ params["w_x"] + params["b"], carry["h"] @ params["w_h"])
        carry = self.gates(pre, carry)
        return carry, carry["h"]


class Leaky(RNN):
    """A state that leaks, in `gates`, where it belongs."""

    def gates(self, pre_t, carry):
        return {"h": 0.9 * carry["h"] + 0.1 * super().gates(pre_t, carry)["h"]}


class Own:
    """No subclass: an RNN with a start that is learned and a bias inside the recurrent product."""

    def init(self, key, input_size, hidden_size):
        a, b = jax.random.split(key)
        return {
            "w_x": jax.random.normal(a, (input_size, hidden_size)),
            "w_h": 0.3 * jax.random.normal(b, (hidden_size, hidden_size)),
            "b": jnp.zeros(hidden_size),
            "inner": jnp.full(hidden_size, 0.1),
            "h_0": jnp.full(hidden_size, 0.2),
        }

    def carry(self, params, batch_size):
        return {"h": jnp.broadcast_to(params["h_0"], (batch_size, len(params["h_0"])))}

    def step(self, params, carry, x_t):
        return gated_step(self, params, carry, x_t)

    def recurrent_bias(self, params):
        return params["inner"]

    def join(self, z_t, r_t):
        return z_t + 2 * r_t

    def gates(self, pre_t, carry):
        return {"h": jnp.sin(pre_t) + 0.5 * lax.stop_gradient(carry["h"])}


SLOW = {
    "peephole": Peephole(*LSTM_OF),
    "frozen": Frozen(*LSTM_OF),
    "clipped": Clipped(*LSTM_OF),
    "cleared": Cleared(*LSTM_OF),
    "detached": Detached(*LSTM_OF),
    "projected": Projected(*LSTM_OF),
    "reset before": ResetBefore(*GRU_OF),
    "bent": Bent(*LSTM_OF),
    "half detached": HalfDetached(*LSTM_OF),
    "tied": Tied(*LSTM_OF),
    "one bias": OneBias(*LSTM_OF),
    "weighed": Weighed("tanh", CELLS["rnn"]().scheme),
}
FAST = {
    "nothing": Nothing(*LSTM_OF),
    "nothing of a gru": type("NothingOfIt", (GRU,), {})(*GRU_OF),
    "written": Written(*LSTM_OF),
    "leaky": Leaky("relu", CELLS["rnn"]().scheme),
    "own": Own(),
}
ALL = SLOW | FAST


def problem(cell):
    """Parameters of which none is zero, and inputs (7, 3, 2) of which some are exactly 1."""
    params = cell.init(jax.random.key(0), 2, HIDDEN)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [0.3 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    params = structure.unflatten([leaf + more for leaf, more in zip(leaves, noise, strict=True)])
    # So large that cell states grow by 1 at every timestep.
    inputs = 40 * jax.random.normal(jax.random.key(2), (7, 3, 2))
    return params, inputs.at[::2, :, 1].set(1.0)


def loop(cell, params, inputs):
    """The outputs, from a plain loop over `step`."""
    carry, outputs = cell.carry(params, inputs.shape[1]), []
    for x_t in inputs:
        carry, y_t = cell.step(params, carry, x_t)
        outputs.append(y_t)
    return jnp.stack(outputs)


@pytest.mark.parametrize("name", ALL)
def test_what_is_trained_is_the_step(name, float64):
    cell = ALL[name]
    params, inputs = problem(cell)

    def through(outputs):
        def loss(params, inputs):
            return jnp.sum(jnp.sin(outputs(cell, params, inputs) * jnp.arange(1.0, 1 + HIDDEN)))

        return jax.value_and_grad(loss, argnums=(0, 1))(params, inputs)

    want, got = (jax.jit(lambda outputs=outputs: through(outputs))() for outputs in (loop, unroll))
    for one, other in zip(jax.tree.leaves(want), jax.tree.leaves(got), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-11 * float(jnp.abs(one).max()))


@pytest.mark.parametrize("name", ALL)
def test_the_fast_path_is_for_those_whose_step_is_their_parts(name):
    cell = ALL[name]
    assert is_gated(cell) and not is_built_in(cell)
    params, inputs = problem(cell)
    assert takes_fast_path(cell, params, inputs) == (name in FAST)
    seen = []

    def traced(params, inputs):
        seen.append(takes_fast_path(cell, params, inputs))
        return jnp.sum(inputs)

    jax.jit(jax.vmap(jax.grad(traced, argnums=1), in_axes=(None, 0)))(params, jnp.stack([inputs, inputs]))
    assert set(seen) == {name in FAST}


def test_a_built_in_cell_is_known_by_its_very_step(monkeypatch):
    for name in ("rnn", "lstm", "gru", "cifg", "janet"):
        cell = CELLS[name]()
        params, inputs = problem(cell)
        assert is_built_in(cell) and takes_fast_path(cell, params, inputs), name
    cell = CELLS["lstm"]()
    monkeypatch.setattr(LSTM, "step", lambda self, params, carry, x_t: (carry, carry["h"]))
    assert not is_built_in(cell) and not takes_fast_path(cell, *problem(cell))


def test_what_a_cell_is_made_of_is_looked_at_anew():
    class Switched(LSTM):
        frozen: bool = False

        def step(self, params, carry, x_t):
            return (carry, carry["h"]) if self.frozen else super().step(params, carry, x_t)

    cell = Switched(*LSTM_OF)
    given = problem(cell)
    assert takes_fast_path(cell, *given)
    object.__setattr__(cell, "frozen", True)
    assert not takes_fast_path(cell, *given)


def test_integers_and_parts_of_another_layout_go_through_the_step():
    class Indexed(Own):
        def init(self, key, input_size, hidden_size):
            return super().init(key, input_size, hidden_size) | {"order": jnp.arange(hidden_size)}

    class Unlike(Own):
        def init(self, key, input_size, hidden_size):
            return {"mine": jnp.ones(hidden_size)}

        def carry(self, params, batch_size):
            return jnp.zeros((batch_size, 1))

        def step(self, params, carry, x_t):
            return carry + x_t[:, :1], carry * params["mine"]

    for cell in (Indexed(), Unlike()):
        params = cell.init(jax.random.key(0), 2, HIDDEN)
        inputs = jnp.ones((4, 3, 2))
        assert not takes_fast_path(cell, params, inputs)
        np.testing.assert_allclose(unroll(cell, params, inputs), loop(cell, params, inputs), rtol=1e-6)


# ---------------------------------------------------------------- the whole training

PLAN = Plan(
    length=6, batch=4, seed=3, steps=5, stop="never", optimizer=optax.adam(1.0), clip=Clip("none"),
    measure="ends", measure_batch=3, learning_rate=0.05,
)  # fmt: skip


def trained(cell, **changes):
    *events, outcome = train(Model(cell, get_task("adding"), HIDDEN), replace(PLAN, **changes))
    assert isinstance(outcome, Outcome)
    losses = np.concatenate([event.rows.loss for event in events if isinstance(event, Chunk)])
    return losses, outcome, [event.metrics for event in events if isinstance(event, Checkpoint)]


@pytest.mark.parametrize("name", ["peephole", "frozen"])
def test_training_is_that_of_a_plain_loop_over_the_step(name, float64):
    cell, task = ALL[name], get_task("adding")
    losses, outcome, looks = trained(cell)

    @jax.jit
    @jax.value_and_grad
    def of_batch(params, batch):
        y = loop(cell, params["cell"], batch.inputs)[-1] @ params["readout"]["w"] + params["readout"]["b"]
        return jnp.mean((y[:, 0] - batch.targets) ** 2)

    params = Model(cell, task, HIDDEN).init(PLAN.seed)
    start, optimizer, expected = params, optax.adam(PLAN.learning_rate), []
    state = optimizer.init(params)
    for step in range(PLAN.steps):
        batch = task.sample(jax.random.fold_in(stream(PLAN.seed, "train"), step), PLAN.batch, PLAN.length)
        value, gradients = of_batch(params, batch)
        updates, state = optimizer.update(gradients, state)
        params = optax.apply_updates(params, updates)
        expected.append(float(value))
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
    for one, other in zip(jax.tree.leaves(params), jax.tree.leaves(outcome.params), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-7, atol=1e-9)
    if name == "peephole":
        moved = jax.tree.map(lambda one, other: float(jnp.abs(one - other).max()), outcome.params, start)["cell"]
        assert min(moved.values()) > 1e-3, moved
    assert [look.gates for look in looks] == [{}, {}], "gates of the parts, which are not those of the step"


def test_gates_are_shown_where_they_are_those_of_the_step():
    def gates(cell):
        model = Model(cell, get_task("adding"), HIDDEN)
        batch = model.task.sample(jax.random.key(1), 3, 6)
        return CheckpointPrograms.of(model, 6).measure_gates(model.init(0), batch)

    assert gates(Nothing(*LSTM_OF)) == gates(CELLS["lstm"]()) and len(gates(Nothing(*LSTM_OF))) == 4
    assert gates(Peephole(*LSTM_OF)) == {}
    assert gates(Own()) == {}, "a cell need not state the values of its gates"


@dataclass(frozen=True)
class Told(RNN):
    """Its step knows one unit from another, by less than losses show."""

    def step(self, params, carry, x_t):
        carry, _ = super().step(params, carry, x_t)
        h_t = carry["h"] * (1 + 1e-4 * jnp.arange(HIDDEN))
        return {"h": h_t}, h_t


def test_a_step_that_knows_its_units_apart_is_no_symmetry():
    scheme = CELLS["rnn"]().scheme
    for cell, moved in ((Told, True), (RNN, False)):
        first, _ = perturbations(Model(cell("tanh", scheme), get_task("adding"), HIDDEN), 5)
        assert (first.task is MovedTask) == moved
    peephole = perturbations(Model(Peephole(*LSTM_OF), get_task("adding"), HIDDEN), 5)
    assert peephole[0].name.startswith("hidden units permuted")
