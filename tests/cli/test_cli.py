"""What a person types: every command, every exit code, one line for every mistake; and what Ctrl-C, kill -9,
a full disk and a reader that leaves do to it.
"""

import inspect
import io
import itertools
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import faulty
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sweeping import NOT_A_USERS, full_disk

import gradlab
from gradlab.cells import CELLS
from gradlab.cli import inspect as inspect_commands
from gradlab.cli import interrupts as interrupts_module
from gradlab.cli.app import main
from gradlab.cli.interrupts import interrupts
from gradlab.errors import GradlabError
from gradlab.runs.execute import run
from gradlab.runs.grids import specs_of_options
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store
from gradlab.tasks import TASKS
from gradlab.training.loop import Checkpoint

pytestmark = pytest.mark.slow

COMMANDS = (
    *(
        "run",
        "probe",
        "sweep",
        "report",
        "plot",
        "lesson",
        "check",
        "bless",
        "claims",
        "check-cell",
        "import-curve",
    ),
    *("ls", "show", "rm", "cells", "tasks", "doctor", "new"),
)
OWN = """
import jax
import jax.numpy as jnp
from gradlab.tasks import Batch

class Own:
    def __init__(self, rate: float = 0.5):
        self.rate = rate

    def init(self, key, input_size, hidden_size):
        return {"a": jnp.full(hidden_size, self.rate)}

    def carry(self, params, batch_size):
        return jnp.zeros((batch_size, len(params["a"])))

    def step(self, params, carry, x_t):
        h_t = jnp.tanh(params["a"] * carry + x_t.sum(axis=-1, keepdims=True))
        return h_t, h_t

class Wrong(Own):
    def step(self, params, carry, x_t):
        raise RuntimeError("a mistake\\nof the user's own")

class Alone(Own):
    def step(self, params, carry, x_t):
        return super().step(params, carry, x_t)[0]

class Bare(Own):
    def step(self, params, carry, x_t):
        h_t, y_t = super().step(params, carry, x_t)
        return h_t, y_t.sum()

class Grown(Own):
    def step(self, params, carry, x_t):
        h_t, y_t = super().step(params, carry, x_t)
        return (h_t, h_t), y_t

"""
OWN += inspect.getsource(faulty.Recall)  # built-in tasks take seconds to compile
TINY = ["--hidden", "2", "--batch", "2", "--measure-batch", "3"]


def forget_surroundings(patch):
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        patch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def quiet_surroundings(monkeypatch, tmp_path):
    """An empty results folder, no cache outside the tests, and nothing of the terminal that runs them."""
    forget_surroundings(monkeypatch)
    monkeypatch.setenv("GRADLAB_RESULTS", str(tmp_path / "results"))


@pytest.fixture(scope="module")
def own_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(OWN)
    return path


@pytest.fixture
def own(own_file):
    """A cell of one's own; its file has a quick task too."""
    return f"{own_file}:Own"


def recall(own):
    """The quick task in the file of a cell."""
    return f"{own.partition(':')[0]}:Recall"


SPEC = RunSpec(cell="lstm", length=5, hidden=2, batch=2, measure_batch=3, steps=3, learning_rate=0.001)
RUN = ["run", "adding", "--cell", "lstm", "--len", "5", *TINY, "--steps", "3", "--learning-rate", "0.001"]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The folder of one run that was typed, and what it printed; tests read it and write nothing to it."""
    folder = tmp_path_factory.mktemp("kept") / "results"
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        forget_surroundings(patch)
        code = main([*RUN, "--results", str(folder)])
    return folder, code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def results(first):
    return first[0]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts a command in a process of its own; what is compiled is kept between them."""
    cache = tmp_path_factory.mktemp("cache")

    def start_(words, results, code="", **options):
        names = {"GRADLAB_RESULTS": str(results), "GRADLAB_CACHE": str(cache), "COLUMNS": "80"}
        names |= options.pop("env", {})
        # Importing jax, as the tests have done, sets the level of its log for every child process.
        clean = {key: value for key, value in os.environ.items() if key not in NOT_A_USERS}
        code += "\nimport sys; from gradlab.__main__ import entry; entry()"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], env=clean | names, **pipes)

    return start_


@pytest.fixture
def finished(start):
    """Runs a command in a process of its own to its end: exit code, stdout, stderr."""

    def finish(words, results, **options):
        process = start(words, results, **options)
        out, err = process.communicate(timeout=600)
        return process.returncode, out, err

    return finish


def one_line(err):
    return err.count("\n") == 1 and err.startswith("gradlab: ") and "Traceback" not in err


def everything_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- run

FIELDS = {
    "id": str,
    "spec": dict,
    "status": str,
    "reason": type(None),
    "every": type(None),
    "analyses": type(None),
    "score": type(None),
    "window": type(None),
    "training_steps": int,
    "solved_at": type(None),
    "diverged": type(None),
    "losses": dict,
    "parameters": int,
    "train_steps_per_second": float,
    "compile_seconds": float,
    "measure_seconds": float,
    "train_seconds": float,
    "wall_seconds": float,
    "training_bytes": int,
    "summary": dict,
    "checkpoints": list,
    "path": str,
}


def test_a_run_from_the_header_to_the_next_command(first):
    folder, code, out, err = first
    assert code == 0
    for resolved in (
        SPEC.id,
        "chance 0.1667",
        "solved means at most 0.01",
        "learning rate 0.001",
        "clip norm:1",
        "jaxlib",
    ):
        assert resolved in err
    assert re.findall(r"^training step +(\d+)", err, re.M) == ["0", "1", "2", "3"]
    assert "not solved within 3 training steps" in out
    assert "log10 gradient norm" in out and "lag 5" in out and "half-life" in out
    assert re.search(r"^3.*final +c +", out, re.M) and re.search(r"^ *[\d.-]+ \|", out, re.M)
    assert f"written: {folder}/runs/{SPEC.id}/ (config.json, curves.npz, done.json" in out
    assert out.rstrip().endswith(f"next: gradlab report --results {folder}")


def test_what_is_done_is_not_done_again(typed, first):
    folder, _, out, _ = first
    before = everything_in(folder)
    told = f"{SPEC.id}: already trained, read from {folder}/runs/{SPEC.id}; --rerun does it again\n"
    assert typed(*RUN, "--results", folder) == (0, out, told)
    printed = json.loads(typed(*RUN, "--results", folder, "--json", "-q")[1])
    assert list(printed) == ["runs", "seeds"] and printed["seeds"] == []
    assert json.loads(typed("show", SPEC.id, "--json", "--results", folder)[1])["runs"] == printed["runs"]
    assert everything_in(folder) == before


def test_the_fields_of_a_run(typed, results):
    code, out, err = typed("show", "adding-lstm", "--results", results, "--json")
    assert (code, err) == (0, "")
    (record,) = json.loads(out, parse_constant=pytest.fail)["runs"]
    assert {name: type(value) for name, value in record.items()} == FIELDS
    assert (record["id"], record["spec"], record["status"]) == (SPEC.id, SPEC.config(), "trained")
    assert record["training_steps"] == 3 and record["parameters"] == 2 * 8 + 2 * 8 + 8 + 2 + 1
    assert record["train_steps_per_second"] == pytest.approx(3 / record["train_seconds"])
    assert set(record["losses"]) == {"initial", "final", "test", "train", "chance", "solved"}
    assert list(record["summary"]) == ["initial", "worst", "final"]
    assert [mark["step"] for mark in record["checkpoints"]] == [0, 1, 2, 3]
    last = record["checkpoints"][-1]
    assert set(last) == {"step", "loss", "log10_grad_norm", "clipped", "gates", "curves"}
    assert set(last["gates"]) == set("ifgo") and set(last["gates"]["i"]) == {"mean", "saturation"}
    leaf = record["summary"]["final"]["curves"]["task"]["c"]
    assert leaf == last["curves"]["task"]["c"] and leaf["lags"] == 5 and isinstance(leaf["span"], float)


def test_documented_fields_are_those_that_are_printed(typed, results):
    text = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
    (record,) = json.loads(typed("show", SPEC.id, "--results", results, "--json")[1])["runs"]
    leaf = record["summary"]["final"]["curves"]["task"]["state"]
    for name in [*record, *record["losses"], *leaf]:
        assert f"`{name}`" in text, f"docs/json.md does not explain {name}"


def test_not_finite_is_a_string(typed, own):
    words = ["probe", recall(own), "--cell", f"{own}:rate=0", "--len", "4", "--hidden", "2"]
    code, out, _ = typed(*words, "--json", "-q")
    assert code == 0
    (record,) = json.loads(out, parse_constant=pytest.fail)["runs"]
    state = record["summary"]["final"]["curves"]["task"]["state"]
    assert (state["span"], state["slope"], state["half_life"]) == ("-inf", "-inf", "nan")
    assert state["zero_from"] == 1 and record["train_steps_per_second"] is None
    code, out, _ = typed("show", record["id"])
    assert code == 0 and "zero from lag 1" in out and "exactly zero at every lag" in out


def test_a_grid_ends_in_one_table_over_seeds(typed, own, tmp_path):
    words = ["probe", recall(own), "--cell", own, "--len", "3", "--seed", "0,2", "--seed", "5", "--hidden", "2"]
    code, out, err = typed(*words, "--json")
    document = json.loads(out)
    assert code == 0 and len(document["runs"]) == 3 and len(document["seeds"]) == 1
    assert [line.split()[0] for line in err.splitlines()] == ["[1/3]", "[2/3]", "[3/3]"]
    states = [record["summary"]["final"]["curves"]["task"]["state"] for record in document["runs"]]
    spans = [state["span"] for state in states]
    (row,) = document["seeds"]
    low, high = stats.ttest_1samp(spans, 0).confidence_interval(0.95)
    assert (row["seeds"], row["final"]["span"]["count"]) == (3, 3)
    assert row["final"]["span"]["mean"] == pytest.approx(np.mean(spans))
    assert (row["final"]["span"]["low"], row["final"]["span"]["high"]) == pytest.approx((low, high))

    listed = json.loads(typed("ls", "--json")[1])["runs"]
    assert sorted(found["id"] for found in listed) == sorted(record["id"] for record in document["runs"])
    done = tmp_path / "results" / "runs" / listed[0]["id"] / "done.json"
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("done.json")}
    done.write_text(done.read_text().replace('"measured"', '"interrupted"'))
    code, out, err = typed(*words)
    assert code == 0 and err.count("already measured") == 2
    again = {path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert again == {done} and Store(tmp_path / "results").find(listed[0]["id"]).status == "measured"
    assert "over seeds" in out and "3 runs, at their last checkpoint" in out


def test_lists_ranges_and_repeated_options():
    specs = specs_of_options(
        {"task": ["adding"], "cell": ["rnn", "lstm,gru"], "length": ["10,20"], "seed": ["0-2,7", "9"]}
    )
    asked = [(spec.cell, spec.length, spec.seed) for spec in specs]
    assert asked == [(c, t, s) for c in ("rnn", "lstm", "gru") for t in (10, 20) for s in (0, 1, 2, 7, 9)]
    (spec,) = specs_of_options({"task": ["adding"], "cell": None, "learning_rate": ["1e-3"]}, steps=0)
    assert (spec.cell, spec.learning_rate, spec.steps) == ("lstm", 0.001, 0)


@pytest.mark.parametrize("seeds", ["1,1", "0-2,2", "1,01"])
def test_the_same_run_twice_is_a_mistake(seeds):
    with pytest.raises(GradlabError, match="twice"):
        specs_of_options({"task": ["adding"], "seed": [seeds]})


def test_the_results_folder(typed, own, tmp_path, monkeypatch):
    words = ["probe", recall(own), "--cell", own, "--len", "3", "--hidden", "2", "-q"]
    name = RunSpec(task=recall(own), cell=own, length=3, hidden=2, steps=0).id
    code, out, err = typed(*words, "--results", tmp_path / "told")
    assert (code, err) == (0, "") and (tmp_path / "told" / "runs" / name / "done.json").exists()
    assert f"next: gradlab report --results {tmp_path}/told" in out
    monkeypatch.delenv("GRADLAB_RESULTS")
    monkeypatch.chdir(tmp_path)
    assert typed(*words)[0] == 0
    assert (tmp_path / "results" / "runs" / name / "done.json").exists()
    monkeypatch.setenv("GRADLAB_RESULTS", str(tmp_path / "told"))
    assert [found["path"] for found in json.loads(typed("ls", "--json")[1])["runs"]] == [
        f"{tmp_path}/told/runs/{name}"
    ]


def test_trained_weights_are_measured_at_another_length(typed, own, tmp_path):
    folder = tmp_path / "results"
    fields = {"task": recall(own), "cell": own, "length": 4, "hidden": 2, "batch": 2, "measure_batch": 3}
    spec = RunSpec(**fields, steps=2, dtype="float64", seed=3)
    trained = run(spec, folder)
    words = ["probe", recall(own), "--params", spec.id, "--measure-batch", "3", "--json", "-q"]
    code, out, err = typed(*words, "--len", "8")
    (record,) = json.loads(out)["runs"]
    assert (code, err) == (0, "") and record["summary"]["final"]["curves"]["task"]["state"]["lags"] == 8
    assert {name: record["spec"][name] for name in ("params", "hidden", "dtype", "seed", "steps", "cell")} == {
        "params": spec.id,
        "hidden": 2,
        "dtype": "float64",
        "seed": 3,
        "steps": 0,
        "cell": own,
    }
    # At the same length it is the last checkpoint of the run, to the last bit of float64.
    (record,) = json.loads(typed(*words)[1])["runs"]
    probed = Store(folder).find(record["id"]).arrays()["task/state/typical"][0]
    assert probed.tobytes() == trained.curve("final").typical().tobytes()
    assert probed.tobytes() != trained.curve("initial").typical().tobytes()

    for more, expected in (
        (["--hidden", "3"], f"params of {spec.id} do not fit {own} with hidden=3 on {recall(own)}"),
        (["--cell", "gru"], "do not fit gru"),
    ):
        before = everything_in(folder)
        code, out, err = typed(*words[:4], *more)
        assert code == 2 and one_line(err[err.rindex("gradlab: ") :]) and expected in err
        assert everything_in(folder) == before


# ---------------------------------------------------------------- the other commands


def test_layers_are_measured_and_reported_by_name(typed, tmp_path):
    folder, cell = ("--results", tmp_path / "results"), "residual:layers=2:mgu:gain=2"
    tiny = ("--len", 5, "--hidden", 3, "--measure-batch", 2)
    code, out, _ = typed("probe", "adding", "--cell", cell, *tiny, "--json", "-q", *folder)
    name = json.loads(out)["runs"][0]["id"]
    assert code == 0 and name.startswith("adding-residual-mgu-gain=2-T5-s0-")
    assert name in typed("ls", "--where", "cell=residual:mgu:gain=2", *folder)[1]
    assert typed("report", *folder)[0] == 0
    report = tmp_path / "results" / "report"
    assert "residual:mgu gain=2" in (report / "index.md").read_text()
    assert {"layer0.h", "layer1.h", "state"} == set(pd.read_csv(report / "curves.csv")["leaf"])


def test_ls_and_show(typed, results):
    code, out, err = typed("ls", "--results", results)
    assert (code, err) == (0, "") and re.search(rf"^{SPEC.id} +trained +3 +-?\d+\.\d +-?\d+\.\d", out, re.M)
    assert f"next: gradlab show {SPEC.id}" in out
    code, out, err = typed("show", SPEC.id[:15], "--results", results)
    assert (code, err) == (0, "") and "made by: " in out and "next: gradlab report" in out.splitlines()[-1]
    assert re.search(r"^3.*final +c +", out, re.M) and re.search(r"^ *[\d.-]+ \|", out, re.M)


def test_an_empty_folder_is_said_to_be_empty(typed, tmp_path):
    code, out, err = typed("ls")
    assert (code, out) == (0, "") and "no runs in" in err and "gradlab run adding" in err
    assert json.loads(typed("ls", "--json")[1]) == {"runs": []}
    code, out, err = typed("report")
    assert code == 2 and out == "" and one_line(err)
    assert not (tmp_path / "results").exists()


def test_report(typed, results):
    code, out, _ = typed("report", "--results", results)
    assert code == 0 and "index.html" in out and "next: " in out
    code, out, _ = typed("report", "--results", results, "--json")
    written = [Path(path) for path in json.loads(out)["report"]]
    assert code == 0 and all(path.stat().st_size > 0 for path in written)
    assert {".html", ".md", ".csv", ".svg", ".png"} <= {path.suffix for path in written}
    assert all(path.is_relative_to(results / "report") for path in written)


def test_cells_and_tasks(typed):
    code, out, err = typed("cells")
    assert (code, err) == (0, "") and "lstm: " in out and ":forget_bias=1  (float)" in out and "next: " in out
    assert ":forget=sigmoid  (exp, sigmoid)" in out
    code, out, err = typed("tasks")
    assert (code, err) == (0, "") and "copy: " in out and ":markers=halves" in out
    found = json.loads(typed("cells", "--json")[1])["cells"]
    assert set(found) == set(CELLS) and {"rnn", "lstm", "gru", "stacked", "lru"} <= set(found)
    assert {"name": "forget_gate", "default": "true", "values": [], "type": "bool"} in found["lstm"]["options"]
    values = {name: {one["name"]: one["values"] for one in entry["options"]} for name, entry in found.items()}
    assert values["rnn"]["activation"] == ["linear", "relu", "sigmoid", "tanh"]
    assert "chrono" in values["gru"]["init"] and not {"chrono", "equinox"} & set(values["rnn"]["init"])
    listed = json.loads(typed("tasks", "--json")[1])["tasks"]
    assert list(listed) == list(TASKS) and {"adding", "copy", "temporal_order"} <= set(listed)
    for entry in (*found.values(), *listed.values()):
        assert entry["summary"] and all(option["default"] for option in entry["options"])


def test_version(typed):
    assert typed("--version") == (0, f"gradlab {gradlab.__version__}\n", "")


def test_no_command_shows_the_help(typed):
    code, out, err = typed()
    assert code == 2 and "Usage: gradlab" in out + err and err.count("\n") > 10


def test_the_help_of_run_names_every_default(typed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = typed("run", "--help")
    said = {}
    for text in re.split(r"\n  (?=-)", out):
        option = re.match(r"--([a-z-]+)", text)
        default = re.search(r"\(default:\s+(\S+)\)", text)
        if option and default:
            said[option[1].replace("-", "_").replace("len", "length")] = default[1]
    names = set(RunSpec().config()) & set(said)
    assert names >= {"cell", "length", "seed", "hidden", "batch", "steps", "learning_rate", "measure_batch"}
    assert {name: said[name] for name in names} == {name: str(RunSpec().config()[name]) for name in names}


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "command, words",
    [
        (
            "run adding --cell lstn",
            f"unknown cell `lstn`: known are {', '.join(sorted(CELLS))}; did you mean `lstm`?",
        ),
        ("run ading", f"unknown task `ading`: known are {', '.join(sorted(TASKS))}; did you mean `adding`?"),
        ("run adding --cell lstm:forgetbias=1", "did you mean `forget_bias`?"),
        ("run adding --cell lstm:forget_bias=nan", "lstm:forget_bias is `nan`: give a finite number"),
        ("run copy:symbols=x", "copy:symbols is `x`: give a whole number"),
        ("run adding --len 0", "length is 0: give a whole number of at least 1"),
        ("run adding --len -5", "length is -5: give a whole number of at least 1"),
        ("run adding --len abc", "--len is `abc`: give a whole number, a list or a range like 0-7"),
        ("run adding --len 1", "length is 1: adding needs at least 2"),
        ("run adding --len 1.5", "--len is `1.5`"),
        ("run adding --len ''", "--len is ``: give a value, or several with commas between them"),
        ("run adding --len 5,,6", "--len is `5,,6`"),
        ("run adding --cell ,", "--cell is `,`"),
        ("run adding --seed 7-0", "--seed is `7-0`, a reversed range: write 0-7"),
        ("run adding --seed 0-999999999", "give a shorter range"),
        ("run adding --seed 1,1", "twice"),
        ("run adding --hidden 0", "hidden is 0"),
        ("run adding --batch 0", "batch is 0"),
        ("run adding --steps -1", "steps is -1"),
        ("run adding --learning-rate nan", "--learning-rate is `nan`: give a finite number"),
        ("run adding --learning-rate 0", "learning_rate is 0.0: give a positive number"),
        ("run adding --optimizer adm", "unknown optimizer `adm`: known are adam, rmsprop, sgd; did you mean"),
        ("run adding --clip nrm:1", "did you mean `norm`?"),
        ("run adding --clip norm:nan", "clip limit is `nan`"),
        ("run adding --stop solve", "did you mean `solved`?"),
        ("run adding --dtype float16", "known are float32, float64"),
        ("run adding --measure end", "did you mean `ends`?"),
        ("run adding --lenn 5", "; `gradlab run --help` lists what there is"),
        ("run adding --lenn 5", "No such option: --lenn"),
        ("run adding --cell", "--cell"),
        ("run adding copy", "unexpected extra argument"),
        ("run", "Missing argument 'TASK'"),
        ("rum adding", "No such command 'rum'"),
        ("run adding --cell ./nowhere.py:Cell", "cell file `./nowhere.py` does not exist"),
        ("run adding --cell nowhere.cells:Cell", "cannot be imported"),
        ("probe adding --len 0", "length is 0"),
        ("report --compare a", "; `gradlab report --help` lists"),
        ("lesson adding --seed 0-2", "--seed is `0-2`: a lesson takes one value"),
        ("probe adding --steps 5", "No such option: --steps"),
        ("probe adding --params nothing", "run `nothing` is not in"),
        ("show nothing", "run `nothing` is not in"),
        ("report", "no "),
    ],
)
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(typed, tmp_path, monkeypatch, command, words):
    monkeypatch.chdir(tmp_path)
    for more in ([], ["--json"]):
        first, *rest = shlex.split(command)
        code, out, err = typed(first, *more, *rest)
        assert (code, out) == (2, "") and one_line(err) and words in err
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["file", "file/below", "/dev/null/results", "/proc/gradlab"])
def test_a_folder_that_cannot_be_written(typed, tmp_path, own, folder):
    (tmp_path / "file").write_text("in the way")
    code, out, err = typed("probe", recall(own), "--cell", own, "--len", "3", "-q", "--results", tmp_path / folder)
    assert (code, out) == (2, "") and one_line(err) and "cannot be written" in err
    assert everything_in(tmp_path) == {"file": b"in the way"}


def test_a_newer_store_is_left_alone(typed, tmp_path, own):
    store = Store(tmp_path / "results")
    store.begin("a-run", {"store": 99}).finish({"status": "trained"})
    before = everything_in(tmp_path)
    for command in ("ls", "show a-run", "report", f"probe adding --cell {own}", f"run adding --cell {own}"):
        code, out, err = typed(*shlex.split(command))
        assert (code, out) == (2, "") and one_line(err), command
        assert "newer gradlab (store 99, this reads 1)" in err
    assert everything_in(tmp_path) == before


def test_a_corrupt_run_is_skipped_with_one_warning(typed, tmp_path, own, results):
    corrupt = tmp_path / "results" / "runs" / "adding-gru-T5-s0-00000000"
    corrupt.mkdir(parents=True)
    (corrupt / "config.json").write_text('{"store": 1, "cel')
    words = ["--cell", own, "--len", "3", "--hidden", "2", "-q"]
    for command in (["probe", recall(own), *words], ["ls"], ["report"]):
        code, _, err = typed(*command)
        assert code == 0 and err.count("warning") == 1 and str(corrupt) in err and one_line(err), command
    code, _, err = typed("show", corrupt.name)
    assert code == 2 and one_line(err) and "config.json cannot be read (it is no JSON object)" in err
    assert json.loads(typed("ls", "--json")[1])["runs"][0]["status"] == "measured"


def test_a_damaged_run_is_told_and_made_again(typed, tmp_path, own):
    words = ["probe", recall(own), "--cell", own, "--len", "3", "--hidden", "2", "-q"]
    assert typed(*words)[0] == 0
    (curves,) = (tmp_path / "results" / "runs").glob("*/curves.npz")
    curves.write_bytes(curves.read_bytes()[:-40])
    code, _, err = typed("show", curves.parent.name)
    assert code == 2 and one_line(err) and "curves.npz cannot be read" in err and "run it again" in err
    assert typed(*words)[0] == 0
    assert typed("show", curves.parent.name)[0] == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Alone", "Alone.step returns (1, 2): return the next state and the output"),
        ("Bare", "Bare.step returns the output (), with a batch of 1: it must be (batch, size)"),
        ("Grown", "Grown.step takes the state (1, 2) and returns ((1, 2), (1, 2)), with a batch of 1"),
    ],
)
def test_a_cell_whose_step_returns_the_wrong_thing_is_told_the_rule(typed, own, tmp_path, name, words):
    code, out, err = typed(
        "probe", recall(own), "--cell", own.replace(":Own", f":{name}"), "--len", "3", "--hidden", "2", "-q"
    )
    assert (code, out) == (2, "") and one_line(err) and words in err
    assert not any((tmp_path / "results").glob("runs/*"))


# ---------------------------------------------------------------- exit codes 1, 70 and 130


def test_a_users_cell_that_fails_is_a_failed_run(typed, own, tmp_path):
    wrong = own.replace(":Own", ":Wrong")
    words = ["probe", recall(own), "--cell", f"{wrong},{own}", "--len", "3", "--hidden", "2"]
    code, out, err = typed(*words)
    reason = "failed: RuntimeError: a mistake of the user's own"
    assert code == 1 and reason in err and "Traceback" not in out + err
    assert [line.split()[0] for line in err.splitlines()] == ["[1/2]", "[2/2]"]
    failed, measured = json.loads(typed(*words, "--json", "-q")[1])["runs"]
    assert (failed["status"], measured["status"]) == ("failed", "measured")
    line = next(i for i, text in enumerate(OWN.splitlines(), 1) if "raise RuntimeError" in text)
    where = f" ({own.removesuffix(':Own')}, line {line})"
    assert failed["reason"] == reason.removeprefix("failed: ") + where and failed["summary"] == {}
    code, out, err = typed("show", failed["id"])
    assert (code, err) == (0, "") and reason in out
    assert f"next: gradlab show {failed['id']}" in typed(*words, "-q")[1]
    assert typed("ls")[0] == 0


def test_a_bug_is_said_to_be_one(typed, monkeypatch):
    def broken(results):
        raise ZeroDivisionError("not the user's doing")

    monkeypatch.setattr(inspect_commands.options, "open_store", broken)
    code, out, err = typed("ls")
    assert (code, out) == (70, "")
    assert "ZeroDivisionError: not the user's doing" in err
    assert err.splitlines()[-1].startswith("gradlab: this is a bug in gradlab: please report")


def test_ctrl_c_anywhere(typed, monkeypatch):
    def interrupted(results):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspect_commands.options, "open_store", interrupted)
    code, out, err = typed("ls")
    assert (code, out) == (130, "") and "Traceback" not in err


def test_an_interrupted_run_keeps_what_was_measured_and_is_done_again(tmp_path, own):
    spec = RunSpec(task=recall(own), cell=own, length=3, hidden=2, batch=2, measure_batch=2, steps=5)

    def stop_at_2(event):
        if isinstance(event, Checkpoint) and event.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(spec, tmp_path, stop_at_2)
    store = Store(tmp_path)
    stored = store.find(spec.id)
    assert (stored.status, stored.done["training_steps"]) == ("interrupted", 2)
    assert [line["step"] for line in stored.log()] == [0, 1, 2] == stored.arrays()["step"].tolist()
    assert store.completed(spec.id, spec.config()) is None
    assert run(spec, tmp_path).status == "trained"
    stored = store.find(spec.id)
    assert stored.status == "trained" and [line["step"] for line in stored.log()] == [0, 1, 2, 5]
    assert [path.name for path in store.runs.iterdir()] == [spec.id]


def endless(own, seed=0):
    """A run that nobody waits for: checkpoints soon, then chunks of training steps of a tenth of a second."""
    sizes = ["--len", "300", "--hidden", "32", "--batch", "32", "--measure-batch", "2"]
    words = ["run", recall(own), "--cell", own, *sizes, "--steps", "1000000", "--stop", "never"]
    return [*words, "--learning-rate", "1e-6", "--seed", str(seed)]


def wait_for(condition, process, seconds=600):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def checkpoints_in(folder):
    return sum(len(path.read_bytes().splitlines()) for path in folder.glob("runs/.*/log.jsonl"))


def test_ctrl_c_inside_a_chunk(start, own, tmp_path):
    folder = tmp_path / "results"
    words = endless(own)
    for times in (1, 2):  # the second time what was interrupted is done again from the start
        process = start(words, folder, env={"FORCE_COLOR": "1"})
        wait_for(lambda: checkpoints_in(folder) >= 7, process)
        for _ in range(times):  # and somebody is impatient
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
        pressed = time.monotonic()
        out, err = process.communicate(timeout=600)
        assert time.monotonic() - pressed < 60
        assert (process.returncode, out) == (130, "") and "Traceback" not in err
        assert not re.search(r"\x1b\[[\d;]*[^\d;m]", err), "colour may be forced, lines that move may not"
        (stored,) = list(Store(folder).each(pytest.fail))
        assert stored.status == "interrupted" and len(stored.log()) >= 7
        assert stored.done["training_steps"] >= 50 and stored.arrays()["task/state/typical"].shape[0] >= 7
        assert [path.name for path in (folder / "runs").iterdir()] == [stored.id]
        assert (
            "interrupted; what was measured so far is kept" in err
            and "the same command does this run again" in err
        )
        words = shlex.split(err.splitlines()[-1].removeprefix("this run alone: "))[1:]


def test_kill_9_at_any_moment(start, finished, typed, own, tmp_path, monkeypatch):
    folder, chance = tmp_path / "results", random.Random(9)
    after_a_checkpoint = 0
    for number in range(4):
        process = start(endless(own, seed=number), folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if number % 2 == 0:
            lines = checkpoints_in(folder)
            wait_for(lambda lines=lines: checkpoints_in(folder) > lines, process)
            time.sleep(chance.uniform(0, 0.5))
        else:
            time.sleep(chance.uniform(0.2, 3))
        process.kill()
        process.wait()
        deadline = time.monotonic() + 60
        while "running" in {stored.status for stored in Store(folder).each()}:
            assert time.monotonic() < deadline, "the process that computed outlives the command"
            time.sleep(0.01)
        after_a_checkpoint = sum(b"\n" in path.read_bytes() for path in folder.glob("runs/.*/log.jsonl"))
    assert after_a_checkpoint >= 2, "at least half"

    killed = list(Store(folder).each(pytest.fail))
    assert len(killed) >= after_a_checkpoint and {stored.status for stored in killed} == {"killed"}
    assert sum(bool(stored.log()) for stored in killed) == after_a_checkpoint
    monkeypatch.setenv("GRADLAB_RESULTS", str(folder))
    code, out, err = typed("ls")
    assert (code, err) == (0, "") and len(re.findall(r"\bkilled\b", out)) == len(killed)
    name = next(stored.id for stored in killed if stored.log())
    code, out, err = typed("show", name)
    assert code == 2 and one_line(err) and f"run {name} is killed" in err
    (record,) = json.loads(typed("show", name, "--json")[1])["runs"]
    assert record["status"] == "killed" and record["checkpoints"]
    assert typed("report")[0] in (0, 2)
    code, out, err = typed("probe", recall(own), "--cell", own, "--len", "3", "--hidden", "2", "-q")
    assert (code, err) == (0, "")
    code, out, err = typed("report")
    assert code == 0 and "Traceback" not in err


# ---------------------------------------------------------------- terminals, pipes, disks, encodings


def test_help_is_80_wide_and_loads_nothing_heavy(finished, tmp_path):
    code = """
import sys
from gradlab.cli import app
for command in ["", *sys.argv[1:]]:
    assert app.main([*([command] if command else []), "--help"]) == 0
heavy = {"jax", "pandas", "seaborn", "matplotlib", "scipy", "optax"} & set(sys.modules)
print("heavy:", sorted(heavy))
sys.exit(0)
"""
    exit_code, out, err = finished(COMMANDS, tmp_path, code=code)
    assert (exit_code, err) == (0, "")
    assert out.endswith("heavy: []\n")
    assert out.count("Usage: gradlab") == 1 + len(COMMANDS)
    assert max(map(len, out.splitlines())) <= 80


def test_looking_at_runs_loads_no_jax(finished, results):
    code = """
import sys
from gradlab.cli import app
for command in (["ls"], ["ls", "--json"], ["show", "adding"], ["show", "adding", "--json"]):
    assert app.main(command) == 0
print("jax" in sys.modules)
sys.exit(0)
"""
    exit_code, out, err = finished([], results, code=code)
    assert (exit_code, err) == (0, "") and out.endswith("False\n")


@pytest.mark.parametrize("command", ["ls", "show adding", "cells"])
def test_a_file_gets_plain_text_of_any_encoding(finished, results, tmp_path, command):
    surroundings = {"PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    with open(tmp_path / "out.txt", "w") as file:
        code, _, err = finished(command.split(), results, env=surroundings, stdout=file)
    text = (tmp_path / "out.txt").read_bytes()
    assert (code, err) == (0, "") and text.isascii() and text.count(b"\n") > 2
    assert b"\x1b" not in text


def test_the_plot_fits_80_columns(typed, results, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = typed("show", "adding", "--results", results)
    plot = [line for line in out.splitlines() if re.match(r" *[-\d.]* *\|", line)]
    table = out[out.index("training step") : out.index("span in decades")].splitlines()
    assert len(plot) >= 10 and max(map(len, plot)) <= 80 and max(map(len, table)) <= 80


@pytest.mark.parametrize("command", ["cells", "ls", "ls --json", "show adding", "--version"])
def test_a_reader_that_leaves(start, results, command):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as left:
        process = start(command.split(), results, stdout=left)
    _, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (0, "")


def test_a_run_ends_well_though_nobody_listens(start, own, tmp_path):
    read, write = os.pipe()
    os.close(read)
    words = ["run", recall(own), "--cell", own, "--len", "3", *TINY, "--steps", "2"]
    with os.fdopen(write) as left:
        process = start(words, tmp_path, stdout=left, stderr=left)
    assert process.wait(timeout=600) == 0
    assert [stored.status for stored in Store(tmp_path).each(pytest.fail)] == ["trained"]


@pytest.mark.parametrize("limit, name", [(100, "config.json"), (9000, "curves.npz")])
def test_a_full_disk_leaves_nothing(finished, own, tmp_path, limit, name):
    words = ["run", recall(own), "--cell", own, "--len", "60", *TINY, "--steps", "2", "-q"]
    exit_code, out, err = finished(
        words, tmp_path / "results", code=full_disk(limit), env={"GRADLAB_CACHE": "off"}
    )
    assert (exit_code, out) == (2, "") and one_line(err) and f"{name} cannot be written" in err
    assert everything_in(tmp_path) == {}


def test_ctrl_c_that_python_drops_is_silent(capsys):
    class Cleanup:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    with interrupts.handled():
        Cleanup()  # its KeyboardInterrupt goes nowhere, as any exception of a __del__ does
        assert interrupts.presses == 1
    assert capsys.readouterr().err == ""


def test_within_a_command_ctrl_c_is_raised_and_while_it_stops_runs_counted(monkeypatch):
    clock = itertools.count(0, interrupts_module.DEBOUNCE_SECONDS)
    monkeypatch.setattr(interrupts_module.time, "monotonic", lambda: next(clock))
    with interrupts.handled():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with interrupts.handled(), interrupts.counting():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert interrupts.presses == 2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_double_press_is_one(monkeypatch):
    monkeypatch.setattr(interrupts_module.time, "monotonic", lambda: 7.0)
    with interrupts.handled(), interrupts.counting():
        for _ in range(9):
            signal.raise_signal(signal.SIGINT)
        assert interrupts.presses == 1


def test_ctrl_c_while_python_ends_changes_nothing(finished, tmp_path):
    pressed = "import atexit, signal; atexit.register(signal.raise_signal, signal.SIGINT)"
    code, out, err = finished(["--version"], tmp_path, code=pressed)
    assert (code, out, err) == (0, f"gradlab {gradlab.__version__}\n", "")
