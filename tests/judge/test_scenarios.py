"""A scenario of a suite is what the suite says: no default of the code and no other cell renames it."""

import json
from pathlib import Path

import pytest
from gating import CELL, OWN

from gradlab.cells import CELLS
from gradlab.errors import GradlabError
from gradlab.judge.suite import load_suite
from gradlab.runs.spec import RunSpec
from gradlab.runs.variants import cell_variant, respelled
from gradlab.tasks import TASKS
from gradlab.testing import assert_curve

LEAKY = CELL.replace(
    "class Own:", "class Leaky:\n    def __init__(self, leak: float = 0.9): self.leak = leak\n"
).replace('params["a"] * carry', "self.leak * carry")
SMALL = {"length": 8, "hidden": 2, "batch": 2, "measure_batch": 2, "steps": 0}
pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADLAB_RESULTS", str(tmp_path / "results"))
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "leaky.py").write_text(LEAKY)
    return tmp_path


def suite(scenarios, **base):
    """A suite of these tables, `[{"cell": ...}]`, in a file of the working directory."""
    lines = ['title = "T"', 'question = "Q?"', "[base]"]
    fields = {"task": f"{OWN}:Recall"} | SMALL | base
    lines += [f"{name} = {value!r}" for name, value in fields.items()]
    lines += ["[seeds]", "paired = 3", "population = 8"]
    for table in scenarios:
        lines += ["[[scenario]]", *(f"{name} = {value!r}" for name, value in table.items())]
    Path("small.toml").write_text("\n".join(lines) + "\n")
    return "./small.toml"


def names(scenarios, **base):
    return [one.name for one in load_suite(suite(scenarios, **base)).scenarios]


def files():
    return sorted(path.name for path in Path("baselines/small").glob("*.json"))


def gate(typed, command, *more):
    why = ["--reason", "as meant"] if command == "bless" else []
    return typed(command, "./small.toml", "--baseline", "baselines", *why, *more)


def test_a_default_that_moves_renames_no_scenario(project, typed):
    """The suite says leak=0.9; that the code leaves it out no longer, or does now, is not the suite's business."""
    suite([{"cell": "./leaky.py:Leaky:leak=0.9"}])
    assert gate(typed, "bless")[0] == 0
    before = files()
    (project / "leaky.py").write_text(LEAKY.replace("= 0.9", "= 0.901"))
    assert cell_variant("leaky.py:Leaky:leak=0.9").name == "leaky.py:Leaky:leak=0.9"
    code, out, err = gate(typed, "check")
    assert (code, err) == (0, "") and "no baseline" not in out and "delete" not in out
    assert gate(typed, "bless", "--dry-run")[1].count("other settings") == 0
    assert gate(typed, "bless")[0] == 0 and files() == before


def test_a_default_that_moves_under_a_plain_cell_is_seen(project, typed):
    """Here the suite leaves the option to the code, so its default is what is guarded."""
    suite([{"cell": "leaky.py:Leaky"}])
    assert gate(typed, "bless")[0] == 0
    (project / "leaky.py").write_text(LEAKY.replace("= 0.9", "= 0.8"))
    code, out, _ = gate(typed, "check")
    assert code == 1 and out.startswith("regressed: ")


def test_a_default_of_gradlab_renames_no_scenario(project, monkeypatch):
    said = [{"cell": "lstm:forget_bias=1.0", "task": "copy:symbols=10", "optimizer": "rmsprop:decay=0.9"}]
    before = load_suite(suite(said)).scenarios[0]
    assert before.name == "copy-symbols=10-lstm-forget_bias=1-T8-H2-float32"

    old_copy = TASKS["copy"]

    def lstm(forget_bias: float = 2.0):
        return CELLS["gru"]()

    def copy(symbols: int = 20):
        return old_copy(symbols=symbols)

    monkeypatch.setitem(CELLS, "lstm", lstm)
    monkeypatch.setitem(TASKS, "copy", copy)
    after = load_suite(suite(said)).scenarios[0]
    assert (after.name, dict(after.config)) == (before.name, dict(before.config))


def test_a_default_of_a_field_renames_no_scenario(project, monkeypatch):
    fields = [field for field in SMALL if field not in ("length", "hidden")]
    base = {"task": "adding"} | {field: SMALL[field] for field in fields}

    def name():
        lines = [
            'title = "T"',
            'question = "Q?"',
            "[base]",
            *(f"{key} = {value!r}" for key, value in base.items()),
        ]
        Path("small.toml").write_text("\n".join([*lines, "[[scenario]]", 'cell = "rnn"']) + "\n")
        return load_suite("./small.toml").scenarios[0]

    before = name()
    assert before.name == "adding-rnn-T200-H64-float32"
    defaults = tuple({200: 300, 64: 32}.get(value, value) for value in RunSpec.__init__.__defaults__)
    monkeypatch.setattr(RunSpec.__init__, "__defaults__", defaults)
    after = name()
    assert after.name == before.name and (after.config["length"], after.config["hidden"]) == (300, 32)


def test_a_baseline_from_before_is_found_under_the_name_that_it_had(project, typed):
    """When names and configs were spelt by the code: without defaults, and without the file of an own cell."""
    suite([{"cell": "./leaky.py:Leaky:leak=0.9"}])
    assert gate(typed, "bless")[0] == 0
    folder = Path("baselines/small")
    (path,) = [path for path in folder.glob("*.json") if "population" not in path.name]
    new, old = path.name.removesuffix(".json"), "recall-leaky-T8-H2-float32"
    assert new == "faulty.recall-leaky.leaky-leak=0.9-T8-H2-float32"
    stored = json.loads(path.read_text())
    stored["scenario"]["cell"] = "./leaky.py:Leaky"
    path.write_text(json.dumps(stored))
    for kind in ("json", "population.json"):
        (folder / f"{new}.{kind}").rename(folder / f"{old}.{kind}")
    code, out, err = gate(typed, "check")
    assert (code, err) == (0, ""), out
    (project / "leaky.py").write_text(LEAKY.replace("self.leak * carry", "0.8 * carry"))
    assert gate(typed, "check")[0] == 1
    assert gate(typed, "bless")[0] == 0
    code, _, err = gate(typed, "check")
    assert code == 0 and f"{old}.json is of no scenario of small: delete it" in err


def test_what_the_suite_says_decides_and_not_how_it_spells_it(project):
    (project / "other.py").write_text(LEAKY)
    tables = [
        {"cell": text} for text in ("./leaky.py:Leaky", "leaky.py:Leaky:leak=0.90", "other.py:Leaky", "lstm")
    ]
    expected = ["leaky.leaky", "leaky.leaky-leak=0.9", "other.leaky", "lstm"]
    assert names(tables) == [f"faulty.recall-{cell}-T8-H2-float32" for cell in expected]
    assert respelled("x.py:C:b=1e-3:a=TRUE") == respelled(" ./x.py:C:a=true:b=0.001")
    with pytest.raises(GradlabError, match=r'two scenarios called .*leaky-leak=0\.9.*give one a name, name = "'):
        names([{"cell": "leaky.py:Leaky:leak=0.9"}, {"cell": "./leaky.py:Leaky:leak=0.900"}])


def test_a_scenario_may_have_a_name_of_its_own(project, typed):
    tables = [{"cell": "leaky.py:Leaky", "name": "slow"}, {"cell": "leaky.py:Leaky:leak=0.5", "name": "Fast.2"}]
    assert names(tables) == ["slow", "Fast.2"]
    assert gate(typed, "bless")[0] == 0
    assert files() == ["Fast.2.json", "Fast.2.population.json", "slow.json", "slow.population.json"]
    assert gate(typed, "check")[0] == 0


@pytest.mark.parametrize(
    "table, words",
    [
        ({"cell": "rnn", "name": "a b"}, "scenario name `a b`: give letters"),
        ({"cell": "rnn", "name": 3}, "name of a scenario in .* is 3: give a text"),
        ({"cell": ["rnn", "lstm"], "name": "both"}, "scenario `both` in .* has lists: a name is of one"),
    ],
)
def test_a_name_that_is_wrong(project, table, words):
    with pytest.raises(GradlabError, match=words):
        names([table])


def test_baselines_that_a_renamed_scenario_left_are_not_said_to_be_of_no_use(project, typed):
    suite([{"cell": "leaky.py:Leaky", "name": "slow"}])
    assert gate(typed, "bless")[0] == 0
    suite([{"cell": "leaky.py:Leaky", "name": "slower"}])
    code, _, err = gate(typed, "check")
    assert code == 3 and "slow.json is of no scenario of small: rename it where its scenario was renamed" in err


def test_the_curve_that_a_test_asserts_is_of_what_the_test_says(project):
    path = project / "curves.json"

    def asserted():
        assert_curve("leaky.py:Leaky:leak=0.9", baseline=path, length=8, hidden=2, batch=2, seeds=3)

    with pytest.raises(AssertionError, match="no baseline yet"):
        asserted()
    (project / "leaky.py").write_text(LEAKY.replace("= 0.9", "= 0.901"))
    asserted()
