"""What a run is asked to do: one frozen record, validated when it is made, and the id that follows from it."""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import PurePath
from typing import Any, SupportsIndex

from gradlab.cells import Cell
from gradlab.errors import GradlabError, unknown
from gradlab.runs.variants import (
    Variant,
    as_said,
    cell_variant,
    is_own,
    optimizer_variant,
    parse_float,
    spell,
    task_variant,
)
from gradlab.tasks import Task
from gradlab.tasks.contract import check_length
from gradlab.training.model import Model
from gradlab.training.optimizers import Clip
from gradlab.training.step import Plan

STORE = 1
"""Version of the layout of a run directory."""
NUMERICS = 3
"""Raised when a change of code moves the numbers that an unchanged spec gives."""

_CHOICES = {
    "stop": ("solved", "never"),
    "dtype": ("float32", "float64"),
    "measure": ("checkpoints", "ends", "every"),
}
_TEXTS = ("task", "cell", "optimizer", *_CHOICES)
_AT_LEAST = {"length": 1, "hidden": 1, "batch": 1, "steps": 0, "seed": 0, "measure_batch": 1}
_TRAINING = ("batch", "optimizer", "learning_rate", "clip", "stop", "measure")
"""Fields that say how to train, which a probe does not ask for."""
_OF_PARAMS = ("hidden", "dtype", "seed")
"""Fields that a probe of trained weights takes from their run where they are not given."""
DERIVED = ("cell_source", "task_source")
"""Fields that follow from others: digests of the code of a cell and a task of one's own."""
_LATER = {"omit": True}
"""Metadata of a field that was added later: at its default it is left out, so no existing run is renamed."""


@dataclass(frozen=True)
class RunSpec:
    """One run: a cell on a task, with everything that can change a number.

    Args:
        task: a task variant, such as `adding` or `copy:symbols=5`.
        cell: a cell variant, such as `lstm:forget_bias=3`, or one's own, `./mycell.py:MyCell`.
        length: length of the sequences, as the task counts it.
        hidden: H, the size of the state.
        batch: examples in a training step.
        seed: of weights and data, 0 to 2³² - 1.
        optimizer: adam, rmsprop or sgd, with options such as `rmsprop:decay=0.99`.
        learning_rate: positive.
        clip: `norm:1`, `value:1` or `none`.
        steps: training steps at most; 0 measures the initial weights alone (a probe).
        stop: `solved` or `never`.
        dtype: float32 or float64.
        measure: curves at `checkpoints` (0, 1, 2, 5, 10, 20, 50, ... and the end) or at the `ends`; `every` adds
            to the checkpoints the norms that each training step's own backward pass saw.
        measure_batch: held-out examples on which curves are measured.
        params: id of a run whose final parameters are measured instead of initial ones; needs steps=0.

    Raises:
        GradlabError: a field that is out of range, unknown or of the wrong type.

    Example:
        >>> spec = RunSpec(task="adding", cell="lstm:forget_bias=1.0", length=50, seed=3)
        >>> spec.cell, spec.id
        ('lstm', 'adding-lstm-T50-s3-4019fda6')
    """

    task: str = "adding"
    cell: str = "lstm"
    length: int = 200
    hidden: int = 64
    batch: int = 32
    seed: int = 0
    optimizer: str = "adam"
    learning_rate: float = 0.01
    clip: str = "norm:1"
    steps: int = 5000
    stop: str = "solved"
    dtype: str = "float32"
    measure: str = "checkpoints"
    measure_batch: int = 64
    params: str | None = field(default=None, metadata=_LATER)
    cell_source: str | None = field(default=None, metadata=_LATER)
    task_source: str | None = field(default=None, metadata=_LATER)

    def __post_init__(self) -> None:
        for name in _TEXTS:
            _check_text(name, getattr(self, name))
        for name, lowest in _AT_LEAST.items():
            self._put(**{name: _whole(name, getattr(self, name), lowest)})
        if self.seed >= 2**32:
            raise GradlabError(f"seed is {self.seed}: give a whole number below 2**32")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise unknown(name, str(getattr(self, name)), allowed)
        rate = _positive("learning_rate", self.learning_rate)
        self._put(learning_rate=rate, clip=_clip_name(parse_clip(self.clip)))
        cell = cell_variant(self.cell)
        task = task_variant(self.task)
        self._put(cell=cell.name, cell_source=cell.source, task=task.name, task_source=task.source)
        self._put(optimizer=optimizer_variant(self.optimizer, rate).name)
        check_length(task.value, self.length, self.task)
        if self.params is not None:
            _check_text("params", self.params)
        if self.params is not None and self.steps:
            raise GradlabError(
                f"params with steps={self.steps}: trained weights can only be measured, give steps=0"
            )

    def _put(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def config(self) -> dict[str, Any]:
        """What was asked, for `config.json`: every field, later ones only where they are not at their default."""
        asked = asdict(self)
        for spec_field in fields(self):
            if spec_field.metadata == _LATER and asked[spec_field.name] == spec_field.default:
                del asked[spec_field.name]
        return dict(sorted((asked | {"store": STORE, "numerics": NUMERICS}).items()))

    @property
    def id(self) -> str:
        """`<task>-<cell>-T<length>-s<seed>-<hash8>`, made of [a-z0-9._=-] but for the T."""
        digest = hashlib.blake2b(json.dumps(self.config()).encode(), digest_size=4).hexdigest()
        return f"{part_of_name(self.task)}-{part_of_name(self.cell)}-T{self.length}-s{self.seed}-{digest}"

    @property
    def shape(self) -> tuple[object, ...]:
        """Everything but seed and learning rate: runs that agree in it can be one batched program."""
        return tuple(value for name, value in asdict(self).items() if name not in ("seed", "learning_rate"))

    def build_cell(self) -> Cell:
        """The cell.

        Raises:
            GradlabError: the user's own source has changed since this spec was made, which names the run.
        """
        return _unchanged(cell_variant(self.cell), self.cell_source)

    def build_task(self) -> Task:
        """The task.

        Raises:
            GradlabError: as `build_cell`.
        """
        return _unchanged(task_variant(self.task), self.task_source)

    def has_changed_since(self, config: Mapping[str, Any]) -> str:
        """The cell or task that this spec shares with a stored run but for an edit since; empty if none."""
        for name, source in zip(("cell", "task"), DERIVED, strict=True):
            if as_said(str(config[name])) == as_said(getattr(self, name)):
                if config.get(source) != getattr(self, source):
                    return str(getattr(self, name))
        return ""

    def model(self) -> Model:
        """Cell, readout and task."""
        return Model(self.build_cell(), self.build_task(), self.hidden)

    def plan(self, shards: int = 1) -> Plan:
        """How to train it, the batch split over `shards` devices."""
        return Plan(
            length=self.length,
            batch=self.batch,
            seed=self.seed,
            steps=self.steps,
            stop=self.stop,  # type: ignore[arg-type]
            optimizer=optimizer_variant(self.optimizer, 1.0).value,
            learning_rate=self.learning_rate,
            clip=parse_clip(self.clip),
            measure=self.measure,  # type: ignore[arg-type]
            measure_batch=self.measure_batch,
            shards=shards,
        )

    def command(self) -> str:
        """The command that runs this spec: what differs from the defaults, spelt out."""
        values = {name: value for name, value in asdict(self).items() if name not in DERIVED}
        changed = {name for name, value in values.items() if value != getattr(RunSpec, name)}
        probe = self.steps == 0 and changed.isdisjoint(_TRAINING)
        if self.params is not None:
            changed |= set(_OF_PARAMS)
        words = ["gradlab", "probe" if probe else "run", self.task]
        words += ["--cell", self.cell, "--len", str(self.length)]
        for name in values:
            if name in changed - {"task", "cell", "length"} and not (probe and name == "steps"):
                words += ["--" + name.replace("_", "-"), spell(values[name])]
        return shlex.join(words)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunSpec":
        """A spec from field names and values; an unknown name is an error that names the nearest."""
        known = [spec_field.name for spec_field in fields(cls)]
        for name in values:
            if name not in known:
                raise unknown("field", name, known)
        return cls(**values)


def parse_clip(text: str) -> Clip:
    """`norm:1`, `value:0.5`, `none`, or a bare number, which means the norm.

    Example:
        >>> parse_clip("2").kind, parse_clip("value:0.5").limit
        ('norm', 0.5)
    """
    kind, colon, limit = str(text).partition(":")
    if not colon and kind != "none":
        kind, limit = ("norm", kind) if _is_number(kind) else (kind, "1")
    if kind == "none" and not limit:
        return Clip("none")
    if kind not in ("norm", "value"):
        raise unknown("clip", kind, ("norm", "value", "none"))
    return Clip(kind, parse_float("clip limit", limit))  # type: ignore[arg-type]


def _clip_name(clip: Clip) -> str:
    return "none" if clip.kind == "none" else f"{clip.kind}:{spell(clip.limit)}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise GradlabError(f"{name} is {value!r}: give a text")


def _whole(name: str, value: Any, lowest: int) -> int:
    """A whole number, numpy's too, as an int."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex) or value.__index__() < lowest:
        raise GradlabError(f"{name} is {value}: give a whole number of at least {lowest}")
    return value.__index__()


def _positive(name: str, value: Any) -> float:
    """A finite positive number as a float."""
    number = parse_float(name, str(value))
    if isinstance(value, bool) or number <= 0:
        raise GradlabError(f"{name} is {value}: give a positive number")
    return number


def _unchanged(variant: Variant, source: str | None) -> Any:
    """The object of a variant, if its source is what it was when it named the run."""
    if variant.source != source:
        raise GradlabError(f"the source of {variant.name} changed while this run was waiting: run it again")
    return variant.value


def part_of_name(variant: str, *, origin: bool = True) -> str:
    """A variant as part of a file name.

    Args:
        origin: of one's own, say the name of the file or module too.

    Example:
        >>> part_of_name("rnn:gain=0.5"), part_of_name("my.py:LSTM"), part_of_name("my.py:LSTM", origin=False)
        ('rnn-gain=0.5', 'my.lstm', 'lstm')
    """
    name, *rest = variant.split(":")
    if is_own(name) and rest:
        stem = PurePath(name).stem if name.endswith(".py") else name
        name, rest = f"{stem}.{rest[0]}" if origin else rest[0], rest[1:]
    return re.sub(r"[^a-z0-9._=-]+", "-", "-".join([name, *rest]).lower())[:80]
