"""Sweeps: the TOML file that asks for many runs, and the resolved list that is kept in the results folder.

    title = "..."          what it is called in reports
    question = "..."       what it is to answer, and why it is set up like this
    source = "..."         optional: the paper that it follows
    [base]                 fields of RunSpec that all runs share
    [grid]                 lists: every combination is run
    [[vary]]               lists: every value alone, all else as in the base
    [tune]                 lists: of these a value is chosen for each cell, task and length, on seeds of its own
    [budget]               `steps`: training steps at most; `minutes`: for each run, optional

The base itself is run, then each value of `[[vary]]` in its place, and each of these for every combination of the
grid. `max_params` in the place of `hidden` gives each cell the largest size that has at most so many parameters.
Paths of custom cells are relative to the working directory. Loads no jax until a file is loaded.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gradlab.errors import GradlabError, nearest, unknown
from gradlab.runs.attempt import write_whole
from gradlab.runs.files import DamagedFile, read_object
from gradlab.runs.grids import override, points_of, read_axes, specs_of, table_of
from gradlab.runs.jsonable import dumps
from gradlab.runs.schema import SWEEP, is_name
from gradlab.runs.spec import RunSpec
from gradlab.runs.tuning import Choice, TunedGroup, tuned_groups

VERSION = 1
"""Version of the files in `results/sweeps/`."""

KEYS = ("title", "question", "source", "base", "grid", "budget", "vary", "tune")
"""What stands at the top of a sweep's file."""


@dataclass(frozen=True)
class Sweep:
    """A sweep's file, resolved to specs.

    Attributes:
        name: the stem of the file, or what the user calls it.
        minutes: time limit of each run, None if there is none.
        specs: the runs that count; of a sweep with `[tune]` none before `with_choices`.
        file: the path that was read.
        overrides: what was set on the command line, `field=values`.
        max_params: of each run whose hidden size follows from it, by its id.
        groups: of a sweep with `[tune]`, each with its trials. choices: what was chosen, one for each of them.
    """

    name: str
    title: str
    question: str
    source: str | None
    minutes: float | None
    specs: tuple[RunSpec, ...]
    file: str
    overrides: tuple[str, ...] = ()
    max_params: Mapping[str, int] = field(default_factory=dict)
    groups: tuple[TunedGroup, ...] = ()
    choices: tuple[Choice, ...] = ()

    @property
    def trials(self) -> list[RunSpec]:
        """The runs that choose between the candidates; none of a sweep that tunes nothing."""
        return [spec for group in self.groups for spec in group.trials]


@dataclass(frozen=True)
class StoredSweep:
    """A sweep as stored in the results folder.

    `runs` are `{"id", "config"}`, with `max_params` where the hidden size follows from it; `tune` are the lists of
    values that were tried, and the seeds of the trials; the rest is as in `Sweep`.
    """

    name: str
    title: str
    question: str
    source: str | None
    file: str
    overrides: tuple[str, ...]
    runs: tuple[dict[str, Any], ...]
    tune: Mapping[str, Any] = field(default_factory=dict)
    choices: tuple[dict[str, Any], ...] = ()

    @property
    def tuned(self) -> tuple[str, ...]:
        """The fields whose value was chosen."""
        return tuple(name for name in self.tune if name != "seed")

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of its runs, in their order."""
        return tuple(run["id"] for run in self.runs)


def load_sweep(
    path: Path | str, overrides: Sequence[str] = (), name: str | None = None, *, also: Sequence[str] = ()
) -> Sweep:
    """Read a sweep's file and resolve it to specs.

    Args:
        path: of the TOML file.
        overrides: `field=value` or `field=value,value`, which replace the file's values of a field.
        name: of the sweep; the stem of the file if None.
        also: further keys that the file may have, which somebody else reads.

    Raises:
        GradlabError: the file cannot be read, something in it is unknown, wrong, twice there or missing.
    """
    table = read_toml(path, "sweep")
    if "scenario" in table:
        raise GradlabError(f"{path} is a suite of gradient curves, not a sweep: gradlab check {Path(path).stem}")
    for key in table:
        if key not in (*KEYS, *also):
            raise unknown(f"key in {path}", key, (*KEYS, *also))
    title, question = title_of(path, table)
    source = _text_of(path, "source", table["source"]) if "source" in table else None
    budget = table_of(path, "budget", table)
    minutes = _minutes(path, budget.pop("minutes", None))
    for key in budget:
        if key != "steps":
            raise unknown(f"key in [budget] of {path}", key, ("steps", "minutes"))
    axes = override(read_axes(path, table, budget), overrides)
    groups = tuple(tuned_groups(path, axes))
    specs = () if groups else tuple(specs_of(path, axes))
    sizes = {} if groups else _sizes(zip(specs, (point for point, _ in points_of(path, axes)), strict=True))
    name = checked_name(name or Path(path).stem)
    return Sweep(name, title, question, source, minutes, specs, str(path), tuple(overrides), sizes, groups)


def _sizes(pairs: Iterable[tuple[RunSpec, Mapping[str, Any]]]) -> dict[str, int]:
    """`max_params` of the runs that were asked for by it, from each run and its fields as written."""
    return {spec.id: point["max_params"] for spec, point in pairs if "max_params" in point}


def with_choices(sweep: Sweep, choices: Sequence[Choice]) -> Sweep:
    """A sweep with `[tune]` and the runs that count, from what was chosen for each of its groups."""
    pairs = [
        (spec, group.point)
        for group, choice in zip(sweep.groups, choices, strict=True)
        for spec in group.specs(choice.values)
    ]
    return replace(sweep, specs=tuple(spec for spec, _ in pairs), max_params=_sizes(pairs), choices=tuple(choices))


def shard(specs: Sequence[RunSpec], number: int, count: int) -> list[RunSpec]:
    """Part `number`, from 1 to `count`, of the runs; it depends on each run's id alone."""
    return [spec for spec in specs if int(spec.id.rpartition("-")[2], 16) % count == number - 1]


def store_sweep(root: Path, sweep: Sweep) -> Path:
    """Write a resolved sweep to `sweeps/<name>.json` below the results folder."""
    path = _folder(root) / f"{sweep.name}.json"
    others = ("specs", "max_params", "groups", "choices")
    stated = {name: value for name, value in vars(sweep).items() if name not in others}
    if sweep.groups:
        stated |= {"tune": _tried(sweep.groups[0]), "choices": [_as_json(one) for one in sweep.choices]}
    made = datetime.now(UTC).isoformat(timespec="seconds")
    runs: list[dict[str, Any]] = [{"id": spec.id, "config": spec.config()} for spec in sweep.specs]
    for run in runs:
        run |= {"max_params": sweep.max_params[run["id"]]} if run["id"] in sweep.max_params else {}
    text = dumps({"sweep": VERSION, **stated, "made": made, "runs": runs}, indent=1) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GradlabError(f"results folder `{root}` cannot be written: {error.strerror}") from error
    write_whole(path, lambda file: file.write(text.encode()))
    return path


def _tried(group: TunedGroup) -> dict[str, list[Any]]:
    """The values of each tuned field, and the seeds of the trials."""
    tried = {
        name: list(dict.fromkeys(one.values[name] for one in group.candidates))
        for name in group.candidates[0].values
    }
    return tried | {"seed": [spec.seed for spec in group.candidates[0].trials]}


def _as_json(choice: Choice) -> dict[str, Any]:
    return choice._asdict() | {"candidates": [one._asdict() for one in choice.candidates]}


def stored_sweep(root: Path, name: str) -> StoredSweep:
    """The sweep of this name in a results folder."""
    names = sweep_names(root)
    if name not in names:
        hint = nearest(name, names) or "; `gradlab sweep FILE` makes one"
        raise GradlabError(f"sweep `{name}` is not in {root}{hint}")

    def check(value: Any) -> str:
        version = value.get("sweep")
        if type(version) is int and version > VERSION:
            return f"a newer gradlab wrote it, sweep {version}: update gradlab"
        # What is written about a sweep goes to a folder of its name.
        return SWEEP(value) or ("" if value["name"] == name else f"name is {value['name']}, not {name}")

    try:
        value = read_object(_folder(root) / f"{name}.json", check)
    except DamagedFile as error:
        raise GradlabError(f"sweep {name}: {error.wrong}: run `gradlab sweep` with its file again") from None
    stated = {each.name: value[each.name] for each in fields(StoredSweep) if each.name in value}
    return StoredSweep(**stated | {name: tuple(stated.get(name, ())) for name in ("runs", "overrides", "choices")})


def sweep_names(root: Path) -> list[str]:
    """The names of the sweeps that a results folder holds, sorted."""
    return sorted(path.stem for path in _folder(root).glob("[!.]*.json") if is_name(path.stem))


def checked_name(name: str, kind: str = "sweep") -> str:
    """A name that a file may have; GradlabError if it has other characters than letters, digits and ._=-."""
    if not is_name(name) or not name[0].isalnum():
        raise GradlabError(f"{kind} name `{name}`: give letters, digits and . _ = - only")
    return name


def _folder(root: Path) -> Path:
    return Path(root) / "sweeps"


def read_toml(path: Path | str, kind: str) -> dict[str, Any]:
    """The content of a TOML file; `kind` names it in messages."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise GradlabError(f"{kind} file `{path}` cannot be read: {reason}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GradlabError(f"{kind} file `{path}` is not TOML: {error}") from error


def title_of(path: Path | str, table: Mapping[str, Any]) -> tuple[str, str]:
    """The title and the question, which every file must state."""
    missing = [key for key in ("title", "question") if key not in table]
    if missing:
        texts = " and ".join(f'{key} = "..."' for key in missing)
        raise GradlabError(f"{path} has no {' and no '.join(missing)}: give {texts}")
    return _text_of(path, "title", table["title"]), _text_of(path, "question", table["question"])


def _text_of(path: Path | str, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise GradlabError(f'{key} in {path} is {value!r}: give a text, {key} = "..."')
    return value.strip()


def _minutes(path: Path | str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise GradlabError(f"minutes in [budget] of {path} is {value!r}: give a positive number")
    return float(value)
