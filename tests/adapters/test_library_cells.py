"""Cells of the libraries themselves, with the weights of gradlab's own: the same curves, leaf by leaf."""

from functools import lru_cache

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import keras
import libraries
import numpy as np
import pytest
from flax import linen, nnx
from libraries import CELLS, HIDDEN, INPUTS, inputs, last_output, weights

import gradlab
from gradlab.adapters import adapted, cell_factory
from gradlab.gradient.state import step_of
from gradlab.runs.spec import RunSpec
from gradlab.training.jit_cache import programs_for
from gradlab.training.model import Model

KEY = jax.random.key(0)


def measured(obj, params=None, carry=None):
    """The curve of an object as `gradient_curve` measures it."""
    return gradlab.gradient_curve(obj, params, inputs(), last_output, carry)


@lru_cache
def own_curve(cell):
    return measured(cell, weights(cell))


def agree(found, expected):
    assert found.log10_norm.keys() == expected.log10_norm.keys() and not found.unverified
    for leaf, values in expected.log10_norm.items():
        np.testing.assert_allclose(found.log10_norm[leaf], values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CELLS)
def test_with_the_same_weights_the_curves_agree(name):
    source, own, names = CELLS[name]
    cell = gradlab.as_cell(source)
    params = cell.init(KEY, INPUTS, HIDDEN)
    given = names(weights(own))
    assert {key: leaf.shape for key, leaf in given.items()} == {key: leaf.shape for key, leaf in params.items()}
    agree(measured(cell, params | given), own_curve(own))


def test_the_gru_of_haiku_resets_before_the_product():
    cell = gradlab.as_cell(hk.GRU)
    params = cell.init(KEY, INPUTS, HIDDEN)
    h, x = jnp.full((1, HIDDEN), 0.5), jnp.ones((1, INPUTS))
    w_z, w_r, w_a = jnp.split(params["gru.w_i"], 3, axis=1)
    u_z, u_r, u_a = jnp.split(params["gru.w_h"], 3, axis=1)
    z, r = jax.nn.sigmoid(x @ w_z + h @ u_z), jax.nn.sigmoid(x @ w_r + h @ u_r)
    expected = (1 - z) * h + z * jnp.tanh(x @ w_a + (r * h) @ u_a)
    np.testing.assert_allclose(cell.step(params, {"h": h}, x)[0]["h"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["nnx-gru", "linen-gru", "equinox-gru", "keras-gru", "haiku-lstm"])
def test_init_draws_what_the_library_draws_and_follows_the_key(name):
    cell = gradlab.as_cell(CELLS[name][0])
    one, same, other = (cell.init(jax.random.key(key), INPUTS, HIDDEN) for key in (0, 0, 1))
    assert all((one[key] == same[key]).all() for key in one)
    assert any((one[key] != other[key]).any() for key in one)
    drawn = [leaf for key, leaf in one.items() if leaf.ndim == 2 and "bias" not in key]
    assert len({float(leaf.ravel()[0]) for leaf in drawn}) == len(drawn), "no two weights share a key"


ONE_OF_EACH = ["nnx-rnn", "linen-lstm", "equinox-lstm", "haiku-lstm", "keras-rnn"]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_float64_run_computes_in_float64(float64, name):
    """All of it: a product that is rounded to float32 on its way would differ in the eighth digit."""
    source, own, names = CELLS[name]
    cell, params = gradlab.as_cell(source), weights(own)
    Model(cell, gradlab.get_task("adding"), HIDDEN).check(4, 2)
    given = cell.init(KEY, INPUTS, HIDDEN) | names(params)
    x = inputs(1)[0]
    assert {leaf.dtype for leaf in given.values()} == {x.dtype} == {jnp.dtype("float64")}
    (found, _), (expected, _) = (
        cell.step(given, cell.carry(given, 3), x),
        own.step(params, own.carry(params, 3), x),
    )
    np.testing.assert_allclose(found["h"], expected["h"], rtol=1e-14)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_runs_are_batched_and_share_programs(name):
    source, own, _ = CELLS[name]
    cell = gradlab.as_cell(source)
    params = jax.vmap(lambda key: cell.init(key, INPUTS, HIDDEN))(jax.random.split(KEY, 2))
    carry = jax.vmap(lambda params: cell.carry(params, 3))(params)
    after, _ = jax.jit(jax.vmap(cell.step, in_axes=(0, 0, None)))(params, carry, inputs(1)[0])
    assert {name: leaf.shape for name, leaf in after.items()} == dict.fromkeys(own.leaves, (2, 3, HIDDEN))
    plan = RunSpec(cell="rnn", length=4, batch=2, measure_batch=2).plan()
    programs = [
        programs_for(Model(each, gradlab.get_task("adding"), HIDDEN), plan)
        for each in (cell, gradlab.as_cell(source))
    ]
    assert programs[0] is programs[1]


# ---------------------------------------------------------------- objects with weights


def test_an_object_is_measured_with_its_own_weights():
    objects = {
        "equinox-lstm": eqx.nn.LSTMCell(INPUTS, HIDDEN, key=KEY),
        "nnx-lstm": nnx.LSTMCell(INPUTS, HIDDEN, rngs=nnx.Rngs(0)),
    }
    assert sorted(measured(objects["equinox-lstm"]).log10_norm) == ["c", "h", "state"]
    wrapped = nnx.RNN(objects["nnx-lstm"])
    agree(measured(wrapped), measured(objects["nnx-lstm"]))


def test_a_built_layer_of_keras_keeps_its_weights():
    layer = keras.layers.LSTMCell(HIDDEN)
    layer.build((None, INPUTS))
    _, params, _ = adapted(layer, None, inputs(), None)
    assert (params["kernel"] == layer.kernel.value).all()


def test_a_module_of_linen_takes_its_variables():
    cell = linen.LSTMCell(features=HIDDEN)
    carry = cell.initialize_carry(KEY, (1, INPUTS))
    variables = cell.init(KEY, carry, jnp.ones((1, INPUTS)))
    _, params, _ = adapted(cell, variables, inputs(), None)
    assert (params["params.ii.kernel"] == variables["params"]["ii"]["kernel"]).all()
    with pytest.raises(gradlab.GradlabError, match="no params for LSTMCell"):
        adapted(cell, None, inputs(), None)
    with pytest.raises(gradlab.GradlabError, match=r"params have the leaves w, and LSTMCell has params.hf"):
        adapted(cell, {"w": KEY}, inputs(), None)


def test_a_state_in_the_terms_of_the_library_is_renamed():
    c, h = jnp.zeros((3, HIDDEN)), jnp.ones((3, HIDDEN))
    nnx_cell = nnx.LSTMCell(INPUTS, HIDDEN, rngs=nnx.Rngs(0))
    eqx_cell = eqx.nn.LSTMCell(INPUTS, HIDDEN, key=KEY)
    for cell, state in ((nnx_cell, (c, h)), (eqx_cell, (h, c))):
        _, _, carry = adapted(cell, None, inputs(), state)
        assert (carry["h"] == 1).all() and (carry["c"] == 0).all()


def test_an_object_of_another_size_is_refused():
    cell = gradlab.as_cell(eqx.nn.LSTMCell(INPUTS, 5, key=KEY))
    with pytest.raises(gradlab.GradlabError, match=r"hidden is 4, but this LSTMCell was made with 5: give 5"):
        cell.init(KEY, INPUTS, 4)


# ---------------------------------------------------------------- more than one layer, functions


def deep(hidden_size):
    return hk.DeepRNN([hk.LSTM(hidden_size), hk.GRU(hidden_size)])


def stacked(hidden_size):
    return keras.layers.StackedRNNCells([keras.layers.LSTMCell(hidden_size), keras.layers.GRUCell(hidden_size)])


def one(input_size, hidden_size, key, use_bias: bool = True):
    return eqx.nn.GRUCell(input_size, hidden_size, use_bias=use_bias, key=key)


@pytest.mark.parametrize("function", [deep, stacked])
def test_layers_are_named(function):
    cell = gradlab.as_cell(function)
    params = cell.init(KEY, INPUTS, HIDDEN)
    start = cell.carry(params, 3)
    assert sorted(start) == ["layer0.c", "layer0.h", "layer1.h"]
    after, y = cell.step(params, start, jnp.ones((3, INPUTS)))
    assert (after["layer1.h"] == y).all() and (after["layer0.h"] != y).any()
    c, h = after["layer0.c"], after["layer0.h"]
    assert (jnp.abs(h) < jnp.abs(jnp.tanh(c))).all(), "h = o tanh(c)"


def test_a_function_makes_a_cell_with_options():
    cell = gradlab.as_cell(one, use_bias=False)
    assert set(cell.init(KEY, INPUTS, HIDDEN)) == {"weight_ih", "weight_hh"}


def test_a_plain_function_is_measured():
    own = libraries.rnn()
    params = weights(own)
    found = measured(
        lambda p, h, x: (jnp.tanh(x @ p["w_x"] + h @ p["w_h"] + p["b"]),) * 2, params, jnp.zeros((3, 4))
    )
    np.testing.assert_allclose(found.log10_norm["s"], own_curve(own).log10_norm["h"], atol=1e-5)
    with pytest.raises(gradlab.GradlabError, match=r"no initial state: give carry=, for a function \(p, h, x\)"):
        measured(lambda p, h, x: (h, h), params)


class MemoryFirst(eqx.Module):
    """A cell of a user's with its own initial state, whose second array is the output."""

    w: jax.Array

    def initial_state(self):
        return jnp.zeros(HIDDEN), jnp.zeros(HIDDEN)

    def __call__(self, x, state):
        memory, _ = state
        memory = 0.9 * memory + self.w @ x
        out = jnp.tanh(memory)
        return (memory, out), out


def test_the_array_that_is_the_output_is_h():
    cell = gradlab.as_cell(MemoryFirst(jnp.ones((HIDDEN, INPUTS))))
    params = cell.init(KEY, INPUTS, HIDDEN)
    after, y = cell.step(params, cell.carry(params, 2), jnp.ones((2, INPUTS)))
    assert (after["h"] == y).all() and (y == jnp.tanh(after["c"])).all() and (after["c"] != y).all()


# ---------------------------------------------------------------- equality


def test_equal_cells_share_programs():
    ready = eqx.nn.GRUCell(INPUTS, HIDDEN, key=KEY)
    other = eqx.nn.GRUCell(INPUTS, HIDDEN, key=KEY)
    assert gradlab.as_cell(ready) == gradlab.as_cell(ready) and gradlab.as_cell(ready) != gradlab.as_cell(other)
    assert len({gradlab.as_cell(hk.GRU), gradlab.as_cell(hk.GRU)}) == 1
    assert gradlab.as_cell(hk.GRU) != gradlab.as_cell(hk.LSTM)


# ---------------------------------------------------------------- what is no cell


class Module:
    """As `torch.nn.Module`, by its name."""


Module.__module__ = "torch.nn.modules.module"


class LSTM(Module):
    pass


def both_directions():
    cells = [nnx.RNN(nnx.LSTMCell(INPUTS, HIDDEN, rngs=nnx.Rngs(seed))) for seed in (0, 1)]
    return nnx.Bidirectional(*cells, rngs=nnx.Rngs(0))


def test_messages_name_the_class_of_the_user():
    assert step_of(gradlab.as_cell(MemoryFirst(jnp.ones((HIDDEN, INPUTS))))) == "MemoryFirst.step"


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: 3, "this object has no init, carry, step: gradlab took it for an int. A cell needs"),
        (lambda: print, "gradlab took it for a function (args, sep, end, file, flush)"),
        (dict, "took it for a dict. A cell needs init, carry and step, or is of flax nnx, flax linen,"),
        (dict, "`def step(self, params, state, x): return state, y`"),
        (lambda: int, "took it for the class int"),
        (
            LSTM,
            "took it for LSTM, a PyTorch module, which JAX cannot differentiate: measure it with gradlab.torch",
        ),
        (
            lambda: cell_factory(LSTM),
            "took it for LSTM, a PyTorch module class, which JAX cannot differentiate: measure it with",
        ),
        (both_directions, "runs two cells, one in each direction: give .forward_rnn.cell or .backward_rnn.cell"),
        (lambda: nnx.RNN, "runs another cell over time: give the class of that cell"),
        (
            lambda: nnx.Linear(2, 4, rngs=nnx.Rngs(0)),
            "Linear of flax has no initialize_carry: a layer without a state cannot be measured",
        ),
        (
            lambda: eqx.nn.Linear(2, 4, key=KEY),
            "and h or (h, c) of size 4 or 2 as its state, fails: ",
        ),
    ],
)
def test_a_wrong_object_is_told_what_it_was_taken_for(make, words):
    with pytest.raises(gradlab.GradlabError) as error:
        measured(make())
    assert words in str(error.value) and "\n" not in str(error.value)
