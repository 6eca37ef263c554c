"""Integers, masks, keys and Python's numbers among the parameters: what is not of floats stays as it is."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gradlab.errors import GradlabError
from gradlab.runs.execute import run, run_together
from gradlab.runs.parameters import flatten_params, unflatten_params
from gradlab.runs.spec import RunSpec
from gradlab.runs.variants import get_task
from gradlab.training.loop import Chunk, train
from gradlab.training.model import Model
from gradlab.training.optimizers import Clip
from gradlab.training.state_grad_norms import leaf_statistics, zero_sinks
from gradlab.training.step import Plan
from gradlab.training.unroll import unroll
from gradlab.training.weights import as_arrays, weights, with_weights

pytestmark = pytest.mark.slow

ORDER = np.array([2, 0, 1, 4, 3], np.int32)
MASK = np.array([True, False, True, True, True])


class Plain:
    """h' = tanh(gain mask (P h) U + x W) with permutation, mask, gain and noise known to the class."""

    def init(self, key, input_size, hidden_size):
        a, b = jax.random.split(key)
        u = jax.random.normal(a, (hidden_size, hidden_size)) / np.sqrt(hidden_size)
        return {"u": u, "w": jax.random.normal(b, (input_size, hidden_size))}

    def constants(self, params):
        return {"order": ORDER, "mask": MASK, "key": jax.random.key(7), "period": 3}

    def carry(self, params, batch_size):
        return {"h": jnp.zeros((batch_size, 5))}

    def step(self, params, carry, x_t):
        known = self.constants(params)
        noise = jax.random.normal(known["key"], (5,)) / known["period"]
        h = known["mask"] * carry["h"][:, known["order"]]
        h_t = jnp.tanh(h @ params["u"] + x_t @ params["w"] + 0.1 * noise)
        return {"h": h_t}, h_t


class Kept(Plain):
    """The same with all of these among the parameters, beside weights that come first and last by name."""

    def init(self, key, input_size, hidden_size):
        return super().init(key, input_size, hidden_size) | super().constants(None)

    def constants(self, params):
        return params


class Scaled(Plain):
    """A number of Python among the parameters is a weight as any other."""

    def init(self, key, input_size, hidden_size):
        return super().init(key, input_size, hidden_size) | {"gain": 0.5}

    def step(self, params, carry, x_t):
        return super().step(params | {"u": params["gain"] * params["u"]}, carry, x_t)


class Named(Plain):
    def init(self, key, input_size, hidden_size):
        return super().init(key, input_size, hidden_size) | {"kind": "mine"}


class Counting(Plain):
    """Numbers of Python in the state."""

    def carry(self, params, batch_size):
        return super().carry(params, batch_size) | {"t": 0, "clock": 0.0}

    def step(self, params, carry, x_t):
        after, h_t = super().step(params, carry, x_t)
        return after | {"t": carry["t"] + 1, "clock": carry["clock"] + 0.5}, h_t * (carry["t"] + carry["clock"])


PLAN = Plan(
    length=6, batch=4, seed=3, steps=6, stop="never", optimizer=optax.adam(1.0), clip=Clip("norm", 0.1),
    measure="every", measure_batch=3, learning_rate=0.05,
)  # fmt: skip


def spec_of(name="Kept", **changes):
    """A run of a cell of this file, which is loaded again as somebody's own."""
    usual = {"length": 6, "hidden": 5, "batch": 4, "measure_batch": 3, "steps": 4, "measure": "ends"}
    return RunSpec(cell=f"{__file__}:{name}", **usual | changes)


def trained(cell, **changes):
    *events, outcome = train(Model(cell, get_task("adding"), 5), replace(PLAN, **changes))
    chunks = [event.rows for event in events if isinstance(event, Chunk)]
    return jax.tree.map(lambda *rows: np.concatenate(rows), *chunks), outcome


def test_what_is_not_of_floats_stays_and_the_rest_is_trained_as_without_it(float64):
    rows, outcome = trained(Kept())
    expected, plain = trained(Plain())
    for name in ("loss", "log10_grad_norm", "clipped"):
        np.testing.assert_allclose(getattr(rows, name), getattr(expected, name), rtol=1e-12)
    np.testing.assert_allclose(rows.norms["h"], expected.norms["h"], rtol=1e-12)
    for name in ("u", "w"):
        np.testing.assert_allclose(outcome.params["cell"][name], plain.params["cell"][name], rtol=1e-12)
    kept = outcome.params["cell"]
    assert kept["order"].tolist() == ORDER.tolist() and kept["mask"].tolist() == MASK.tolist()
    assert int(kept["period"]) == 3 and bool(kept["key"] == jax.random.key(7))
    assert outcome.step == PLAN.steps and rows.loss[-1] != rows.loss[0]


def test_they_are_stored_found_again_and_not_counted(tmp_path):
    spec = spec_of()
    result = run(spec, tmp_path)
    assert result.status == "trained", result.reason
    assert result.parameters == 5 * 5 + 2 * 5 + 5 + 1
    stored = np.load(result.path / "params.npz")
    assert stored["cell/order"].tolist() == ORDER.tolist() and stored["cell/mask"].dtype == bool
    assert stored["cell/key"].tolist() == jax.random.key_data(jax.random.key(7)).tolist()
    measured = {"steps": 0, "params": spec.id, "measure": "checkpoints"}
    probe = run(spec_of(**measured), tmp_path)
    np.testing.assert_allclose(probe.curve().log10_norm["h"], result.curve("final").log10_norm["h"], rtol=1e-6)
    with pytest.raises(GradlabError, match=r"do not fit .*:Plain with hidden=5"):
        run(spec_of("Plain", **measured), tmp_path)


def test_runs_together_keep_them_too():
    specs = [spec_of(seed=seed) for seed in range(2)]
    for alone, together in zip(map(run, specs), run_together(specs), strict=True):
        assert together.status == "trained", together.reason
        np.testing.assert_allclose(together.trace.loss, alone.trace.loss, rtol=1e-5)
        assert together.outcome.params["cell"]["order"].tolist() == ORDER.tolist()


def test_every_dtype_is_stored_and_found():
    params = {
        "half": jnp.asarray([1.5, -2.0], jnp.bfloat16),
        "keys": jax.random.split(jax.random.key(1, impl="rbg"), 2),
        "raw": jax.random.PRNGKey(3),
        "c": jnp.asarray([1 + 2j], jnp.complex64),
        "nothing": None,
        "deep": [jnp.int32(4), {"on": jnp.asarray([True])}],
    }
    stored = {name: np.asarray(leaf) for name, leaf in flatten_params(params).items()}
    assert all(array.dtype.kind in "fcuib" for array in stored.values())
    found = unflatten_params(stored, lambda: params)
    assert jax.tree.structure(found) == jax.tree.structure(params)
    for one, other in zip(jax.tree.leaves(params), jax.tree.leaves(found), strict=True):
        assert one.dtype == other.dtype and bool(jnp.all(one == other))
    assert unflatten_params(stored | {"raw": np.ones(2, np.float32)}, lambda: params) is None
    assert unflatten_params(stored | {"more": np.ones(2, np.float32)}, lambda: params) is None


def test_a_number_of_python_is_a_weight():
    _, outcome = trained(Scaled())
    gain = outcome.params["cell"]["gain"]
    assert outcome.status == "trained" and gain.dtype == jnp.float32 and abs(float(gain) - 0.5) > 1e-3


def test_what_is_no_number_gets_one_line():
    with pytest.raises(GradlabError, match=r"^parameter `kind` is of type str: give arrays or numbers$"):
        Model(Named(), get_task("adding"), 5).init(0)
    with pytest.raises(GradlabError, match="parameter `a/0` is of type object"):
        as_arrays({"a": [object()]})


def test_weights_and_the_rest_are_the_whole():
    params = {"w": jnp.ones(2), "order": jnp.arange(2), "none": None, "more": (jnp.zeros(1), jax.random.key(0))}
    trained = weights(params)
    assert len(jax.tree.leaves(trained)) == 2
    moved = with_weights(params, jax.tree.map(lambda leaf: leaf + 1, trained))
    assert moved["w"].tolist() == [2.0, 2.0] and moved["more"][0].tolist() == [1.0] and moved["none"] is None
    assert moved["order"] is params["order"] and moved["more"][1] is params["more"][1]
    assert jax.tree.structure(moved) == jax.tree.structure(params)


def test_numbers_of_python_in_the_state_are_carried():
    cell, inputs = Counting(), jax.random.normal(jax.random.key(0), (4, 3, 2))
    params = cell.init(jax.random.key(1), 2, 5)
    plain = unroll(Plain(), params, inputs)
    np.testing.assert_allclose(
        unroll(cell, params, inputs), plain * (1.5 * jnp.arange(4.0))[:, None, None], rtol=1e-6
    )


def test_a_leaf_that_is_one_number_is_one_row():
    (sinks,) = zero_sinks({"clock": jnp.float32(2)}, 7)
    assert sinks.shape == (7, 2, 1)
    assert leaf_statistics(jnp.float32(-3.0)).tolist() == [[3.0], [1.0]]
