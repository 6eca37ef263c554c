"""Fields of a run's specification: what each says of itself, and values from text and back. Loads no jax."""

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

from gradlab.errors import GradlabError, unknown

_RANGE = re.compile(r"(\d+)-(\d+)")
_LONGEST_RANGE = 100_000


@dataclass(frozen=True)
class SpecField:
    """One field of `RunSpec`: its metadata, from which options, TOML keys, columns and labels derive.

    Attributes:
        name, kind, default: as the dataclass declares them; kind is str, int or float.
        help: one line for `--help`, without the default; after a semicolon, what concerns lists of values.
        option: its name on the command line; `TASK` is positional.
        commands: that take it as an option; a field that `probe` does not take concerns training.
        at_least, bits: smallest whole number, and bits of the largest.
        choices: its values, where they are few. coarse: arithmetics that an analysis measures and no run.
        variant: whether it is `name:option=value`.
        of_weights: a probe of stored parameters takes it from their run if it is not given.
        in_suite: a scenario of a suite may set it.
        later: added after runs were stored: left out of the config at its default, so that no id changes.
        derived: follows from other fields and is left out like a later one; it cannot be set.
    """

    name: str
    kind: type
    default: Any
    help: str
    option: str = ""
    commands: tuple[str, ...] = ("run",)
    at_least: int = 0
    bits: int | None = None
    choices: tuple[str, ...] = ()
    coarse: tuple[str, ...] = ()
    variant: bool = False
    of_weights: bool = False
    in_suite: bool = True
    later: bool = False
    derived: bool = False

    @property
    def of_training(self) -> bool:
        """Whether it says how to train, which a probe does not ask for."""
        return "probe" not in self.commands and not self.derived

    def checked(self, value: Any) -> Any:
        """A value in the type of the field; GradlabError if it is of another type, out of range or no choice."""
        if value is None and self.default is None:
            return None
        if self.kind is int:
            return self._whole(value)
        if self.kind is float:
            number = parse_float(self.name, str(value))
            if isinstance(value, bool) or number <= 0:
                raise GradlabError(f"{self.name} is {value}: give a positive number")
            return number
        if not isinstance(value, str):
            raise GradlabError(f"{self.name} is {value!r}: give a text")
        if self.choices and value not in self.choices:
            if value in self.coarse:
                known = ", ".join(self.choices)
                hint = f"`gradlab precision` tells what {value} does"
                raise GradlabError(f"unknown {self.name} `{value}`: known are {known}; {hint}")
            raise unknown(self.name, value, self.choices)
        return value

    def parse(self, option: str, given: Sequence[str]) -> list[Any]:
        """The values in texts, each a comma list or, of whole numbers, a range; `option` names them in errors."""
        if self.kind is int:
            return parse_integers(option, given)
        texts = parse_texts(option, given)
        return [parse_float(option, text) for text in texts] if self.kind is float else texts

    def _whole(self, value: Any) -> int:
        """A whole number, numpy's too, as an int."""
        if isinstance(value, bool) or not isinstance(value, SupportsIndex) or value.__index__() < self.at_least:
            raise GradlabError(f"{self.name} is {value}: give a whole number of at least {self.at_least}")
        if self.bits is not None and value.__index__() >= 2**self.bits:
            raise GradlabError(f"{self.name} is {value}: give a whole number below 2**{self.bits}")
        return value.__index__()


def spec_field(default: Any, help: str, **metadata: Any) -> Any:
    """A dataclass field with the metadata of a `SpecField`."""
    return dataclasses.field(default=default, metadata={"help": help, **metadata})


def spec_fields(record: type) -> dict[str, SpecField]:
    """The fields of a dataclass made of `spec_field`s, by name, in their order."""
    found = {}
    for each in dataclasses.fields(record):
        kind = each.type if each.type in (int, float) else str
        metadata: dict[str, Any] = {"option": "--" + each.name.replace("_", "-"), **each.metadata}
        found[each.name] = SpecField(each.name, kind, each.default, **metadata)
    return found


def parse_texts(option: str, given: Sequence[str]) -> list[str]:
    """The values of an option that takes comma lists and may be repeated.

    Example:
        >>> parse_texts("--cell", ["rnn,lstm", "gru"])
        ['rnn', 'lstm', 'gru']
    """
    items = [item.strip() for text in given for item in text.split(",")]
    if not items or not all(items):
        raise GradlabError(f"{option} is `{','.join(given)}`: give a value, or several with commas between them")
    return items


def parse_integers(option: str, given: Sequence[str]) -> list[int]:
    """Whole numbers from comma lists and ranges.

    Example:
        >>> parse_integers("--seed", ["0-2,7"])
        [0, 1, 2, 7]
    """
    numbers: list[int] = []
    for text in parse_texts(option, given):
        match = _RANGE.fullmatch(text)
        if match is None:
            try:
                numbers.append(int(text))
            except ValueError:
                raise GradlabError(
                    f"{option} is `{text}`: give a whole number, a list or a range like 0-7"
                ) from None
            continue
        first, last = map(int, match.groups())
        if first > last:
            raise GradlabError(f"{option} is `{text}`, a reversed range: write {last}-{first}")
        if last - first >= _LONGEST_RANGE:
            raise GradlabError(f"{option} is `{text}`, {last - first + 1} values: give a shorter range")
        numbers += range(first, last + 1)
    return numbers


def is_number(text: str) -> bool:
    """Whether a text is a number, finite or not."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def parse_float(what: str, text: str) -> float:
    """A finite number, or an error that names what it was for."""
    if not is_number(text) or not math.isfinite(float(text)):
        raise GradlabError(f"{what} is `{text}`: give a finite number")
    return float(text)


def parse_int(what: str, text: str) -> int:
    """A whole number, or an error that names what it was for."""
    try:
        return int(text)
    except ValueError:
        raise GradlabError(f"{what} is `{text}`: give a whole number") from None


def spell(value: Any) -> str:
    """One spelling for each value: 3.0 and 3 are the same.

    Example:
        >>> spell(3.0), spell(0.1), spell(True), spell("relu")
        ('3', '0.1', 'true', 'relu')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
