"""Networks without a state, and a convolution before a cell, against NumPy and against the cell alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradlab import GradlabError, RunSpec, get_cell, run
from gradlab.cells.attention import attention
from gradlab.cells.bidirectional import bidirectional
from gradlab.cells.convolved import cnn
from gradlab.cells.gru import gru

INPUTS = jax.random.normal(jax.random.key(1), (7, 3, 2))


def normed(z):
    centred = z - z.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


def linear(layer, z):
    return z @ layer["w"] + layer["b"]


def by_hand(params, inputs, blocks, heads):
    """One example after the other, one timestep after the other, one head after the other."""
    params = jax.tree.map(np.asarray, params)
    size = params["in"]["w"].shape[1]
    outputs = []
    for x in np.moveaxis(np.asarray(inputs), 1, 0):
        t, i = np.arange(len(x))[:, None], np.arange(size)
        angle = t / 10000.0 ** (2 * (i // 2) / size)
        z = linear(params["in"], x) + np.where(i % 2 == 0, np.sin(angle), np.cos(angle))
        for block in (params[f"block{k}"] for k in range(blocks)):
            q, k, v = np.split(linear(block["qkv"], normed(z)), 3, axis=-1)
            mixed = np.zeros_like(z)
            for units in np.split(np.arange(size), heads):
                for now in range(len(x)):
                    score = np.array([q[now, units] @ k[s, units] for s in range(now + 1)]) / len(units) ** 0.5
                    weight = np.exp(score - score.max())
                    mixed[now, units] = (weight / weight.sum()) @ v[: now + 1, units]
            z = z + linear(block["out"], mixed)
            z = z + linear(block["narrow"], np.maximum(linear(block["wide"], normed(z)), 0))
        outputs.append(normed(z))
    return np.stack(outputs, axis=1)


@pytest.mark.parametrize(("blocks", "heads"), [(1, 1), (2, 4)])
def test_attention_by_hand(float64, blocks, heads):
    network = attention(blocks=blocks, heads=heads)
    params = network.init(jax.random.key(0), 2, 8)
    found = network.apply(params, INPUTS)
    np.testing.assert_allclose(found, by_hand(params, INPUTS, blocks, heads), atol=1e-10)


def test_attention_reads_no_later_input():
    network = attention()
    params = network.init(jax.random.key(0), 2, 8)
    one, other = (network.apply(params, x) for x in (INPUTS, INPUTS.at[4].add(1.0)))
    np.testing.assert_array_equal(one[:4], other[:4])
    assert (jnp.abs(one[4:] - other[4:]).max(axis=(1, 2)) > 1e-4).all()


def test_each_direction_is_the_cell():
    network, cell = bidirectional(gru()), gru()
    params = network.init(jax.random.key(0), 2, 5)

    def loop(own, inputs):
        carry, outputs = cell.carry(own, 3), []
        for x_t in inputs:
            carry, y_t = cell.step(own, carry, x_t)
            outputs.append(y_t)
        return np.stack(outputs)

    found = network.apply(params, INPUTS)
    np.testing.assert_allclose(found[..., :5], loop(params["forward"], INPUTS), atol=1e-6)
    np.testing.assert_allclose(found[..., 5:], loop(params["backward"], INPUTS[::-1])[::-1], atol=1e-6)


@pytest.mark.parametrize("width", [1, 2, 9])
def test_a_convolution_is_a_sum_over_the_last_inputs(width):
    network, cell = cnn(gru(), width=width), gru()
    params = network.init(jax.random.key(0), 2, 5)
    params["bias"] = jnp.full(5, 0.1)
    inner, state = network.carry(params, 3), cell.carry(params["cell"], 3)
    for t in range(len(INPUTS)):
        seen = [INPUTS[t - k] @ params["kernel"][width - 1 - k] for k in range(min(width, t + 1))]
        u_t = np.maximum(np.sum(seen, axis=0) + 0.1, 0)
        state, expected = cell.step(params["cell"], state, u_t)
        inner, found = network.step(params, inner, INPUTS[t])
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_inputs_that_a_convolution_keeps_are_not_measured():
    spec = RunSpec(cell="cnn:lstm:width=3", length=6, hidden=4, measure_batch=2, steps=0)
    assert run(spec).curve().leaves == ["cell.c", "cell.h", "state"]


def test_options_out_of_range():
    for text, message in (
        ("attention:blocks=5", "blocks is 5: give 1 to 4"),
        ("attention:heads=0", "heads is 0"),
        ("cnn:gru:width=0", "width is 0"),
    ):
        with pytest.raises(GradlabError, match=message):
            get_cell(text)
    with pytest.raises(GradlabError, match="`attention` has no state: stacked is made of a cell"):
        get_cell("stacked:attention")
    with pytest.raises(GradlabError, match="hidden is 6: give a multiple of heads=4"):
        attention().init(jax.random.key(0), 2, 6)


# ---------------------------------------------------------------- trained and measured as a cell is

SPEC = {"length": 8, "hidden": 8, "batch": 8, "measure_batch": 4, "steps": 40, "learning_rate": 0.01}


def test_a_network_learns_and_is_measured_at_its_inputs():
    result = run(RunSpec(cell="attention", **SPEC))
    assert result.trace.loss[-10:].mean() < result.trace.loss[:10].mean()
    curve = result.curve()
    assert curve.leaves == ["x", "state"] and np.isfinite(curve.log10_norm["x"]).all() and len(curve.lags) == 8
    np.testing.assert_array_equal(curve.log10_norm["x"], curve.log10_norm["state"])


def test_two_directions_learn_and_are_measured_at_states_and_inputs():
    result = run(RunSpec(cell="bidirectional:gru", **SPEC))
    assert result.trace.loss[-10:].mean() < result.trace.loss[:10].mean()
    past, future = result.curve(), result.curve(name="task_future")
    assert past.leaves == ["forward.h", "x", "state"] and future.leaves == ["backward.h", "x", "state"]
    assert (len(past.lags), len(future.lags)) == (8, 1) and np.isfinite(past.log10_norm["x"]).all()
    # `state` is the states alone.
    np.testing.assert_array_equal(past.log10_norm["forward.h"], past.log10_norm["state"])


def test_the_loss_of_all_outputs_has_a_future():
    result = run(RunSpec(task="copy:symbols=3", cell="bidirectional:rnn", **SPEC | {"steps": 0}))
    curves = result.checkpoints[0].metrics.curves
    assert set(curves) == {"task", "total", "task_future", "total_future"}
    assert curves["total"].leaves == ["forward.h", "x", "state"]
    assert curves["total_future"].leaves[0] == "backward.h" and len(curves["total_future"].lags) == 14


def test_the_copy_task_has_a_curve_of_one_output_and_a_total_one():
    result = run(RunSpec(task="copy:symbols=3", cell="attention", **SPEC | {"steps": 0}))
    curves = result.checkpoints[0].metrics.curves
    assert set(curves) == {"task", "total"} and len(curves["task"].lags) == len(curves["total"].lags)
    assert not np.allclose(curves["task"].typical(), curves["total"].typical())


OWN = """
import jax


class Mean:
    def init(self, key, input_size, hidden_size):
        return jax.random.normal(key, (input_size, hidden_size))

    def apply(self, params, inputs):
        return inputs.cumsum(0) @ params
"""


def test_a_network_of_ones_own(tmp_path, monkeypatch, typed):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mean.py").write_text(OWN)
    words = ["--len", "5", "--hidden", "3", "--measure-batch", "2", "--results", "results", "-q"]
    code, out, err = typed("probe", "adding", "--cell", "mean.py:Mean", *words)
    assert code == 0 and " x " in out, err
    code, out, err = typed("run", "adding", "--cell", "mean.py:Mean", *words, "--steps", "2", "--measure", "every")
    assert code == 2 and "measure=every keeps the norm at every state, and Mean has none" in out + err
    for command in (("lesson", "adding", "--len", "5", "--results", "results"), ("check-cell",)):
        given = ["--cell", "mean.py:Mean"] if command[0] == "lesson" else ["mean.py:Mean"]
        code, _, err = typed(*command, *given)
        assert code == 2 and "has no state" in err, err


def test_a_run_measures_the_inputs_of_a_cell_where_asked():
    size = {"length": 6, "hidden": 4, "measure_batch": 2, "steps": 0}
    asked = RunSpec(cell="rnn", measure_inputs="yes", **size)
    plain, both = run(RunSpec(cell="rnn", **size)).curve(), run(asked).curve()
    assert both.leaves == ["h", "x", "state"]
    for leaf in plain.leaves:
        np.testing.assert_allclose(both.log10_norm[leaf], plain.log10_norm[leaf], atol=1e-5)
    # The command of a run asks for it again, and no run without it has another name.
    assert "--measure-inputs yes" in asked.command()
    assert RunSpec(cell="lstm", **size).id == RunSpec(cell="lstm", measure_inputs="no", **size).id != asked.id
    assert "measure_inputs" not in RunSpec(cell="lstm", **size).config()
