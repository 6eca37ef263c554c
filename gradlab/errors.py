"""The one error a user sees: what was wrong, which value, what to do next."""

import difflib
from collections.abc import Iterable


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

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def nearest(name: str, known: Iterable[str]) -> str:
    """`, did you mean …?` for the known name closest to `name`, or nothing.

    Example:
        >>> nearest("lstn", ["rnn", "lstm", "gru"])
        '; did you mean `lstm`?'
    """
    close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> GradlabError:
    """The error for a name that is in no registry: it lists the known names and the nearest.

    Example:
        >>> str(unknown("cell", "lstn", ["gru", "lstm", "rnn"]))
        'unknown cell `lstn`: known are gru, lstm, rnn; did you mean `lstm`?'
    """
    names = sorted(known)
    return GradlabError(f"unknown {kind} `{name}`: known are {', '.join(names)}{nearest(name, names)}")
