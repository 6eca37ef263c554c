"""Baselines: accepted curves, as JSON that reads well in a review.

Two files per scenario below `<folder>/<suite>/`: `<scenario>.json` with one line per paired seed and curve, and
`<scenario>.population.json` with the initial curves of many seeds, for comparison as samples. Their fields are
in `schema.py`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradlab.errors import GradlabError, UnreadableBaseline
from gradlab.judge.measure import Floats, GuardedCurve, Measurement, Part
from gradlab.judge.suite import Scenario
from gradlab.runs.attempt import write_whole
from gradlab.runs.jsonable import dumps

FOLDER = Path("results/baselines")
_DIGITS, _MORE_DIGITS, _POPULATION_DIGITS = 6, 5, 3


@dataclass(frozen=True)
class Baseline:
    """An accepted scenario.

    Attributes:
        config: the scenario as it was accepted. reason: why it was.
        environment: versions, device and flags.
        noise_source: how the noise was measured. noise: decades (K,), by part and, as
            `part/curve/leaf`, of every other curve.
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
    names = [name for name in (scenario.name, scenario.former) if name and is_there(paths_of(folder, name)[0])]
    return names[0] if names else scenario.name


def write_baseline(folder: Path, name: str, baseline: Baseline) -> list[Path]:
    """Write both files of a scenario.

    Raises:
        GradlabError: the folder cannot be written.
    """
    from gradlab.judge.schema import VERSION  # pydantic, which hardly any command needs

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
    from gradlab.judge.schema import BaselineFile, read_file

    path, population_path = paths_of(folder, name)
    if not is_there(path):
        return None
    _, value = read_file(path, BaselineFile)
    parts: dict[str, Part] = {}
    noise: dict[str, Floats] = {}
    for part, stored in value.parts.items():
        more = value.more.get(part, {})
        found = {key: GuardedCurve(curve.lags, _rows(curve.log10_norm)) for key, curve in more.items()}
        horizons = np.array(stored.float32_horizon, np.int64)
        parts[part] = Part(_rows(stored.log10_norm), horizons, np.array(stored.loss), found)
        noise |= {part: np.array(stored.noise)}
        noise |= {f"{part}/{key}": np.array(curve.noise) for key, curve in more.items()}
    measurement = Measurement(
        value.lags, parts, list(value.weights.values()), list(value.data.values()), value.bits
    )
    population = _population(population_path, value.lags[-1])
    return Baseline(value.scenario, value.reason, value.environment, value.twin, noise, measurement, *population)


def is_there(path: Path) -> bool:
    """Whether something has this name, be it a link to nothing: that is no missing baseline."""
    return os.path.lexists(path)


def orphans(folder: Path, names: Sequence[str]) -> list[str]:
    """Baselines of the folder that belong to none of the named scenarios."""
    stored = {path.name.removesuffix(".json").removesuffix(".population") for path in folder.glob("[!.]*.json")}
    return sorted(stored - set(names))


def _as_dict(baseline: Baseline) -> dict[str, Any]:
    from gradlab.judge.schema import VERSION

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
            "noise": _noise(baseline.noise[name]),
            "float32_horizon": part.horizons,
            "loss": [float(f"{loss:.6g}") for loss in part.losses],
            "log10_norm": _by_seed(part.curves, _DIGITS),
        }
    for name, sketches in (("weights", found.weights), ("data", found.data)):
        value[name] = {str(seed): one for seed, one in enumerate(sketches)}
    return value | {"more": {name: _more(name, part, baseline.noise) for name, part in found.parts.items()}}


def _more(name: str, part: Part, noise: Mapping[str, Floats]) -> dict[str, Any]:
    """Every curve but the task curve of `state`."""
    return {
        key: {
            "lags": curve.lags,
            "noise": _noise(noise[f"{name}/{key}"]),
            "log10_norm": _by_seed(curve.values, _MORE_DIGITS),
        }
        for key, curve in part.more.items()
    }


def _noise(decades: Floats) -> list[float]:
    return [float(f"{each:.2g}") for each in decades]


def _by_seed(curves: Floats, digits: int) -> dict[str, list[float]]:
    # Adding 0.0 turns -0.0 into 0.0, which would otherwise show up in a diff.
    return {str(seed): [round(float(x), digits) + 0.0 for x in row] for seed, row in enumerate(curves)}


def _rows(stored: Mapping[str, Sequence[float]]) -> Floats:
    return np.array(list(stored.values()), float)


def _population(path: Path, longest: int) -> tuple[list[int], Floats]:
    from gradlab.judge.schema import PopulationFile, read_file

    if not is_there(path):
        return [], np.empty((0, 0))
    _, value = read_file(path, PopulationFile)
    if value.lags[-1] > longest:
        raise UnreadableBaseline(f"{path} is damaged: lags: {value.lags[-1]} is beyond the last, {longest}")
    return value.lags, _rows(value.log10_norm)


def _lines(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """JSON with one line per item and, of curves, per seed, so that a diff shows what changed."""
    depth = len(path)
    indent = " " * (depth + 1)
    items = []
    for key, item in value.items():
        nested = isinstance(item, Mapping) and (depth == 0 or key == "log10_norm" or path[:1] == ("more",))
        items.append(f"{indent}{json.dumps(key)}: {_lines(item, (*path, key)) if nested else dumps(item)}")
    text = "{\n" + ",\n".join(items) + f"\n{' ' * depth}}}"
    return text if depth else text + "\n"
