"""docs/pytorch.md: every block is run as it stands there, one after another."""

import re
import shlex
from pathlib import Path

import pytest

from gradlab.runs.store import Store

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def test_the_page_runs(tmp_path, monkeypatch, capsys, typed):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADLAB_RESULTS", "results")
    names, printed = {}, []
    for kind, text in BLOCK.findall((DOCS / "pytorch.md").read_text()):
        if kind == "python":
            exec(compile(text, "pytorch.md", "exec"), names)
            printed += capsys.readouterr().out.splitlines()
            continue
        for line in text.splitlines():
            assert typed(*shlex.split(line)[1:])[0] == 0, line
    layers = [f"lstm.layer{layer}{side}" for side in ("", ".reverse") for layer in (0, 1)]
    assert [line.split()[0] for line in printed[:6]] == ["lstm", "lstm.reverse", *layers]
    assert re.match(r"vanishing \(-\d+\.\d at lag \d+\) ", printed[6]), printed
    assert len(printed) == 9
    assert {run.config["cell"] for run in Store("results").each()} == {"torch-lstm", "torch-lstm.reverse", "lstm"}
    with pytest.raises(AssertionError, match="no baseline yet"):
        names["test_memory_of_my_lstm"]()


def test_the_question_runs(tmp_path, monkeypatch, capsys, typed):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADLAB_RESULTS", "results")
    (code,) = [
        text for kind, text in BLOCK.findall((DOCS / "how-to/torch-model.md").read_text()) if kind == "python"
    ]
    exec(compile(code, "torch-model.md", "exec"), {})
    assert re.match(r"vanishing \(-\d+\.\d at lag 200\) \d", capsys.readouterr().out)
    code, out, _ = typed("ls", "--where", "cell=my-lstm")
    assert code == 0 and "mine-my-lstm-T200-s0" in out


def test_the_readme_and_the_page_show_the_same_lines():
    lines = [
        "with gradlab.torch.watch(model) as seen:",
        "    criterion(model(x), y).backward()",
        'print(seen["lstm"].verdict(), seen["lstm"].half_life())',
    ]
    for page in ("README.md", "docs/pytorch.md"):
        text = (DOCS.parent / page).read_text()
        assert all(line in text for line in lines), page
    assert "(docs/pytorch.md)" in (DOCS.parent / "README.md").read_text()
