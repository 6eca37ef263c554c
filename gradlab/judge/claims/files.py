"""The files of claims, `experiments/claims/NAME.toml`: a sweep with a sentence, its source and what is expected.

claim = "..."          the sentence that is judged
source = "..."         paper and section, or "tutorials"
minutes = 2            expected, on two cores
seen = "..."           optional: what was seen where it contradicts the source
timed = true           optional: it measures time, so another machine gives other numbers
measure = "FILE.py:function"   optional, instead of runs: called with each point of the grid
[base], [grid], [[vary]], [budget], [tune]     as of a sweep; with `measure` the arguments of the function
[[expect]]             metric, comparison and value; where, against, correlate, quorum and says are optional
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gradlab.errors import GradlabError, nearest, unknown
from gradlab.runs.fields import spell
from gradlab.runs.grids import Axes, points_of, read_axes, table_of
from gradlab.runs.sweeps import read_toml

FOLDER = Path("experiments/claims")
_OF_A_SWEEP = ("base", "grid", "vary", "budget", "tune")
Fields = dict[str, Any]


class Expectation(BaseModel):
    """What a claim says about the runs of each of its settings; all but the seed makes a setting.

    Attributes:
        metric: `initial.slope`, `final.c.span` or another number of a stored run (`tables.metric_of`), or one that
            the function of the claim returns.
        comparison: of the metric with `value`, which is `[low, high]` for `within`.
        where: fields and the value, or the list of values, that the runs have; all runs if empty.
        against: fields of other runs; the metric is then the difference from theirs, by seed, or the quotient.
        correlate: a second metric; Spearman's correlation of the two over all runs is then compared.
        quorum: in how many seeds it must be so; without it, the 95 % interval of the mean over seeds decides.
        says: what this is in words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    comparison: Literal["<", "<=", ">", ">=", "within"]
    value: float | tuple[float, float]
    where: Fields = {}
    against: Fields = {}
    quotient: bool = False
    correlate: str | None = None
    quorum: int | None = Field(None, ge=1)
    says: str = ""

    @model_validator(mode="after")
    def _agree(self) -> "Expectation":
        ends = self.value if isinstance(self.value, tuple) else (self.value,)
        if (len(ends) == 2) != (self.comparison == "within"):
            raise ValueError("give value = [low, high] with comparison = 'within', else one number")
        if not all(map(math.isfinite, ends)) or ends[0] > ends[-1]:
            raise ValueError("value must be finite, and of [low, high] low the smaller")
        if self.correlate and (self.against or self.quorum):
            raise ValueError("correlate goes with neither against nor quorum")
        if self.quotient and not self.against:
            raise ValueError("quotient needs against")
        return self

    @property
    def metrics(self) -> list[str]:
        """The numbers that it needs of a run."""
        return [self.metric, *([self.correlate] if self.correlate else [])]


class ClaimFile(BaseModel):
    """The keys of a file that are not those of a sweep."""

    model_config = ConfigDict(extra="forbid")

    claim: str = Field(min_length=1)
    source: str = Field(min_length=1)
    minutes: float = Field(gt=0)
    seen: str = ""
    timed: bool = False
    measure: str | None = None
    expect: list[Expectation] = Field(min_length=1)


class Claim(NamedTuple):
    """A claim: what its file says, and the points of its grid.

    Attributes:
        name: the stem of the file. path: of the file.
        stated: what is not of the sweep. sweep: the rest.
        points: the fields of each run as written; without those that are tuned.
    """

    name: str
    path: Path
    stated: ClaimFile
    sweep: Fields
    points: tuple[Fields, ...]

    @property
    def tuned(self) -> tuple[str, ...]:
        """The fields that are chosen on other seeds; empty if none is."""
        return tuple(field for field, value in self.sweep.get("tune", {}).items() if field != "seed" and value)

    @property
    def is_quick(self) -> bool:
        """Whether it trains nothing and measures no time, so that it is judged afresh in seconds."""
        trains = any(point.get("steps") != 0 for point in self.points)
        return not self.stated.timed and (self.stated.measure is not None or not trains)

    @property
    def varying(self) -> list[str]:
        """The fields, but for the seed, in which its runs differ."""
        values: dict[str, set[str]] = {}
        for point in self.points:
            for field, value in point.items():
                values.setdefault(field, set()).add(spell(value))
        return [field for field, found in values.items() if len(found) > 1 and field != "seed"]

    @property
    def metrics(self) -> list[str]:
        """The numbers that its expectations need of each run."""
        return list(dict.fromkeys(metric for each in self.stated.expect for metric in each.metrics))


def claim_names(folder: Path = FOLDER) -> list[str]:
    """The claims of a folder, sorted."""
    return sorted(path.stem for path in folder.glob("[!.]*.toml"))


def load_claims(names: Sequence[str] = (), folder: Path = FOLDER) -> list[Claim]:
    """The claims of these names, all if there are none.

    Raises:
        GradlabError: there is no such claim, or its file is wrong.
    """
    known = claim_names(folder)
    for name in names:
        if name not in known:
            raise GradlabError(f"claim `{name}` is not in {folder}{nearest(name, known)}")
    if not known:
        raise GradlabError(f"no claim in {folder}/: run this in a folder that has experiments/claims/NAME.toml")
    return [load_claim(folder / f"{name}.toml") for name in names or known]


def load_claim(path: Path) -> Claim:
    """Read the file of a claim; the names of its cells and tasks are checked when it is run.

    Raises:
        GradlabError: it cannot be read, or something in it is unknown, wrong or missing.
    """
    table = read_toml(path, "claim")
    stated = {key: value for key, value in table.items() if key in ClaimFile.model_fields}
    sweep = {key: value for key, value in table.items() if key not in stated}
    for key in sweep:
        if key not in _OF_A_SWEEP:
            raise unknown(f"key in {path}", key, [*ClaimFile.model_fields, *_OF_A_SWEEP])
    try:
        checked = ClaimFile.model_validate(stated)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, wrong["loc"]))
        raise GradlabError(f"{path}: {where}: {wrong['msg'].removeprefix('Value error, ')}") from None
    claim = Claim(path.stem, path, checked, sweep, tuple(_points(path, sweep, checked.measure)))
    for each in checked.expect:
        _check_expectation(claim, each)
    return claim


def _check_expectation(claim: Claim, expectation: Expectation) -> None:
    """Refuse an expectation of runs that the file does not ask for."""
    for field in (*expectation.where, *expectation.against):
        if not any(field in point for point in claim.points):
            raise GradlabError(f"{claim.path}: expect names {field}, which no table of the file sets")
    named = [point for point in claim.points if matches(point, expectation.where)]
    known = {key_of(point) for point in claim.points}
    others = [point for point in named if key_of(point | expectation.against) not in known]
    if not named or others:
        name = "against" if named else "where"
        stated = ", ".join(f"{field}={value}" for field, value in getattr(expectation, name).items())
        raise GradlabError(f"{claim.path}: {name} is {stated}: no table of the file asks for such a run")
    seeds = len({spell(point.get("seed", 0)) for point in claim.points})
    if (expectation.quorum or 0) > seeds:
        raise GradlabError(f"{claim.path}: quorum is {expectation.quorum}: there are only {seeds} seeds")


def matches(point: Fields, where: Fields) -> bool:
    """Whether a run has these values, each of which may be a list of them."""
    return all(
        spell(point.get(field)) in [spell(one) for one in (wanted if isinstance(wanted, list) else [wanted])]
        for field, wanted in where.items()
    )


def axes_of(path: Path, sweep: Fields) -> Axes:
    """The axes of the sweep of a claim."""
    budget = table_of(path, "budget", sweep)
    budget.pop("minutes", None)
    return read_axes(path, sweep, budget)


def _points(path: Path, sweep: Fields, measure: str | None) -> list[Fields]:
    if measure is None:
        return [point for point, _ in points_of(path, axes_of(path, sweep))]
    base, grid = table_of(path, "base", sweep), table_of(path, "grid", sweep)
    wrong = [key for key in sweep if key not in ("base", "grid")]
    wrong += [key for key, value in grid.items() if not isinstance(value, list) or not value]
    if wrong:
        raise GradlabError(f"{path}: {wrong[0]}: with `measure` give [base] and lists in [grid]")
    return [base | dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def key_of(fields: Mapping[str, object]) -> frozenset[tuple[str, str]]:
    """The fields of a run as one key."""
    return frozenset((name, spell(value)) for name, value in fields.items())
