"""The page on cells of other libraries: every command and every block of Python is run as it stands there."""

import re
import shlex
import sys
import tomllib
from pathlib import Path

import jax
import pytest

from gradlab.cli.app import main
from gradlab.runs.variants import get_cell

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "libraries.md"
BLOCK = re.compile(r"(?:Save it as `(\w+\.py)`:\s+)?```(\w*)\n(.*?)```", re.DOTALL)
KEY = jax.random.key(0)
BLOCKS = BLOCK.findall(PAGE.read_text())


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADLAB_RESULTS", "results")
    for name, _, text in BLOCKS:
        if name:
            Path(name).write_text(text)
    yield
    sys.modules.pop("mine", None)


def test_every_block_is_of_a_kind_that_is_run():
    assert {(bool(name), kind) for name, kind, _ in BLOCKS} == {
        (True, "python"),
        (False, "python"),
        (False, ""),
        (False, "toml"),
    }
    (text,) = [text for _, kind, text in BLOCKS if kind == "toml"]
    assert tomllib.loads(text)["project"]["entry-points"]["gradlab.cells"]


def test_the_commands_run(capsys):
    typed = [shlex.split(line) for _, kind, text in BLOCKS if kind == "" for line in text.splitlines()]
    assert len(typed) == 3
    for words in typed:
        assert words[0] == "gradlab" and main(words[1:]) == 0, capsys.readouterr().err
    assert all(get_cell(f"./mine.py:{name}").init(KEY, 2, 16) for name in ("two_layers", "ready"))
    names = " ".join(path.name for path in Path("results/runs").iterdir())
    assert "equinox.nn.lstmcell" in names and "mine.decaying-rate=0.99" in names and "lstm-init=torch" in names


def test_the_python_runs(capsys):
    (text,) = [text for name, kind, text in BLOCKS if kind == "python" and not name]
    exec(compile(text, str(PAGE), "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(re.fullmatch(r"-\d+\.\d -\d+\.\d (held|vanishing).*", line) for line in lines)


def test_the_readme_links_to_the_page():
    assert "(docs/libraries.md)" in (PAGE.parents[1] / "README.md").read_text()
