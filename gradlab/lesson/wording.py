"""How numbers are written on the page of a lesson, and what is said of one point of its grid."""

import math

from gradlab.gradient.summary import CUT, Horizon, Summary
from gradlab.lesson.records import GridPoint, Lesson
from gradlab.lesson.theory import theory_line
from gradlab.report.figures.ticks import RAISED
from gradlab.report.text.findings import VERBS, capitalised, change


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
    return "10" + f"{decades:.1f}".translate(RAISED)


def rounded(value: float, digits: int) -> str:
    """A number with so many significant digits, `not known` if it is not finite."""
    return f"{value:.{digits}g}" if math.isfinite(value) else "not known"


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign and a true minus; zero has no sign.

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


def slope(found: Summary, unit: str = "") -> str:
    """A slope, or why there is none."""
    if found.slope.zero_from is not None:
        return f"zero from lag {found.slope.zero_from}"
    return f"{found.slope.value:+.3g}".replace("-", "−") + unit if math.isfinite(found.slope.value) else "none"


def half_life(found: Summary, unit: str = "") -> str:
    """A half-life, or why there is none."""
    if found.slope.zero_from is not None:
        return f"none: zero from lag {found.slope.zero_from}"
    if math.isnan(found.half_life.value):
        return "none: not a straight line"
    return "none: it does not fall" if math.isinf(found.half_life.value) else f"{found.half_life}{unit}"


def horizon(found: Horizon) -> str:
    """`12`, or `at least 100`."""
    return str(found).replace(">=", "at least")


def sentence(lesson: Lesson, point: GridPoint) -> str:
    """`Forget bias 1, T = 50: 2.1 decades lost on the way from lag 1 to lag 50; it holds that far, falling
    by half every 7 timesteps.`
    """
    found, curve = point.curve.summary(), point.curve
    moved = change(found, [str(finding) for finding in curve.non_finite], curve.notes())
    ends = {"cut": f"; {CUT.partition('; ')[2]}", "non-finite": ".", "noise": "."}
    word = found.verdict.word
    end = ends.get(word, f" on the way from lag 1 to lag {found.lags}; it {VERBS[word]}{_beyond(found)}.")
    return f"{capitalised(lesson.place(point))}: {moved}{end}"


def _beyond(found: Summary) -> str:
    """How fast a curve falls that is held within 3 decades so far, if it falls exponentially."""
    if found.verdict.word != "held" or found.half_life.value > found.lags or math.isnan(found.half_life.value):
        return ""
    return f" that far, falling by half every {found.half_life} timesteps"


def numbers(point: GridPoint) -> list[tuple[str, str]]:
    """What stands beside the figure of a point: names and values."""
    found, theory = point.curve.summary(), theory_line(point.cell, len(point.curve.lags))
    rows = [
        ("gradient at the first state, relative to lag 1", f"{power(found.span)} ({signed(found.span)} decades)"),
        ("verdict (3 decades)", found.verdict.word),
        ("slope", slope(found, " decades per timestep")),
        ("half-life", half_life(found, " timesteps")),
        ("horizon: lags until 3 decades are lost", horizon(found.horizon)),
        ("lags that plain float32 can see", horizon(found.float32_horizon)),
    ]
    if theory is not None:
        rows.append((f"{theory.name}, by theory", f"{signed(float(theory.decades[-1]))} decades"))
    return rows
