"""Data in three contiguous parts: training comes first, then validation, then test; nothing is shuffled."""

import hashlib
from typing import Any, NamedTuple

import numpy as np

from gradlab.errors import GradlabError


class Parts(NamedTuple):
    """Rows of data for training, for decisions (validation), and for the final number (test)."""

    train: Any
    validation: Any
    test: Any


def contiguous(rows: Any, train: float, validation: float) -> Parts:
    """Rows in three parts, in their order.

    Args:
        train, validation: their shares; what is left is the test part.

    Example:
        >>> contiguous(list(range(10)), 0.6, 0.2)
        Parts(train=[0, 1, 2, 3, 4, 5], validation=[6, 7], test=[8, 9])
    """
    first, second = (round(len(rows) * share) for share in (train, train + validation))
    return Parts(rows[:first], rows[first:second], rows[second:])


def digest_of(data: np.ndarray | str) -> str:
    """16 hexadecimal digits that tell these data from others."""
    content = data.encode() if isinstance(data, str) else np.ascontiguousarray(data).tobytes()
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def check_fits(what: str, length: int, longest: int) -> None:
    """Refuse sequences that are longer than the smallest part of the data."""
    if length > longest:
        raise GradlabError(f"length is {length}: the smallest part of {what} holds sequences of at most {longest}")


def lacks_extra(package: str, what: str) -> GradlabError:
    """The error for data of a package that is not installed."""
    return GradlabError(
        f"{what} is in the data of {package}, which is not installed: install the extra `data`, in a checkout by "
        ".venv/bin/python -m pip install '.[data]'"
    )
