"""Cells of other libraries by name: through `run`, `sweep`, `report` and `check`."""

import csv
import json

import jax
import pytest
from flax import nnx

from gradlab.errors import GradlabError
from gradlab.runs.variants import cell_variant
from gradlab.testing import assert_curve

SMALL = ("--len", 6, "--hidden", 3, "--measure-batch", 3, "--batch", 4)
MINE = """
import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp


class Mine(eqx.Module):
    w: jax.Array
    u: jax.Array
    gain: float = eqx.field(static=True)

    def __init__(self, input_size, hidden_size, *, gain: float = 1.0, key):
        self.w = jax.random.normal(key, (hidden_size, input_size))
        self.u = jnp.eye(hidden_size)
        self.gain = gain

    def __call__(self, x, h):
        return jnp.tanh(self.w @ x + self.gain * self.u @ h)


def deep(hidden_size, layers: int = 2):
    return hk.DeepRNN([hk.GRU(hidden_size) for _ in range(layers)])


def step(params, carry, x):
    return carry, carry


ready = eqx.nn.GRUCell(2, 3, key=jax.random.key(0))
"""
SWEEP = """
title = "One"
question = "How far?"
[base]
steps = 0
length = 6
hidden = 3
measure_batch = 3
[grid]
cell = ["flax.nnx:LSTMCell"]
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADLAB_RESULTS", "results")
    (tmp_path / "mine.py").write_text(MINE)


@pytest.mark.parametrize(
    "text, name",
    [
        ("flax.nnx:LSTMCell", "flax.nnx:LSTMCell"),
        ("flax.nnx:GRUCell:use_bias=false", None),
        ("flax.nnx:RNN", None),
        ("flax.linen:OptimizedLSTMCell", "flax.linen:OptimizedLSTMCell"),
        ("equinox.nn:LSTMCell:use_bias=false", "equinox.nn:LSTMCell:use_bias=false"),
        ("equinox.nn:LSTMCell:use_bias=true", "equinox.nn:LSTMCell"),
        ("haiku:VanillaRNN:double_bias=false", "haiku:VanillaRNN:double_bias=false"),
        ("keras.layers:LSTMCell:unit_forget_bias=false", "keras.layers:LSTMCell:unit_forget_bias=false"),
        ("./mine.py:Mine:gain=0.5", "mine.py:Mine:gain=0.5"),
        ("./mine.py:deep:layers=3", "mine.py:deep:layers=3"),
        ("./mine.py:ready", "mine.py:ready"),
    ],
)
def test_one_spelling_and_a_cell_that_is_made(mine, text, name):
    if name is None:
        with pytest.raises(GradlabError) as error:
            cell_variant(text).value.init(jax.random.key(0), 2, 3)
        assert "\n" not in str(error.value)
        return
    variant = cell_variant(text)
    assert variant.name == name and variant.source
    assert cell_variant(text).value == variant.value
    params = jax.eval_shape(lambda key: variant.value.init(key, 2, 3), jax.random.key(0))
    assert "h" in "".join(jax.eval_shape(lambda params: variant.value.carry(params, 1), params))


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "equinox.nn:LSTMCell:bias=false",
            "unknown option of cell equinox.nn:LSTMCell `bias`: known are dtype, use_bias",
        ),
        ("./mine.py:ready:use_bias=true", "is an object, not a class or function: it takes no options"),
        ("./mine.py:step", "has no init, carry: it is a function (params, carry, x); wrap it as `class MyCell:`"),
        ("./mine.py:MINE", "unknown cell in ./mine.py `MINE`"),
        (
            "json:loads",
            "unknown cell `json`: if `loads` is in a file, write ./json.py:loads, if in a module",
        ),
        (
            "json.decoder:JSONDecodeError",
            "needs msg, doc, pos: write json.decoder:JSONDecodeError:msg=VALUE:doc=VALUE:pos=VALUE",
        ),
    ],
)
def test_what_is_wrong_in_one_line(mine, text, words):
    with pytest.raises(GradlabError) as error:
        cell_variant(text)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_library_is_imported_when_its_cell_is_named(typed):
    """The digest of a library's cell is that of its version, and not of files that are read every time."""
    assert cell_variant("equinox.nn:GRUCell").source == cell_variant("equinox.nn:LSTMCell").source


@pytest.mark.slow
def test_run_sweep_and_report(mine, typed, tmp_path):
    """A cell of the user's that is trained, and one of a library in a sweep, in one report."""
    code, out, err = typed("run", "adding", "--cell", "./mine.py:Mine:gain=0.5", *SMALL, "--steps", 2, "--json")
    assert code == 0, err
    (run,) = json.loads(out)["runs"]
    assert run["id"].startswith("adding-mine.mine-gain=0.5-T6-s0-")
    (tmp_path / "one.toml").write_text(SWEEP)
    code, _, err = typed("sweep", "one.toml", "--jobs", 1)
    assert code == 0, err
    assert "adding-flax.nnx.lstmcell-T6-s0-" in typed("ls")[1]
    code, _, err = typed("report")
    assert code == 0, err
    curves = (tmp_path / "results" / "report" / "curves.csv").read_text()
    leaves = {}
    for row in csv.DictReader(curves.splitlines()):
        leaves.setdefault(row["cell"], set()).add(row["leaf"])
    assert leaves == {"mine.py:Mine:gain=0.5": {"h", "state"}, "flax.nnx:LSTMCell": {"h", "c", "state"}}


def test_an_object_is_put_under_a_gate(tmp_path):
    given = {"baseline": tmp_path / "curve.json", "length": 5, "hidden": 3, "batch": 3, "seeds": 2}
    cell = nnx.GRUCell(2, 3, rngs=nnx.Rngs(0))
    assert_curve(cell, **given, bless=True)
    assert_curve(cell, **given)
    cell.dense_h.kernel[...] *= 0.5
    with pytest.raises(AssertionError, match="regressed"):
        assert_curve(cell, **given)
