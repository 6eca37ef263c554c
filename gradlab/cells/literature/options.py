"""Checks of options that these cells share."""

import math

from gradlab.cells.initializers import RECURRENT, Scheme
from gradlab.errors import GradlabError, unknown


def checked_scheme(init: str, gain: float, t_max: int | None = None, *, chrono: bool = False) -> Scheme:
    """How the weights start; the defaults of other libraries are known for rnn, lstm and gru alone.

    Args:
        chrono: whether the cell has a gate bias that `init=chrono` sets.

    Raises:
        GradlabError: an unknown init, a gain that is not finite, `t_max` missing or without effect.
    """
    known = [name for name in RECURRENT if chrono or name != "chrono"]
    if init not in known:
        raise unknown("init", init, known)
    return Scheme(init, gain, t_max)


def check_finite(**options: float) -> None:
    """Refuse an option that is no number.

    Raises:
        GradlabError: it is NaN or infinite.
    """
    for name, value in options.items():
        if not math.isfinite(value):
            raise GradlabError(f"{name} is {value}: give a finite number")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuse an option that is not within its bounds.

    Raises:
        GradlabError: it is below `low`, above `high`, or NaN.
    """
    if not low <= value <= high:
        bounds = f"at least {low:g}" if high == math.inf else f"a number from {low:g} to {high:g}"
        raise GradlabError(f"{name} is {value:g}: give {bounds}")
