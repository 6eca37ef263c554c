"""One set of curves that sentences must survive, for the tests of `judge` and of `report`.

Each case is a setting: the curve of every seed at initialisation, None for a seed that was never run. A case is
put into a store as a cell of its name, or measured for the gate as the seeds of one scenario.
"""

from typing import NamedTuple

import numpy as np
from synthetic import put

from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.summary import NonFinite
from gradlab.judge.measure import Measurement, Part

LAGS = 12
EXAMPLES = 4


class Case(NamedTuple):
    """Curves by seed; of the seeds in `failed` the run failed after its first checkpoint."""

    curves: tuple[GradientCurve | None, ...]
    failed: tuple[int, ...] = ()


def curve_of(line, **attributes):
    """A curve with this typical line (12,), the examples of which lie within half a decade of it."""
    return GradientCurve.of({"h": np.asarray(line)[:, None] + np.linspace(-0.5, 0.5, EXAMPLES)}, **attributes)


def straight(decades):
    return np.linspace(0.0, decades, LAGS)


def zero_from(lag, decades=-5.0):
    return np.where(np.arange(1, LAGS + 1) < lag, straight(decades), -np.inf)


def not_finite_from(lag):
    return curve_of(np.where(np.arange(1, LAGS + 1) < lag, straight(-2.0), np.nan))


def with_noise(first, **attributes):
    """Forty decades down; from a lag on the value is what rounding makes of it."""
    noise = np.where(np.arange(1, LAGS + 1) < first, 0.0, 60.0)
    return curve_of(straight(-40.0), noise={"h": noise, "state": noise}, **attributes)


def runs(*decades):
    return tuple(None if each is None else curve_of(straight(each)) for each in decades)


U_SHAPED = np.concatenate([np.linspace(0, -5, 6), np.linspace(-5, 0, 6)])
BOTH = np.concatenate([[0.0, -4.0, 20.0], np.full(LAGS - 3, 10.0)])
GAP = np.where(np.arange(1, LAGS + 1) == 5, -np.inf, straight(-1.0))
OVERFLOW = {"non_finite": (NonFinite("loss", LAGS, EXAMPLES, "loss"),)}
CUT = curve_of(np.full(LAGS, -np.inf))

CASES = {
    "disagree": Case(runs(-5.0, 6.0, -0.5)),
    "agree": Case(runs(-5.0, -6.0, -7.0)),
    "hardly": Case(runs(0.3, -0.2, 0.0)),
    "one_not_finite": Case((*runs(-5.0, -6.0), not_finite_from(4))),
    "all_not_finite": Case(tuple(map(not_finite_from, (4, 5, 6)))),
    "one_missing": Case(runs(-5.0, None, -7.0, -9.0)),
    "one_failed": Case(runs(-5.0, -6.0, -10.0), failed=(2,)),
    "u_shaped": Case((curve_of(U_SHAPED),) * 3),
    "both": Case((curve_of(BOTH),) * 3),
    "zero": Case(tuple(curve_of(zero_from(lag)) for lag in (7, 8, 9))),
    "one_zero": Case((*runs(-5.0, -6.0), curve_of(zero_from(7)))),
    "rise_then_zero": Case((curve_of(zero_from(7, 20.0)),)),
    "gap": Case((curve_of(GAP),)),
    "cut": Case((CUT,) * 3),
    "one_cut": Case((*runs(-5.0, -6.0), CUT)),
    "late_noise": Case((with_noise(8),) * 3),
    "noise": Case((with_noise(1),) * 3),
    "chaotic": Case((with_noise(8, chaotic=True),) * 3),
    "overflow": Case((curve_of(straight(23.7), **OVERFLOW),) * 3),
    "single": Case(runs(-5.0)),
    "two": Case(runs(-5.0, -7.0)),
}


def store(root, *names, steps=0, **config):
    """Put cases, all of them unless some are named, into the store at `root`, one cell for each."""
    for name in names or CASES:
        for seed, curve in enumerate(CASES[name].curves):
            if curve is None:
                continue
            status = "failed" if seed in CASES[name].failed else "trained" if steps else "measured"
            whole = steps and status != "failed"
            fields = config | {"cell": name, "seed": seed, "steps": steps, "length": LAGS}
            put(root, [curve] * (3 if whole else 1), status=status, **fields)
    return root


def measured(name):
    """The seeds of a case as one scenario of the gate, weights and data the same in all."""
    curves = [curve for curve in CASES[name].curves if curve is not None]
    part = Part(
        np.array([curve.summarised() for curve in curves]),
        np.array([curve.float32_horizon().lag for curve in curves]),
        np.full(len(curves), 0.2),
    )
    return Measurement(list(range(1, LAGS + 1)), {"initial": part}, [{}] * len(curves), [{}] * len(curves), "00")
