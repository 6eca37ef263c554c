"""RunSpec: what is refused, what names a run, and the command that asks for it again."""

import dataclasses
import json
import re
import shlex

import numpy as np
import pytest
from attempts import ended

from gradlab.cli import run as cli
from gradlab.cli.app import app
from gradlab.errors import GradlabError
from gradlab.runs.spec import NUMERICS, STORE, RunSpec

OWN = """
import jax.numpy as jnp
class MyCell:
    def __init__(self, gain: float = 1.0): self.gain = gain
    def init(self, key, input_size, hidden_size): return {"w": jnp.ones((input_size, hidden_size))}
    def carry(self, params, batch_size): return jnp.zeros((batch_size, params["w"].shape[1]))
    def step(self, params, carry, x_t): return 2 * (carry, x_t @ params["w"])
"""


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("task", "ading", "did you mean `adding`?"),
        ("task", 3, "task is 3: give a text"),
        ("cell", "lstn", "did you mean `lstm`?"),
        ("cell", None, "cell is None: give a text"),
        ("length", 0, "length is 0: give a whole number of at least 1"),
        ("length", -5, "length is -5"),
        ("length", 1, "length is 1: adding needs at least 2"),
        ("length", 20.0, "length is 20.0: give a whole number"),
        ("length", "20", "give a whole number"),
        ("length", True, "length is True: give a whole number"),
        ("hidden", 0, "hidden is 0"),
        ("batch", 0, "batch is 0"),
        ("seed", -1, "seed is -1: give a whole number of at least 0"),
        ("seed", 2**32, "below 2**32"),
        ("steps", -1, "steps is -1"),
        ("measure_batch", 0, "measure_batch is 0"),
        ("optimizer", "adm", "did you mean `adam`?"),
        ("optimizer", 0.1, "optimizer is 0.1: give a text"),
        ("learning_rate", 0.0, "learning_rate is 0.0: give a positive number"),
        ("learning_rate", -1e-3, "learning_rate is -0.001: give a positive number"),
        ("learning_rate", float("nan"), "learning_rate is `nan`: give a finite number"),
        ("learning_rate", float("inf"), "give a finite number"),
        ("learning_rate", "fast", "learning_rate is `fast`"),
        ("learning_rate", None, "learning_rate is `None`"),
        ("learning_rate", True, "give a finite number"),
        ("clip", "norm:0", "clip limit is 0.0: give a positive number"),
        ("clip", "value:-1", "give a positive number"),
        ("clip", "norm:nan", "clip limit is `nan`"),
        ("clip", "norm:inf", "clip limit is `inf`"),
        ("clip", "nrm:1", "did you mean `norm`?"),
        ("clip", "none:1", "unknown clip"),
        ("stop", "solve", "did you mean `solved`?"),
        ("stop", None, "stop is None: give a text"),
        ("dtype", "float16", "known are float32, float64"),
        ("measure", "end", "did you mean `ends`?"),
        ("params", "some-run", "params with steps=5000: trained weights can only be measured, give steps=0"),
    ],
)
def test_every_field_is_checked(field, value, words):
    with pytest.raises(GradlabError) as error:
        RunSpec(**{field: value})
    assert words in str(error.value) and "\n" not in str(error.value)


def test_params_has_to_be_a_name():
    with pytest.raises(GradlabError, match="params is 3: give a text"):
        RunSpec(steps=0, params=3)


def test_whole_numbers_of_numpy_are_whole_numbers():
    spec = RunSpec(length=np.int64(20), seed=np.uint32(3), learning_rate=np.float64(0.5))
    assert spec == RunSpec(length=20, seed=3, learning_rate=0.5)
    assert type(spec.length) is int and type(spec.learning_rate) is float
    assert spec.id == RunSpec(length=20, seed=3, learning_rate=0.5).id


def test_a_spec_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunSpec().length = 3


def test_an_unknown_field_is_an_error_that_names_the_nearest():
    with pytest.raises(GradlabError, match="did you mean `hidden`"):
        RunSpec.from_dict({"hiden": 8})
    assert RunSpec.from_dict({"hidden": 8, "length": 9}) == RunSpec(hidden=8, length=9)


def test_ids_stay_what_they_are(monkeypatch):
    # This string names a run on other people's disks: a change here renames every one of them. Fields added later
    # are left at their default.
    monkeypatch.setattr("gradlab.runs.spec.NUMERICS", 1)
    spec = RunSpec(
        task="copy:symbols=5",
        cell="rnn:gain=0.5",
        length=30,
        hidden=8,
        batch=4,
        seed=7,
        optimizer="rmsprop:decay=0.8",
        learning_rate=0.01,
        clip="norm:2",
        steps=100,
        stop="never",
        dtype="float64",
        measure="ends",
        measure_batch=16,
    )
    assert spec.id == "copy-symbols=5-rnn-gain=0.5-T30-s7-706df185"


def test_an_id_follows_the_content_and_not_the_spelling():
    same = [
        RunSpec(cell="lstm:gain=1:forget_bias=2", clip="norm:1", learning_rate=1e-2),
        RunSpec(cell="lstm:forget_bias=2.0", clip="1", learning_rate=0.01),
        RunSpec(cell=" lstm:forget_bias=2", clip="norm:1.00", length=200),
    ]
    assert len({spec.id for spec in same}) == len(set(same)) == 1


def test_every_field_changes_the_id():
    other = {
        "task": "copy",
        "cell": "gru",
        "length": 201,
        "hidden": 65,
        "batch": 33,
        "seed": 1,
        "optimizer": "adam:b1=0.8",
        "learning_rate": 0.011,
        "clip": "none",
        "steps": 5001,
        "stop": "never",
        "dtype": "float64",
        "measure": "ends",
        "measure_batch": 65,
        "measure_inputs": "yes",
        "window": 50,
        "also": "credit",
    }
    later = {"params", "cell_source", "task_source"}
    assert set(other) | later == {field.name for field in dataclasses.fields(RunSpec)}
    ids = {RunSpec(**{name: value}).id for name, value in other.items()}
    ids |= {RunSpec().id, RunSpec(steps=0).id, RunSpec(steps=0, params="a-run").id}
    assert len(ids) == len(other) + 3


def test_config_is_plain_sorted_and_complete():
    config = RunSpec().config()
    assert list(config) == sorted(config)
    assert json.loads(json.dumps(config)) == config
    assert (config["store"], config["numerics"]) == (STORE, NUMERICS)
    named = {field.name for field in dataclasses.fields(RunSpec)}
    assert set(config) - {"store", "numerics"} == named - {
        "params",
        "measure_inputs",
        "window",
        "also",
        "cell_source",
        "task_source",
    }


def test_fields_that_came_later_are_left_out_at_their_default():
    assert {"params", "measure_inputs", "window", "also"}.isdisjoint(RunSpec(steps=0).config())
    assert RunSpec(steps=0, params="a-run").config()["params"] == "a-run"


@pytest.mark.parametrize("cell", ["rnn", "lstm:forget_bias=-2.5:gain=3", "{folder}/MY Cell ü.py:MyCell:gain=2"])
def test_a_name_is_made_of_few_characters(cell, tmp_path):
    (tmp_path / "MY Cell ü.py").write_text(OWN)
    name = RunSpec(cell=cell.format(folder=tmp_path)).id
    assert re.fullmatch(r"[a-z0-9._=-]+-T200-s0-[0-9a-f]{8}", name)


def test_the_source_of_an_own_cell_is_part_of_the_id(tmp_path):
    path = tmp_path / "mycell.py"
    path.write_text(OWN)
    before = RunSpec(cell=f"{path}:MyCell")
    assert before.id.startswith("adding-mycell.mycell-T200-s0-")
    assert before.config()["cell_source"] == before.cell_source != RunSpec().cell_source
    path.write_text(OWN.replace("ones", "zeros"))
    assert RunSpec(cell=f"{path}:MyCell").id != before.id
    with pytest.raises(GradlabError, match="changed while this run was waiting"):
        before.build_cell()
    path.write_text(OWN)
    assert before.build_cell().gain == 1.0 and RunSpec(cell=f"{path}:MyCell").id == before.id


class Caught(Exception):
    pass


@pytest.fixture
def typed(monkeypatch, tmp_path):
    """The specs that a command line asks for."""
    monkeypatch.setenv("GRADLAB_RESULTS", str(tmp_path))
    specs = []
    monkeypatch.setattr(cli, "carry_out", lambda store, asked, *rest, **more: specs.extend(asked) or 0)

    def specs_of(command):
        program, *words = shlex.split(command)
        assert program == "gradlab"
        specs.clear()
        app(args=words, standalone_mode=False)
        return list(specs)

    return specs_of


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"steps": 0},
        {"steps": 0, "batch": 8},
        {"task": "copy:symbols=3", "cell": "rnn:gain=0.5:activation=relu", "length": 7, "seed": 4294967295},
        {"learning_rate": 1e-07, "clip": "value:0.25", "optimizer": "sgd:momentum=0.9", "stop": "never"},
        {"dtype": "float64", "measure": "ends", "measure_batch": 3, "hidden": 5, "batch": 2, "steps": 9},
        {"clip": "none", "steps": 0, "dtype": "float64", "measure_batch": 3, "hidden": 5},
    ],
)
def test_the_command_asks_for_the_same_run(typed, fields):
    spec = RunSpec(**fields)
    assert [again.id for again in typed(spec.command())] == [spec.id]


def test_the_command_of_a_plain_probe_is_short():
    assert RunSpec(steps=0, length=50).command() == "gradlab probe adding --cell lstm --len 50"


def test_the_command_quotes_a_path(typed, tmp_path):
    path = tmp_path / "my cell; rm x.py"
    path.write_text(OWN)
    spec = RunSpec(cell=f"{path}:MyCell:gain=2", steps=3)
    assert [again.id for again in typed(spec.command())] == [spec.id]


def test_the_command_for_trained_weights_says_what_their_run_would_not(typed, tmp_path):
    from gradlab.runs.store import Store

    source = RunSpec(length=9, hidden=7, dtype="float64", seed=3)
    Store(tmp_path).begin(source.id, source.config()).finish(ended())
    spec = RunSpec(length=20, hidden=64, dtype="float32", seed=0, steps=0, params=source.id)
    assert [again.id for again in typed(spec.command())] == [spec.id]
    (short,) = typed(f"gradlab probe adding --params {source.id} --len 20")
    assert (short.hidden, short.dtype, short.seed, short.length) == (7, "float64", 3, 20)
