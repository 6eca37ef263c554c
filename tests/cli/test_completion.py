"""What TAB offers, as the shell asks for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import falling, put

from gradlab.cells import CELLS
from gradlab.cli.completion import CELL_NAMES, TASK_NAMES, complete_cells
from gradlab.tasks import TASKS

ROOT = Path(__file__).parents[2]
CODE = """
import sys
from gradlab.cli.app import main
try:
    main([])
finally:
    print('jax' in sys.modules, file=sys.stderr)
"""


def test_the_names_are_those_of_the_registries():
    assert set(CELL_NAMES) == set(CELLS) and set(TASK_NAMES) == set(TASKS)


def test_after_a_comma():
    assert complete_cells("rnn,janet,mi") == ["rnn,janet,mingru", "rnn,janet,minlstm"]


@pytest.mark.parametrize(
    "words, offered",
    [
        ("probe sel", ["selective_copy"]),
        ("run adding --cell ls", ["lstm", "lstm_peephole", "lstm_layernorm"]),
        ("plot adding-", ["adding-gru-T40-s0", "adding-lstm-T40-s0"]),
        ("check c", ["ci"]),
    ],
)
def test_the_shell_is_told(words, offered, tmp_path):
    for cell in ("lstm", "gru"):
        put(tmp_path, [falling(1)], cell=cell)
    asked = {"_GRADLAB_COMPLETE": "complete_bash", "COMP_WORDS": f"gradlab {words}", "GRADLAB_RESULTS": tmp_path}
    asked["COMP_CWORD"] = str(len(words.split()))
    env = os.environ | {name: str(value) for name, value in asked.items()}
    done = subprocess.run([sys.executable, "-c", CODE], env=env, cwd=ROOT, capture_output=True, text=True)
    assert sorted(done.stdout.split()) == sorted(offered), done.stderr
    assert done.stderr == "False\n"
