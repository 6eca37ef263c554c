"""Baselines: what was blessed, as text that reads well in a review.

Two files for each scenario below `<folder>/<suite>/`: `<scenario>.json` with one line for each paired seed, and
`<scenario>.population.json` with the initial curves of many seeds, for what cannot be compared one by one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradlab.errors import GradlabError
from gradlab.judge.measure import PARTS, Floats, Measurement, Part, Sketch
from gradlab.judge.suite import Scenario
from gradlab.runs.attempt import write_whole
from gradlab.runs.jsonable import dumps

VERSION = 1
FOLDER = Path("results/baselines")
_DIGITS, _POPULATION_DIGITS = 6, 3


class Unreadable(Exception):
    """A baseline is there and cannot be used; the text says why."""


@dataclass(frozen=True)
class Baseline:
    """A scenario as it was blessed.

    Attributes:
        config: what the scenario was then. reason: why it was blessed.
        environment: versions, device and flags.
        twin: what rounding was measured with. noise: by part, decades (K,).
        measurement: the numbers.
        population_lags, population: (J,) and (N, J), initial curves of many seeds; empty where their file is
            missing.
    """

    config: Mapping[str, Any]
    reason: str
    environment: Mapping[str, str]
    twin: str
    noise: Mapping[str, Floats]
    measurement: Measurement
    population_lags: list[int]
    population: Floats


def paths_of(folder: Path, name: str) -> tuple[Path, Path]:
    """The two files of a scenario's baseline."""
    return folder / f"{name}.json", folder / f"{name}.population.json"


def stored_name(folder: Path, scenario: Scenario) -> str:
    """The name under which a scenario has its baseline: its own, or else the one that it had before."""
    there = [name for name in (scenario.name, scenario.former) if name and paths_of(folder, name)[0].exists()]
    return there[0] if there else scenario.name


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
        "log10_norm": {
            str(seed): _rounded(row, _POPULATION_DIGITS) for seed, row in enumerate(baseline.population)
        },
    }
    paths = paths_of(folder, name)
    for path, value in zip(paths, (_as_dict(baseline), population), strict=True):
        _write(path, _lines(value))
    return list(paths)


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode()))


def read_baseline(folder: Path, name: str) -> Baseline | None:
    """The baseline of a scenario, None where there is none.

    Raises:
        Unreadable: its file is damaged or of a newer gradlab.
    """
    path, population_path = paths_of(folder, name)
    if not path.exists():
        return None
    value = _read(path)
    try:
        found = _measurement(value)
        noise = {part: np.array(value[part]["noise"], float) for part in found.parts}
        lags, population = _population(population_path)
        texts = {key: dict(value[key]) for key in ("scenario", "environment")}
        baseline = Baseline(
            texts["scenario"],
            str(value["reason"]),
            texts["environment"],
            str(value["twin"]),
            noise,
            found,
            lags,
            population,
        )
        _check(baseline)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"{path} is damaged: {type(error).__name__} {error}") from None
    return baseline


def orphans(folder: Path, names: Sequence[str]) -> list[str]:
    """Baselines that no scenario of the suite asks for."""
    there = {path.name.removesuffix(".json").removesuffix(".population") for path in folder.glob("[!.]*.json")}
    return sorted(there - set(names))


def _as_dict(baseline: Baseline) -> dict[str, Any]:
    found = baseline.measurement
    value: dict[str, Any] = {
        "baseline": VERSION,
        "scenario": baseline.config,
        "reason": baseline.reason,
        "environment": baseline.environment,
        "twin": baseline.twin,
        "bits": found.bits,
        "lags": found.lags,
    }
    for name, part in found.parts.items():
        value[name] = {
            "noise": [float(f"{decades:.2g}") for decades in baseline.noise[name]],
            "float32_horizon": part.horizons,
            "loss": [float(f"{loss:.6g}") for loss in part.losses],
            "log10_norm": {str(seed): _rounded(row, _DIGITS) for seed, row in enumerate(part.curves)},
        }
    for name, sketches in (("weights", found.weights), ("data", found.data)):
        value[name] = {str(seed): one for seed, one in enumerate(sketches)}
    return value


def _measurement(value: Mapping[str, Any]) -> Measurement:
    parts = {}
    for name in PARTS:
        if name in value:
            stored = value[name]
            parts[name] = Part(
                _rows(stored["log10_norm"]),
                np.array(stored["float32_horizon"], int),
                np.array(stored["loss"], float),
            )
    weights, data = ([_sketch(one) for one in value[name].values()] for name in ("weights", "data"))
    return Measurement([int(lag) for lag in value["lags"]], parts, weights, data, str(value["bits"]))


def _rows(stored: Mapping[str, Sequence[Any]]) -> Floats:
    return np.array([[float(number) for number in row] for row in stored.values()])


def _sketch(stored: Mapping[str, Sequence[float]]) -> Sketch:
    return {name: [float(number) for number in numbers] for name, numbers in stored.items()}


def _population(path: Path) -> tuple[list[int], Floats]:
    if not path.exists():
        return [], np.empty((0, 0))
    value = _read(path)
    lags, rows = [int(lag) for lag in value["lags"]], _rows(value["log10_norm"])
    if rows.shape != (len(rows), len(lags)):
        raise ValueError(f"rows of {path.name} and lags differ in number")
    return lags, rows


def _check(baseline: Baseline) -> None:
    """Refuse what the numbers of a hand-edited or merged file cannot mean."""
    found = baseline.measurement
    if "initial" not in found.parts:
        raise ValueError("no initial curves")
    for name, part in found.parts.items():
        seeds = len(part.curves)
        shapes = {part.curves.shape, (seeds, len(found.lags)), (seeds, len(baseline.noise[name]))}
        if len(shapes) > 1 or {len(part.losses), len(part.horizons), len(found.weights), len(found.data)} != {
            seeds
        }:
            raise ValueError(f"seeds or lags of {name} differ in number")
        if not np.all(baseline.noise[name] >= 0):
            raise ValueError(f"the noise of {name} is not a number of at least 0")


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict) or not isinstance(value.get("baseline"), int):
        raise Unreadable(f"{path} is no baseline")
    if value["baseline"] > VERSION:
        raise Unreadable(f"{path} is of a newer gradlab: update gradlab")
    return value


def _rounded(row: Floats, digits: int) -> list[float]:
    # Adding 0.0 turns -0.0 into 0.0, which would else be a line of a diff.
    return [round(float(number), digits) + 0.0 for number in row]


def _lines(value: Mapping[str, Any], depth: int = 0) -> str:
    """JSON with a line for each item and, of curves, for each seed, so that a diff shows what changed."""
    indent = " " * (depth + 1)
    items = []
    for key, item in value.items():
        broken = isinstance(item, Mapping) and (depth == 0 or key == "log10_norm")
        items.append(f"{indent}{json.dumps(key)}: {_lines(item, depth + 1) if broken else dumps(item)}")
    text = "{\n" + ",\n".join(items) + f"\n{' ' * depth}}}"
    return text if depth else text + "\n"
