"""From what a person types to lists of values and the grid of specs they make."""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradlab.errors import GradlabError

if TYPE_CHECKING:
    from gradlab.runs.spec import RunSpec

_RANGE = re.compile(r"(\d+)-(\d+)")
_INTEGERS = ("length", "hidden", "batch", "seed", "steps", "measure_batch")


def texts(option: str, given: Sequence[str]) -> list[str]:
    """The values of an option that may hold a comma list and may be repeated.

    Raises:
        GradlabError: an empty list or an empty item.

    Example:
        >>> texts("--cell", ["rnn,lstm", "gru"])
        ['rnn', 'lstm', 'gru']
    """
    items = [item.strip() for text in given for item in text.split(",")]
    if not items or not all(items):
        raise GradlabError(f"{option} is `{','.join(given)}`: give a value, or several with commas between them")
    return items


def integers(option: str, given: Sequence[str]) -> list[int]:
    """Whole numbers from comma lists and ranges.

    Raises:
        GradlabError: not a whole number, an empty list, a reversed range.

    Example:
        >>> integers("--seed", ["0-2,7"])
        [0, 1, 2, 7]
    """
    numbers: list[int] = []
    for text in texts(option, given):
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
        if last - first >= 100_000:
            raise GradlabError(f"{option} is `{text}`, {last - first + 1} values: give a shorter range")
        numbers += range(first, last + 1)
    return numbers


def floats(option: str, given: Sequence[str]) -> list[float]:
    """Finite numbers from comma lists."""
    from gradlab.runs.variants import parse_float

    return [parse_float(option, text) for text in texts(option, given)]


def grid(fields: Mapping[str, Sequence[str] | None], **fixed: Any) -> list["RunSpec"]:
    """The specs of the full product of the given fields, in the order of the fields; None means the default.

    Raises:
        GradlabError: a value that is wrong, or the same run twice.
    """
    from gradlab.runs.spec import RunSpec

    axes: dict[str, list[Any]] = {}
    for name, given in fields.items():
        if given is None:
            continue
        option = "TASK" if name == "task" else "--" + ("len" if name == "length" else name.replace("_", "-"))
        axes[name] = _reader(name)(option, given)
    specs = [
        RunSpec(**dict(zip(axes, values, strict=True)), **fixed) for values in itertools.product(*axes.values())
    ]
    seen: set[str] = set()
    for spec in specs:
        if spec.id in seen:
            raise GradlabError(f"the lists ask for {spec.id} twice: name each value once")
        seen.add(spec.id)
    return specs


def _reader(name: str) -> Callable[[str, Sequence[str]], list[Any]]:
    if name in _INTEGERS:
        return integers
    return floats if name == "learning_rate" else texts
