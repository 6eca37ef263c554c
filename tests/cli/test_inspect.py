"""`ls`, `show` and `rm`: which runs are meant, in what order, and what is removed."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from attempts import dead_attempt, living_attempt, rewrite
from synthetic import CONFIG, falling, put

from gradlab.cli.app import main
from gradlab.cli.lstm_reference import lstm_beside
from gradlab.errors import GradlabError
from gradlab.runs import listing
from gradlab.runs.listing import condition
from gradlab.runs.lock import is_dead
from gradlab.runs.removal import clear_trash
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store, StoredRun


@pytest.fixture
def typed(capsys, tmp_path, monkeypatch):
    """Types a command about the results of the test: exit code, stdout, stderr."""
    monkeypatch.setenv("GRADLAB_RESULTS", str(tmp_path))
    monkeypatch.delenv("COLUMNS", raising=False)

    def type_(command):
        capsys.readouterr()
        code = main(shlex.split(command))
        return code, *capsys.readouterr()

    return type_


@pytest.fixture
def six(tmp_path):
    """LSTM and RNN at three lengths; the RNN loses ten times as much, and only the LSTM solves anything."""
    for cell, rate in (("lstm", 0.01), ("rnn", 0.1)):
        for length in (20, 40, 80):
            solved = cell == "lstm" and length < 80
            curves = [falling(rate * length * scale, length) for scale in (1, 2, 1.5)]
            put(tmp_path, curves, status="solved" if solved else "trained", cell=cell, length=length)
    return tmp_path


def listed(out):
    return [run["id"] for run in json.loads(out)["runs"]]


def test_every_field_of_a_spec_can_be_asked_for():
    assert {field.name for field in fields(RunSpec)} == {*listing.SPEC_TEXTS, *listing.SPEC_NUMBERS}
    for field in fields(RunSpec):
        assert listing.field_name(field.name) == field.name


@pytest.mark.parametrize(
    "where, expected",
    [
        ("cell=lstm", ["lstm-T20", "lstm-T40", "lstm-T80"]),
        ("cell=lstm,rnn length=20", ["lstm-T20", "rnn-T20"]),
        ("cell=l*", ["lstm-T20", "lstm-T40", "lstm-T80"]),
        ("cell!=lstm", ["rnn-T20", "rnn-T40", "rnn-T80"]),
        ("status=solved length>20", ["lstm-T40"]),
        ("len>=40 len<80 cell=rnn", ["rnn-T40"]),
        ("length==80", ["lstm-T80", "rnn-T80"]),
        ("span<-5", ["rnn-T40", "rnn-T80"]),
        ("initial.span<=-8", ["rnn-T80"]),
        ("worst.verdict=held", ["lstm-T20", "lstm-T40", "lstm-T80"]),
        ("solved_at=none cell=lstm", ["lstm-T80"]),
        ("solved-at=100", ["lstm-T20", "lstm-T40"]),
        ("training_steps>100", []),
        ("params=none cell=rnn length=20", ["rnn-T20"]),
    ],
)
def test_where(typed, six, where, expected):
    words = " ".join(f"--where '{each}'" for each in where.split())
    code, out, err = typed(f"ls --json {words}")
    assert (code, err) == (0, "") and listed(out) == [f"adding-{name}-s0" for name in expected]


def test_order_and_limit(typed, six):
    slopes = [run["numbers"]["slope"] for run in json.loads(typed("ls --json --sort slope")[1])["runs"]]
    assert slopes == sorted(slopes) and len(slopes) == 6
    up, down = (listed(typed(f"ls --json --sort {order}")[1]) for order in ("slope", "-slope"))
    assert sorted(up) == sorted(down) and up[0].startswith("adding-rnn") and down[0].startswith("adding-lstm")
    code, out, err = typed("ls --sort -length --limit 2")
    assert code == 0 and "2 of 6 runs" in err and out.count("-T80-") == 3  # two rows, and the next command
    assert "length" in out.splitlines()[0]


def test_what_has_no_number_comes_last(typed, six):
    path = put(six, [falling(1.0)], status="failed", cell="gru") / "done.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"summary": {}}))
    for order in ("slope", "-slope"):
        assert listed(typed(f"ls --json --sort {order}")[1])[-1] == "adding-gru-T40-s0"


@pytest.mark.parametrize(
    "command, words",
    [
        ("ls --where lenght=20", "runs have no field `lenght`; did you mean `length`?"),
        ("ls --where length", "condition `length` is not understood: write it as cell=lstm or length>=200"),
        ("ls --where length>=", "is not understood"),
        ("ls --where length>=20,40", "is not understood"),
        ("ls --where length=long", "condition `length=long`: `long` is no number"),
        ("ls --where cell<3", "cell is a text, compare it with = or !="),
        ("ls --where status=solvd", "did you mean `solved`?"),
        ("ls --where verdict=vanish", "did you mean `vanishing`?"),
        ("ls --sort slop", "did you mean `slope`?"),
        ("ls --limit 0", "--limit is 0: give a whole number of at least 1"),
        ("rm", "name runs to remove, or say --where status=failed"),
        ("rm --where lenght=20", "did you mean `length`?"),
        ("rm --where status=failed", "no run to remove with status=failed"),
        ("rm nothing", "run `nothing` is not in"),
        ("rm ''", "run `` names none"),
        ("rm /", "run `/` names none"),
        ("rm ..", "run `..` is not in"),
        ("rm adding-lstm", "could be any of 3"),
        ("report --sweep nothing", "sweep `nothing` is not in"),
    ],
)
def test_mistakes_are_told_in_one_line(typed, six, command, words):
    before = sorted(path.name for path in (six / "runs").iterdir())
    first, *rest = [shlex.quote(word) for word in shlex.split(command)]
    code, out, err = typed(" ".join([first, *rest]))
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1
    assert sorted(path.name for path in (six / "runs").iterdir()) == before


def test_no_run_with_that(typed, six):
    code, out, err = typed("ls --where cell=gru")
    assert (code, out) == (0, "") and "no runs with cell=gru in" in err
    assert json.loads(typed("ls --where cell=gru --json")[1]) == {"runs": []}


def test_brackets_in_the_path_of_a_cell_are_letters():
    run = StoredRun("a", None, "solved", {"cell": "./[a]/my.py:Cell"})
    assert condition("cell=./[a]/my.py:Cell").holds(run) and condition("cell=*my.py*").holds(run)
    assert not condition("cell=./a/my.py:Cell").holds(run)


def test_infinite_and_missing_numbers():
    state = {"span": "-inf", "slope": "nan"}
    done = {"summary": {"final": {"curves": {"task": {"state": state}}}}, "solved_at": None}
    run = StoredRun("a", None, "trained", CONFIG, done)
    assert condition("span<-1000").holds(run) and condition("slope=nan").holds(run)
    assert not condition("slope<0").holds(run) and not condition("solved_at<10").holds(run)
    assert condition("solved_at!=10").holds(run) and condition("horizon=none").holds(run)


def test_the_command_of_show_repeats_the_run(typed, tmp_path):
    spec = RunSpec(
        task="adding", cell="rnn:gain=0.5", length=30, hidden=7, seed=4, learning_rate=0.003, clip="none", steps=9
    )
    path = put(tmp_path, [falling(1.0)] * 3, **spec.config())
    out = typed(f"show {path.name}")[1]
    assert " \\\n    --" in out
    out = out.replace(" \\\n    ", " ")
    (line,) = [line for line in out.splitlines() if line.startswith("made again by: ")]
    words = shlex.split(line.removeprefix("made again by: "))
    assert words[:3] == ["gradlab", "run", "adding"]
    given = {words[i][2:].replace("-", "_"): words[i + 1] for i in range(3, len(words), 2)}
    numbers = {name: int(value) for name, value in given.items() if value.isdigit()}
    rate = float(given.pop("learning_rate"))
    asked = given | numbers | {"learning_rate": rate, "length": numbers.pop("len")}
    del asked["len"]
    assert RunSpec(**asked) == spec
    borrowed = put(tmp_path, [falling(1.0)], status="measured", steps=0, params="some-run", seed=5)
    again = [line for line in typed(f"show {borrowed.name}")[1].splitlines() if line.startswith("made again")]
    assert "gradlab probe adding --params some-run --cell lstm" in again[0] and "--optimizer" not in again[0]


def test_rm_says_what_would_go_and_exits_2(typed, six):
    code, out, err = typed("rm adding-rnn-T20 adding-rnn-T40")
    assert code == 2 and "adding-rnn-T20-s0" in out and "trained" in out and "kB" in out
    assert "nothing is removed: 2 runs" in err and "--yes" in err
    assert len(list(Store(six).each())) == 6
    code, out, _ = typed("rm --where cell=rnn --json")
    printed = json.loads(out)
    assert code == 2 and printed["removed"] is False and len(printed["runs"]) == 3
    sizes = {run["id"]: run["bytes"] for run in printed["runs"]}
    for run_id, size in sizes.items():
        assert size == sum(path.stat().st_size for path in (six / "runs" / run_id).iterdir())


def test_rm_yes_removes_them_and_nothing_else(typed, six):
    code, _, err = typed("rm --where cell=rnn --where 'length>=40' --yes")
    assert code == 0 and "removed: 2 runs" in err
    left = ["adding-lstm-T20-s0", "adding-lstm-T40-s0", "adding-lstm-T80-s0", "adding-rnn-T20-s0"]
    assert sorted(path.name for path in (six / "runs").iterdir()) == left
    code, out, _ = typed(f"rm {left[0]} {left[0]} --yes --json")
    assert code == 0 and listed(out) == left[:1] and json.loads(out)["removed"] is True
    assert sorted(path.name for path in (six / "runs").iterdir()) == left[1:]


@pytest.fixture
def other(six):
    with living_attempt(six, "adding-rnn-T20-s0", CONFIG | {"cell": "rnn", "length": 20}) as process:
        yield process


def test_rm_takes_dead_attempts_and_never_a_living_one(typed, six, other):
    dead = dead_attempt(six, "adding-gru-T40-s0", CONFIG | {"cell": "gru"})
    mine = Store(six).begin("adding-gru-T40-s1", CONFIG | {"cell": "gru", "seed": 1})
    living, both = mine.path, Path(other.path)
    code, _, err = typed("rm adding-gru-T40-s1 --yes")
    where = f"in process {os.getpid()} on {socket.gethostname()}"
    assert code == 2 and f"adding-gru-T40-s1 is running {where}: stop it" in err and err.count("\n") == 1
    code, _, err = typed("show adding-gru-T40-s1")
    assert code == 2 and f"adding-gru-T40-s1 is running {where}, 0 checkpoints so far" in err
    assert f"running {where}" in typed("ls --where status=running")[1]
    (entry,) = json.loads(typed("ls --where status=running --json")[1])["runs"]
    assert entry["process"] == {"host": socket.gethostname(), "pid": os.getpid()}
    code, out, err = typed("rm --where cell=gru,rnn --yes --json")
    assert code == 0 and "1 of 5 runs are running and stay" in err
    assert {run["id"]: run["status"] for run in json.loads(out)["runs"]} == {
        "adding-gru-T40-s0": "killed",
        "adding-rnn-T20-s0": "trained",
        "adding-rnn-T40-s0": "trained",
        "adding-rnn-T80-s0": "trained",
    }
    assert living.exists() and both.exists() and not dead.exists()


def test_rm_takes_a_corrupt_run_by_its_whole_name(typed, six):
    (six / "runs" / "adding-rnn-T20-s0" / "done.json").write_text("{")
    code, out, _ = typed("rm adding-rnn-T20-s0")
    assert code == 2 and "corrupt" in out
    assert typed("rm adding-rnn-T20-s0 --yes")[0] == 0
    assert not (six / "runs" / "adding-rnn-T20-s0").exists()


def test_trash_of_a_process_that_died_is_cleared(typed, six):
    trash, elsewhere = six / "runs" / ".trash.adding-rnn-T20-s0.0", six / "elsewhere"
    trash.mkdir()
    elsewhere.mkdir()
    (six / "runs" / ".trash.a-link.0").symlink_to(elsewhere)
    clear_trash(Store(six))
    assert not list((six / "runs").glob(".trash*")) and elsewhere.exists()


def test_rm_of_a_link_removes_the_link(typed, six):
    run, elsewhere = six / "runs" / "adding-rnn-T20-s0", six / "elsewhere"
    run.rename(elsewhere)
    run.symlink_to(elsewhere)
    assert typed("rm adding-rnn-T20-s0 --yes")[0] == 0
    assert not list((six / "runs").glob("*adding-rnn-T20*")) and (elsewhere / "done.json").exists()


def test_a_run_that_is_redone_reads_as_the_one_that_lives(six):
    config = CONFIG | {"cell": "gru"}
    with living_attempt(six, "adding-gru-T40-s0", config) as other:
        shutil.copytree(other.path, six / "runs" / ".adding-gru-T40-s0.0")
        shutil.copytree(other.path, six / "runs" / ".adding-gru-T40-s0.z")
        assert sorted(map(is_dead, (six / "runs").glob(".adding-gru*"))) == [False, True, True]
        assert Store(six).find("adding-gru").status == "running"


def test_only_the_named_runs_are_read(six):
    (six / "runs" / "adding-rnn-T20-s0" / "done.json").write_text("{")
    heard = []
    found = list(Store(six).each(heard.append, ["adding-lstm-T20-s0", "adding-lstm-T40-s0", "no-such-run"]))
    assert [run.id for run in found] == ["adding-lstm-T20-s0", "adding-lstm-T40-s0"] and heard == []
    with pytest.raises(GradlabError, match="could be any of 3"):
        Store(six).find("adding-lstm")


def test_ls_reads_two_small_files_of_each_run(six, tmp_path):
    (source,) = [path for path in (six / "runs").iterdir() if path.name == "adding-lstm-T20-s0"]
    config, done = json.loads((source / "config.json").read_text()), (source / "done.json").read_bytes()
    many = tmp_path / "many"
    for seed in range(500):
        folder = many / "runs" / f"adding-lstm-T20-s{seed}"
        folder.mkdir(parents=True)
        (folder / "done.json").write_bytes(done)
        rewrite(folder / "config.json", json.dumps(config | {"seed": seed}).encode())
        (folder / "curves.npz").write_bytes(b"whoever reads this fails")
    start = "from gradlab.__main__ import entry; entry()"
    command = [sys.executable, "-c", start, "ls", "--results", str(many)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert out.count("\n") == 502 and out.count(" solved ") == 500


def test_show_marks_where_float32_stops_seeing(typed, tmp_path):
    put(tmp_path, [falling(60.0)], steps=0, status="measured")
    put(tmp_path, [falling(2.0)], steps=0, status="measured", cell="gru")
    lines = typed("show adding-lstm-T40-s0-probe")[1].splitlines()
    (norms,) = [index for index, line in enumerate(lines) if "- float32 norms read 0" in line]
    (entries,) = [index for index, line in enumerate(lines) if "- float32 entries read 0" in line]
    top = next(index for index, line in enumerate(lines) if line.lstrip().startswith("0 |"))
    assert (norms - top, entries - top) == (round(19 / 60 * 13), round(37.9 / 60 * 13))
    assert "read 0" not in typed("show adding-gru-T40-s0-probe")[1]


def test_what_comes_next_is_in_the_same_folder(typed, six, monkeypatch):
    monkeypatch.setenv("GRADLAB_RESULTS", "elsewhere")
    for words in ("ls", "show adding-lstm-T40-s0", "report --format csv"):
        code, out, _ = typed(f"{words} --results {six}")
        assert code == 0 and out.rstrip().endswith(f" --results {six}"), words


def test_a_cell_is_shown_beside_an_lstm_with_the_same_settings(typed, tmp_path):
    probe = "probe adding --len 5 --hidden 3 --measure-batch 2 -q --cell"
    assert "LSTM" not in typed(f"{probe} gru")[1]
    assert "LSTM" not in typed(f"{probe} lstm")[1]
    (lstm,) = json.loads(typed("show adding-lstm-T5-s0 --json")[1])["runs"]
    horizon = lstm["summary"]["initial"]["curves"]["task"]["state"]["horizon"]
    said = typed("show adding-gru-T5-s0")[1]
    assert f"an LSTM with these settings: all {horizon} timesteps at training step 0" in said and horizon == 5

    (gru,) = json.loads(typed("show adding-gru-T5-s0 --json")[1])["runs"]
    own = gru["spec"] | {"cell": "mine.py:Unit", "cell_source": "0", "hidden": 4, "steps": 10}
    command = "gradlab probe adding --cell mine.py:Unit,lstm --len 5 --hidden 4 --measure-batch 2"
    run = StoredRun("own", tmp_path, "trained", own, {"summary": gru["summary"]})
    assert lstm_beside(Store(tmp_path), run) == f"to compare with an LSTM: {command}"
    windowed = StoredRun("own", tmp_path, "trained", own | {"hidden": 3, "window": 2, "also": "credit"}, run.done)
    reached = "an LSTM with these settings: all 5 timesteps at training step 0"
    assert lstm_beside(Store(tmp_path), windowed) == reached
    failed = StoredRun("own", tmp_path, "failed", own, {"reason": "a mistake"})
    assert lstm_beside(Store(tmp_path), failed) == ""
