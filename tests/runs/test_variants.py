"""`name:option=value`: from text to object and back to one spelling; a user's own cell."""

import re
import sys

import pytest

from gradlab.cells import CELLS
from gradlab.errors import GradlabError
from gradlab.runs.variants import (
    cell_variant,
    get_cell,
    get_task,
    optimizer_variant,
    respelled,
    spell,
    task_variant,
)
from gradlab.tasks import TASKS

KNOWN = ", ".join(sorted(CELLS))
OWN = '''
import jax.numpy as jnp
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Leaky:
    """The state decays by `rate`."""
    rate: float = 0.5
    depth: int = 1
    on: bool = True
    kind: str = "plain"
    limit: Optional[float] = None

    def init(self, key, input_size, hidden_size):
        return {"w": jnp.ones((input_size, hidden_size))}

    def carry(self, params, batch_size):
        return jnp.zeros((batch_size, params["w"].shape[1]))

    def step(self, params, carry, x_t):
        h = self.rate * carry + x_t @ params["w"]
        return h, h

def make(rate: "float", hint="a"):
    return Leaky(rate)

fixed = Leaky(0.25)
nothing = 3

class Broken:
    def __init__(self):
        raise RuntimeError("no luck\\ntoday")

class Half:
    def init(self, key, input_size, hidden_size): ...
'''


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "mycell.py"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize(
    "text, canonical",
    [
        ("lstm", "lstm"),
        (" lstm ", "lstm"),
        ("lstm:forget_bias=1", "lstm"),
        ("lstm:forget_bias=1.0", "lstm"),
        ("lstm:forget_bias=3.0", "lstm:forget_bias=3"),
        ("lstm:forget_bias=3e0:forget_gate=true", "lstm:forget_bias=3"),
        ("lstm:gain=2:forget_bias=-1", "lstm:forget_bias=-1:gain=2"),
        ("lstm:forget_bias=-1.00:gain=2.", "lstm:forget_bias=-1:gain=2"),
        ("lstm:forget_gate=FALSE", "lstm:forget_gate=false"),
        ("rnn:gain=1e-3", "rnn:gain=0.001"),
        ("rnn:gain=1:activation=tanh:init=orthogonal", "rnn"),
        ("rnn:activation=relu:init=identity", "rnn:activation=relu:init=identity"),
        ("indrnn:t_max=50:activation=relu", "indrnn:t_max=50"),
        ("stacked:lstm", "stacked:lstm"),
        (" stacked:lstm:layers=2:norm=false", "stacked:lstm"),
        ("stacked:lstm:layers=3", "stacked:lstm:layers=3"),
        ("stacked:lstm:layers=3:forget_bias=3.0", "stacked:lstm:forget_bias=3:layers=3"),
        ("stacked:layers=3:lstm:forget_bias=3", "stacked:lstm:forget_bias=3:layers=3"),
        ("residual:gru:norm=TRUE:layers=2:gain=1.50", "residual:gru:gain=1.5:norm=true"),
        ("stacked:layers=3:residual:gru:layers=4:gain=2", "stacked:layers=3:residual:gru:gain=2:layers=4"),
        ("stacked:residual:gru:norm=true", "stacked:residual:gru:norm=true"),
        ("residual:norm=true:stacked:layers=1:gru", "residual:norm=true:stacked:gru:layers=1"),
    ],
)
def test_one_spelling_for_each_cell(text, canonical):
    variant = cell_variant(text)
    assert variant.name == canonical
    assert variant.source is None
    assert cell_variant(canonical).value == variant.value == get_cell(text)
    assert cell_variant(canonical).name == respelled(canonical) == canonical


def test_tasks_and_optimizers_are_spelt_the_same_way():
    assert task_variant("copy:symbols=10:alphabet=4").name == "copy:alphabet=4"
    assert get_task("copy:alphabet=4").alphabet == 4
    assert task_variant("adding:markers=anywhere").name == "adding:markers=anywhere"
    assert optimizer_variant("rmsprop:decay=0.90", 0.1).name == "rmsprop"
    assert optimizer_variant("sgd:momentum=.5", 0.1).name == "sgd:momentum=0.5"


@pytest.mark.parametrize("value", [0.1, 1e-7, 1e22, 3.0, 12345678.0, -0.0, True, "relu", 7])
def test_a_spelling_reads_back_as_the_same_value(value):
    text = spell(value)
    assert (text == "true") if value is True else type(value)(text) == value


@pytest.mark.parametrize(
    "make, text, words",
    [
        (get_cell, "lstn", f"unknown cell `lstn`: known are {KNOWN}; did you mean `lstm`?"),
        (get_cell, "GRU", "did you mean `gru`?"),
        (get_cell, "", f"unknown cell ``: known are {KNOWN}"),
        (get_cell, ":gain=1", "unknown cell ``"),
        (get_task, "ading", f"unknown task `ading`: known are {', '.join(sorted(TASKS))}; did you mean `adding`?"),
        (get_cell, "lstm:forgetbias=3", "did you mean `forget_bias`?"),
        (get_cell, "lstm:forget_bias", "`forget_bias` of `lstm` has no value: write option=value"),
        (get_cell, "lstm:forget_bias=", "has no value"),
        (get_cell, "lstm:", "has no value"),
        (get_cell, "lstm:forget_bias=1:forget_bias=2", "`forget_bias` of `lstm` is given twice"),
        (get_cell, "lstm:forget_bias=nan", "lstm:forget_bias is `nan`: give a finite number"),
        (get_cell, "lstm:forget_bias=inf", "is `inf`: give a finite number"),
        (get_cell, "lstm:forget_bias=high", "is `high`: give a finite number"),
        (get_cell, "lstm:forget_gate=1", "is `1`: give true or false"),
        (get_cell, "rnn:activation=tan", "did you mean `tanh`?"),
        (get_cell, "stacked", "cell `stacked` does not say of which cell: write stacked:lstm"),
        (get_cell, "residual:layers=2", "does not say of which cell: write residual:lstm"),
        (get_cell, "stacked::layers=2", "does not say of which cell"),
        (get_cell, "stacked:lstn", "unknown cell `lstn`"),
        (get_cell, "stacked:lstm:layer=3", "(options of stacked itself: layers, norm, dropout)"),
        (get_cell, "stacked:lstm:layers", "`layers` of `stacked` has no value"),
        (get_cell, "stacked:lstm:layers=2:layers=3", "`layers` of `stacked` is given twice"),
        (get_cell, "stacked:layers=2:lstm:layers=3", "`layers` of `stacked` is given twice"),
        (get_cell, "stacked:lstm:layers=two", "stacked:layers is `two`: give a whole number"),
        (get_cell, "residual:gru:layers=1", "nothing to add"),
        (get_cell, "residual:layers=3:stacked:lru:r_min=2", "r_min is 2 and r_max 1: give 0 ≤ r_min < r_max ≤ 1"),
        (get_cell, "stacked:cell=lstm", "does not say of which cell"),
        (get_cell, "stacked:lstm:cell=gru", "unknown option of cell lstm"),
        (get_cell, "rnn:init=chrono", "an rnn has no gate"),
        (get_task, "copy:symbols=2.5", "copy:symbols is `2.5`: give a whole number"),
        (get_task, "copy:symbols=0", "symbols is 0"),
        (get_task, "adding:markers=halfs", "did you mean `halves`?"),
        (get_cell, "./nowhere.py:Cell", "cell file `./nowhere.py` does not exist"),
        (get_cell, "no.such.module:Cell", "cannot be imported"),
        (get_cell, "./mycell.py", "say what in it, as in `./mycell.py:MyCell`"),
        (get_cell, "math.inf:gain=1", "say what in it"),
        (get_cell, "os.path:sep", "has no init, carry, step"),
        (get_cell, 3, "cell is 3: give its name"),
        (get_cell, "flax.nnx:GRUCel", "unknown cell in flax.nnx `GRUCel`: known are GRUCell"),
    ],
)
def test_what_is_wrong_what_is_allowed_and_the_nearest(make, text, words):
    with pytest.raises(GradlabError) as error:
        make(text)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    "text, words",
    [
        ("adm", "unknown optimizer `adm`: known are adam, rmsprop, sgd; did you mean `adam`?"),
        ("./x.py:Adam", "unknown optimizer"),
        ("adam:learning_rate=1", "unknown option of optimizer adam"),
        ("sgd:momentum=nan", "give a finite number"),
    ],
)
def test_optimizers_are_built_in_ones(text, words):
    with pytest.raises(GradlabError, match=words.replace("?", r"\?")):
        optimizer_variant(text, 0.1)


def test_own_cell_as_class_factory_and_instance(own):
    assert get_cell(f"{own}:Leaky").rate == 0.5
    assert get_cell(f"{own}:make:rate=0.75").rate == 0.75
    assert get_cell(f"{own}:fixed").rate == 0.25


def test_own_options_follow_the_signature(own):
    cell = get_cell(f"{own}:Leaky:rate=2:depth=3:on=false:kind=7:limit=4")
    assert (cell.rate, cell.depth, cell.on, cell.kind, cell.limit) == (2.0, 3, False, "7", 4.0)
    assert [type(value) for value in vars(cell).values()] == [float, int, bool, str, float]
    assert cell_variant(f"{own}:Leaky:kind=plain:rate=0.50").name == f"{own}:Leaky"


def test_a_stack_of_an_own_cell(own):
    variant = cell_variant(f"stacked:{own}:Leaky:layers=3:rate=0.10:kind=seven")
    assert variant.name == f"stacked:{own}:Leaky:kind=seven:layers=3:rate=0.1"
    assert variant.source == cell_variant(f"{own}:Leaky").source
    assert variant.value.layers == 3 and (variant.value.cell.rate, variant.value.cell.kind) == (0.1, "seven")
    assert cell_variant(variant.name).value == variant.value
    assert respelled(f"stacked:{own}:Leaky:rate=1e-1:layers=03") == f"stacked:{own}:Leaky:layers=3:rate=0.1"
    with pytest.raises(GradlabError, match="needs rate: write"):
        get_cell(f"stacked:{own}:make:layers=2")


@pytest.mark.parametrize(
    "rest, words",
    [
        ("Leeky", "did you mean `leaky`"),
        ("make", "a function that makes a cell, needs rate: write"),
        ("make:rate=fast", "give a finite number"),
        ("Leaky:depth=1.5", "give a whole number"),
        ("Leaky:rat=1", "did you mean `rate`?"),
        ("fixed:rate=1", "it takes no options"),
        ("nothing", "has no init, carry, step"),
        ("Half", "has no carry, step"),
        ("Broken", "cannot be made: RuntimeError: no luck today"),
    ],
)
def test_own_cell_that_cannot_be_made(own, rest, words):
    with pytest.raises(GradlabError) as error:
        get_cell(f"{own}:{rest}")
    assert words.lower() in str(error.value).lower() and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("import nosuchlibrary", "cannot be imported: No module named 'nosuchlibrary'"),
        ("1/0", "failed while it was loaded: ZeroDivisionError"),
        ("def broken(:", "failed while it was loaded: SyntaxError"),
        ("raise SystemExit(3)", "failed while it was loaded: SystemExit"),
    ],
)
def test_own_file_that_cannot_be_loaded(own, text, words):
    own.write_text(text)
    with pytest.raises(GradlabError, match=words):
        get_cell(f"{own}:Leaky")


@pytest.mark.parametrize(
    "functions, words",
    [
        ("def step(self, state, x): pass", "step of cell `{}` takes (state, x): give it step(params, carry, x_t)"),
        ("def carry(self): pass", "carry of cell `{}` takes (): give it carry(params, batch_size)"),
        ("def init(self, key): pass", "init of cell `{}` takes (key): give it init(key, input_size, hidden_size)"),
    ],
)
def test_functions_that_cannot_be_called_as_a_cell_is(own, functions, words):
    own.write_text(f"class Leaky:\n    init = carry = step = lambda self, *given: given\n    {functions}\n")
    with pytest.raises(GradlabError, match=re.escape(words.format(f"{own}:Leaky"))):
        get_cell(f"{own}:Leaky")


def test_source_digest_follows_the_file(own):
    before = cell_variant(f"{own}:Leaky")
    assert before.source == cell_variant(f"{own}:Leaky:rate=0.1").source
    own.write_text(OWN + "\n# the same cell, but who can tell\n")
    after = cell_variant(f"{own}:Leaky")
    assert after.source != before.source and after.name == before.name


def test_own_cell_from_a_module(own, monkeypatch):
    package = own.parent / "mypackage"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cells.py").write_text(OWN)
    monkeypatch.syspath_prepend(own.parent)
    try:
        variant = cell_variant("mypackage.cells:Leaky:rate=0.1")
        assert variant.name == "mypackage.cells:Leaky:rate=0.1" and variant.value.rate == 0.1
        assert variant.source == cell_variant(f"{own}:Leaky").source
    finally:
        for name in [name for name in sys.modules if name.startswith("mypackage")]:
            del sys.modules[name]
