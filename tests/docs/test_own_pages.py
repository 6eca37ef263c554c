"""The pages on cells and tasks of one's own: every block of code is run as it stands there."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from gradlab.cli.app import main
from gradlab.runs.variants import get_cell, get_task

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("own-cell", "own-task")
BLOCK = re.compile(r"(?:Save it as `(\w+\.py)`:\s+)?```(\w*)\n(.*?)```", re.DOTALL)


def blocks(page):
    """The file name that stands before a block, its language and its text."""
    return BLOCK.findall((DOCS / f"{page}.md").read_text())


@pytest.fixture(params=PAGES)
def page(request, tmp_path, monkeypatch):
    """In a folder that holds the files of a page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("GRADLAB_RESULTS", "results")
    for name, _, text in blocks(request.param):
        if name:
            Path(name).write_text(text)
    yield request.param
    for name, *_ in blocks(request.param):
        sys.modules.pop(name.removesuffix(".py"), None)


def test_every_block_is_of_a_kind_that_is_run(page):
    kinds = [(bool(name), kind) for name, kind, _ in blocks(page)]
    assert set(kinds) <= {(True, "python"), (False, "python"), (False, "")}
    assert kinds.count((True, "python")) == 1 and (False, "") in kinds
    assert ((False, "python") in kinds) == (page == "own-cell")


def test_the_commands_run(page, capsys):
    typed = [shlex.split(line) for name, kind, text in blocks(page) if kind == "" for line in text.splitlines()]
    assert [words[:2] for words in typed] == [["gradlab", "probe"], ["gradlab", "probe"], ["gradlab", "run"]]
    for words in typed:
        assert main(words[1:]) == 0, capsys.readouterr().err
    assert len(list(Path("results/runs").iterdir())) == 3


@pytest.mark.parametrize("page", ["own-cell"], indirect=True)
def test_the_python_runs(page, capsys):
    (text,) = [text for name, kind, text in blocks(page) if kind == "python" and not name]
    exec(compile(text, page, "exec"), {})
    assert re.search(r"^-?\d+\.\d+ (held|vanishing)", capsys.readouterr().out)


def test_the_table_names_every_member_of_the_example(page):
    rows = re.findall(r"^\| (`.*?) \|", (DOCS / f"{page}.md").read_text(), re.MULTILINE)
    named = {re.match(r"\w+", member).group() for row in rows for member in re.findall(r"`(.*?)`", row)}
    made = get_task("./lengths.py:Lengths") if page == "own-task" else get_cell("./mine.py:Leaky")
    assert all(hasattr(made, member) for member in named)
    members = {name for name in vars(type(made)) if not name.startswith("_")}
    assert members - named <= {"measured_leaves"}


def test_the_readme_links_to_both_pages():
    readme = (DOCS.parent / "README.md").read_text()
    assert all(f"(docs/{page}.md)" in readme for page in PAGES)
