"""The specification of a run: its fields, its id and its command line. Importing it loads no jax."""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from gradlab.errors import GradlabError, unknown
from gradlab.runs.fields import spec_field, spec_fields, spell
from gradlab.runs.sources import is_own

if TYPE_CHECKING:
    from gradlab.cells import Cell
    from gradlab.runs.variants import Variant
    from gradlab.tasks import Task
    from gradlab.training.model import Model
    from gradlab.training.step import Plan

STORE = 1
"""Version of the layout of a run directory; older ones are read too."""
NUMERICS = 4
"""Raised when a change of code moves the numbers that an unchanged spec gives."""

_MEASURED = ("run", "probe")
_ALL = ("run", "probe", "lesson")
_DTYPES, _COARSE = ("float32", "float64"), ("bfloat16", "float16")
_TASKS = "adding, copy, another of `gradlab tasks`, or a variant such as copy:symbols=5"
_CELLS = "rnn, lstm, gru, a variant such as lstm:forget_bias=3, FILE.py:Name or equinox.nn:LSTMCell"
_LENGTHS = "Length of the sequences as the task counts it; a list 50,100 or a range 2-5"
_MEASURE = (
    "checkpoints (0, 1, 2, 5, 10, 20, 50, ... and the end), ends, or every: the norms of each training step too"
)
_INPUTS = "yes: the gradient at the inputs beside that at the states, the leaf x"
_SEEDS = "Seed of weights and data; a list, or a range 0-7"
_WINDOW = "Timesteps that training goes back: truncated backpropagation; 0 goes back to the start"
_ALSO = "Work out beside the curves: spectrum, credit, paths, remembrance, precision, or several joined by +"
_PARAMS = "Measure the final weights of this run, or of a .safetensors file of PyTorch; settings follow it"


@dataclass(frozen=True)
class RunSpec:
    """One run: a cell on a task, with everything that can change a number.

    Each field is stated here alone; options, TOML keys, columns and labels derive from its metadata
    (`fields.SpecField`).

    Raises:
        GradlabError: a field that is out of range, unknown or of the wrong type.

    Example:
        >>> spec = RunSpec(task="adding", cell="lstm:forget_bias=1.0", length=50, seed=3)
        >>> spec.cell, spec.id
        ('lstm', 'adding-lstm-T50-s3-f18d563f')
    """

    task: str = spec_field(
        "adding",
        _TASKS,
        option="TASK",
        commands=_MEASURED,
        variant=True,
    )
    cell: str = spec_field("lstm", _CELLS, commands=_ALL, variant=True, of_weights=True)
    length: int = spec_field(
        200, _LENGTHS, option="--len", commands=_MEASURED, at_least=1, bits=31, of_weights=True
    )
    hidden: int = spec_field(64, "Size of the state, H", commands=_ALL, at_least=1, bits=31, of_weights=True)
    batch: int = spec_field(32, "Examples in a training step", at_least=1, bits=31)
    measure_batch: int = spec_field(64, "Held-out examples of a curve", commands=_MEASURED, at_least=1, bits=31)
    optimizer: str = spec_field("adam", "adam, rmsprop, sgd, or rmsprop:decay=0.99", variant=True)
    learning_rate: float = spec_field(0.01, "Positive")
    clip: str = spec_field("norm:1", "norm:1, value:1 or none")
    steps: int = spec_field(5000, "Training steps at most; 0 measures the initial weights alone")
    stop: str = spec_field("solved", "solved or never", choices=("solved", "never"), in_suite=False)
    dtype: str = spec_field(
        "float32", "float32 or float64", commands=_MEASURED, choices=_DTYPES, coarse=_COARSE, of_weights=True
    )
    measure: str = spec_field("checkpoints", _MEASURE, choices=("checkpoints", "ends", "every"), in_suite=False)
    measure_inputs: str = spec_field("no", _INPUTS, commands=_MEASURED, choices=("no", "yes"), later=True)
    seed: int = spec_field(0, _SEEDS, commands=_ALL, bits=32, of_weights=True, in_suite=False)
    window: int = spec_field(0, _WINDOW, bits=31, in_suite=False, later=True)
    also: str = spec_field("none", _ALSO, commands=_MEASURED, in_suite=False, later=True)
    params: str | None = spec_field(None, _PARAMS, commands=("probe",), in_suite=False, later=True)
    cell_source: str | None = spec_field(None, "Digest of a custom cell's code", in_suite=False, derived=True)
    task_source: str | None = spec_field(
        None, "Digest of a custom task's code, or of the data of a task", in_suite=False, derived=True
    )

    def __post_init__(self) -> None:
        from gradlab.runs.variants import cell_variant, clip_name, optimizer_variant, parse_clip, task_variant
        from gradlab.tasks.contract import check_length

        values = {name: each.checked(getattr(self, name)) for name, each in FIELDS.items()}
        cell, task = cell_variant(self.cell), task_variant(self.task)
        values["also"] = also_name(values["also"])
        values |= {"clip": clip_name(parse_clip(self.clip)), "cell": cell.name, "cell_source": cell.source}
        values |= {"task": task.name, "task_source": task.source}
        values["optimizer"] = optimizer_variant(self.optimizer, values["learning_rate"]).name
        for name, value in values.items():
            object.__setattr__(self, name, value)
        check_length(task.value, self.length, self.task)
        if self.params is not None and self.steps:
            raise GradlabError(
                f"params with steps={self.steps}: trained weights can only be measured, give steps=0"
            )

    def config(self) -> dict[str, Any]:
        """All fields for `config.json`, sorted; later ones only where they are not at their default."""
        return stored_config(asdict(self))

    @property
    def id(self) -> str:
        """`<task>-<cell>-T<length>-s<seed>-<hash8>`, made of [a-z0-9._=-] but for the T."""
        return run_id(self.config())

    @property
    def shape(self) -> tuple[object, ...]:
        """Everything but seed and learning rate: runs that agree in it can be one batched program."""
        return tuple(value for name, value in asdict(self).items() if name not in ("seed", "learning_rate"))

    @property
    def analyses(self) -> tuple[str, ...]:
        """What is worked out beside the curves, by name."""
        return () if self.also == "none" else tuple(self.also.split("+"))

    def build_cell(self) -> "Cell":
        """The cell; GradlabError if the source of a custom one has changed since this spec was made."""
        from gradlab.runs.variants import cell_variant

        return _unchanged(cell_variant(self.cell), self.cell_source)

    def build_task(self) -> "Task":
        """The task; GradlabError as of `build_cell`."""
        from gradlab.runs.variants import task_variant

        return _unchanged(task_variant(self.task), self.task_source)

    def has_changed_since(self, config: Mapping[str, Any]) -> str:
        """The custom cell or task that this spec shares with a stored run but for an edit since; empty if none."""
        from gradlab.runs.variants import respelled

        for name, source in (("cell", "cell_source"), ("task", "task_source")):
            if respelled(str(config[name])) == respelled(getattr(self, name)):
                if config.get(source) != getattr(self, source):
                    return str(getattr(self, name))
        return ""

    def model(self) -> "Model":
        """Cell, readout and task."""
        from gradlab.training.model import Model

        return Model(self.build_cell(), self.build_task(), self.hidden)

    def plan(self, shards: int = 1) -> "Plan":
        """How to train it, the batch split over `shards` devices."""
        from gradlab.runs.variants import optimizer_variant, parse_clip
        from gradlab.training.step import Plan

        shared = {each.name for each in fields(Plan)} & FIELDS.keys()
        values = {name: getattr(self, name) for name in shared}
        values |= {"optimizer": optimizer_variant(self.optimizer, 1.0).value, "clip": parse_clip(self.clip)}
        return Plan(**values, shards=shards)

    def command(self) -> str:
        """The command that runs this spec, without the options that are at their default."""
        return command(self.config(), defaults=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunSpec":
        """A spec from field names and values; an unknown name is an error that names the nearest."""
        for name in values:
            if name not in FIELDS:
                raise unknown("field", name, FIELDS)
        return cls(**values)


ANALYSES = ("spectrum", "credit", "paths", "remembrance", "precision")
"""What `also` may name; docs/quantities.md defines them."""


def also_name(text: str) -> str:
    """The one spelling of a choice of analyses: each once, in the order of `ANALYSES`; `none` for none.

    Example:
        >>> also_name("credit+spectrum"), also_name("none")
        ('spectrum+credit', 'none')
    """
    given = [] if text == "none" else text.split("+")
    for name in given:
        if name not in ANALYSES:
            raise unknown("analysis in also", name, ANALYSES)
    return "+".join(name for name in ANALYSES if name in given) or "none"


FIELDS = spec_fields(RunSpec)
"""The fields of `RunSpec` by name: this order is that of options, columns, labels and command lines."""
SETTABLE = {name: each for name, each in FIELDS.items() if not each.derived}
VERSIONS = ("numerics", *(name for name, each in FIELDS.items() if each.derived))
"""Fields that say by which code a run was made; two runs that differ in them are no two seeds of one setting."""
_ABOUT_FILES = ("store", *VERSIONS)


def stored_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """The config of all fields: `RunSpec.config`, without a `RunSpec`, which loads jax."""
    kept = {
        name: value
        for name, value in values.items()
        if value != FIELDS[name].default or not (FIELDS[name].later or FIELDS[name].derived)
    }
    return dict(sorted((kept | {"store": STORE, "numerics": NUMERICS}).items()))


def plain_id(config: Mapping[str, Any]) -> str:
    """The id of the run of this task, cell, length and seed of which nothing else was asked."""
    own = {name: config[name] for name in ("task", "cell", "length", "seed")}
    return run_id(stored_config({name: each.default for name, each in FIELDS.items()} | own))


def ordered_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored config without what only concerns the code and the files, in the order of the fields."""
    names = [name for name in (*FIELDS, *config) if name in config and name not in _ABOUT_FILES]
    return {name: config[name] for name in names}


def run_id(config: Mapping[str, Any]) -> str:
    """The id of a run of this config."""
    digest = hashlib.blake2b(json.dumps(config).encode(), digest_size=4).hexdigest()
    task, cell = part_of_name(config["task"]), part_of_name(config["cell"])
    return f"{task}-{cell}-T{config['length']}-s{config['seed']}-{digest}"


def command(
    config: Mapping[str, Any], seeds: Sequence[int] = (), *, defaults: bool = True, file: str | None = None
) -> str:
    """The command line that makes the runs of one setting.

    Args:
        config: of one of them. seeds: of all of them; that of the config if empty.
        defaults: include options that are at their default, so that the command does not depend on defaults.
        file: that an imported curve was read from; None of one that was stored from Python.

    Example:
        >>> command({"task": "adding", "cell": "gru", "length": 50, "steps": 100, "seed": 0}, [0, 1])
        'gradlab run adding --cell gru --len 50 --steps 100 --seed 0-1'
    """
    if config.get("imported"):
        cell, task, seed = config["cell"], config["task"], seed_list(seeds or [config["seed"]])
        if file is None:
            return f"gradlab.store_curve(curve, {cell!r}, task={task!r}, seed={seed}) in Python"
        return shlex.join(["gradlab", "import-curve", file, "--cell", cell, "--task", task, "--seed", seed])
    values = {name: config[name] for name in SETTABLE if config.get(name) is not None}
    weights = values.pop("params", "none")
    changed = {name for name, value in values.items() if value != FIELDS[name].default}
    training = {name for name, each in SETTABLE.items() if each.of_training}
    untrained = not values["steps"] and changed.isdisjoint(training - {"steps"})
    trained = weights != "none"
    probe = trained or (untrained and not defaults)
    words = ["gradlab", "probe" if probe else "run", values["task"], *(["--params", weights] if trained else [])]
    for name, value in values.items():
        needed = defaults or name in changed or name in ("cell", "length") or (trained and FIELDS[name].of_weights)
        if name != "task" and needed and not (probe and name in training):
            listed = seed_list(seeds or [value]) if name == "seed" else spell(value)
            words += [FIELDS[name].option, listed]
    return shlex.join(words)


def seed_list(seeds: Sequence[int]) -> str:
    """Seeds as the command line takes them.

    Example:
        >>> seed_list([0, 1, 2]), seed_list([3]), seed_list([0, 2])
        ('0-2', '3', '0,2')
    """
    low, high = min(seeds), max(seeds)
    if len(seeds) > 1 and sorted(seeds) == list(range(low, high + 1)):
        return f"{low}-{high}"
    return ",".join(str(seed) for seed in seeds)


def _unchanged(variant: "Variant", source: str | None) -> Any:
    """The object of a variant, if its source is what it was when it named the run."""
    if variant.source != source:
        raise GradlabError(f"the source of {variant.name} changed while this run was waiting: run it again")
    return variant.value


def part_of_name(variant: str, *, origin: bool = True) -> str:
    """A variant as part of a file name.

    Args:
        origin: of a custom cell or task, include the name of its file or module.

    Example:
        >>> part_of_name("rnn:gain=0.5"), part_of_name("my.py:LSTM"), part_of_name("my.py:LSTM", origin=False)
        ('rnn-gain=0.5', 'my.lstm', 'lstm')
    """
    name, *rest = variant.split(":")
    if is_own(name) and rest:
        stem = PurePath(name).stem if name.endswith(".py") else name
        name, rest = f"{stem}.{rest[0]}" if origin else rest[0], rest[1:]
    return re.sub(r"[^a-z0-9._=-]+", "-", "-".join([name, *rest]).lower())[:80]
