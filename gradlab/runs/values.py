"""From what a person types to lists of values: comma lists, and ranges of whole numbers."""

import re
from collections.abc import Sequence
from typing import Any

from gradlab.errors import GradlabError

_RANGE = re.compile(r"(\d+)-(\d+)")
_INTEGERS = ("length", "hidden", "batch", "seed", "steps", "measure_batch")


def read_values(field: str, option: str, given: Sequence[str]) -> list[Any]:
    """The values that were typed for a field of a spec.

    Args:
        field: the field, which says what kind of value it takes.
        option: what the user calls it.
        given: texts, each with one value or several.

    Raises:
        GradlabError: an empty list, or a value of the wrong kind.

    Example:
        >>> read_values("length", "--len", ["50,100"]), read_values("cell", "--cell", ["lstm"])
        ([50, 100], ['lstm'])
    """
    if field in _INTEGERS:
        return integers(option, given)
    return floats(option, given) if field == "learning_rate" else texts(option, given)


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
