"""What the instrument assumes of a cell: each breach is found and named, and no other cell is accused."""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from literature import ZOO, Plain

from gradlab.cells import CELLS
from gradlab.errors import GradlabError
from gradlab.gradient import assumptions as of
from gradlab.gradient.state import leaves_without_batch
from gradlab.gradient.trial import trial
from gradlab.training.sharding import examples_step_alone

pytestmark = pytest.mark.slow

B, T, INPUTS, H = 6, 12, 3, 7


def setting(cell, seed=0, batch_size=B):
    """Parameters, inputs and the initial state."""
    params = cell.init(jax.random.key(seed), INPUTS, H)
    inputs = jax.random.uniform(jax.random.key(seed + 100), (T, batch_size, INPUTS), minval=-1.0)
    return params, inputs, cell.carry(params, batch_size)


def later(cell, params, inputs, carry):
    """The state after all timesteps but one."""
    for x_t in inputs[:-1]:
        carry, _ = cell.step(params, carry, x_t)
    return carry


# ---------------------------------------------------------------- no false alarm


@pytest.mark.parametrize("batch_size", [B, 1])
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", *ZOO])
def test_a_cell_of_single_examples_with_a_linear_pullback_is_not_accused(name, batch_size):
    cell = ZOO[name] if name in ZOO else CELLS[name]()
    for seed in range(3):
        params, inputs, carry = setting(cell, seed, batch_size)
        of.check_cell(cell, params, inputs, carry)
    if batch_size > 1:  # a mask of dropout is drawn for the whole batch
        assert examples_step_alone(cell, params, inputs, batch_size // 2) != name.startswith("dropout")


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "plain", "slstm", "lru", "log-space"])
def test_nor_in_float64(float64, name):
    cell = ZOO[name] if name in ZOO else CELLS[name]()
    params, inputs, carry = setting(cell)
    of.check_cell(cell, params, inputs, carry)
    assert examples_step_alone(cell, params, inputs, B // 2)


@pytest.mark.parametrize("gain", [1e-12, 1e-3, 1e3, 1e12])
def test_nor_where_gradients_vanish_or_explode(gain):
    cell = CELLS["rnn"](activation="relu", gain=gain)
    params, inputs, carry = setting(cell)
    of.check_cell(cell, params, inputs, carry)


def test_nor_where_units_are_saturated():
    cell = CELLS["lstm"](forget_bias=30.0)
    params, inputs, carry = setting(cell)
    of.check_cell(cell, jax.tree.map(lambda w: 30 * w, params), 30 * inputs, carry)


def test_a_cell_for_one_number_of_examples_is_tried_on_all_of_them():
    class Masked(Plain):
        def step(self, params, s, x_t):
            s, y_t = super().step(params, s, x_t)
            return s, y_t * jnp.ones((20, 1))

    cell = Masked()
    of.check_cell(cell, *setting(cell, batch_size=20))


# ---------------------------------------------------------------- examples that meet


class Meeting(Plain):
    """`meet` of the pre-activations (B, H) makes examples meet."""

    def __init__(self, meet):
        self.meet = meet

    def step(self, params, s, x_t):
        h_t = jnp.tanh(self.meet(s["h"] @ params["u"] + x_t @ params["w"]))
        return {"h": h_t}, h_t


def normalised(z):
    return (z - z.mean(axis=0)) / jnp.sqrt(z.var(axis=0) + 1e-5)


def ghost(z):
    groups = z.reshape(2, -1, z.shape[-1])
    return (groups - groups.mean(axis=1, keepdims=True)).reshape(z.shape)


BY_GRADIENT = {
    "batch norm": normalised,
    "small batch norm": lambda z: z + 1e-6 * normalised(z),
    "groups": ghost,
    "the example before": lambda z: z + 0.1 * jnp.roll(z, 1, axis=0),
    "one other": lambda z: z.at[0].add(z[-1]),
    "a statistic that is zero at times": lambda z: z + jax.nn.relu(z.mean(axis=0)),
    "the square of the state": lambda z: z * (1 - (z**2).mean()),
    "the largest": lambda z: z / jnp.maximum(1e-3, jnp.abs(z).max()),
    "a sum that overflows elsewhere": lambda z: z + jnp.where(jnp.isinf(jnp.exp(1e3 * z)), 0.0, z.mean(axis=0)),
}
BY_VALUE = {
    "frozen for the gradient": lambda z: z - lax.stop_gradient(z.mean(axis=0)),
    "scaled": lambda z: z / lax.stop_gradient(jnp.abs(z).max()),
    "counted": lambda z: z * (1 + (z > 0).sum()),
}


def across(jacobian):
    """The largest derivative of one example's row with respect to another's, of (B, ..., B, ...)."""
    rows = jacobian.shape[0]
    blocks = np.abs(np.asarray(jacobian).reshape(rows, -1, rows, jacobian.size // rows**2 // H)).max(axis=(1, 3))
    return blocks[~np.eye(rows, dtype=bool)].max()


@pytest.mark.parametrize("batch_size", [4, B, 20])
@pytest.mark.parametrize("name", BY_GRADIENT)
def test_gradients_that_meet_are_refused(name, batch_size):
    cell = Meeting(BY_GRADIENT[name])
    params, inputs, carry = setting(cell, batch_size=batch_size)
    s = later(cell, params, inputs, carry)
    jacobian = jax.jacrev(lambda h: cell.step(params, {"h": h}, inputs[-1])[1])(s["h"])
    assert across(jacobian) > 0, "the case is none"
    found = of.gradients_meet(trial(cell, params, s, inputs[-1]))
    assert "the gradient of one example reaches `h` of another" in found
    # The values that are a millionth apart differ by less than rounding may make of a whole timestep.
    assert examples_step_alone(cell, params, inputs, batch_size // 2) == (name == "small batch norm")
    with pytest.raises(GradlabError, match=r"examples meet in Meeting.step.*inference mode.*within each example"):
        of.check_cell(cell, params, inputs, carry)


@pytest.mark.parametrize("name", ["batch norm", "small batch norm", "the largest"])
def test_a_batch_of_one_is_tried_as_two(name):
    cell = Meeting(BY_GRADIENT[name])
    with pytest.raises(GradlabError, match="examples meet"):
        of.check_cell(cell, *setting(cell, batch_size=1))


@pytest.mark.parametrize("batch_size", [2, B, 20])
@pytest.mark.parametrize("name", BY_VALUE)
def test_values_that_meet_behind_a_stop_gradient_leave_the_curves_right(name, batch_size):
    cell = Meeting(BY_VALUE[name])
    params, inputs, carry = setting(cell, batch_size=batch_size)
    s = later(cell, params, inputs, carry)
    jacobian = jax.jacrev(lambda h: cell.step(params, {"h": h}, inputs[-1])[1])(s["h"])
    assert across(jacobian) == 0
    of.check_cell(cell, params, inputs, carry)
    assert of.gradients_meet(trial(cell, params, s, inputs[-1])) is None
    assert not examples_step_alone(cell, params, inputs, batch_size // 2)


def test_inputs_that_meet_are_found_where_states_do_not():
    class InputNormed(Plain):
        def step(self, params, s, x_t):
            return super().step(params, s, normalised(x_t))

    cell = InputNormed()
    params, inputs, carry = setting(cell)
    assert "reaches `x` of another" in of.gradients_meet(trial(cell, params, carry, inputs[0]))
    with pytest.raises(GradlabError, match="examples meet"):
        of.check_cell(cell, params, jnp.zeros_like(inputs), carry)


class Running(Plain):
    """A running mean (H,) beside the state, read where `read` says so and written where `write` does."""

    def __init__(self, read, write, frozen=False):
        self.read, self.write, self.frozen = read, write, frozen

    def carry(self, params, batch_size):
        return super().carry(params, batch_size) | {"mean": jnp.ones(params["u"].shape[0])}

    def step(self, params, s, x_t):
        z = s["h"] @ params["u"] + x_t @ params["w"]
        new = 0.9 * s["mean"] + 0.1 * (lax.stop_gradient(z) if self.frozen else z).mean(axis=0)
        h_t = jnp.tanh(z - s["mean"]) if self.read else jnp.tanh(z)
        return {"h": h_t, "mean": new if self.write else s["mean"]}, h_t


@pytest.mark.parametrize("batch_size", [B, H])
def test_a_leaf_without_a_batch_is_refused_and_where_it_is_written_examples_meet(batch_size):
    for frozen in (False, True):
        for read, write in ((True, True), (True, False), (False, True), (False, False)):
            cell = Running(read, write, frozen)
            params, inputs, carry = setting(cell, batch_size=batch_size)
            # A leaf that all examples share and that changes with them depends on their number, read or not.
            assert examples_step_alone(cell, params, inputs, batch_size // 2) != write
            with pytest.raises(
                GradlabError, match=r"leaf `mean` of the state has shape .*: give one row for each"
            ):
                of.check_cell(cell, params, inputs, carry)


# ---------------------------------------------------------------- a pullback that is not linear


def backwards(rule):
    """The identity, whose gradient is what `rule` makes of it."""

    @jax.custom_vjp
    def identity(z):
        return z

    identity.defvjp(lambda z: (z, None), lambda _, g: (rule(g),))
    return identity


def by_norm(limit, g):
    norm = jnp.sqrt((g**2).sum(axis=-1, keepdims=True))
    return g * jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-30))


BENT = {f"clipped at {bound:g}": partial(lambda bound, g: jnp.clip(g, -bound, bound), bound)
        for bound in (1e-25, 1e-6, 1e-2, 1.0, 10.0, 1e3, 1e12, 1e25)}  # fmt: skip
BENT |= {f"norm clipped at {limit:g}": partial(by_norm, limit) for limit in (1e-6, 1.0, 1e6)}
BENT |= {
    "normalised": lambda g: g / jnp.maximum(jnp.abs(g).max(axis=-1, keepdims=True), 1e-30),
    "squashed": jnp.tanh,
    "signs": jnp.sign,
    "a dead zone": lambda g: jnp.where(jnp.abs(g) < 1e-3, 0.0, g),
    "guided": jax.nn.relu,  # homogeneous for positive factors
    "the largest entry alone": lambda g: jnp.where(jnp.abs(g) == jnp.abs(g).max(-1, keepdims=True), g, 0.0),
    "an offset": lambda g: g + 1e-3,
    "NaN replaced": lambda g: jnp.where(jnp.abs(g) < 1e6, g, 0.0),
}
STRAIGHT = {
    "reversed": lambda g: -0.5 * g,
    "scaled": lambda g: 1e-4 * g,
    "some units alone": lambda g: g * (jnp.arange(H) % 2),
    "mixed": lambda g: g - g.mean(axis=-1, keepdims=True),
    "through half precision": lambda g: g.astype(jnp.bfloat16).astype(g.dtype),
    "cut": jnp.zeros_like,
}


class Bent(Plain):
    """hₜ = hₜ₋₁ U + xₜ W, with a backward pass of its own."""

    def __init__(self, rule):
        self.identity = backwards(rule)

    def step(self, params, s, x_t):
        h_t = self.identity(s["h"] @ params["u"] + x_t @ params["w"])
        return {"h": h_t}, h_t


@pytest.mark.parametrize("name", BENT)
def test_a_backward_pass_that_is_not_linear_is_refused(name):
    cell = Bent(BENT[name])
    params, inputs, carry = setting(cell)
    assert "is not linear" in of.not_linear(trial(cell, params, later(cell, params, inputs, carry), inputs[-1]))
    with pytest.raises(GradlabError, match=r"backward pass of Bent.step is not linear.*optimiser \(`--clip`\)"):
        of.check_cell(cell, params, inputs, carry)


@pytest.mark.parametrize("name", STRAIGHT)
def test_a_backward_pass_of_ones_own_that_is_linear_is_not(name):
    cell = Bent(STRAIGHT[name])
    for seed in range(3):
        of.check_cell(cell, *setting(cell, seed))


def test_one_gate_that_is_clipped_is_enough():
    class OneGate(Plain):
        def step(self, params, s, x_t):
            z = s["h"] @ params["u"] + x_t @ params["w"]
            gate = jax.nn.sigmoid(backwards(lambda g: jnp.clip(g, -1e-4, 1e-4))(z))
            h_t = gate * s["h"] + (1 - gate) * jnp.tanh(z)
            return {"h": h_t}, h_t

    with pytest.raises(GradlabError, match="not linear"):
        of.check_cell(OneGate(), *setting(OneGate()))


def test_an_attribute_that_changes_is_seen():
    cell = Bent(jnp.negative)
    of.check_cell(cell, *setting(cell))
    cell.identity = backwards(jnp.sign)
    with pytest.raises(GradlabError, match="not linear"):
        of.check_cell(cell, *setting(cell))


# ---------------------------------------------------------------- the state and the output


class Own(Plain):
    """A plain cell whose state and step are changed."""

    def __init__(self, carry=None, step=None):
        self._carry, self._step = carry, step

    def carry(self, params, batch_size):
        carry = super().carry(params, batch_size)
        return carry if self._carry is None else carry | self._carry(batch_size)

    def step(self, params, s, x_t):
        s_t, y_t = super().step(params, s, x_t)
        return (s_t, y_t) if self._step is None else self._step(s_t, y_t)


@pytest.mark.parametrize(
    "leaf",
    [
        lambda batch_size: jnp.zeros(H),
        lambda batch_size: jnp.zeros(B),
        lambda batch_size: jnp.zeros((B, 1)),
        lambda batch_size: jnp.float32(0),
        lambda batch_size: 0.0,
        lambda batch_size: jnp.zeros((2, batch_size)),
        lambda batch_size: jnp.zeros((H, H), complex),
    ],
    ids=["(H,)", "(B,)", "(B, 1)", "()", "float", "(2, B)", "complex"],
)
@pytest.mark.parametrize("batch_size", [B, H, 1, 2])
def test_a_leaf_without_a_batch_is_named_whatever_the_batch(leaf, batch_size):
    cell = Own(lambda batch_size: {"mean": leaf(batch_size)})
    params, inputs, carry = setting(cell, batch_size=batch_size)
    assert list(leaves_without_batch(cell, params, batch_size)) == ["mean"]
    with pytest.raises(
        GradlabError, match=f"leaf `mean` of the state has shape .* with a batch of {batch_size}: give"
    ):
        of.check_cell(cell, params, inputs, carry)


def test_a_state_that_is_given_has_a_row_for_each_example_too():
    cell = Plain()
    params, inputs, _ = setting(cell)
    with pytest.raises(
        GradlabError, match=r"leaf `h` of the state has shape \(5, 7\) with a batch of 6: give one row"
    ):
        of.check_cell(cell, params, inputs, cell.carry(params, 5))


def test_a_state_without_floats_is_left_to_the_adjoint():
    cell = Plain()
    params, inputs, _ = setting(cell)
    of.check_cell(cell, params, inputs, {"t": jnp.zeros(B, int)})


def test_an_empty_leaf_is_no_breach():
    cell = Own(lambda batch_size: {"n": jnp.zeros((batch_size, 0)), "m": jnp.zeros(0)})
    of.check_cell(cell, *setting(cell))


@pytest.mark.parametrize(
    "cell, says",
    [
        (Own(step=lambda s, y: ({"h": s["h"].astype(jnp.bfloat16)}, y)),
         r"`h` of the state comes into Own.step as float32 \(6, 7\) and leaves it as bfloat16 \(6, 7\): keep"),
        (Own(step=lambda s, y: ({"h": s["h"][:, :3]}, y)), r"\(6, 7\) and leaves it as float32 \(6, 3\)"),
        (Own(lambda n: {"t": 0}, lambda s, y: (s | {"t": s["t"] + 0.5}, y)), r"`t`.*int32 \(\).*float32 \(\)"),
        (Own(lambda n: {"t": 0}, lambda s, y: ({"h": s["h"]}, y)), r"'t': \(\)\} and returns \{'h': \(6, 7\)\}"),
        (Own(step=lambda s, y: (s | {"z": y}, y)), r"and returns \{'h': \(6, 7\), 'z': .*, with a batch of 6"),
        (Own(step=lambda s, y: s), r"Own.step returns \{'h': \(6, 7\)\}: return the next state and the output"),
        (Own(step=lambda s, y: (s, y, y)), "return the next state and the output"),
        (Own(step=lambda s, y: (s, y.sum())), r"output \(\), with a batch of 6: it must be \(batch, size\)"),
        (Own(step=lambda s, y: (s, y[1:])), r"returns the output \(5, 7\), with a batch of 6"),
        (Own(step=lambda s, y: (s, {"y": y})), r"returns the output \{'y': \(6, 7\)\}"),
        (Own(step=lambda s, y: (s, y > 0)), "an output of bool: no gradient reaches it"),
    ],
)  # fmt: skip
def test_a_step_that_changes_the_state_or_gives_no_output_is_refused_in_one_line(cell, says):
    with pytest.raises(GradlabError, match=says) as refused:
        of.check_cell(cell, *setting(cell))
    assert "\n" not in str(refused.value)


def test_a_leaf_that_is_float32_among_float64_is_named(float64):
    class Fixed(Plain):
        def carry(self, params, batch_size):
            return {"h": jnp.zeros((batch_size, H), jnp.float32)}

    with pytest.raises(GradlabError, match=r"`h` of the state comes into Fixed.step as float32 .* as float64"):
        of.check_cell(Fixed(), *setting(Fixed()))


def test_a_state_of_other_containers_is_refused():
    class Pair(Plain):
        def carry(self, params, batch_size):
            return [super().carry(params, batch_size)["h"]]

        def step(self, params, s, x_t):
            s_t, y_t = super().step(params, {"h": s[0]}, x_t)
            return (s_t["h"],), y_t

    with pytest.raises(GradlabError, match=r"Pair.step takes the state \[\(6, 7\)\] and returns \(\(6, 7\),\)"):
        of.check_cell(Pair(), *setting(Pair()))


# ---------------------------------------------------------------- losses


@pytest.mark.parametrize(
    "loss, meets",
    [
        (lambda y: (y[-1] ** 2).sum(axis=-1), False),
        (lambda y: jax.nn.log_softmax(y).mean(axis=(0, 2)), False),
        (lambda y: jnp.sort(y, axis=0)[0, :, 0], False),
        (lambda y: (y**2).mean() * jnp.ones(y.shape[1]), True),
        (lambda y: y[-1, :, 0] - y[-1, :, 0].mean(), True),
        (lambda y: y[-1, :, 0] - lax.stop_gradient(y[-1, :, 0].mean()), True),
        (lambda y: jax.nn.log_softmax(y, axis=1)[-1, :, 0], True),
        (lambda y: y[-1, ::-1, 0], True),
    ],
)
def test_losses_that_read_other_examples_are_found(loss, meets):
    outputs = jax.random.normal(jax.random.key(0), (T, B, H))
    found = of.losses_meet(loss, outputs)
    assert (found is not None) == meets
    assert not meets or "the loss of one example depends on the outputs of another" in found


def test_the_check_is_cheap_where_it_was_done_before():
    cell = CELLS["lstm"]()
    given = setting(cell)
    of.check_cell(cell, *given)
    started = time.process_time()
    for _ in range(5):
        of.check_cell(cell, *given)
    assert (time.process_time() - started) / 5 < 0.2, "it compiles anew"
