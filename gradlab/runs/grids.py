"""Grids of runs: the axes in a sweep's file or in the options of a command, and the specs that follow."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gradlab.errors import GradlabError, unknown
from gradlab.runs.fields import SpecField
from gradlab.runs.spec import SETTABLE, RunSpec

MOST_RUNS = 100_000
"""A longer list is taken for a mistake."""
MAX_PARAMS = SpecField(
    "max_params",
    int,
    None,
    "Parameters at most, in the place of --hidden: each cell gets the largest size that fits",
    option="--max-params",
    commands=("run", "probe"),
    at_least=1,
    bits=31,
)
ASKED = SETTABLE | {MAX_PARAMS.name: MAX_PARAMS}
"""What a file or a command may ask for: the fields of a run, and `max_params`, which `hidden` follows from."""


class Axes(NamedTuple):
    """The fields of a sweep: fixed ones, those of the grid, those varied one at a time, those to be tuned."""

    base: dict[str, Any]
    grid: dict[str, list[Any]]
    vary: dict[str, list[Any]]
    tune: dict[str, list[Any]]


def table_of(path: Path | str, key: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """A table of the file, empty if there is none."""
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise GradlabError(f"{key} in {path} is {value!r}: give a table, [{key}]")
    return dict(value)


def read_axes(path: Path | str, table: Mapping[str, Any], budget: dict[str, Any]) -> Axes:
    """The axes of a sweep's file; each field may be in one table only."""
    base, grid, tune = (table_of(path, key, table) for key in ("base", "grid", "tune"))
    tables = table.get("vary", [])
    if not isinstance(tables, list) or not all(isinstance(entry, dict) for entry in tables):
        raise GradlabError(f"vary in {path} is {tables!r}: give tables, [[vary]]")
    places: dict[str, str] = {}
    vary: dict[str, list[Any]] = {}
    groups = [("[base]", base), ("[budget]", budget), ("[grid]", grid), ("[tune]", tune)]
    for place, entries in [*groups, *(("[[vary]]", t) for t in tables)]:
        for field, value in entries.items():
            known = SETTABLE if place == "[tune]" else ASKED
            if field not in known:
                raise unknown(f"field in {place} of {path}", field, known)
            if place in ("[grid]", "[tune]", "[[vary]]"):
                _check_list(path, place, field, value)
            elif isinstance(value, list | dict):
                raise GradlabError(
                    f"{field} in {place} of {path} is {value!r}: give one value; lists go to [grid]"
                )
            if (place, field) == ("[tune]", "seed"):  # of the trials, beside those of the runs that count
                continue
            if field in places and (place, places[field]) != ("[[vary]]", "[base]"):
                raise GradlabError(f"{field} stands in {places[field]} and in {place} of {path}: name it once")
            places[field] = place
            if place == "[[vary]]":
                vary[field] = value
    return Axes(base | budget, grid, vary, tune)


def _check_list(path: Path | str, place: str, field: str, value: Any) -> None:
    if not isinstance(value, list) or not value:
        raise GradlabError(f"{field} in {place} of {path} is {value!r}: give a list of values")
    for index, item in enumerate(value):
        if isinstance(item, list | dict):
            raise GradlabError(f"{field} in {place} of {path} holds {item!r}: give plain values")
        if item in value[:index]:
            raise GradlabError(f"{field} in {place} of {path} has {item!r} twice: name each value once")


def override(axes: Axes, overrides: Sequence[str]) -> Axes:
    """The axes after `--set`: one value goes to the base, several to the grid, or to the list they replace.

    A field that is set to one value is no longer tuned.
    """
    base, grid, vary, tune = map(dict, axes)
    seen: set[str] = set()
    for text in overrides:
        field, equals, given = text.partition("=")
        if not equals:
            raise GradlabError(f"--set `{text}`: write field=value, as in --set length=100,200")
        if field not in ASKED:
            raise unknown("field in --set", field, ASKED)
        if field in seen:
            raise GradlabError(f"--set {field} is given twice: give it once, with commas between the values")
        seen.add(field)
        values = ASKED[field].parse(f"--set {field}", [given])
        _check_list("the command", "--set", field, values)
        if other := {"hidden": "max_params", "max_params": "hidden"}.get(field):
            for entries in (base, grid, vary, tune) if other not in seen else ():
                entries.pop(other, None)
        if field in tune and field != "seed" and len(values) == 1:
            del tune[field]
        if field in vary:
            vary[field] = values
        elif field in tune and field != "seed":
            tune[field] = values
        elif field in grid or len(values) > 1:
            base.pop(field, None)
            grid[field] = values
        else:
            base[field] = values[0]
    fixed = axes.tune.keys() - tune.keys() and not tune.keys() - {"seed"}
    return Axes(base, grid, vary, {} if fixed else tune)


def specs_of(path: Path | str, axes: Axes) -> list[RunSpec]:
    """The base, then each varied value in its place, and each of these for every combination of the grid."""
    specs: dict[str, RunSpec] = {}
    for point, varied in points_of(path, axes):
        spec = spec_of(point)
        if spec.id in specs:
            beside = ", and in [[vary]] only what differs from the base" if varied else ""
            raise GradlabError(f"{path} asks for {spec.id} twice: name each run once{beside}")
        specs[spec.id] = spec
    return list(specs.values())


def spec_of(point: Mapping[str, Any]) -> RunSpec:
    """The spec of a point of a grid; where that has `max_params`, with the largest hidden size that fits."""
    asked = dict(point)
    most = MAX_PARAMS.checked(asked.pop("max_params", None))
    if most is None:
        return RunSpec.from_dict(asked)
    if asked.get("hidden") is not None:
        raise GradlabError(f"hidden={asked['hidden']} and max_params={most}: give one of them")
    from gradlab.runs.sizes import largest_hidden

    return RunSpec.from_dict(asked | {"hidden": largest_hidden(RunSpec.from_dict(asked), most)})


def specs_of_options(given: Mapping[str, Sequence[str] | str | None], **fixed: Any) -> list[RunSpec]:
    """Every combination of the values in the options of a command; None means the default."""
    grid = {
        name: ASKED[name].parse(ASKED[name].option, [texts] if isinstance(texts, str) else texts)
        for name, texts in given.items()
        if texts is not None
    }
    return specs_of("the command", Axes(fixed, grid, {}, {}))


def points_of(path: Path | str, axes: Axes) -> Iterator[tuple[dict[str, Any], bool]]:
    """The fields of each spec as written, but those to be tuned, and whether one is from `[[vary]]`."""
    changes = [{}, *({field: value} for field, values in axes.vary.items() for value in values)]
    count = len(changes) * math.prod(map(len, (*axes.grid.values(), *axes.tune.values())))
    if count > MOST_RUNS:
        raise GradlabError(f"{path} asks for {count} runs: at most {MOST_RUNS} are taken")
    for change in changes:
        for point in itertools.product(*axes.grid.values()):
            yield axes.base | change | dict(zip(axes.grid, point, strict=True)), bool(change)
