"""JSON that keeps what it cannot spell: non-finite numbers are the strings "inf", "-inf" and "nan"."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


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
    """JSON text with sorted keys left as they are and no non-finite number in it."""
    return json.dumps(jsonable(value), indent=indent, allow_nan=False, ensure_ascii=False)


def number(value: Any) -> float:
    """A stored number back as a float; None is nan.

    Example:
        >>> number("-inf"), number(2), number(None)
        (-inf, 2.0, nan)
    """
    return math.nan if value is None else float(value)
