"""docs/how-to/: every command is understood, files are as they should be, and what is quick is run."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer
from synthetic import falling, put

from gradlab.cli import app
from gradlab.cli.console import log_to
from gradlab.judge.claims.files import load_claims
from gradlab.judge.suite import load_suite
from gradlab.runs.sweeps import load_sweep

ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs" / "how-to").glob("*.md"))}
FILE = re.compile(r"`(experiments/[\w/]+\.toml)`:\n\n```toml\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^ *(gradlab .*)$|`(gradlab [a-z][^`]* [^`]*)`", re.MULTILINE)
QUICK = {
    "own-cell": [("gradlab new cell leaky_unit", 0)],
    "claim": [("gradlab claims leaky_keeps_more", 3)],
    "slide": [("gradlab plot --where steps=0 --where length=200 -o cells.pdf --style talk", 0)],
    "cluster": [("gradlab sweep experiments/seeds.toml --dry-run", 0)],
    "clean-up": [
        ("gradlab ls --where status=failed", 0),
        ("gradlab rm --where status=failed", 2),
        ("gradlab rm --where status=failed --yes", 0),
    ],
    "move-results": [("gradlab ls --results from-cluster", 0)],
}
"""Commands that compute nothing, with their exit codes."""


def commands(page):
    return [shlex.split(block or inline)[1:] for block, inline in COMMAND.findall(PAGES[page])]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the files of all pages, and results."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRADLAB_RESULTS", raising=False)
    for text in PAGES.values():
        for name, content in FILE.findall(text):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(content)
    for cell in ("rnn", "lstm"):
        put(Path("results"), [falling(3)], cell=cell, length=200, steps=0, status="measured")
    put(Path("results"), [falling(3)], status="failed", length=50)
    shutil.copytree("results", "from-cluster")


def test_there_is_a_page_for_each_question_and_it_is_short():
    assert len(PAGES) == 10
    for page, text in PAGES.items():
        assert text.startswith("# ") and text.splitlines()[0].endswith("?"), page
        assert 10 <= len(text.splitlines()) <= 45 and "](../" in text, page


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_understood(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a log file is opened when its option is read
    group = typer.main.get_command(app.app)
    whole = group.make_context("gradlab", [], resilient_parsing=True)
    try:
        for words in commands(page):
            name, command, rest = group.resolve_command(whole, words)
            command.make_context(name, rest)
    finally:
        log_to(None)
    assert commands(page)


@pytest.mark.parametrize("page", QUICK)
def test_what_is_quick_runs(page, project, typed):
    for command, code in QUICK[page]:
        assert command in PAGES[page]
        found, _, err = typed(*shlex.split(command)[1:])
        assert found == code, err


def test_files_are_what_their_commands_read(project, typed):
    typed("new", "cell", "leaky_unit")
    (claim,) = load_claims()
    assert claim.name == "leaky_keeps_more" and len(claim.points) == 10
    assert [one.name for one in load_suite("mine").scenarios] == ["adding-leaky_unit.leakyunit-T50-H16-float32"]
    assert len(load_sweep("experiments/seeds.toml").specs) == 4


def test_the_table_of_moved_results(project):
    (code,) = re.findall(r"```python\n(.*?)```", PAGES["move-results"], re.DOTALL)
    exec(code, {})
    assert Path("curves.csv").read_text().count("\n") > 40
