"""`gradlab claims`: the table, its exit codes, and runs of claims that cost nothing."""

import json
import subprocess
import sys

import pytest
from claiming import FALLS, HEAD, SWEEP, rows_of, write_claim

from gradlab.judge.claims.tables import read_rows, write_rows

MEASURE = """
def squares(seed, scale=1.0):
    return {"square": scale * seed**2, "seed": seed}


def broken(seed):
    raise ValueError("no number today")
"""
SQUARES = """
measure = "own.py:squares"

[grid]
seed = [1, 2, 3]

[[expect]]
says = "squares are not negative"
metric = "square"
comparison = ">="
value = 0
quorum = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a claim of each verdict, judged by committed tables alone."""
    monkeypatch.chdir(tmp_path)
    claims, tables = tmp_path / "experiments" / "claims", tmp_path / "results" / "claims"
    write_claim(claims, HEAD + SWEEP + FALLS, "falls")
    write_claim(claims, HEAD + SWEEP + FALLS.replace("-3", "-30"), "falls_far")
    missing = (HEAD + SWEEP + FALLS).replace("adding", "no_such_task")
    write_claim(claims, missing, "unknown_task")
    rows = rows_of(rnn=[-5, -6, -7, -5, -6])
    for name in ("falls", "falls_far"):
        write_rows(tables / f"{name}.csv", rows)
    (claims / "own.py").write_text(MEASURE)
    return tmp_path


def test_the_table_and_its_exit_codes(typed, folder, monkeypatch):
    found = []
    for columns in ("120", "80"):
        monkeypatch.setenv("COLUMNS", columns)
        code, out, err = typed("claims")
        assert (code, err) == (1, "")
        found.append({line.split()[0].strip(":"): line for line in out.splitlines() if line})
    for words in found:
        assert (
            " holds " in words["falls"]
            and " fails " in words["falls_far"]
            and " not run " in words["unknown_task"]
        )
    assert found[1]["falls"].startswith("falls: holds (5 seeds"), "the sentence stands below on a narrow terminal"
    assert "3 claims: 1 holds, 1 not run, 1 fails" in out and "next: gradlab claims --run unknown_task" in out
    assert typed("claims", "falls")[0] == 0
    assert typed("claims", "falls", "unknown_task")[0] == 3
    code, out, _ = typed("claims", "falls_far")
    assert code == 1 and "initial.span < -30" in out and "mean -5.8 [-6.84, -4.76]" in out


def test_json_has_every_number(typed, folder):
    code, out, err = typed("claims", "falls", "unknown_task", "--json")
    found = json.loads(out)
    assert (code, found["exit_code"], err) == (3, 3, "")
    falls, missing = found["claims"]
    (expected,) = falls["expectations"]
    assert expected["values"] == [-5, -6, -7, -5, -6] and expected["mean"] == -5.8
    assert (missing["verdict"], missing["expectations"][0]["mean"]) == ("not run", "nan")


def test_a_claim_that_cannot_be_run_stops_no_other(typed, folder):
    claims = folder / "experiments" / "claims"
    write_claim(claims, HEAD + SQUARES, "squares")
    write_claim(claims, HEAD + SQUARES.replace("squares", "broken"), "broken")
    code, _, err = typed("claims", "--run", "squares", "unknown_task", "broken", "-q")
    assert code == 3 and "claim unknown_task was not run: unknown task `no_such_task`" in err
    assert "claim broken was not run: " in err and "no number today" in err
    assert [row.metrics["square"] for row in read_rows(folder / "results" / "claims" / "squares.csv")] == [1, 4, 9]
    assert not (folder / "results" / "claims" / "broken.csv").exists()
    assert typed("claims", "squares")[0] == 0
    (claims / "own.py").write_text("1 / 0")
    assert typed("claims", "--run", "squares", "-q")[0] == 3, "the table of before is no run"
    page = (folder / "results" / "claims.md").read_text()
    assert "| [falls\\_far](#falls\\_far) | fails |" in page or "| [falls_far](#falls_far) | fails |" in page
    assert (folder / "results" / "claims" / "squares.svg").stat().st_size < 60_000


def test_a_check_compares_with_the_committed_tables(typed, folder):
    claims, table = folder / "experiments" / "claims", folder / "results" / "claims" / "squares.csv"
    path = write_claim(claims, HEAD + SQUARES, "squares")
    typed("claims", "--run", "squares", "-q")
    before = table.read_bytes()
    code, out, _ = typed("claims", "--check", "squares", "-q")
    assert code == 0 and out == "judged afresh, 1 claim: 1 holds; the verdicts are those of results/claims/\n"
    (claims / "own.py").write_text(MEASURE.replace("scale *", "-scale *"))
    code, out, _ = typed("claims", "--check", "squares", "-q")
    assert code == 1 and "squares: fails, holds in results/claims" in out
    assert table.read_bytes() == before, "a check writes nothing"
    write_claim(claims, path.read_text() + "\n[budget]\nsteps = 1\n", "squares")
    code, _, err = typed("claims", "--check", "squares", "-q")
    assert code == 2 and "with `measure` give" in err


@pytest.mark.parametrize(
    "words, said",
    [
        (["fals"], "claim `fals` is not in experiments/claims; did you mean `falls`?"),
        (["--run", "--check"], "--run with --check: give one of them"),
    ],
)
def test_a_mistake_is_one_line(typed, folder, words, said):
    code, out, err = typed("claims", *words)
    assert (code, out) == (2, "") and said in err and err.count("\n") == 1


@pytest.mark.slow
def test_runs_of_a_sweep_become_a_table(typed, folder):
    """A probe, and training whose learning rate is chosen on other seeds."""
    small = (HEAD + SWEEP + FALLS).replace("length = 50", "length = 6\nhidden = 4\nmeasure_batch = 2\nbatch = 2")
    small = small.replace('"rnn", "lstm"', '"rnn"').replace("2, 3, 4]", "2]").replace("value = -3", "value = 100")
    tuned = small.replace("steps = 0", "steps = 2").replace("initial", "final")
    tuned += "[tune]\nlearning_rate = [0.5, 0.001]\nseed = [100]\n"
    for name, text in (("small", small), ("tuned", tuned)):
        write_claim(folder / "experiments" / "claims", text, name)
    code, out, err = typed("claims", "--run", "small", "tuned", "-q")
    assert code == 0 and "2 claims: 2 hold" in out, err
    for name, metric in (("small", "initial.span"), ("tuned", "final.span")):
        rows = read_rows(folder / "results" / "claims" / f"{name}.csv")
        assert [row.fields["seed"] for row in rows] == ["0", "1", "2"] and all(row.seconds > 0 for row in rows)
        assert len({row.metrics[metric] for row in rows}) == 3 and "learning_rate" not in rows[0].fields
    assert len({row.chosen["learning_rate"] for row in rows}) == 1
    assert len(list((folder / "results" / "runs").iterdir())) == 3 + 2 + 3


def test_the_table_loads_no_jax(folder):
    code = "import sys; from gradlab.cli.app import main; print(main(['claims']), 'jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert done.stdout.splitlines()[-1] == "1 False"
