"""`--log-file`: what a command says on stderr, with the time, whether or not it is quiet."""

import re
from datetime import datetime
from pathlib import Path

import pytest
from attempts import ended, line
from rich.console import Console

from gradlab.cli.app import main
from gradlab.cli.console import Screen, log_to
from gradlab.cli.session import Session
from gradlab.runs.jobs import Finished, Settings
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store

RUN = (
    "run",
    "adding",
    "--cell",
    "rnn",
    "--len",
    3,
    "--hidden",
    4,
    "--batch",
    4,
    "--measure-batch",
    4,
    "--steps",
    2,
)


def said(path):
    """The lines of a log without their times, which are those of now."""
    found = [re.fullmatch(r"(\S+ \S+[+-]\d{4}) (.*)", each) for each in path.read_text().splitlines()]
    for each in found:
        assert abs(datetime.strptime(each[1], "%Y-%m-%d %H:%M:%S%z").timestamp() - path.stat().st_mtime) < 3600
    return [each[2] for each in found]


@pytest.mark.slow
def test_a_quiet_run_is_logged_and_a_loud_one_too(typed, tmp_path):
    log, options = tmp_path / "gradlab.log", ("--results", tmp_path / "results")
    assert typed(*RUN, *options, "-q", "--log-file", log)[2] == ""
    first = said(log)
    assert first[0].startswith("adding-rnn-T3-s0-") and first[1].startswith("  task adding, length 3")
    steps = [text for text in first if text.startswith("training step")]
    assert [int(text.split()[2]) for text in steps] == [0, 1, 2] and first[-1].startswith(
        f"{first[0]}: not solved"
    )
    err = typed(*RUN, *options, "--log-file", log)[2]
    assert said(log) == first + err.splitlines() and "already trained" in err


def test_a_mistake_is_logged(typed, tmp_path):
    log = tmp_path / "gradlab.log"
    code, _, err = typed("claims", "nothing", "--log-file", log)
    assert code == 2 and "nothing" in err and said(log) == err.splitlines()


@pytest.mark.parametrize("place", ["nowhere/gradlab.log", "."])
def test_a_log_that_cannot_be_written(typed, tmp_path, place):
    code, out, err = typed("claims", "--log-file", tmp_path / place)
    assert (code, out) == (2, "") and err.startswith(f"gradlab: --log-file is `{tmp_path / place}`: it cannot be")
    assert err.count("\n") == 1


@pytest.fixture
def log(tmp_path):
    yield log_to(tmp_path / "gradlab.log")
    log_to(None)


def test_a_full_disk_ends_no_run(capsys, log):
    log_to(Path("/dev/full"))
    Screen().note("one")
    Screen().note("two")
    assert capsys.readouterr().err.splitlines() == [
        "one",
        "gradlab: warning: --log-file cannot be written any more: No space left on device",
        "two",
    ]


@pytest.mark.parametrize("quiet", [False, True])
def test_each_run_of_several_is_logged_where_a_terminal_shows_counts(tmp_path, log, quiet):
    store, specs = Store(tmp_path), [RunSpec(steps=1), RunSpec(steps=1, seed=1)]
    attempt = store.begin(specs[0].id, specs[0].config())
    attempt.log(line())
    attempt.finish(ended("trained"))
    terminal = Console(force_terminal=True, force_interactive=True, record=True, stderr=True)
    session = Session(Screen(err=terminal), store, specs, Settings(), quiet=quiet)
    session.ended(Finished(specs[0], "trained", None, True, 1.5))
    session.ended(Finished(specs[1], "failed", "a mistake", True))
    first, second = said(log)
    assert first.startswith(f"[1/2] {specs[0].id}: ") and first.endswith("(1.5 s)")
    assert second.startswith(f"[2/2] {specs[1].id} failed: a mistake")
    shown = terminal.export_text()
    assert specs[0].id not in shown and (specs[1].id in shown) != quiet


def test_the_rest_of_a_sweep_is_logged_too(tmp_path, monkeypatch, capsys):
    def pressed(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "carry_out", pressed)
    monkeypatch.chdir(tmp_path)
    Path("two.toml").write_text('title = "t"\nquestion = "q"\n[grid]\nseed = [0, 1]\n')
    assert main(["sweep", "two.toml", "-q", "--log-file", "a.log"]) == 130
    assert said(Path("a.log"))[-1] == "go on: gradlab sweep two.toml --log-file a.log"
