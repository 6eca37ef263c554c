"""Suites: the TOML file that says which gradient curves are guarded.

    title, question     as in a sweep
    [base]              fields of RunSpec that all scenarios share; `steps`: training steps before the second look
    [seeds]             `paired`: seeds of every scenario (8); `population`: where curves cannot be paired (128)
    [[scenario]]        fields of RunSpec; of lists, every combination is a scenario; `name`: of its baseline

A scenario is what the suite says, option by option, so that no default of the code can rename it.
Knows no jax until a file is loaded.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gradlab.errors import GradlabError, nearest, unknown
from gradlab.runs.grids import Axes, points_of, read_axes, specs_of, table_of
from gradlab.runs.spec import FIELDS as SPEC_FIELDS
from gradlab.runs.spec import part_of_name
from gradlab.runs.sweeps import checked_name, read_toml, title_of

if TYPE_CHECKING:
    from gradlab.runs.spec import RunSpec
    from gradlab.training.model import Model
    from gradlab.training.step import Plan

FOLDER = Path("experiments")
SEEDS = {"paired": 8, "population": 128}
_FIELDS = tuple(name for name, each in SPEC_FIELDS.items() if each.in_suite)
_KEYS = ("title", "question", "base", "seeds", "scenario")
_VARIANTS = tuple(name for name, each in SPEC_FIELDS.items() if each.variant)
_NAMED = {"task": "adding", "cell": "lstm", "length": 200, "hidden": 64, "dtype": "float32"}
"""The fields that a name is made of, and what stands in it for one that the suite leaves to the code."""
FEWEST = {"paired": 3, "population": 8}


@dataclass(frozen=True)
class Scenario:
    """One guarded setting: what is measured, at which seeds, and how to build it.

    Attributes:
        name: of its baseline, made of [a-z0-9._=-] but for T and H unless the suite gives it one.
        config: everything that a baseline must have been made for, as the suite says it.
        paired: seeds 0..paired-1 are compared one by one. population: seeds 0..population-1 are compared as
            samples, where one by one makes no sense.
        steps: training steps before the second look; 0 for none.
        dtype: float32 or float64.
        build: makes the model and the plan of its training.
        means: the variants of `config` as the code spells them now, without what is at its default.
        former: the name that its baseline had when names were made of these; none where another scenario has it.
    """

    name: str
    config: Mapping[str, Any]
    paired: int
    population: int
    steps: int
    dtype: str
    build: Callable[[], tuple["Model", "Plan"]]
    means: Mapping[str, str] = field(default_factory=dict)
    former: str = ""

    def in_its_words(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The config of a baseline, its variants spelt as they are here where they mean the same."""
        from gradlab.runs.variants import respelled

        found = dict(config)
        for name in _VARIANTS:
            if name in found and respelled(str(found[name])) in (self.config.get(name), self.means.get(name)):
                found[name] = self.config[name]
        return found


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
    scenarios = [scenario_of(each.spec, **seeds, said=each.said, name=each.name) for each in _asked(path, table)]
    names = [scenario.name for scenario in scenarios]
    for scenario in scenarios:
        if names.count(scenario.name) > 1:
            raise GradlabError(f'{path} has two scenarios called {scenario.name}: give one a name, name = "..."')
    taken = [*names, *(scenario.former for scenario in scenarios)]
    scenarios = [one if taken.count(one.former) == 1 else replace(one, former="") for one in scenarios]
    typed = path.stem if path == FOLDER / f"{path.stem}.toml" else str(path)
    return Suite(checked_name(path.stem, "suite"), typed, title, question, tuple(scenarios))


def suite_names(folder: Path = FOLDER) -> list[str]:
    """The suites of a folder: its TOML files that have scenarios."""
    paths = sorted(folder.glob("[!.]*.toml"))
    return [path.stem for path in paths if re.search(r"^\s*\[\[scenario\]\]", path.read_text(), re.MULTILINE)]


def scenario_of(
    spec: "RunSpec",
    paired: int = SEEDS["paired"],
    population: int = SEEDS["population"],
    said: Mapping[str, Any] | None = None,
    name: str = "",
) -> Scenario:
    """The scenario of a spec, whatever its seed.

    Args:
        paired, population: seeds.
        said: the fields as they were written; those of the spec where None.
        name: of its baseline; made of what was written where there is none.
    """
    from gradlab.runs.variants import respelled

    asked = spec.config()
    said = asked if said is None else said
    texts = {field: respelled(str(said[field])) for field in _VARIANTS if field in said}
    config = {field: texts.get(field, asked[field]) for field in _FIELDS if field in asked}
    named = {field: config[field] if field in said else unsaid for field, unsaid in _NAMED.items()}
    made = "{task}-{cell}-T{length}-H{hidden}-{dtype}".format(
        **named | {field: part_of_name(str(named[field])) for field in ("task", "cell")}
    )
    task, cell = (part_of_name(asked[field], origin=False) for field in ("task", "cell"))
    former = f"{task}-{cell}-T{spec.length}-H{spec.hidden}-{spec.dtype}"
    return Scenario(
        name or made,
        config,
        paired,
        population,
        spec.steps,
        spec.dtype,
        lambda: (spec.model(), spec.plan()),
        {field: asked[field] for field in _VARIANTS},
        "" if former == (name or made) else former,
    )


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


class _Asked(NamedTuple):
    """One scenario as the file has it: seed 0 of it, its fields as they were written, and the name it is given."""

    spec: "RunSpec"
    said: Mapping[str, Any]
    name: str


def _asked(path: Path, table: Mapping[str, Any]) -> list[_Asked]:
    """All scenarios of a file."""
    tables = table.get("scenario")
    if not isinstance(tables, list) or not tables or not all(isinstance(entry, dict) for entry in tables):
        raise GradlabError(f"{path} has no scenario: give tables, [[scenario]]")
    base = table_of(path, "base", table)
    found = []
    for entry in tables:
        name = entry.get("name", "")
        if not isinstance(name, str) or (name and not checked_name(name, "scenario")):
            raise GradlabError(f"name of a scenario in {path} is {name!r}: give a text")
        axes = _axes(path, base, {key: value for key, value in entry.items() if key != "name"})
        said = [point for point, _ in points_of(path, axes)]
        if name and len(said) > 1:
            raise GradlabError(f"scenario `{name}` in {path} has lists: a name is of one, give single values")
        found += [_Asked(*pair, name) for pair in zip(specs_of(path, axes), said, strict=True)]
    return found


def _axes(path: Path, base: Mapping[str, Any], entry: Mapping[str, Any]) -> Axes:
    """The fields of one table of scenarios over those of the base, its lists as a grid."""
    for key in (*base, *entry):
        if key not in _FIELDS:
            raise unknown(f"field of a scenario in {path}", key, _FIELDS)
    lists = {key: value for key, value in entry.items() if isinstance(value, list)}
    one = {key: value for key, value in {**base, **entry}.items() if key not in lists}
    axes = read_axes(path, {"base": one, "grid": lists}, {})
    return Axes(axes.base | {"seed": 0, "stop": "never"}, axes.grid, {})


def _seeds(path: Path, given: Mapping[str, Any]) -> dict[str, int]:
    for key, value in given.items():
        if key not in SEEDS:
            raise unknown(f"key in [seeds] of {path}", key, SEEDS)
        if isinstance(value, bool) or not isinstance(value, int) or value < FEWEST[key]:
            raise GradlabError(
                f"{key} in [seeds] of {path} is {value!r}: give a whole number of at least {FEWEST[key]}"
            )
    return SEEDS | dict(given)
