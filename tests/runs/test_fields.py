"""A field of RunSpec is stated once: one line added to the class is found wherever fields are named."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gradlab.errors import GradlabError
from gradlab.runs.fields import parse_integers, parse_texts, spec_field, spec_fields
from gradlab.runs.spec import FIELDS, RunSpec

PACKAGE = Path(__file__).parents[2] / "gradlab"
LINE = '    depth: int = spec_field(1, "Layers", commands=_ALL, at_least=1, of_weights=True, later=True)\n'
SCRIPT = """
import contextlib, io, json, pathlib, sys

from gradlab.cli.app import main
from gradlab.errors import GradlabError
from gradlab.judge.suite import load_suite
from gradlab.report.data.records import Record
from gradlab.runs.grids import specs_of_options
from gradlab.runs.labels import labels
from gradlab.runs.spec import RunSpec, command
from gradlab.runs.store import Store
from gradlab.runs.sweeps import load_sweep

def printed(*words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main(list(words))
    return " ".join(out.getvalue().split())

default, deep = RunSpec(), RunSpec(depth=2)
found = {"id": default.id, "config": default.config(), "deep": deep.config(), "differs": deep.id != default.id}
try:
    RunSpec(depth=0)
except GradlabError as error:
    found["bound"] = str(error)
found["help"] = {name: printed(name, "--help") for name in ("run", "probe", "lesson")}
found["commands"] = [deep.command(), command(deep.config()), RunSpec(depth=3, steps=0).command()]
found["options"] = [spec.depth for spec in specs_of_options({"task": ["adding"], "depth": ["1-2,4"]})]

head = 'title = "t"\\nquestion = "q"\\n'
pathlib.Path("a.toml").write_text(head + "[grid]\\ndepth = [1, 2]\\n")
found["toml"] = [spec.depth for spec in load_sweep("a.toml").specs]
found["set"] = [spec.depth for spec in load_sweep("a.toml", ["depth=3-5"]).specs]
pathlib.Path("s.toml").write_text(head + "[[scenario]]\\nlength = 9\\n[[scenario]]\\nname = 'deep'\\ndepth = 2\\n")
found["suite"] = [dict(one.config).get("depth") for one in load_suite("s.toml").scenarios]

for spec in (default, deep):
    losses = dict.fromkeys(("final", "test", "chance", "solved"))
    nothing = dict.fromkeys(("reason", "solved_at", "diverged"))
    done = {"status": "failed", "training_steps": 0, "losses": losses, "summary": {}} | nothing
    Store("results").begin(spec.id, spec.config()).finish(done)
found["ls"] = json.loads(printed("ls", "--where", "depth>=2", "--sort", "depth", "--results", "results", "--json"))
found["ids"] = [deep.id]
records = [Record(run, [], {}) for run in Store("results").each()]
settings = sorted((record.setting for record in records), key=lambda each: each.get("depth", 1))
found["labels"] = labels(settings)
found["order"] = list(settings[1])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a copy of the package says whose RunSpec has one line more."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, root / "gradlab", ignore=shutil.ignore_patterns("__pycache__"))
    path = root / "gradlab" / "runs" / "spec.py"
    before, middle, after = path.read_text().partition("    params: str | None")
    path.write_text(before + LINE + middle + after)
    env = os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu", "COLUMNS": "300"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_run_is_renamed(found):
    assert found["id"] == RunSpec().id and found["config"] == RunSpec().config()
    assert found["deep"] == RunSpec().config() | {"depth": 2} and found["differs"]


def test_it_is_checked(found):
    assert found["bound"] == "depth is 0: give a whole number of at least 1"


@pytest.mark.parametrize("command", ["run", "probe", "lesson"])
def test_it_is_an_option(found, command):
    assert "--depth" in found["help"][command] and "Layers (default: 1)." in found["help"][command]


def test_the_options_make_a_grid(found):
    assert found["options"] == [1, 2, 4]


def test_it_is_in_the_command_that_repeats_a_run(found):
    assert all("--depth" in command for command in found["commands"])
    assert found["commands"][2] == "gradlab probe adding --cell lstm --len 200 --depth 3"


def test_it_is_a_key_of_sweeps_and_suites(found):
    assert (found["toml"], found["set"], found["suite"]) == ([1, 2], [3, 4, 5], [None, 2])


def test_it_is_a_column_and_a_condition_of_ls(found):
    assert [run["id"] for run in found["ls"]["runs"]] == found["ids"]


def test_it_is_in_labels_and_in_their_order(found):
    assert found["labels"] == ["LSTM", "LSTM, depth 2"]
    assert [name for name in found["order"] if name in FIELDS or name == "depth"][:2] == ["task", "cell"]
    assert found["order"].index("depth") == found["order"].index("dtype") + 2


@pytest.mark.parametrize("name, each", FIELDS.items())
def test_every_field_says_what_it_is(name, each):
    assert each.help and not each.help.endswith(".") and each.kind in (int, float, str)
    assert each.checked(each.default) == each.default
    assert each.derived or each.commands, "a field that can be set has an option"
    assert all(isinstance(choice, str) for choice in each.choices)
    assert not each.later or name not in RunSpec().config()


def test_metadata_has_no_unknown_key():
    good = dataclasses.make_dataclass("Good", [("depth", int, spec_field(1, "Layers", at_least=1))])
    assert spec_fields(good)["depth"].at_least == 1
    wrong = dataclasses.make_dataclass("Wrong", [("depth", int, spec_field(1, "Layers", atleast=1))])
    with pytest.raises(TypeError, match="atleast"):
        spec_fields(wrong)


def test_lists_of_values():
    assert FIELDS["length"].parse("--len", ["50,100"]) == [50, 100]
    assert FIELDS["learning_rate"].parse("--learning-rate", ["1e-3"]) == [0.001]
    assert FIELDS["cell"].parse("--cell", [" rnn ,lstm", "gru"]) == ["rnn", "lstm", "gru"]
    for call, words in (
        (lambda: parse_texts("--cell", ["a,,b"]), "--cell is `a,,b`: give a value"),
        (lambda: parse_integers("--seed", ["3-1"]), "a reversed range: write 1-3"),
        (lambda: parse_integers("--seed", ["0-100000"]), "100001 values: give a shorter range"),
        (lambda: parse_integers("--seed", ["x"]), "give a whole number, a list or a range"),
    ):
        with pytest.raises(GradlabError, match=words):
            call()
