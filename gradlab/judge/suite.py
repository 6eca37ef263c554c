"""Suites: the TOML file that says which gradient curves are guarded.

    title, question     as in a sweep
    [base]              fields of RunSpec that all scenarios share; `steps`: training steps before the second look
    [seeds]             `paired`: seeds of every scenario (8); `population`: where curves cannot be paired (128)
    [[scenario]]        fields of RunSpec; of lists, every combination is a scenario

Knows no jax until a file is loaded.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlab.errors import GradlabError, nearest, unknown
from gradlab.runs.grids import Axes, read_axes, specs_of, table_of
from gradlab.runs.sweeps import checked_name, read_toml, title_of

if TYPE_CHECKING:
    from gradlab.runs.spec import RunSpec
    from gradlab.training.model import Model
    from gradlab.training.step import Plan

FOLDER = Path("experiments")
SEEDS = {"paired": 8, "population": 128}
_FIELDS = ("task", "cell", "length", "hidden", "batch", "measure_batch", "optimizer", "learning_rate", "clip")
_ALL_FIELDS = (*_FIELDS, "steps", "dtype")
_KEYS = ("title", "question", "base", "seeds", "scenario")
FEWEST = {"paired": 3, "population": 8}


@dataclass(frozen=True)
class Scenario:
    """One guarded setting: what is measured, at which seeds, and how to build it.

    Attributes:
        name: of its baseline, made of [a-z0-9._=-] but for T and H.
        config: everything that a baseline must have been made for.
        paired: seeds 0..paired-1 are compared one by one. population: seeds 0..population-1 are compared as
            samples, where one by one makes no sense.
        steps: training steps before the second look; 0 for none.
        dtype: float32 or float64.
        build: makes the model and the plan of its training.
    """

    name: str
    config: Mapping[str, Any]
    paired: int
    population: int
    steps: int
    dtype: str
    build: Callable[[], tuple["Model", "Plan"]]


@dataclass(frozen=True)
class Suite:
    """What a file asks for, resolved; `name` is the stem of the file, `typed` what names it to a command."""

    name: str
    typed: str
    title: str
    question: str
    scenarios: tuple[Scenario, ...]


def load_suite(name: str, folder: Path = FOLDER) -> Suite:
    """Read a suite: a name below `experiments/`, or the path of a TOML file.

    Raises:
        GradlabError: there is no such file, or something in it is unknown, wrong, twice there or missing.
    """
    path = Path(name) if name.endswith(".toml") or "/" in name else folder / f"{name}.toml"
    if not path.is_file():
        known = suite_names(folder)
        there = f"known are {', '.join(known)}{nearest(name, known)}" if known else f"none is in {folder}/"
        raise GradlabError(f"suite `{name}` does not exist: {there}")
    table = read_toml(path, "suite")
    for key in table:
        if key not in _KEYS:
            raise unknown(f"key in {path}", key, _KEYS)
    title, question = title_of(path, table)
    seeds = _seeds(path, table_of(path, "seeds", table))
    scenarios = tuple(scenario_of(spec, **seeds) for spec in _specs(path, table))
    seen: set[str] = set()
    for scenario in scenarios:
        if scenario.name in seen:
            raise GradlabError(f"{path} has two scenarios called {scenario.name}: put one into a file of its own")
        seen.add(scenario.name)
    typed = path.stem if path == FOLDER / f"{path.stem}.toml" else str(path)
    return Suite(checked_name(path.stem, "suite"), typed, title, question, scenarios)


def suite_names(folder: Path = FOLDER) -> list[str]:
    """The suites of a folder: its TOML files that have scenarios."""
    paths = sorted(folder.glob("[!.]*.toml"))
    return [path.stem for path in paths if re.search(r"^\s*\[\[scenario\]\]", path.read_text(), re.MULTILINE)]


def scenario_of(spec: "RunSpec", paired: int = SEEDS["paired"], population: int = SEEDS["population"]) -> Scenario:
    """The scenario of a spec, whatever its seed."""
    asked = spec.config()
    config = {field: asked[field] for field in _ALL_FIELDS}
    if spec.cell_source is not None:
        # The source of a user's cell is what is guarded: it may change, so long as its curve does not.
        config["cell"] = spec.cell
    name = re.sub(r"-s\d+-[0-9a-f]{8}$", "", spec.id) + f"-H{spec.hidden}-{spec.dtype}"
    return Scenario(name, config, paired, population, spec.steps, spec.dtype, lambda: (spec.model(), spec.plan()))


def log_spaced(longest: int, count: int) -> list[int]:
    """At most `count` lags from 1 to `longest`, as evenly spaced by their logarithm as whole numbers can be.

    Example:
        >>> log_spaced(100, 8), log_spaced(3, 8)
        ([1, 2, 4, 8, 15, 28, 53, 100], [1, 2, 3])
    """
    if longest <= count:
        return list(range(1, longest + 1))
    lags = [1]
    for index in range(1, count):
        # Each lag takes its share of the way that is left, so that rounding up early ones loses none.
        factor = (longest / lags[-1]) ** (1 / (count - index))
        lags.append(min(longest, max(lags[-1] + 1, math.floor(lags[-1] * factor + 0.5))))
    return lags


def _specs(path: Path, table: Mapping[str, Any]) -> list["RunSpec"]:
    """The specs of all scenarios, seed 0 of each."""
    tables = table.get("scenario")
    if not isinstance(tables, list) or not tables or not all(isinstance(entry, dict) for entry in tables):
        raise GradlabError(f"{path} has no scenario: give tables, [[scenario]]")
    base = table_of(path, "base", table)
    specs = []
    for entry in tables:
        for field in (*base, *entry):
            if field not in _ALL_FIELDS:
                raise unknown(f"field of a scenario in {path}", field, _ALL_FIELDS)
        one = base | {field: value for field, value in entry.items() if not isinstance(value, list)}
        lists = {field: value for field, value in entry.items() if isinstance(value, list)}
        one = {field: value for field, value in one.items() if field not in lists}
        axes = read_axes(path, {"base": one, "grid": lists}, {})
        specs += specs_of(path, Axes(axes.base | {"seed": 0, "stop": "never"}, axes.grid, {}))
    return specs


def _seeds(path: Path, given: Mapping[str, Any]) -> dict[str, int]:
    for key, value in given.items():
        if key not in SEEDS:
            raise unknown(f"key in [seeds] of {path}", key, SEEDS)
        if isinstance(value, bool) or not isinstance(value, int) or value < FEWEST[key]:
            raise GradlabError(
                f"{key} in [seeds] of {path} is {value!r}: give a whole number of at least {FEWEST[key]}"
            )
    return SEEDS | dict(given)
