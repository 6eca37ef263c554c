"""The terminal: tables that fit, whole names, and how the package is started."""

import io
import re
import subprocess
import sys
import time

import pytest
from attempts import ended, line
from rich.console import Console

import gradlab
from gradlab.cli.app import main
from gradlab.cli.console import Screen
from gradlab.cli.run import carry_out
from gradlab.cli.session import Session
from gradlab.runs.jobs import RunProgress, Settings
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store

NAME = "adding-lstm-T200-H64-float32"
TEXT = "initial weights changed (cell/w by 1 %); +0.1 decades at lag 3"


def table(capsys, monkeypatch, width, rows, columns, **options):
    monkeypatch.setenv("COLUMNS", str(width))
    Screen().table(columns, rows, **options)
    return capsys.readouterr().out.splitlines()


def test_a_narrow_table_folds_sentences_before_names(capsys, monkeypatch):
    columns, row = ("verdict", "scenario", "decades", "what"), ("regressed", NAME, "+0.1", TEXT)
    options = {"right": ["decades"], "fold": ("what", "scenario")}
    lines = table(capsys, monkeypatch, 80, [row], columns, **options)
    assert max(map(len, lines)) <= 80 and len(lines) == 3 and NAME in lines[1]
    assert " ".join(line[47:].strip() for line in lines[1:]) == TEXT
    narrow = table(capsys, monkeypatch, 50, [row], columns, **options)
    assert max(map(len, narrow)) <= 50 and "".join(line[10:32].strip() for line in narrow[1:]).startswith("adding")
    assert table(capsys, monkeypatch, 200, [row], columns, **options)[1].endswith(f"{NAME}    +0.1 {TEXT}")


def test_a_terminal_shows_that_it_compiles_and_then_the_time_left(tmp_path):
    """In 80 columns, of a run of the default number of training steps."""
    spec, shown = RunSpec(), io.StringIO()
    console = Console(file=shown, force_terminal=True, force_interactive=True, width=80, no_color=True)
    session = Session(Screen(err=console), Store(tmp_path), [spec], Settings(all_cores=True), quiet=False)
    execution = {"device": "cpu", "cpu": "a processor", "shards": 1, "jaxlib": "0"}
    with session._progress:
        session.begun(spec, execution, 1)
        assert "compiling" in shown.getvalue()
        session.reached(spec, RunProgress(0, 1.0, 0.0, "held"))
        session._running[spec.id] = (spec, time.monotonic() - 10, 0)
        session.reached(spec, RunProgress(50, 0.123456))
    line = next(line for line in re.split(r"[\r\n]|\x1b\[[\d;?]*[a-zA-Z]", shown.getvalue()) if "left" in line)
    said = r"training step 50 of 5000, \d/s, at most \d+ min left  loss 0.1235 \(chance 0.1667\)"
    assert re.fullmatch(said, line) and len(line) <= 80


def test_long_headings_wrap_before_cells(capsys, monkeypatch):
    rows = [("a", "12345", "solved")]
    lines = table(capsys, monkeypatch, 20, rows, ("run", "training steps", "status"), right=["training steps"])
    assert lines == ["run training status", "       steps", "a      12345 solved"]


def test_verdicts_and_numbers_are_never_broken_inside_a_word(capsys, monkeypatch):
    rows = [("adding-lstm-T200-s0-66ca8fb1", "not exponential", "vanishing -5.7 @19")]
    options = {"fold": ("half-life", "verdict", "run")}
    lines = table(capsys, monkeypatch, 36, rows, ("run", "half-life", "verdict"), **options)
    assert max(map(len, lines)) <= 36
    assert [line[15:].split() for line in lines[1:3]] == [["not", "vanishing"], ["exponential", "-5.7", "@19"]]
    tiny = table(capsys, monkeypatch, 10, rows, ("run", "half-life", "verdict"), **options)
    assert {"vanishing", "exponential"} <= {word for line in tiny for word in line.split()}


def test_columns_that_a_table_lacks_are_not_folded(capsys, monkeypatch):
    assert table(capsys, monkeypatch, 5, [], ("a", "b"), fold=("c", "b")) == ["a b"]


def test_the_package_is_a_program():
    def typed(word):
        done = subprocess.run([sys.executable, "-m", "gradlab", word], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    assert typed("--version") == (0, f"gradlab {gradlab.__version__}\n", "")
    code, out, err = typed("nothing")
    assert (code, out) == (2, "") and err.startswith("gradlab: No such command")


@pytest.mark.parametrize("specs", [[RunSpec(steps=1)], [RunSpec(steps=1), RunSpec(steps=1, seed=1)]])
def test_what_was_not_measured_is_not_said_to_be_kept(tmp_path, capsys, monkeypatch, specs):
    def pressed(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "carry_out", pressed)
    with pytest.raises(KeyboardInterrupt):
        carry_out(Store(tmp_path), specs, 1, 1, rerun=False, json=False, quiet=True)
    err = capsys.readouterr().err
    assert err.startswith("interrupted; nothing was measured yet\n") and f"done 0 of {len(specs)}" in err


def test_an_interrupted_run_with_checkpoints_is_kept(tmp_path):
    store, spec = Store(tmp_path), RunSpec(steps=1)
    attempt = store.begin(spec.id, spec.config())
    attempt.log(line())
    attempt.finish(ended("interrupted"))
    session = Session(Screen(), store, [spec], Settings(), quiet=True)
    assert session.kept() == "what was measured so far is kept"
    again = Session(Screen(), store, [spec], Settings(rerun="all"), quiet=True)
    assert again.kept() == "what was measured so far is kept", "an interrupted run is not a stored result"


def test_help_cuts_no_description(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:")[2]
    assert len(listed.splitlines()) > 12 and "..." not in listed
