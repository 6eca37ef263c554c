"""JSON that keeps what it cannot spell: non-finite numbers are the strings "inf", "-inf" and "nan"; plain text."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
"""Control characters, what turns the direction of writing, and what no encoding can hold."""


def printable(text: str, keep: str = "") -> str:
    r"""Text that an output only shows: control characters and the like as escapes, but for those to keep.

    Example:
        >>> print(printable("a\x1b[31m\nb\u202e"))
        a\x1b[31m\nb\u202e
    """
    return _UNPRINTABLE.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(), text
    )


def jsonable(value: Any) -> Any:
    """A value of plain JSON types.

    Example:
        >>> jsonable({"a": float("-inf"), "b": (1, None)})
        {'a': '-inf', 'b': [1, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [jsonable(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def dumps(value: Any, *, indent: int | None = None) -> str:
    """JSON text with sorted keys left as they are, and no non-finite number or control character in it."""
    text = json.dumps(jsonable(value), indent=indent, allow_nan=False, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: "\n" if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def number(value: Any) -> float:
    """A stored number back as a float; None is nan.

    Example:
        >>> number("-inf"), number(2), number(None)
        (-inf, 2.0, nan)
    """
    return math.nan if value is None else float(value)
