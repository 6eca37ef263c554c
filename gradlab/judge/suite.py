"""Suites: the TOML file that says which gradient curves are guarded.

    title, question     as in a sweep
    [base]              fields of RunSpec of all scenarios; `steps`: training steps between measurements (10)
    [seeds]             `paired`: seeds of every scenario (8); `population`: where curves cannot be paired (128)
    [[scenario]]        fields of RunSpec; of lists, every combination is a scenario; `name`: of its baseline;
                        or `curve`: a table of `gradlab import-curve`, and `tolerance` in decades (0.001)

A scenario is named by what the suite states, so that no default of the code can rename it.
Importing it loads no jax.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlab.errors import GradlabError, nearest, unknown
from gradlab.runs.grids import Axes, points_of, read_axes, specs_of, table_of
from gradlab.runs.sources import is_own
from gradlab.runs.spec import FIELDS as SPEC_FIELDS
from gradlab.runs.spec import RunSpec, part_of_name
from gradlab.runs.sweeps import checked_name, read_toml, title_of

if TYPE_CHECKING:
    from gradlab.gradient.curve import GradientCurve
    from gradlab.training.model import Model
    from gradlab.training.step import Plan

FOLDER = Path("experiments")
SEEDS = {"paired": 8, "population": 128}
STEPS = 10
"""Training steps before the second measurement, unless told: the 5,000 of a run would be done for every seed."""
_FIELDS = tuple(name for name, each in SPEC_FIELDS.items() if each.in_suite)
_KEYS = ("title", "question", "base", "seeds", "scenario")
_VARIANTS = tuple(name for name, each in SPEC_FIELDS.items() if each.variant)
_NAMED = {"task": "adding", "cell": "lstm", "length": 200, "hidden": 64, "dtype": "float32"}
"""The fields in a name, with their value in it if the suite leaves them to the code."""
FEWEST_SEEDS = {"paired": 3, "population": 8}
TOLERANCE = 1e-3
"""Decades by which a curve that was measured elsewhere may move, unless told."""


@dataclass(frozen=True)
class Scenario:
    """One guarded setting: what is measured, at which seeds, and how to build it.

    Attributes:
        name: of its baseline.
        config: everything that its baseline must have been made for, as the suite states it.
        paired: seeds 0..paired-1 are compared one by one. population: seeds 0..population-1 are compared as
            samples, where pairing is not possible.
        steps: training steps before the second measurement; 0 for none.
        build: makes the model and the plan of its training.
        canonical: the variants of `config` as the code spells them now, without options at their default.
        spec: of the run of its seed 0; None of a cell that no run can name.
        former: the name of its baseline when names were made of these; empty if another scenario has it.
        curves: reads what was measured elsewhere, in place of all this; None of what gradlab measures.
        tolerance: of such curves, in decades.
    """

    name: str
    config: Mapping[str, Any]
    paired: int
    population: int
    steps: int
    dtype: str
    build: Callable[[], tuple["Model", "Plan"]]
    canonical: Mapping[str, str] = field(default_factory=dict)
    former: str = ""
    spec: RunSpec | None = None
    curves: Callable[[], Sequence["GradientCurve"]] | None = None
    tolerance: float = TOLERANCE

    @property
    def is_custom(self) -> bool:
        """Whether its cell or task is the user's own code, whose errors are findings."""
        named = (str(self.config.get(kind, "")).partition(":")[0] for kind in ("cell", "task"))
        return self.curves is not None or any(map(is_own, named))

    def respelled(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The config of a baseline, with its variants spelt as in this scenario if they mean the same."""
        from gradlab.runs.variants import respelled

        found = dict(config)
        for name in _VARIANTS:
            if name in found and respelled(str(found[name])) in (self.config.get(name), self.canonical.get(name)):
                found[name] = self.config[name]
        return found


@dataclass(frozen=True)
class Suite:
    """A resolved suite file: `name` is its stem, `argument` what names it on the command line."""

    name: str
    argument: str
    scenarios: tuple[Scenario, ...]


def load_suite(name: str, folder: Path = FOLDER) -> Suite:
    """Read a suite: a name below `experiments/`, or the path of a TOML file.

    Raises:
        GradlabError: there is no such file, or something in it is unknown, wrong, duplicate or missing.
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
    title_of(path, table)
    seeds = _seeds(path, table_of(path, "seeds", table))
    scenarios = _scenarios(path, table, seeds)
    names = [scenario.name for scenario in scenarios]
    for scenario in scenarios:
        if names.count(scenario.name) > 1:
            raise GradlabError(f'{path} has two scenarios called {scenario.name}: give one a name, name = "..."')
    taken = [*names, *(scenario.former for scenario in scenarios)]
    scenarios = [one if taken.count(one.former) == 1 else replace(one, former="") for one in scenarios]
    argument = path.stem if path == FOLDER / f"{path.stem}.toml" else str(path)
    return Suite(checked_name(path.stem, "suite"), argument, tuple(scenarios))


def suite_names(folder: Path = FOLDER) -> list[str]:
    """The suites of a folder: its TOML files that have scenarios."""
    paths = sorted(folder.glob("[!.]*.toml"))
    return [path.stem for path in paths if re.search(r"^\s*\[\[scenario\]\]", path.read_text(), re.MULTILINE)]


def scenario_of(
    spec: RunSpec,
    paired: int = SEEDS["paired"],
    population: int = SEEDS["population"],
    stated: Mapping[str, Any] | None = None,
    name: str = "",
) -> Scenario:
    """The scenario of a spec, whose seed does not matter.

    Args:
        paired, population: seeds.
        stated: the fields as they were written; by default those of the spec.
        name: of its baseline; by default made of the stated fields.
    """
    from gradlab.runs.variants import respelled

    asked = spec.config()
    stated = asked if stated is None else stated
    texts = {field: respelled(str(stated[field])) for field in _VARIANTS if field in stated}
    config = {field: texts.get(field, asked[field]) for field in _FIELDS if field in asked}
    named = _NAMED | {field: config[field] for field in _NAMED if field in stated}
    parts = {field: part_of_name(str(named[field])) for field in ("task", "cell")}
    name = name or "{task}-{cell}-T{length}-H{hidden}-{dtype}".format(**named | parts)
    task, cell = (part_of_name(asked[field], origin=False) for field in ("task", "cell"))
    former = f"{task}-{cell}-T{spec.length}-H{spec.hidden}-{spec.dtype}"
    return Scenario(
        name,
        config,
        paired,
        population,
        spec.steps,
        spec.dtype,
        lambda: (spec.model(), spec.plan()),
        {field: asked[field] for field in _VARIANTS},
        "" if former == name else former,
        spec,
    )


def curve_scenario(
    name: str, config: Mapping[str, Any], curves: Callable[[], Sequence["GradientCurve"]], tolerance: float
) -> Scenario:
    """The scenario of curves that were measured elsewhere, one for each seed."""
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not tolerance > 0:
        raise GradlabError(f"tolerance of {name} is {tolerance!r}: give decades, a positive number")

    def build() -> tuple["Model", "Plan"]:
        raise AssertionError("what was measured elsewhere has no model")

    return Scenario(name, config, 0, 0, 0, "float64", build, curves=curves, tolerance=float(tolerance))


def log_spaced(longest: int, count: int) -> list[int]:
    """At most `count` distinct lags from 1 to `longest`, evenly spaced by their logarithm as far as possible.

    Example:
        >>> log_spaced(100, 8), log_spaced(3, 8)
        ([1, 2, 4, 8, 15, 28, 53, 100], [1, 2, 3])
    """
    if longest <= count:
        return list(range(1, longest + 1))
    lags = [1]
    for index in range(1, count):
        # Each lag takes its share of the remaining way, so that rounding up early ones loses none.
        factor = (longest / lags[-1]) ** (1 / (count - index))
        lags.append(min(longest, max(lags[-1] + 1, math.floor(lags[-1] * factor + 0.5))))
    return lags


def _scenarios(path: Path, table: Mapping[str, Any], seeds: Mapping[str, int]) -> list[Scenario]:
    """All scenarios of a file, with its fields as they were written."""
    tables = table.get("scenario")
    if not isinstance(tables, list) or not tables or not all(isinstance(entry, dict) for entry in tables):
        raise GradlabError(f"{path} has no scenario: give tables, [[scenario]]")
    base = {"steps": STEPS} | table_of(path, "base", table)
    found = []
    for entry in tables:
        name = entry.get("name", "")
        if not isinstance(name, str) or (name and not checked_name(name, "scenario")):
            raise GradlabError(f"name of a scenario in {path} is {name!r}: give a text")
        if "curve" in entry:
            found.append(_of_file(path, entry))
            continue
        axes = _axes(path, base, {key: value for key, value in entry.items() if key != "name"})
        stated = [point for point, _ in points_of(path, axes)]
        if name and len(stated) > 1:
            raise GradlabError(f"scenario `{name}` in {path} has lists: a name is of one, give single values")
        pairs = zip(specs_of(path, axes), stated, strict=True)
        found += [scenario_of(spec, **seeds, stated=point, name=name) for spec, point in pairs]
    return found


def _of_file(path: Path, entry: Mapping[str, Any]) -> Scenario:
    """The scenario of a table beside the suite, which each check reads anew."""
    for key in entry:
        if key not in ("curve", "tolerance", "name"):
            raise unknown(f"field of a scenario with a curve in {path}", key, ("curve", "tolerance", "name"))
    if not isinstance(entry["curve"], str):
        raise GradlabError(f"curve of a scenario in {path} is {entry['curve']!r}: give the path of a .csv or .npz")
    file = path.parent / entry["curve"]
    if not file.is_file():
        raise GradlabError(f"curve `{file}` of {path} does not exist: give its path from the folder of the suite")

    def curves() -> Sequence["GradientCurve"]:
        from gradlab.runs.imported_curves import read_curves

        return list(read_curves(file).values())

    name = entry.get("name") or checked_name(part_of_name(file.stem), "scenario")
    return curve_scenario(name, dict(entry), curves, entry.get("tolerance", TOLERANCE))


def _axes(path: Path, base: Mapping[str, Any], entry: Mapping[str, Any]) -> Axes:
    """The fields of one table of scenarios over those of the base, its lists as a grid."""
    for key in (*base, *entry):
        if key not in _FIELDS:
            raise unknown(f"field of a scenario in {path}", key, _FIELDS)
    lists = {key: value for key, value in entry.items() if isinstance(value, list)}
    one = {key: value for key, value in {**base, **entry}.items() if key not in lists}
    axes = read_axes(path, {"base": one, "grid": lists}, {})
    return axes._replace(base=axes.base | {"seed": 0, "stop": "never"})


def _seeds(path: Path, given: Mapping[str, Any]) -> dict[str, int]:
    for key, value in given.items():
        if key not in SEEDS:
            raise unknown(f"key in [seeds] of {path}", key, SEEDS)
        if isinstance(value, bool) or not isinstance(value, int) or value < FEWEST_SEEDS[key]:
            raise GradlabError(
                f"{key} in [seeds] of {path} is {value!r}: give a whole number of at least {FEWEST_SEEDS[key]}"
            )
    return SEEDS | dict(given)
