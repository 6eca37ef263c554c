"""What the files of a baseline hold, checked when they are read. A wrong field is named with its path."""

from collections.abc import Sequence, Sized
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import from_json

from gradlab.errors import UnreadableBaseline
from gradlab.runs.files import regular_bytes

VERSION = 2
"""Of the format; 1 had the task curve of `state` alone."""
MOST_BYTES = 100_000_000
NON_FINITE = ("nan", "inf", "-inf")
MOST_LAGS = 2**31 - 1


def _number(value: Any) -> Any:
    if (isinstance(value, (int, float)) and not isinstance(value, bool)) or value in NON_FINITE:
        with suppress(OverflowError):
            return float(value)
    raise ValueError(f"give a number, or one of {', '.join(NON_FINITE)}")


Number = Annotated[float, BeforeValidator(_number)]
Noise = Annotated[Number, Field(ge=0)]
Lag = Annotated[int, Field(strict=True, ge=1, le=MOST_LAGS)]
Lags = Annotated[list[Lag], Field(min_length=1)]
Rows = dict[str, list[Number]]
Sketches = dict[str, dict[str, Annotated[list[Number], Field(min_length=2)]]]


class StoredCurve(BaseModel):
    """One curve of one leaf: log10 norms by seed and lag, and their noise by lag."""

    lags: Lags
    noise: list[Noise]
    log10_norm: Rows


class StoredPart(BaseModel):
    """The task curve of `state` before or after training; its lags are those of the file."""

    noise: list[Noise]
    float32_horizon: list[Annotated[int, Field(strict=True, ge=0, le=MOST_LAGS)]]
    loss: list[Number]
    log10_norm: Rows


class BaselineFile(BaseModel):
    """`<scenario>.json`."""

    scenario: dict[str, Any]
    reason: str
    environment: dict[str, str]
    twin: str
    bits: str
    lags: Lags
    initial: StoredPart
    trained: StoredPart | None = None
    weights: Sketches
    data: Sketches
    more: dict[str, dict[str, StoredCurve]] = {}

    @property
    def parts(self) -> dict[str, StoredPart]:
        """By name, those that are there."""
        return {"initial": self.initial} | ({} if self.trained is None else {"trained": self.trained})

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Refuse a file, edited by hand or merged, whose lists do not fit together."""
        seeds = len(self.initial.log10_norm)
        for name, part in self.parts.items():
            _check_rows(f"{name}.log10_norm", part.log10_norm, seeds, "lags", self.lags)
            _check_length(f"{name}.noise", part.noise, "lags", self.lags)
            for field, found in (("float32_horizon", part.float32_horizon), ("loss", part.loss)):
                _check_length(f"{name}.{field}", found, f"{name}.log10_norm", part.log10_norm)
        for part_name, curves in self.more.items():
            if part_name not in self.parts:
                raise ValueError(f"more.{part_name}: there is no part of that name")
            for name, curve in curves.items():
                where = f"more.{part_name}.{name}"
                _check_rows(f"{where}.log10_norm", curve.log10_norm, seeds, f"{where}.lags", curve.lags)
                _check_length(f"{where}.noise", curve.noise, f"{where}.lags", curve.lags)
                _check_lags(f"{where}.lags", curve.lags)
        _check_lags("lags", self.lags)
        for name, sketches in (("weights", self.weights), ("data", self.data)):
            _check_seeds(name, sketches, seeds)
        return self


class PopulationFile(BaseModel):
    """`<scenario>.population.json`."""

    lags: Lags
    log10_norm: Rows

    @model_validator(mode="after")
    def _agree(self) -> Self:
        _check_lags("lags", self.lags)
        _check_rows("log10_norm", self.log10_norm, len(self.log10_norm), "lags", self.lags)
        return self


def _check_rows(where: str, rows: Rows, seeds: int, other: str, lags: list[int]) -> None:
    _check_seeds(where, rows, seeds)
    for seed, row in rows.items():
        _check_length(f"{where}.{seed}", row, other, lags)


def _check_seeds(where: str, rows: dict[str, Any], seeds: int) -> None:
    if not rows or list(rows) != [str(seed) for seed in range(seeds)]:
        named = ", ".join(rows)[:80] or "none"
        raise ValueError(f"{where}: its seeds are {named}, and those of initial.log10_norm 0 to {seeds - 1}")


def _check_length(where: str, found: Sequence[Any], other: str, wanted: Sized) -> None:
    if len(found) != len(wanted):
        raise ValueError(f"{where}: it has {len(found)} items, and {other} has {len(wanted)}")


def _check_lags(where: str, lags: list[int]) -> None:
    if any(one >= other for one, other in pairwise(lags)):
        raise ValueError(f"{where}: they do not increase")


File = TypeVar("File", BaselineFile, PopulationFile)


def read_file(path: Path, kind: type[File]) -> tuple[int, File]:
    """The version of the format, and what the file holds.

    Raises:
        UnreadableBaseline: no regular file, too large, no JSON, of a newer gradlab, or a field is wrong.
    """
    try:
        value = from_json(regular_bytes(path, MOST_BYTES))
    except (OSError, ValueError) as error:
        raise UnreadableBaseline(f"{path} cannot be read: {_one_line(error)}") from None
    version = value.get("baseline") if isinstance(value, dict) else None
    if type(version) is not int or not 1 <= version < 1000:  # not isinstance: true is no version
        raise UnreadableBaseline(f"{path} is no baseline: it has no version (field `baseline`)")
    if version > VERSION:
        raise UnreadableBaseline(f"{path} is of a newer gradlab (format {version}): update gradlab")
    try:
        return version, kind.model_validate(value)
    except ValidationError as error:
        raise UnreadableBaseline(f"{path} is damaged: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    """The first wrong field and what is wrong with it."""
    wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, wrong["loc"]))
    said = wrong["msg"].removeprefix("Value error, ")
    return _one_line(f"{where}: {said}" if where else said)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:300]
