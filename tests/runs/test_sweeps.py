"""From a sweep's file to its runs, and the list that is kept of them."""

import itertools
import json
import os
from pathlib import Path

import damages
import pytest
from sweeping import BASE, CELL, write_toml

from gradlab.cli.app import main
from gradlab.errors import GradlabError
from gradlab.judge.suite import suite_names
from gradlab.runs.spec import RunSpec
from gradlab.runs.sweeps import load_sweep, shard, store_sweep, stored_sweep, sweep_names

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def write(tmp_path):
    """Writes a file of its own text below `title` and `question`."""

    def write_(text, head='title = "t"\nquestion = "q"\n'):
        path = tmp_path / "trial.toml"
        path.write_text(head + text)
        return path

    return write_


# ---------------------------------------------------------------- the grid


def test_a_grid_is_every_combination_in_order(tmp_path):
    grid = {"cell": ["rnn", "lstm"], "length": [5, 6], "seed": [0, 1]}
    sweep = load_sweep(write_toml(tmp_path / "a.toml", grid=grid, budget={"steps": 7, "minutes": 1.5}))
    asked = [(spec.cell, spec.length, spec.seed) for spec in sweep.specs]
    assert asked == list(itertools.product(*grid.values()))
    assert sweep.specs[0] == RunSpec(**BASE | {"cell": "rnn", "length": 5, "seed": 0, "steps": 7})
    assert (sweep.name, sweep.title, sweep.question, sweep.source) == ("a", "A trial", "Does it work?", None)
    assert sweep.minutes == 1.5 and sweep.overrides == ()


def test_what_is_varied_changes_alone(tmp_path):
    vary = {"learning_rate": [0.1, 0.2], "clip": ["none"]}
    sweep = load_sweep(write_toml(tmp_path / "a.toml", grid={"seed": [0, 1]}, vary=vary))
    asked = [(spec.learning_rate, spec.clip, spec.seed) for spec in sweep.specs]
    points = [(0.01, "norm:1"), (0.1, "norm:1"), (0.2, "norm:1"), (0.01, "none")]
    assert asked == [(*point, seed) for point in points for seed in (0, 1)]


def test_the_command_line_replaces_fields(tmp_path):
    path = write_toml(tmp_path / "a.toml", grid={"seed": [0, 1]}, vary={"clip": ["none"]})
    sets = ["seed=4-6", "clip=value:1,value:2", "hidden=3", "length=8,9", "learning_rate=1e-3", "steps=2"]
    sweep = load_sweep(path, sets, name="other")
    assert (sweep.name, sweep.overrides) == ("other", tuple(sets))
    assert {spec.seed for spec in sweep.specs} == {4, 5, 6} and len(sweep.specs) == 3 * 3 * 2
    assert {spec.clip for spec in sweep.specs} == {"norm:1", "value:1", "value:2"}
    assert {(spec.hidden, spec.learning_rate, spec.steps) for spec in sweep.specs} == {(3, 0.001, 2)}
    assert {spec.length for spec in sweep.specs} == {8, 9}
    assert {spec.seed for spec in load_sweep(path, ["seed=7"]).specs} == {7}


@pytest.mark.parametrize(
    "text, words",
    [
        ("[base", "is not TOML"),
        ("titel = 1", "unknown key in {file} `titel`"),
        ("[budgett]\nsteps = 1", "did you mean `budget`?"),
        ("[claim]\nslope = 1", "unknown key in {file} `claim`"),
        ("[base]\nlenght = 5", "unknown field in [base] of {file} `lenght`"),
        ("[base]\nlenght = 5", "did you mean `length`?"),
        ("[grid]\nseeds = [1]", "did you mean `seed`?"),
        ("[[vary]]\nclips = ['none']", "did you mean `clip`?"),
        ("[budget]\nstep = 3", "unknown key in [budget] of {file} `step`"),
        ("[base]\ncell_source = 'x'", "unknown field"),
        ("[base]\nlength = [5, 6]", "length in [base] of {file} is [5, 6]: give one value"),
        ("[grid]\nlength = 5", "length in [grid] of {file} is 5: give a list of values"),
        ("[grid]\nlength = []", "give a list of values"),
        ("[grid]\nlength = [[5]]", "give plain values"),
        ("[grid]\nseed = [1, 2, 1]", "seed in [grid] of {file} has 1 twice"),
        ("[grid]\nlearning_rate = [0.1, 0.10]", "twice"),
        ("[grid]\ncell = ['lstm', 'lstm:forget_bias=1']", "twice: name each run once"),
        ("[[vary]]\nlength = [200]", "twice: name each run once, and in [[vary]] only what differs from the base"),
        ("[base]\nseed = 1\n[grid]\nseed = [1]", "seed stands in [base] and in [grid]"),
        ("[base]\nsteps = 1\n[budget]\nsteps = 1", "steps stands in [base] and in [budget]"),
        ("[[vary]]\nseed = [1]\n[[vary]]\nseed = [2]", "seed stands in [[vary]] and in [[vary]]"),
        ("[grid]\nseed = [1]\n[[vary]]\nseed = [2]", "seed stands in [grid] and in [[vary]]"),
        ("vary = 3", "vary in {file} is 3: give tables, [[vary]]"),
        ("base = 3", "base in {file} is 3: give a table, [base]"),
        ("[base]\nlength = 'x'", "length is x: give a whole number"),
        ("[base]\nlength = 5.0", "length is 5.0: give a whole number"),
        ("[base]\nseed = true", "seed is True: give a whole number"),
        ("[base]\ncell = 3", "cell is 3: give a text"),
        ("[base]\ncell = 'lstn'", "did you mean `lstm`?"),
        ("[base]\nlearning_rate = true", "learning_rate is `True`: give a finite number"),
        ("[budget]\nminutes = 0", "minutes in [budget] of {file} is 0: give a positive number"),
        ("[budget]\nminutes = 'long'", "give a positive number"),
        ("[budget]\nsteps = -1", "steps is -1"),
        ("[grid]\nseed = [" + ", ".join(map(str, range(400))) + "]\nhidden = ["
         + ", ".join(map(str, range(1, 400))) + "]", "asks for 159600 runs: at most 100000"),
        ("source = 5", "source in {file} is 5: give a text"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_told_in_one_line(write, text, words):
    path = write(text)
    with pytest.raises(GradlabError) as error:
        load_sweep(path)
    assert words.format(file=path) in str(error.value)
    if "TOML" not in words:
        assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("title = 't'\n", "has no question: give question ="),
        ("question = 'q'\n", "has no title: give title ="),
        ("", "has no title and no question: give title ="),
        ("title = ' '\nquestion = 'q'\n", "title in .* is ' ': give a text"),
        ("title = 't'\nquestion = 3\n", "question in .* is 3: give a text"),
    ],
)
def test_what_a_file_has_to_say(write, head, words):
    with pytest.raises(GradlabError, match=words):
        load_sweep(write("", head=head))


@pytest.mark.parametrize(
    "sets, words",
    [
        (["lenght=3"], "unknown field in --set `lenght`"),
        (["length"], "--set `length`: write field=value"),
        (["length=x"], "--set length is `x`: give a whole number"),
        (["length=5", "length=6"], "--set length is given twice"),
        (["seed=1,1"], "has 1 twice"),
        (["seed="], "--set seed is ``"),
    ],
)
def test_a_mistake_in_what_is_set(write, sets, words):
    with pytest.raises(GradlabError) as error:
        load_sweep(write(""), sets)
    assert words in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(GradlabError, match=r"nowhere\.toml` cannot be read: No such file"):
        load_sweep(tmp_path / "nowhere.toml")
    with pytest.raises(GradlabError, match="give letters, digits"):
        load_sweep(write_toml(tmp_path / "a.toml"), name="../a")


# ---------------------------------------------------------------- shards


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_share_the_whole(tmp_path, count):
    specs = load_sweep(write_toml(tmp_path / "a.toml", grid={"seed": list(range(60))})).specs
    parts = [shard(specs, number, count) for number in range(1, count + 1)]
    assert sorted(spec.id for part in parts for spec in part) == sorted(spec.id for spec in specs)
    assert all(parts), "some shard has nothing to do"
    fewer = shard(specs[:10], 1, count)
    assert fewer == [spec for spec in parts[0] if spec in specs[:10]], "it depends on each id alone"


# ---------------------------------------------------------------- what is kept


def test_a_sweep_is_kept_and_found(tmp_path):
    sweep = load_sweep(write_toml(tmp_path / "a.toml", grid={"seed": [0, 1]}, budget={"minutes": 2}), ["hidden=3"])
    path = store_sweep(tmp_path / "results", sweep)
    assert path == tmp_path / "results" / "sweeps" / "a.json"
    assert json.loads(path.read_text())["sweep"] == 1
    kept = stored_sweep(tmp_path / "results", "a")
    assert kept.ids == tuple(spec.id for spec in sweep.specs)
    assert [run["config"] for run in kept.runs] == [spec.config() for spec in sweep.specs]
    assert (kept.name, kept.title, kept.question, kept.source) == ("a", sweep.title, sweep.question, None)
    assert (kept.file, kept.overrides) == (str(tmp_path / "a.toml"), ("hidden=3",))
    assert json.loads(path.read_text())["minutes"] == 2.0
    assert sweep_names(tmp_path / "results") == ["a"] and sweep_names(tmp_path) == []
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


def test_a_sweep_that_is_not_there_or_torn(tmp_path):
    path = store_sweep(tmp_path, load_sweep(write_toml(tmp_path / "lengths.toml")))
    with pytest.raises(GradlabError, match="did you mean `lengths`"):
        stored_sweep(tmp_path, "length")
    whole = path.read_text()
    for text in ("{", "[]", "{}", whole[:-20], whole.replace('"sweep": 1', '"sweep": 2')):
        path.write_text(text)
        with pytest.raises(GradlabError, match=r"lengths\.json cannot be read"):
            stored_sweep(tmp_path, "lengths")


def test_every_damage_of_a_kept_sweep_is_one_line(tmp_path):
    path = store_sweep(tmp_path, load_sweep(write_toml(tmp_path / "a.toml"), name="a"))
    whole, refused = json.loads(path.read_text()), 0
    for place in damages.places(whole):
        for new in (..., *damages.WRONG):
            path.write_text(json.dumps(damages.changed(whole, place, new)))
            try:
                stored_sweep(tmp_path, "a")
            except GradlabError as error:
                field = place[0] if len(place) < 3 else place[2]
                assert "a.json cannot be read (" in str(error) and str(field) in str(error)
                assert "\n" not in str(error)
                refused += 1
    assert refused > 150


@pytest.mark.parametrize("name", ["../../../x", "/tmp/x", "b", "..", "a/../b", ""])
def test_the_name_in_a_kept_sweep_is_that_of_its_file(tmp_path, name, capsys):
    """`report --sweep` writes to a folder of that name."""
    path = store_sweep(tmp_path / "results", load_sweep(write_toml(tmp_path / "a.toml")))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": name}))
    before = sorted(tmp_path.rglob("*"))
    assert main(["report", "--sweep", "a", "--results", str(tmp_path / "results")]) == 2
    err = capsys.readouterr().err
    assert "a.json cannot be read (name is " in err and err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", ".hidden", "a b", "\u00e9", "x" * 300])
def test_ids_in_a_kept_sweep_are_names(tmp_path, name):
    path = store_sweep(tmp_path, load_sweep(write_toml(tmp_path / "a.toml")))
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(damages.changed(whole, ("runs", 0, "id"), name)))
    with pytest.raises(GradlabError, match=r"runs\[0\]\.id is .*, no name of a run or sweep"):
        stored_sweep(tmp_path, "a")
    path.write_text(json.dumps(damages.changed(whole, ("runs", 0, "config", "params"), name)))
    with pytest.raises(GradlabError, match=r"runs\[0\]\.config\.params is .*, no name of a run or sweep"):
        stored_sweep(tmp_path, "a")


def test_files_that_are_no_sweeps_are_not_offered(tmp_path):
    store_sweep(tmp_path, load_sweep(write_toml(tmp_path / "a.toml")))
    for name in (b"a b.json", b"\xff.json"):
        open(os.fsencode(tmp_path / "sweeps") + b"/" + name, "w").close()
    assert sweep_names(tmp_path) == ["a"]
    with pytest.raises(GradlabError, match="is not in"):
        stored_sweep(tmp_path, "../sweeps/a")


def test_a_folder_that_cannot_hold_sweeps(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GradlabError, match="cannot be written"):
        store_sweep(tmp_path / "file", load_sweep(write_toml(tmp_path / "a.toml")))


# ---------------------------------------------------------------- what is shipped


SUITES = suite_names(EXPERIMENTS)
SHIPPED = [path for path in sorted(EXPERIMENTS.glob("*.toml")) if path.stem not in SUITES]


def test_a_suite_is_not_a_sweep():
    assert SUITES == ["ci"]
    with pytest.raises(GradlabError, match=r"is a suite of gradient curves, not a sweep: gradlab check ci$"):
        load_sweep(EXPERIMENTS / "ci.toml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_sweeps_load(path):
    sweep = load_sweep(path)
    assert (sweep.specs or sweep.trials) and sweep.question.endswith("?")


def test_shipped_sweeps_ask_what_they_should():
    for name, task, longest in (("adding", "adding", 800), ("copy", "copy:symbols=3", 400)):
        groups = load_sweep(EXPERIMENTS / f"{name}_length.toml").groups
        asked = {(group.setting["cell"], group.setting["length"]) for group in groups}
        lengths = [length for length in (25, 50, 100, 200, 400, 800) if length <= longest]
        assert asked == set(itertools.product(("rnn", "lstm", "gru"), lengths)) and len(groups) == len(asked)
        assert {group.seeds for group in groups} == {(0, 1, 2, 3, 4)}
        specs = [spec for group in groups for spec in group.trials]
        assert {spec.task for spec in specs} == {task} and {spec.stop for spec in specs} == {"solved"}
        assert all(0 < spec.steps <= 5000 for spec in specs)
        assert {len(group.trials) for group in groups} == {10} and len({spec.hidden for spec in specs}) == 1
    probes = load_sweep(EXPERIMENTS / "init_length.toml").specs
    assert {spec.steps for spec in probes} == {0} and max(spec.length for spec in probes) == 10_000
    cells = {spec.cell for spec in probes}
    assert {"lstm", "lstm:forget_bias=3", "gru"} <= cells and any("chrono" in cell for cell in cells)
    assert CELL not in cells
