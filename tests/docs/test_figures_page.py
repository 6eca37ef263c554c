"""docs/figures.md: its commands are understood, and each picture finds the runs that were made for it."""

import itertools
import re
import shlex
from pathlib import Path

import pytest
from synthetic import falling, put

from gradlab.cli.app import main
from gradlab.runs.grids import specs_of_options
from gradlab.runs.listing import chosen, condition
from gradlab.runs.store import StoredRun

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```\n(gradlab (?:run|probe) .*?)```", (ROOT / "docs" / "figures.md").read_text(), re.DOTALL)
NAMES = {"len": "length", "learning-rate": "learning_rate", "measure-batch": "measure_batch"}


def options(words):
    pairs = zip(words[::2], words[1::2], strict=True)
    return {NAMES.get(name.removeprefix("--"), name.removeprefix("--")): [value] for name, value in pairs}


@pytest.mark.parametrize("block", BLOCKS, ids=["unitary", "clipping", "forget bias"])
def test_a_picture_is_of_the_runs_above_it(block, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    making, drawing = (shlex.split(line)[1:] for line in block.splitlines())
    places = {words[words.index("--results") + 1] for words in (making, drawing)}
    assert len(places) == 1, "the picture is of the folder that was written"
    making = making[: making.index("--results")]
    fixed = {"steps": 0} if making[0] == "probe" else {}
    specs = specs_of_options({"task": [making[1]], **options(making[2:])}, **fixed)
    asked = [condition(text) for word, text in itertools.pairwise(drawing) if word == "--where"]
    stored = [StoredRun(spec.id, tmp_path, "measured", spec.config()) for spec in specs]
    assert list(chosen(stored, asked)) == stored and len(stored) >= 4
    for spec in specs:
        put(tmp_path, [falling(1)], **spec.config())
    for option, value in (("-o", tmp_path / "figure.pdf"), ("--results", tmp_path)):
        drawing[drawing.index(option) + 1] = str(value)
    assert main(drawing) == 0 and (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
