"""The numbers that are read off a curve, as small records with their text."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Word = Literal["vanishing", "exploding", "both", "non-finite", "held", "cut", "noise"]
Kind = Literal["state", "output", "loss", "gradient"]
SENTENCES = ("non_finite", "notes")
"""Of a stored curve, the fields that are lists of sentences; every other one is a leaf."""
CUT = "cut: exactly zero; a stop_gradient or an unused state?"
"""What is said of a gradient that is exactly zero at every lag."""
THRESHOLD = 3.0
"""Decades from lag 1 beyond which a gradient vanishes or explodes, unless others are asked for."""


def in_decades(value: float, *, sign: bool = False) -> str:
    """A distance with one decimal, and with more where one would hide on which side of the threshold it lies.

    Example:
        >>> in_decades(4.21), in_decades(3.04), in_decades(-2.997, sign=True)
        ('4.2', '3.04', '-2.997')
    """
    digits = 1
    while digits < 4 and abs(value) != THRESHOLD and round(abs(value), digits) == THRESHOLD:
        digits += 1
    return f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f}"  # adding 0 makes -0 a 0


@dataclass(frozen=True)
class Slope:
    """Decades per timestep of lag.

    Attributes:
        value: mean (or median) over examples of each example's least-squares slope; -inf where the curve is
            zero from some lag on, nan where there is none (T = 1, or values that are not finite).
        error: its standard error at these weights, over examples.
        r2: share of the variance of the summarised curve that a straight line explains.
        zero_from: the lag from which the gradient is exactly zero, or None.
    """

    value: float
    error: float
    r2: float
    zero_from: int | None = None

    def __str__(self) -> str:
        if self.zero_from is not None:
            return f"zero from lag {self.zero_from}"
        if math.isnan(self.value):
            return "none"
        value = f"{self.value:.3g}"
        return value if math.isnan(self.error) else f"{value} ± {self.error:.1g}".replace("e-0", "e-")


@dataclass(frozen=True)
class HalfLife:
    """Timesteps over which the gradient halves: log10(2) / -slope, and the interval of the slope's error.

    Attributes:
        value: timesteps; inf where the curve does not fall, nan where it is not exponential.
        low, high: from slope ± 2 errors; high is inf where that interval includes 0.
        longest: T, the longest lag that was measured.
    """

    value: float
    low: float
    high: float
    longest: int

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "not exponential"
        return f"> {self.longest}" if self.value > self.longest else f"{self.value:.3g}"


@dataclass(frozen=True)
class Horizon:
    """The largest lag up to which a curve has never left its bounds.

    Attributes:
        lag: that lag. reached: whether the curve ends without dropping, so that the horizon is >= T.
    """

    lag: int
    reached: bool

    def __str__(self) -> str:
        return f">= {self.lag}" if self.reached else str(self.lag)


@dataclass(frozen=True)
class Verdict:
    """What the curve does, with the value that decides and the lag where it stands.

    Attributes:
        word: vanishing, exploding, both, non-finite, held, cut (exactly zero at every lag) or noise (the value at
            lag 1 is rounding noise).
        decades: the furthest that the curve gets from lag 1; for `noise` what rounding does at lag 1.
        lag: the lag of that value; for `non-finite` the first lag that is not finite.
        leaf: the leaf of the state that it speaks of; `state` is all that count, together.
    """

    word: Word
    decades: float
    lag: int
    leaf: str = "state"

    @property
    def severity(self) -> tuple[bool, float]:
        """Sorts verdicts: not finite is the worst, then by how far the curve gets; noise is no distance.

        Example:
            >>> max(Verdict("both", 20.0, 3), Verdict("vanishing", -9.0, 7), key=lambda one: one.severity).word
            'both'
        """
        return self.word == "non-finite", 0.0 if self.word in ("non-finite", "noise") else abs(self.decades)

    def __str__(self) -> str:
        special = {
            "non-finite": f"non-finite at lag {self.lag}",
            "cut": "cut (exactly zero at every lag)",
            "noise": f"noise (± {self.decades:.1f} decades at lag 1)",
        }
        text = special.get(self.word, f"{self.word} ({in_decades(self.decades, sign=True)} at lag {self.lag})")
        return text if self.leaf == "state" else f"{self.leaf}: {text}"


@dataclass(frozen=True)
class NonFinite:
    """A NaN or infinity: where it begins.

    Attributes:
        where: a leaf, `output`, `loss`, or `gradient LEAF`.
        timestep: forward the smallest t, backward the largest t whose entering state has a gradient that is
            not finite.
        examples: in how many of the examples.
        kind: what it is in; a curve is condemned by a state that it passes through, not by a loss or an output
            beside it.
    """

    where: str
    timestep: int
    examples: int
    kind: Kind = "state"

    def __str__(self) -> str:
        return f"{self.where} is not finite from timestep {self.timestep} in {self.examples} examples"


@dataclass(frozen=True)
class Summary:
    """Every number of one leaf of one curve; what tables print and stores keep."""

    lags: int
    statistic: str
    span: float
    slope: Slope
    half_life: HalfLife
    horizon: Horizon
    float32_horizon: Horizon
    verdict: Verdict
    dead: float
    saturated_from: int | None
    noise_from: int | None = None
    noise: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Flat fields by name, for JSON and tables."""
        return {
            "lags": self.lags,
            "statistic": self.statistic,
            "span": self.span,
            "slope": self.slope.value,
            "slope_error": self.slope.error,
            "r2": self.slope.r2,
            "zero_from": self.slope.zero_from,
            "half_life": self.half_life.value,
            "half_life_low": self.half_life.low,
            "half_life_high": self.half_life.high,
            "horizon": self.horizon.lag,
            "horizon_reached": self.horizon.reached,
            "float32_horizon": self.float32_horizon.lag,
            "float32_horizon_reached": self.float32_horizon.reached,
            "verdict": self.verdict.word,
            "verdict_decades": self.verdict.decades,
            "verdict_lag": self.verdict.lag,
            "dead": self.dead,
            "saturated_from": self.saturated_from,
            "noise_from": self.noise_from,
            "noise": self.noise,
        }

    @classmethod
    def from_dict(cls, leaf: str, stored: Mapping[str, Any]) -> "Summary":
        """The summary whose `as_dict` was stored, non-finite numbers as numbers or as strings."""
        value = {key: _number(item) for key, item in stored.items() if key not in ("statistic", "verdict")}
        lags = int(value["lags"])
        return cls(
            lags,
            stored["statistic"],
            value["span"],
            Slope(value["slope"], value["slope_error"], value["r2"], stored["zero_from"]),
            HalfLife(value["half_life"], value["half_life_low"], value["half_life_high"], lags),
            Horizon(stored["horizon"], stored["horizon_reached"]),
            Horizon(stored["float32_horizon"], stored["float32_horizon_reached"]),
            Verdict(stored["verdict"], value["verdict_decades"], stored["verdict_lag"], leaf),
            value["dead"],
            stored["saturated_from"],
            stored.get("noise_from"),
            value.get("noise", 0.0),
        )


def _number(stored: Any) -> float:
    return math.nan if stored is None else float(stored)
