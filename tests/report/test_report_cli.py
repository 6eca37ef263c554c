"""`gradlab report` as it is typed: what is written where, what is opened, and what is refused in one line."""

import os
import subprocess
import sys

import pytest
from synthetic import falling, put

from gradlab.cli.app import main

pytestmark = pytest.mark.slow


@pytest.fixture
def typed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for name, decades in (("lstm", 2.0), ("gru", 5.0)):
        put(tmp_path / "results", [falling(decades)], cell=name, steps=0, status="measured")
    put(tmp_path / "results", [falling(1.0)] * 2, status="interrupted", cell="rnn")
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main(["report", *map(str, words)])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_one_page_goes_where_it_is_told(typed, tmp_path):
    code, out, err = typed("-o", "deep/page.html")
    assert (code, err) == (0, "") and "written: deep/page.html, 0." in out and "index.md" not in out
    assert (tmp_path / "deep" / "page.html").read_text().startswith("<!doctype html>")
    assert not (tmp_path / "results" / "report").exists()


def test_a_run_and_a_comparison_are_named_by_a_part_of_their_id(typed, tmp_path):
    code, out, _ = typed("--run", "adding-gru", "--format", "html")
    page = tmp_path / "results" / "report" / "runs" / "adding-gru-T40-s0-probe" / "index.html"
    assert code == 0 and "GRU on adding" in page.read_text()
    code, out, _ = typed("--compare", "adding-lstm", "adding-gru")
    assert code == 0 and "written: results/report/compare.html" in out


@pytest.mark.parametrize(
    "words, said",
    [
        (["--format", "pdf"], "unknown --format `pdf`"),
        (["--format", "html,mf"], "did you mean `md`"),
        (["-o", "x.html", "--format", "csv"], "the page alone is written, --format html"),
        (["--open", "--format", "csv"], "add html to it"),
        (["--run", "adding-gru", "--sweep", "any"], "exclude each other"),
        (["--run", "nothing"], "run `nothing` is not in results"),
        (["--run", "adding-rnn"], "did not come to an end"),
        (["--compare", "adding-gru", "adding-gru"], "give two different ones"),
        (["--compare", "adding-gru", "adding-rnn"], "has no finished run"),
        (["--sweep", "nothing"], "sweep `nothing` is not in results"),
        (["-o", "results"], "the page cannot be written to results"),
    ],
)
def test_what_cannot_be_done_is_one_line(typed, words, said):
    code, out, err = typed(*words)
    assert code == 2 and out == "" and said in err and err.count("\n") == 1


def test_the_page_is_opened_in_the_browser_that_is_named(typed, tmp_path):
    # A browser that writes down what it was asked to open.
    fake = tmp_path / "browser"
    fake.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    fake.chmod(0o755)
    words = [
        sys.executable,
        "-c",
        "from gradlab.__main__ import entry; entry()",
        "report",
        "--open",
        "--format",
        "html",
    ]
    done = subprocess.run(
        words, env=os.environ | {"BROWSER": str(fake)}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    opened = (tmp_path / "opened").read_text().strip()
    assert opened == (tmp_path / "results" / "report" / "index.html").resolve().as_uri()


def test_without_a_browser_the_file_is_named(typed, monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    code, _, err = typed("--open", "--format", "html")
    assert code == 0 and "no browser was found: open results/report/index.html yourself" in err
