"""How a lesson says what was measured at one position of its sliders."""

import math

import numpy as np
from numpy.typing import NDArray

from gradlab.gradient.curve import STATE
from gradlab.gradient.summary import CUT, HalfLife, Summary
from gradlab.lesson.equations import Alone, alone, setting
from gradlab.report.text.findings import VERBS, change
from gradlab.runs.lesson import Lesson, Position

Floats = NDArray[np.float64]

_RAISED = str.maketrans("-0123456789.", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹·")


def power(decades: float) -> str:
    """10 to the power of `decades`, as a number where that is short.

    Example:
        >>> power(-0.3), power(-23.14), power(float("-inf"))
        ('0.5', '10⁻²³·¹', '0')
    """
    if decades == -math.inf:
        return "0"
    if not math.isfinite(decades):
        return "not finite"
    if -2.5 < decades < 4:
        return f"{10**decades:,.2g}" if decades < 2 else f"{10**decades:,.0f}"
    return "10" + f"{decades:.1f}".translate(_RAISED)


def power_of_ten(exponent: int) -> str:
    """10⁻¹⁷ for -17."""
    return f"10{str(exponent).translate(_RAISED)}"


def tiny(value: float) -> str:
    """A small number with one figure: `5 × 10⁻¹⁷`.

    Example:
        >>> tiny(4.8e-17), tiny(0.0), tiny(float("nan"))
        ('5 × 10⁻¹⁷', '0', 'not a number of')
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "not a number of"
    figure, _, exponent = f"{value:.0e}".partition("e")
    return f"{figure} × {power_of_ten(int(exponent))}"


def rounded(value: float, digits: int) -> str:
    """A number with so many significant digits, or that it is not known."""
    return f"{value:.{digits}g}" if math.isfinite(value) else "not known"


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, a true minus; a zero has none.

    Example:
        >>> signed(-3.21), signed(0.04), signed(float("nan"))
        ('−3.2', '0.0', 'not finite')
    """
    if value == -math.inf:
        return "−∞"
    if not math.isfinite(value):
        return "not finite"
    text = f"{value:+.{digits}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", "−")


def half_life(found: HalfLife) -> str:
    """A half-life with its unit, or why there is none."""
    if math.isnan(found.value):
        return "none: not a straight line"
    if math.isinf(found.value):
        return "none: it does not fall"
    return f"{found} timesteps"


def slope(found: Summary) -> str:
    """A slope with its unit, or why there is none."""
    if found.slope.zero_from is not None:
        return f"zero from lag {found.slope.zero_from}"
    if not math.isfinite(found.slope.value):
        return "none"
    return f"{found.slope.value:+.3g} decades per timestep".replace("-", "−")


def noise(position: Position, leaf: str = STATE) -> NDArray[np.bool_]:
    """Where the value of a curve is rounding noise, by lag."""
    return position.curve.is_noise(leaf)


def relative(position: Position, leaf: str = STATE) -> Floats:
    """A curve by lag, in decades from lag 1 of the whole state."""
    level = position.curve.summarised(STATE)[0]
    with np.errstate(invalid="ignore"):
        return np.asarray(position.curve.summarised(leaf) - level)


def place(lesson: Lesson, position: Position) -> str:
    """`forget bias 1, T = 200`."""
    return f"{setting(lesson.knob.option, position.value)}, T = {position.length}"


def sentence(lesson: Lesson, position: Position) -> str:
    """One sentence on a position, with its verdict."""
    found = position.curve.summary()
    curve = position.curve
    said = change(found, [str(finding) for finding in curve.non_finite], curve.notes())
    where, word = place(lesson, position), found.verdict.word
    start = f"{where[0].upper()}{where[1:]}: {said}"
    if word == "cut":
        return f"{start}; {CUT.partition('; ')[2]}"
    if word in ("non-finite", "noise"):
        return f"{start}."
    return f"{start} on the way from lag 1 to lag {found.lags}; it {VERBS[word]}."


def theory(lesson: Lesson, position: Position) -> Alone | None:
    """What one factor of the Jacobian would do alone at this position."""
    lags = len(position.curve.lags)
    return alone(lesson.family, lesson.traits, position.cell, lags)


def reading(lesson: Lesson, position: Position) -> list[tuple[str, str]]:
    """What stands beside the picture of a position: names and values."""
    found, beside = position.curve.summary(), theory(lesson, position)
    zero = found.slope.zero_from
    life = half_life(found.half_life) if zero is None else f"none: zero from lag {zero}"
    rows = [
        ("gradient at the first state, against lag 1", f"{power(found.span)} ({signed(found.span)} decades)"),
        ("verdict (3 decades)", found.verdict.word),
        ("slope", slope(found)),
        ("half-life", life),
        ("horizon: lags until 3 decades are lost", str(found.horizon).replace(">=", "at least")),
        ("lags that plain float32 can see", str(found.float32_horizon).replace(">=", "at least")),
    ]
    if beside is not None:
        rows.append((f"{beside.name}, by theory", f"{signed(float(beside.decades[-1]))} decades"))
    return rows
