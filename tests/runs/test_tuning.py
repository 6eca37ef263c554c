"""The selection stage of a sweep: its trials, what they choose, and the runs that count."""

import itertools
import json
import math
import os
import signal

import damages
import pytest
from sweeping import BASE, CELL, start, statuses, wait_for, write_toml

from gradlab.errors import GradlabError
from gradlab.runs import tuning
from gradlab.runs.grids import spec_of, specs_of_options
from gradlab.runs.sizes import largest_hidden
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store, StoredRun
from gradlab.runs.sweeps import load_sweep, store_sweep, stored_sweep, with_choices

RATES = [0.1, 0.03, 0.01]
GRID = {"cell": [CELL, f"{CELL}:rate=0.9"], "length": [4, 5], "seed": [0, 1, 2]}
TUNE = {"learning_rate": RATES, "seed": [100, 101]}


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADLAB_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture
def path(tmp_path):
    return write_toml(tmp_path / "trial.toml", grid=GRID, tune=TUNE)


# ---------------------------------------------------------------- the trials


def test_every_group_of_the_grid_gets_the_same_trials_on_seeds_of_their_own(path):
    sweep = load_sweep(path)
    assert sweep.specs == () and len(sweep.groups) == 4 and len(sweep.trials) == 4 * 3 * 2
    asked = {(spec.cell, spec.length, spec.learning_rate, spec.seed) for spec in sweep.trials}
    cells = [RunSpec(**BASE | {"cell": cell}).cell for cell in GRID["cell"]]
    assert asked == set(itertools.product(cells, GRID["length"], RATES, TUNE["seed"]))
    assert [one.values for one in sweep.groups[0].candidates] == [{"learning_rate": rate} for rate in RATES]
    assert {group.seeds for group in sweep.groups} == {(0, 1, 2)}
    assert "seed" not in sweep.groups[0].setting and "learning_rate" not in sweep.groups[0].setting


def test_any_fields_can_be_tuned_together(tmp_path):
    tune = {
        "clip": ["none", "norm:1"],
        "cell": [CELL, f"{CELL}:rate=0.9"],
        "optimizer": ["adam", "sgd"],
        "seed": [9],
    }
    (group,) = load_sweep(write_toml(tmp_path / "a.toml", grid={"seed": [0, 1]}, tune=tune)).groups
    tried = [tuple(one.values.values()) for one in group.candidates]
    cells = [RunSpec(**BASE | {"cell": cell}).cell for cell in tune["cell"]]
    assert tried == list(itertools.product(tune["clip"], cells, tune["optimizer"]))
    values = {"clip": "none", "cell": cells[1], "optimizer": "sgd"}
    assert [(spec.clip, spec.cell, spec.optimizer, spec.seed) for spec in group.specs(values)] == [
        (*values.values(), seed) for seed in (0, 1)
    ]


def test_the_command_line_replaces_what_is_tuned(path):
    wider = load_sweep(path, ["learning_rate=0.5,0.1", "seed=7"])
    assert {spec.learning_rate for spec in wider.trials} == {0.5, 0.1} and wider.groups[0].seeds == (7,)
    alone = load_sweep(path, ["learning_rate=0.5"])
    assert alone.groups == () and {spec.learning_rate for spec in alone.specs} == {0.5} and len(alone.specs) == 12


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"tune": {"learning_rate": [0.1, 0.2]}}, "has no seeds: give those of the trials, seed ="),
        ({"tune": {"seed": [100]}}, "has seeds alone"),
        ({"tune": {"learning_rate": [0.1], "seed": [100]}}, "has one value: give at least two"),
        ({"tune": {"learning_rate": 0.1, "seed": [100]}}, "give a list of values"),
        ({"tune": {"learning_rat": [0.1, 0.2], "seed": [100]}}, "did you mean `learning_rate`"),
        ({"tune": TUNE | {"seed": [5, 1]}, "grid": {"seed": [0, 1]}}, "seed 1 stands in .tune. and is a seed"),
        ({"tune": TUNE | {"seed": [0]}}, "seed 0 stands in"),
        ({"tune": TUNE, "grid": {"learning_rate": [0.1, 0.2]}}, "learning_rate stands in .grid. and in .tune."),
        ({"tune": TUNE, "base": {"learning_rate": 0.1}}, "learning_rate stands in .base. and in .tune."),
        ({"tune": TUNE, "vary": {"seed": [1]}}, "seed stands in ..vary.. of .*seeds go to .grid."),
        ({"tune": {"length": [4, 5], "seed": [100]}}, "length stands in .tune. of .*goes to .grid."),
        ({"tune": {"clip": ["norm:1", "1"], "seed": [100]}}, "asks for some trial twice"),
        ({"tune": {"max_params": [10, 20], "seed": [100]}}, "unknown field in .tune."),
        ({"tune": TUNE, "budget": {"steps": 0}}, "trains nothing"),
    ],
)
def test_a_mistake_in_what_is_tuned_is_one_line(tmp_path, more, words):
    path = write_toml(tmp_path / "a.toml", **more)
    with pytest.raises(GradlabError, match=words) as error:
        load_sweep(path)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- what they choose


def ended(spec, outcome):
    """A trial as stored: solved at a training step, else with a held-out loss, else how it ended."""
    status = outcome if isinstance(outcome, str) else "solved" if isinstance(outcome, int) else "trained"
    loss = "nan" if isinstance(outcome, str) else 0.001 if status == "solved" else outcome
    losses = {"test": loss, "final": 0.9}
    done = {"status": status, "solved_at": outcome if status == "solved" else None, "losses": losses}
    return StoredRun(spec.id, None, status, spec.config(), done)


def chosen(group, outcomes):
    """The choice from the outcomes of the trials of each candidate."""
    pairs = zip(group.trials, itertools.chain(*outcomes), strict=True)
    return tuning.choose(group, {spec.id: ended(spec, outcome) for spec, outcome in pairs})


@pytest.mark.parametrize(
    ("outcomes", "best"),
    [
        ([(100, 0.2), (900, 900), (50, 0.2)], 1),  # solved in most seeds, however late
        ([(100, 300), (150, 200), (300, 300)], 1),  # then the fewest training steps
        ([(100, 0.2), (0.0, 90), (0.1, 100)], 1),  # of those that solved it alone
        ([(0.3, 0.3), (0.2, 0.3), (0.3, 0.2)], 1),  # then the lowest loss, and the first of two alike
        ([(200, 200), (200, 200), (200, 200)], 0),
        ([("diverged", 0.1), (0.4, 0.4), ("diverged", 0.2)], 1),  # a finite loss before a low one
        ([("diverged", "diverged"), ("diverged", 0.4), ("diverged", 0.2)], 2),
        ([("failed", 100), (0.2, 100), (0.1, 100)], 2),  # a failed trial did not solve it, and has no loss
        ([("failed", "failed"), ("diverged", "diverged"), (math.inf, math.nan)], 0),
        ([("diverged", 100), (0.2, 100), (0.2, "failed")], 1),
    ],
)
def test_the_rule(path, outcomes, best):
    choice = chosen(load_sweep(path).groups[0], outcomes)
    assert choice.values == {"learning_rate": RATES[best]}
    assert choice.edges == (() if best == 1 else ("learning_rate",))


def test_what_is_kept_of_a_candidate(path):
    group = load_sweep(path).groups[0]
    one, two, three = chosen(group, [(100, 300), (0.25, 0.75), ("diverged", "failed")]).candidates
    assert (one.solved, one.steps, one.not_finite, one.failed) == (2, 200, 0, 0)
    assert (two.solved, two.steps, two.loss) == (0, math.inf, 0.5)
    assert (three.solved, three.loss, three.not_finite, three.failed) == (0, math.inf, 1, 1)
    assert one.runs == tuple(spec.id for spec in group.candidates[0].trials)


def test_without_a_test_the_measured_loss_counts(path):
    group = load_sweep(path).groups[0]
    runs = {spec.id: ended(spec, 0.5) for spec in group.trials}
    for run in runs.values():
        run.done["losses"]["test"] = None
    assert {one.loss for one in tuning.choose(group, runs).candidates} == {0.9}


def test_texts_have_no_edge(tmp_path):
    tune = {"optimizer": ["adam", "rmsprop", "sgd"], "seed": [100]}
    (group,) = load_sweep(write_toml(tmp_path / "a.toml", tune=tune)).groups
    assert chosen(group, [(3,), (2,), (1,)])[1:3] == ({"optimizer": "sgd"}, ())


def test_nothing_is_chosen_while_a_trial_is_missing(path):
    group = load_sweep(path).groups[0]
    runs = {spec.id: ended(spec, 100) for spec in group.trials}
    assert tuning.choose(group, runs) is not None
    for run_id in runs:
        assert tuning.choose(group, {name: run for name, run in runs.items() if name != run_id}) is None


# ---------------------------------------------------------------- the runs that count, and what is kept


@pytest.fixture
def resolved(path):
    sweep = load_sweep(path)
    outcomes = [[(100, 100), (50, 50), (9, 0.5)], [(100, 100), (50, 0.5), (9, 0.5)]] * 2
    return with_choices(sweep, [chosen(group, each) for group, each in zip(sweep.groups, outcomes, strict=True)])


def test_the_runs_have_what_was_chosen_and_other_seeds(resolved):
    asked = [(spec.length, spec.seed, spec.learning_rate) for spec in resolved.specs]
    rates = {4: 0.03, 5: 0.1}
    assert asked == [(length, seed, rates[length]) for _ in (0, 1) for length in (4, 5) for seed in (0, 1, 2)]
    assert not {spec.id for spec in resolved.specs} & {spec.id for spec in resolved.trials}


def test_what_was_chosen_is_kept(tmp_path, resolved):
    whole = json.loads(store_sweep(tmp_path, resolved).read_text())
    kept = stored_sweep(tmp_path, "trial")
    assert kept.tune == TUNE and kept.tuned == ("learning_rate",) and len(kept.choices) == 4
    assert kept.choices[0]["values"] == {"learning_rate": 0.03} and kept.choices[1]["edges"] == ["learning_rate"]
    assert kept.choices[0]["candidates"][2] == {
        "values": {"learning_rate": 0.01}, "runs": [spec.id for spec in resolved.groups[0].candidates[2].trials],
        "solved": 1, "steps": 9.0, "loss": (0.001 + 0.5) / 2, "not_finite": 0, "failed": 0,
    }  # fmt: skip
    refused, fields = 0, [("tune", "seed"), ("choices", 0, "edges"), ("choices", 0, "candidates", 1, "solved")]
    for place, new in itertools.product(fields, ({}, "x", -1, None)):
        (tmp_path / "sweeps" / "trial.json").write_text(json.dumps(damages.changed(whole, place, new)))
        with pytest.raises(GradlabError, match=r"trial\.json cannot be read"):
            stored_sweep(tmp_path, "trial")
        refused += 1
    assert refused == 12


def test_the_list_of_a_sweep_that_tunes_nothing_is_what_it_was(tmp_path):
    path = store_sweep(tmp_path, load_sweep(write_toml(tmp_path / "a.toml", grid={"seed": [0, 1]})))
    about = ["sweep", "name", "title", "question", "source", "minutes", "file", "overrides", "made", "runs"]
    kept = json.loads(path.read_text())
    assert list(kept) == about and [list(run) for run in kept["runs"]] == [["id", "config"]] * 2


def test_another_reader_of_the_file_names_its_own_keys(tmp_path):
    path = write_toml(tmp_path / "a.toml")
    path.write_text('claim = "so it is"\n' + path.read_text() + "[[expect]]\nvalue = 1\n")
    assert len(load_sweep(path, also=("claim", "expect")).specs) == 1
    with pytest.raises(GradlabError, match=r"unknown key in .* `expect`"):
        load_sweep(path, also=("claim",))


# ---------------------------------------------------------------- an equal number of parameters


@pytest.mark.parametrize(("cell", "gates", "biases"), [("rnn", 1, 1), ("lstm", 4, 4), ("gru", 3, 4)])
def test_the_largest_size_with_so_many_parameters(cell, gates, biases):
    found = largest_hidden(RunSpec(cell=cell), 2000)
    counted = [gates * (2 * size + size**2) + biases * size + size + 1 for size in (found, found + 1)]
    assert counted[0] <= 2000 < counted[1], "two inputs, one output, weights and biases of each gate"


def test_a_size_that_a_cell_does_not_take_is_passed_over():
    assert largest_hidden(RunSpec(cell="attention"), 5000) % 4 == 0
    with pytest.raises(GradlabError, match="max_params is 5: rnn on adding has 6 at its smallest, hidden=1"):
        largest_hidden(RunSpec(cell="rnn"), 5)


def test_a_run_of_so_many_parameters_is_the_run_of_that_size(tmp_path):
    options = {"task": "adding", "cell": ["rnn,lstm"], "max_params": "5000,1000"}
    specs = specs_of_options(options)
    assert [(spec.cell, spec.hidden) for spec in specs] == [("rnn", 68), ("rnn", 29), ("lstm", 33), ("lstm", 14)]
    assert specs[0].id == RunSpec(cell="rnn", hidden=68).id and "max_params" not in specs[0].config()
    with pytest.raises(GradlabError, match="hidden=3 and max_params=5000: give one of them"):
        specs_of_options(options | {"hidden": "3"})
    with pytest.raises(GradlabError, match="max_params is 0: give a whole number of at least 1"):
        spec_of({"max_params": 0})
    text = 'title = "t"\nquestion = "q"\n[base]\nmax_params = 5000\n[grid]\ncell = ["rnn", "gru"]\n'
    (tmp_path / "a.toml").write_text(text)
    sweep = load_sweep(tmp_path / "a.toml")
    assert [spec.hidden for spec in sweep.specs] == [68, 39] and set(sweep.max_params.values()) == {5000}
    store_sweep(tmp_path, sweep)
    assert [run["max_params"] for run in stored_sweep(tmp_path, "a").runs] == [5000, 5000]
    assert [spec.hidden for spec in load_sweep(tmp_path / "a.toml", ["hidden=7"]).specs] == [7, 7]
    tuned = text + "[tune]\nlearning_rate = [0.1, 0.2]\nseed = [9]\n"
    (tmp_path / "a.toml").write_text(tuned)
    assert [{spec.hidden for spec in group.trials} for group in load_sweep(tmp_path / "a.toml").groups] == [
        {68},
        {39},
    ]


# ---------------------------------------------------------------- the command


@pytest.fixture
def cache(tmp_path_factory):
    return tmp_path_factory.getbasetemp() / "cache-of-tuning"


SMALL = {"grid": {"length": [4, 5], "seed": [0, 1]}, "tune": {"learning_rate": [0.1, 0.01], "seed": [100]}}


@pytest.mark.slow
def test_both_stages_of_a_sweep(typed, tmp_path, results):
    path = write_toml(tmp_path / "trial.toml", **SMALL)
    words = ["sweep", path, "--jobs", "1"]
    code, out, err = typed(*words, "--dry-run")
    assert code == 0 and "4 trials: 4 new" in out
    assert out.endswith("then 4 runs, when the trials have chosen for each of 2 settings\n")
    code, out, err = typed(*words)
    assert code == 0 and "trial: 4 trials. A trial" in err and "trial: 4 runs. A trial" in err
    assert "4 trials: 4 trained\n4 runs: 4 trained\n" in out and "what the trials chose" in out
    assert "Tuned: learning rate of 0.1 and 0.01" in " ".join(out.split())
    kept = json.loads((results / "sweeps" / "trial.json").read_text())
    trials = {run for one in kept["choices"] for candidate in one["candidates"] for run in candidate["runs"]}
    assert len(trials) == 4 and not trials & {run["id"] for run in kept["runs"]}
    assert len(statuses(results)) == 8
    code, out, err = typed(*words, "--json")
    document = json.loads(out)
    assert [run["fresh"] for run in document["trials"] + document["runs"]] == [False] * 8
    assert document["choices"] == kept["choices"]
    listed = json.loads(typed(*words, "--dry-run", "--json")[1])
    assert listed["runs_to_choose"] == 0 and {one["state"] for one in listed["trials"] + listed["runs"]} == {
        "done"
    }


@pytest.mark.slow
def test_shards_choose_when_all_trials_ended(typed, tmp_path):
    path = write_toml(tmp_path / "trial.toml", **SMALL)
    parts = [json.loads(typed("sweep", path, "--jobs", "1", "--shard", f"{at}/2", "--json")[1]) for at in (1, 2)]
    assert [len(part["trials"]) for part in parts] in ([1, 3], [2, 2], [3, 1], [4, 0], [0, 4])
    done = sum(run["status"] == "trained" for part in parts for run in part["runs"])
    again = json.loads(typed("sweep", path, "--jobs", "1", "--shard", "1/2", "--json")[1])
    assert len(again["choices"]) == 2
    assert done + sum(bool(run["fresh"]) for run in again["runs"]) == 4


@pytest.mark.slow
def test_kill_9_in_the_second_stage_and_again(typed, tmp_path, results, cache):
    path = write_toml(tmp_path / "trial.toml", **SMALL)
    words = ["sweep", path, "--jobs", "1"]
    process = start(words, results, cache)
    wait_for(lambda: sum(one == "trained" for one in statuses(results).values()) >= 5, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = {run.id: (run.path / "done.json").stat().st_mtime_ns for run in Store(results).each() if run.finished}
    code, out, _ = typed(*words)
    assert code == 0 and "4 trials: 4 trained\n4 runs: 4 trained\n" in out
    after = {run.id: (run.path / "done.json").stat().st_mtime_ns for run in Store(results).each()}
    assert len(after) == 8 and after | before == after, "what was done is not done again"
