"""Baselines: accepted curves, as JSON that reads well in a review.

Two files per scenario below `<folder>/<suite>/`: `<scenario>.json` with one line per paired seed, and
`<scenario>.population.json` with the initial curves of many seeds, for comparison as samples.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradlab.errors import GradlabError
from gradlab.judge.measure import PARTS, Floats, Measurement, Part
from gradlab.judge.suite import Scenario
from gradlab.runs.attempt import write_whole
from gradlab.runs.jsonable import dumps

VERSION = 1
FOLDER = Path("results/baselines")
_DIGITS, _POPULATION_DIGITS = 6, 3


class UnreadableBaseline(Exception):
    """A baseline exists and cannot be used; the text says why."""


@dataclass(frozen=True)
class Baseline:
    """An accepted scenario.

    Attributes:
        config: the scenario as it was accepted. reason: why it was.
        environment: versions, device and flags.
        noise_source: how the noise was measured. noise: by part, decades (K,).
        population_lags, population: (J,) and (N, J), initial curves of many seeds; empty if their file is missing.
    """

    config: Mapping[str, Any]
    reason: str
    environment: Mapping[str, str]
    noise_source: str
    noise: Mapping[str, Floats]
    measurement: Measurement
    population_lags: list[int]
    population: Floats


def paths_of(folder: Path, name: str) -> tuple[Path, Path]:
    """The two files of a scenario's baseline."""
    return folder / f"{name}.json", folder / f"{name}.population.json"


def stored_name(folder: Path, scenario: Scenario) -> str:
    """The name under which a scenario has its baseline: its own, or else its former one."""
    names = [name for name in (scenario.name, scenario.former) if name and paths_of(folder, name)[0].exists()]
    return names[0] if names else scenario.name


def write_baseline(folder: Path, name: str, baseline: Baseline) -> list[Path]:
    """Write both files of a scenario.

    Raises:
        GradlabError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GradlabError(f"baselines `{folder}` cannot be written: {error.strerror}") from error
    population = {
        "baseline": VERSION,
        "lags": baseline.population_lags,
        "log10_norm": _by_seed(baseline.population, _POPULATION_DIGITS),
    }
    paths = paths_of(folder, name)
    for path, value in zip(paths, (_as_dict(baseline), population), strict=True):
        _write(path, _lines(value).encode())
    return list(paths)


def _write(path: Path, text: bytes) -> None:
    write_whole(path, lambda file: file.write(text))


def read_baseline(folder: Path, name: str) -> Baseline | None:
    """The baseline of a scenario, None if absent.

    Raises:
        UnreadableBaseline: its file is damaged or of a newer gradlab.
    """
    path, population_path = paths_of(folder, name)
    if not path.exists():
        return None
    value = _read(path)
    try:
        found = _measurement(value)
        noise = {part: np.array(value[part]["noise"], float) for part in found.parts}
        config, environment = dict(value["scenario"]), dict(value["environment"])
        population = _population(population_path)
        baseline = Baseline(
            config, str(value["reason"]), environment, str(value["twin"]), noise, found, *population
        )
        _check(baseline)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnreadableBaseline(f"{path} is damaged: {type(error).__name__} {error}") from None
    return baseline


def orphans(folder: Path, names: Sequence[str]) -> list[str]:
    """Baselines of the folder that belong to none of the named scenarios."""
    stored = {path.name.removesuffix(".json").removesuffix(".population") for path in folder.glob("[!.]*.json")}
    return sorted(stored - set(names))


def _as_dict(baseline: Baseline) -> dict[str, Any]:
    found = baseline.measurement
    value: dict[str, Any] = {
        "baseline": VERSION,
        "scenario": baseline.config,
        "reason": baseline.reason,
        "environment": baseline.environment,
        "twin": baseline.noise_source,
        "bits": found.bits,
        "lags": found.lags,
    }
    for name, part in found.parts.items():
        value[name] = {
            "noise": [float(f"{decades:.2g}") for decades in baseline.noise[name]],
            "float32_horizon": part.horizons,
            "loss": [float(f"{loss:.6g}") for loss in part.losses],
            "log10_norm": _by_seed(part.curves, _DIGITS),
        }
    for name, sketches in (("weights", found.weights), ("data", found.data)):
        value[name] = {str(seed): one for seed, one in enumerate(sketches)}
    return value


def _by_seed(curves: Floats, digits: int) -> dict[str, list[float]]:
    # Adding 0.0 turns -0.0 into 0.0, which would otherwise show up in a diff.
    return {str(seed): [round(float(x), digits) + 0.0 for x in row] for seed, row in enumerate(curves)}


def _measurement(value: Mapping[str, Any]) -> Measurement:
    parts = {
        name: Part(
            _rows(value[name]["log10_norm"]),
            np.array(value[name]["float32_horizon"], int),
            np.array(value[name]["loss"], float),
        )
        for name in PARTS
        if name in value
    }
    weights, data = (
        [{array: [float(x) for x in numbers] for array, numbers in one.items()} for one in value[name].values()]
        for name in ("weights", "data")
    )
    return Measurement([int(lag) for lag in value["lags"]], parts, weights, data, str(value["bits"]))


def _rows(stored: Mapping[str, Sequence[Any]]) -> Floats:
    return np.array([[float(number) for number in row] for row in stored.values()])


def _population(path: Path) -> tuple[list[int], Floats]:
    if not path.exists():
        return [], np.empty((0, 0))
    value = _read(path)
    lags, rows = [int(lag) for lag in value["lags"]], _rows(value["log10_norm"])
    if rows.shape != (len(rows), len(lags)):
        raise ValueError(f"rows of {path.name} and lags differ in number")
    return lags, rows


def _check(baseline: Baseline) -> None:
    """Refuse a hand-edited or merged file whose arrays do not fit together."""
    found = baseline.measurement
    if "initial" not in found.parts:
        raise ValueError("no initial curves")
    for name, part in found.parts.items():
        seeds = len(part.curves)
        shapes = {part.curves.shape, (seeds, len(found.lags)), (seeds, len(baseline.noise[name]))}
        counts = {len(part.losses), len(part.horizons), len(found.weights), len(found.data)}
        if len(shapes) > 1 or counts != {seeds}:
            raise ValueError(f"seeds or lags of {name} differ in number")
        if not np.all(baseline.noise[name] >= 0):
            raise ValueError(f"the noise of {name} is not a number of at least 0")


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UnreadableBaseline(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict) or not isinstance(value.get("baseline"), int):
        raise UnreadableBaseline(f"{path} is no baseline")
    if value["baseline"] > VERSION:
        raise UnreadableBaseline(f"{path} is of a newer gradlab: update gradlab")
    return value


def _lines(value: Mapping[str, Any], depth: int = 0) -> str:
    """JSON with one line per item and, of curves, per seed, so that a diff shows what changed."""
    indent = " " * (depth + 1)
    items = []
    for key, item in value.items():
        nested = isinstance(item, Mapping) and (depth == 0 or key == "log10_norm")
        items.append(f"{indent}{json.dumps(key)}: {_lines(item, depth + 1) if nested else dumps(item)}")
    text = "{\n" + ",\n".join(items) + f"\n{' ' * depth}}}"
    return text if depth else text + "\n"
