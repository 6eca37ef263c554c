"""docs/tasks.md against the tasks: a row for each, with the chance and the mark that it has."""

import re
from math import log
from pathlib import Path

import pytest

from gradlab.tasks import TASKS
from gradlab.tasks.data import DATA_TASKS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tasks.md").read_text()
TABLE = {name: rest for name, *rest in re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \| (.+) \|$", PAGE, re.M)}
NUMBERS = {"T": 50, "K": 10, "n": 2, "log": log}
ALPHABET = {"copy": 8, "variable_copy": 8, "selective_copy": 4, "associative_recall": 10}


def number(text, **names):
    """The value of `K ln A / (T + 2K)`, `0.72 of its variance`; of what is before a semicolon."""
    text = text.partition(";")[0].removesuffix(" of its variance").replace("a tenth of it", "0.1 * chance")
    text = re.sub(r"(\w) ln", r"\1 * ln", re.sub(r"(\d)K", r"\1 * K", text))
    return eval(re.sub(r"ln (\w+)", r"log(\1)", text), {}, NUMBERS | names)


def test_every_task_has_a_row_in_the_order_of_the_registry():
    assert [*TABLE, *DATA_TASKS] == list(TASKS)


@pytest.mark.parametrize("name", TABLE)
def test_chance_and_mark_are_those_of_the_task(name):
    task, (_, chance, solved, _) = TASKS[name](), TABLE[name]
    letters = {"A": ALPHABET.get(name), "V": ALPHABET.get(name)}
    assert number(chance, **letters) == pytest.approx(task.chance(50), rel=0.01)
    assert number(solved, **letters, chance=task.chance(50)) == pytest.approx(task.solved(50), rel=0.01)


@pytest.mark.parametrize(
    "name, figure", re.findall(r"`(adding|multiplication)`.*?1997: ([\d.]+) at T = 100", PAGE)
)
def test_chance_of_1997(name, figure):
    assert TASKS[name]("1997").chance(100) == pytest.approx(float(figure), abs=5e-4)


def test_the_readme_points_here():
    assert "(docs/tasks.md)" in (ROOT / "README.md").read_text()
