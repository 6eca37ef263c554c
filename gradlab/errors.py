"""The one error a user sees: what was wrong, which value, what to do next."""

import difflib
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path

LONGEST_MESSAGE = 4000
"""Characters of a message at most: an exception may hold a whole array."""
_OF_TRACING = (
    "ConcretizationTypeError",
    "TracerArrayConversionError",
    "TracerBoolConversionError",
    "TracerIntegerConversionError",
)
_TRACED = (
    "what a cell or task computes is traced by jax.jit: use jax.numpy, jax.random and jnp.where there, no NumPy, "
    "float() or `if` of an array."
)


class GradlabError(Exception):
    """A mistake in what gradlab was given, told in one line and never with a traceback.

    Args:
        message: what was wrong, which value, and what to do.
        exit_code: the exit code of the command line: 2 for wrong usage or bad input.

    Example:
        >>> raise GradlabError("length is 0: give a whole number of at least 1")
        Traceback (most recent call last):
            ...
        gradlab.errors.GradlabError: length is 0: give a whole number of at least 1
    """

    known: tuple[str, ...] = ()
    """The names that there are, of an error about an unknown one."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(shortened(message))
        self.exit_code = exit_code


class UnreadableBaseline(Exception):
    """A baseline exists and cannot be used; the text says why."""


def shortened(text: str) -> str:
    """A message of bearable length."""
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}… ({len(text):,} characters)"


def described(error: BaseException) -> str:
    r"""An exception of somebody else's code in one line of bearable length.

    Example:
        >>> described(ValueError("shapes\ndiffer"))
        'ValueError: shapes differ'
    """
    try:
        text = str(error)
    except Exception as failure:
        text = f"its text raises {type(failure).__name__}"
    name = type(error).__name__
    hint = f"{_TRACED} " if name in _OF_TRACING else ""
    return shortened(" ".join(f"{name}: {hint}{text}".split()))


def reason_of(error: Exception) -> str:
    """One line: the exception, and the line of the user's file that raised it."""
    if isinstance(error, GradlabError):
        return str(error)
    return f"{described(error)}{place_of(error)}"


def place_of(error: BaseException) -> str:
    """` (mine.py, line 3)`: the line of the user's file that raised it; empty if there is none."""
    package = str(Path(__file__).parent)
    libraries = ("site-packages", "dist-packages", sysconfig.get_path("stdlib"))
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((package, "<")) and not any(part in frame.filename for part in libraries)
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """`, did you mean …?` for the known name closest to `name`, or nothing.

    Example:
        >>> nearest("lstn", ["rnn", "lstm", "gru"]), nearest("LSTMCel", ["GRUCell", "LSTMCell"])
        ('; did you mean `lstm`?', '; did you mean `LSTMCell`?')
    """
    lowered = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f"; did you mean `{lowered[close[0]]}`?" if close else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> GradlabError:
    """The error for a name that is in no registry: it lists the known names and the nearest.

    Example:
        >>> str(unknown("cell", "lstn", ["gru", "lstm", "rnn"]))
        'unknown cell `lstn`: known are gru, lstm, rnn; did you mean `lstm`?'
    """
    names = sorted(known)
    listed = f"known are {', '.join(names)}" if names else "there is none"
    error = GradlabError(f"unknown {kind} `{name}`: {listed}{nearest(name, names)}")
    error.known = tuple(names)
    return error
