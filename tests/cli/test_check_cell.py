"""`gradlab check-cell`: its table, its JSON, its exit codes."""

import inspect
import json
import re
from pathlib import Path

import faults
import literature
import pytest

import gradlab
from gradlab.gradient.examination.examine import examine

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A file with faulty cells."""
    path = tmp_path_factory.mktemp("own") / "own.py"
    parts = (literature.dense, literature.Plain, faults.BatchNormalised, faults.Unused)
    imports = "import jax\nimport jax.numpy as jnp\n"
    path.write_text(imports + "\n".join(inspect.getsource(part) for part in parts))
    return path


def test_a_faulty_cell_exits_with_1_and_says_what_to_do(typed, own, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = typed("check-cell", f"{own}:BatchNormalised", "--hidden", "4", "--batch", "3")
    lines = out.splitlines()
    assert (code, err) == (1, "")
    assert lines[0].endswith("own.py:BatchNormalised: 2 faults in 20 findings")
    assert lines[2].split() == ["verdict", "examination", "number", "finding"]
    assert lines[3].startswith("fault   ") and "batch statistics?" in " ".join(out.split())
    end = lines.index("", 3)
    assert all(line.startswith(("fault ", "note ", "ok ", " ")) for line in lines[3:end])
    assert " ".join(lines[end + 1 : -1]).startswith(
        "with 3 Gaussian inputs and 4 units: growth and memory are of these"
    )
    assert lines[-1] == "next: mend the first fault and run this again"
    assert max(len(line) for line in lines[2:]) <= 80


LEAVES = """
import os
import signal


def made(how: str):
    os.kill(os.getpid(), signal.SIGKILL) if how == "killed" else os._exit(7)
"""


@pytest.mark.parametrize(("how", "words"), [("killed", "SIGKILL"), ("left", "exit code 7")])
def test_a_cell_that_ends_the_process_is_told_of(typed, tmp_path, how, words):
    (tmp_path / "leaves.py").write_text(LEAVES)
    code, out, err = typed("check-cell", f"{tmp_path}/leaves.py:made:how={how}")
    assert (code, out) == (1, "") and len(err.splitlines()) == 1
    assert f"leaves.py:made:how={how} ended the process in which it was examined ({words})" in err


def test_json_has_the_fields_of_the_page(typed, own):
    code, out, err = typed("check-cell", f"{own}:BatchNormalised", "--seed", "3", "--hidden", "4", "--json")
    found = json.loads(out)
    assert (code, err) == (1, "")
    assert list(found) == ["cell", "like", "sizes", "ok", "findings"]
    assert found["cell"].endswith("own.py:BatchNormalised") and found["like"] is None and found["ok"] is False
    assert found["sizes"] == {"input_size": 3, "hidden": 4, "batch": 4, "seed": 3}
    for one in found["findings"]:
        assert list(one) == ["name", "verdict", "number", "text"]
        assert one["verdict"] in ("ok", "note", "fault") and isinstance(one["number"], (int, float, type(None)))


def test_a_built_in_cell_passes_with_all_examinations(typed):
    code, out, err = typed("check-cell", "rnn", "--like", "rnn:gain=1", "--json")
    found = json.loads(out)
    assert (code, err, found["ok"], found["like"]) == (0, "", True, "rnn")
    names = [one["name"] for one in found["findings"]]
    assert names[:4] == ["shapes", "determinism", "float64", "start"]
    assert {"instrument", "curve", "growth", "memory", "derivative", "extremes"} <= set(names)
    page = (Path(__file__).parents[2] / "docs" / "check-cell.md").read_text()
    assert set(names) <= set(re.findall(r"^\| `(.*?)` \|", page, re.MULTILINE))
    numbers = {one["name"]: one["number"] for one in found["findings"]}
    assert numbers["instrument"] < 1e-6 and numbers["derivative"] < 1e-4 and -1 < numbers["growth"] < 0


@pytest.mark.parametrize(
    "words, message",
    [
        (["lstn"], "unknown cell `lstn`"),
        (["./nothing.py:Cell"], "does not exist"),
        (["lstm:forget_bias=high"], "forget_bias"),
        (["lstm", "--like", "gry"], "unknown cell `gry`"),
        (["lstm", "--batch", "1"], "--batch"),
        (["rnn", "--like", "lstm", "--hidden", "2"], "--like lstm compares at equal weights"),
        ([], "SPEC"),
    ],
)
def test_a_wrong_spec_is_one_line(typed, words, message):
    code, out, err = typed("check-cell", *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and err.startswith("gradlab: ") and message in err
    assert "Traceback" not in err


def test_python_gives_the_same_findings(own):
    cell = gradlab.get_cell(f"{own}:BatchNormalised")
    told = []
    found = gradlab.check_cell(cell, on_finding=told.append)
    assert found == list(examine(cell)) and told == [f"examined: {one.name}" for one in found]
