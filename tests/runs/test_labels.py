"""What settings are called: no two alike, by what differs and nothing else, and of whose code they are."""

import itertools
import json
import random
import re
from pathlib import Path

import pytest
from synthetic import CONFIG, falling, put

from gradlab.report.data.records import grouped, labels, read
from gradlab.report.page.write import write_report
from gradlab.runs.labels import cell_labels, describe, varying
from gradlab.runs.labels import labels as setting_labels
from gradlab.runs.spec import RunSpec, command
from gradlab.runs.store import Store

OWN = """
import jax.numpy as jnp
class LSTM:
    def __init__(self, rate: float = 0.5): self.rate = rate
    def init(self, key, input_size, hidden_size): return {"w": jnp.ones((input_size, hidden_size))}
    def carry(self, params, batch_size): return jnp.zeros((batch_size, params["w"].shape[1]))
    def step(self, params, carry, x_t): return 2 * (self.rate * carry + x_t @ params["w"],)
"""
VALUES = {
    "cell": ["lstm", "rnn:gain=1.5", "a.py:LSTM", "b/a.py:LSTM", "c/b/a.py:LSTM", "/abs/a.py:LSTM", "pkg.a:LSTM"],
    "hidden": [4, 8],
    "batch": [2, 4],
    "clip": ["none", "norm:1"],
    "learning_rate": [0.01, 0.1, 0.0100000001],
    "steps": [0, 5, 10],
    "dtype": ["float32", "float64"],
    "params": ["none", "a-run"],
    "numerics": [1, 2],
    "cell_source": [None, "0123456789abcdef", "0123fedcba987654"],
}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "sub"):
        folder.mkdir(exist_ok=True)
        (folder / "lstm.py").write_text(OWN)
    return tmp_path


def drawn(draw):
    """Some settings of one task and length that differ in up to four fields."""
    fields = draw.sample(sorted(VALUES), draw.randint(1, 4))
    choices = [draw.sample(VALUES[name], draw.randint(1, len(VALUES[name]))) for name in fields]
    base = {"task": "adding", "length": 9} | {name: values[0] for name, values in VALUES.items()}
    settings = [base | dict(zip(fields, values, strict=True)) for values in itertools.product(*choices)]
    return draw.sample(settings, min(len(settings), 12))


def test_labels_tell_settings_apart_by_what_differs_and_nothing_else():
    draw = random.Random(0)
    for settings in (drawn(draw) for _ in range(300)):
        found = setting_labels(settings)
        assert len(set(found)) == len(settings), found
        cells = cell_labels({setting["cell"] for setting in settings})
        for label, setting in zip(found, settings, strict=True):
            cell, *words = label.split(", ")
            assert cell == cells[setting["cell"]]
            rivals = [other for other in settings if other["cell"] == setting["cell"]]
            differing = {describe(name, setting[name]) for name in varying(rivals)}
            assert set(words) <= differing | {"probe"}, "a word that tells nothing"
            assert len(rivals) > 1 or not words


class Counted(dict):
    """A setting that counts how often a field is looked up."""

    reads = 0

    def get(self, *key):
        Counted.reads += 1
        return super().get(*key)


def test_the_work_for_labels_is_linear_in_their_number():
    counts = []
    for count in (100, 200):
        Counted.reads = 0
        settings = [Counted(cell="lstm", task="adding", length=9, hidden=hidden) for hidden in range(count)]
        assert len(set(setting_labels(settings))) == count
        counts.append(Counted.reads)
    assert counts[1] < 2.1 * counts[0]


def test_what_only_says_what_is_recorded_is_left_out_at_its_default():
    settings = [
        {"cell": "lstm", "task": "adding", "length": 9, "measure": each} for each in ("checkpoints", "every")
    ]
    assert setting_labels(settings) == ["LSTM", "LSTM, measure every"]


@pytest.mark.parametrize(
    "cells, expected",
    [
        (["lstm", "a.py:LSTM"], ["LSTM", "a.py:LSTM"]),
        (["a.py:LSTM", "b.py:LSTM:rate=2"], ["a.py:LSTM", "b.py:LSTM rate=2"]),
        (["x/a.py:LSTM", "y/a.py:LSTM", "b.py:C"], ["x/a.py:LSTM", "y/a.py:LSTM", "b.py:C"]),
        (["a.py:LSTM", "sub/a.py:LSTM"], ["a.py:LSTM", "sub/a.py:LSTM"]),
        (["/home/u/x/a.py:C", "/home/v/x/a.py:C"], ["u/x/a.py:C", "v/x/a.py:C"]),
        (["/home/u/x/a.py:C"], ["a.py:C"]),
        (["a.py:C", "./a.py:C"], ["a.py:C", "./a.py:C"]),  # as they were stored before one file had one name
        (["pkg.mod:make:gain=2", "pkg.other:make"], ["pkg.mod:make gain=2", "pkg.other:make"]),
    ],
)
def test_of_a_path_as_much_as_it_takes(cells, expected):
    assert list(cell_labels(cells).values()) == expected


def test_an_own_cell_is_never_taken_for_the_built_in_one(project, typed, monkeypatch):
    """`lstm.py:LSTM`, the one in a folder, and gradlab's: in ids, tables, labels and the page."""
    monkeypatch.setenv("COLUMNS", "160")  # a narrow terminal folds names
    cells = "lstm,lstm.py:LSTM,sub/lstm.py:LSTM"
    words = ["probe", "adding", "--cell", cells, "--len", "4", "--hidden", "2", "--measure-batch", "2"]
    code, out, err = typed(*words, "--results", "results", "--jobs", "1")
    assert code == 0, err
    rows = [line.split()[0] for line in out.splitlines() if "held +" in line or "held -" in line]
    assert set(rows) == {"lstm", "lstm.py:LSTM", "sub/lstm.py:LSTM"}
    ids = sorted(run.id for run in Store("results").each())
    assert [name.rpartition("-")[0] for name in ids].count("adding-lstm-T4-s0") == 1
    assert [name.rpartition("-")[0] for name in ids].count("adding-lstm.lstm-T4-s0") == 2
    assert labels(grouped(read("results", print))) == ["LSTM", "lstm.py:LSTM", "sub/lstm.py:LSTM"]
    write_report(Path("results"), print)
    page = (project / "results" / "report" / "index.html").read_text()
    assert ">lstm.py:LSTM<" in page and ">sub/lstm.py:LSTM<" in page


def test_two_versions_of_a_cell_are_two_settings_and_no_two_seeds(project, typed):
    words = ["probe", "adding", "--cell", "lstm.py:LSTM", "--len", "4", "--hidden", "2", "--measure-batch", "2"]
    sources = []
    for rate in ("0.5", "0.9"):
        (project / "lstm.py").write_text(OWN.replace("0.5", rate))
        assert typed(*words, "--results", "results", "-q")[0] == 0
        sources.append(RunSpec(cell="lstm.py:LSTM", length=4).cell_source[:8])
    groups = grouped(read("results", print))
    assert [len(group) for group in groups] == [1, 1]
    assert sorted(labels(groups)) == sorted(f"lstm.py:LSTM, source {source}" for source in sources)


def test_two_numerics_of_a_run_are_two_settings(tmp_path):
    path = put(tmp_path, [falling(1.0)], numerics=1)
    path.rename(path.with_name("older"))
    put(tmp_path, [falling(2.0)])
    assert sorted(labels(grouped(read(tmp_path, print)))) == [
        "LSTM, numerics 1",
        f"LSTM, numerics {CONFIG['numerics']}",
    ]


def test_the_tables_of_a_grid_show_what_varies(typed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")  # a narrow terminal folds names
    words = ["run", "adding", "--cell", "rnn:gain=1.5", "--len", "3", "--hidden", "2", "--batch", "2"]
    words += ["--measure-batch", "2", "--steps", "1", "--seed", "0,1", "--clip", "none,norm:1"]
    words += ["--jobs", "1", "--results", "results"]
    code, out, err = typed(*words)
    assert code == 0, err
    heads = [line.split() for line in out.splitlines() if line.startswith("cell")]
    assert heads[0][:4] == ["cell", "length", "clip", "seed"]
    assert heads[1][:3] == ["cell,", "length,", "clip"]
    rows = [line.split()[:4] for line in out.splitlines() if re.match(r"rnn:gain=1\.5 +3 [^,]*$", line)]
    assert len({tuple(row) for row in rows}) == len(rows) == 4
    assert "rnn:gain=1.5 3, clip none" in out and "rnn:gain=1.5 3, clip norm:1" in out
    assert "hidden" not in "".join(heads[0])
    seeds = json.loads(typed(*words, "--json", "-q")[1])["seeds"]
    assert [row["clip"] for row in seeds] == ["none", "norm:1"] and all("hidden" not in row for row in seeds)


def test_the_digests_of_sources_are_no_options_of_a_command(project):
    spec = RunSpec(cell="lstm.py:LSTM", length=4, steps=0)
    assert "source" not in command(spec.config()) and "source" not in spec.command()
