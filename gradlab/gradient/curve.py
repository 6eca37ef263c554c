"""A gradient curve: log10 norms by lag and example, and the numbers that say what it does. NumPy only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlab.errors import GradlabError, unknown
from gradlab.gradient.notebook import LEAF_COLUMNS, NotebookTable, leaf_cells, markdown_table, rows_of_leaves
from gradlab.gradient.reductions import (
    Floats,
    blocks,
    explained,
    least_squares,
    log10_of_all,
    median_error,
    relative_to_first,
    zero_from,
)
from gradlab.gradient.summary import CUT, THRESHOLD, HalfLife, Horizon, NonFinite, Slope, Summary, Verdict

STATE = "state"
FLOAT32_FLOOR = -37.9
"""log10 of the smallest float32 entry that a backward pass keeps when subnormals are flushed to zero."""
FLOAT32_CEILING = 38.5
"""log10 of the largest float32."""
NAIVE_FLOOR = -19.0
"""log10 of the smallest float32 norm that squaring, summing and rooting can see."""
NOISE_DECADES, NOISE_SHARE = 1.0, 0.1
"""A value is noise where rounding moves it by more decades than that, and by more than that share of its distance
from lag 1."""


@dataclass(frozen=True)
class GradientCurve(NotebookTable):
    """The gradient of a loss with respect to the states of a recurrent network, by lag.

    Lag k is the state s_{T-k} that enters timestep T-k+1, for k = 1..T. Where the loss of an example reads no
    output after timestep t < T, its lags count from t and there are t of them.

    Attributes:
        log10_norm: for each leaf and for `state` (all leaves together) a float64 array (T, B) of log10 norms;
            row i is lag i + 1, -inf is a zero, NaN is a finding, or a lag that the example does not have.
        dtype: the arithmetic of the measurement.
        lengths: (B,), how many lags each example has; all T of them where None.
        saturated: for each leaf the lag from which that arithmetic read 0, or was off by more than a thousandth of
            the decades, where float64 is not; the value of float64 stands there.
        noise: for each leaf, by lag (T,), the decades by which rounding moves the value; none where absent.
        chaotic: whether rounding moves the trajectory itself, so that this is the gradient along one of many.
        unverified: why no float64 measurement stands behind this one, where there is none.
        non_finite: where NaN or infinity begins, forward and backward.
        unmeasured: leaves of the state that are not float, have no entries, or do not count as memory.
        losses: (B,), the loss of each example, where it is known.
        beside: leaves that are no part of `state`: the inputs, measured beside it.

    Example:
        >>> curve = GradientCurve.of({"h": [[0.0], [-1.0], [-2.0], [-4.5]]})
        >>> curve.span(), str(curve.horizon()), str(curve.verdict())
        (-4.5, '3', 'vanishing (-4.5 at lag 4)')
    """

    log10_norm: dict[str, Floats]
    dtype: str = "float64"
    lengths: NDArray[np.int64] | None = None
    saturated: dict[str, int] = field(default_factory=dict)
    noise: dict[str, Floats] = field(default_factory=dict)
    chaotic: bool = False
    unverified: str = ""
    non_finite: tuple[NonFinite, ...] = ()
    unmeasured: tuple[str, ...] = ()
    losses: Floats = field(default_factory=lambda: np.empty(0))
    beside: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lags, examples = self.log10_norm[STATE].shape
        return f"<GradientCurve of {', '.join(self.leaves)}: {lags} lags, {examples} examples, {self.verdict()}>"

    def _repr_markdown_(self) -> str:
        lags, examples = self.log10_norm[STATE].shape
        heading = f"Gradient curve, {lags} lags, {examples} examples: {self.verdict()}"
        rows = [leaf_cells(leaf, self.summary(leaf)) for leaf in rows_of_leaves(self.leaves)]
        return markdown_table(heading, LEAF_COLUMNS, rows, [*map(str, self.non_finite), *self.all_notes()])

    @classmethod
    def of(cls, leaves: Mapping[str, ArrayLike], **attributes: Any) -> "GradientCurve":
        """A curve from the log10 norms (T, B) of its leaves; `state` is computed from them."""
        arrays = {name: np.asarray(leaf, np.float64) for name, leaf in leaves.items()}
        own = [leaf for name, leaf in arrays.items() if name not in attributes.get("beside", ())]
        return cls(arrays | {STATE: log10_of_all(own)}, **attributes)

    def with_state(self) -> "GradientCurve":
        """The curve with `state` computed anew from its leaves."""
        own = [leaf for name, leaf in self.log10_norm.items() if name not in (STATE, *self.beside)]
        return replace(self, log10_norm=self.log10_norm | {STATE: log10_of_all(own)})

    @property
    def lags(self) -> NDArray[np.int64]:
        """1..T."""
        return np.arange(1, len(self.log10_norm[STATE]) + 1)

    @property
    def leaves(self) -> list[str]:
        """The leaves of the state, then `state`."""
        return [*(name for name in self.log10_norm if name != STATE), STATE]

    @property
    def examples(self) -> NDArray[np.int64]:
        """How many examples have each lag, (T,)."""
        if self.lengths is None:
            return np.full(len(self.lags), self.log10_norm[STATE].shape[1])
        return np.sum(self.lengths[None, :] >= self.lags[:, None], axis=1)

    def typical(self, leaf: str = STATE) -> Floats:
        """Mean over examples of log10 norm, by lag; -inf where one example's gradient is zero."""
        with np.errstate(invalid="ignore"):
            return self._by_lag(leaf, lambda values: values.mean(axis=1))

    def rms(self, leaf: str = STATE) -> Floats:
        """log10 √(mean over examples of norm²), by lag."""
        return self._by_lag(leaf, lambda values: log10_of_all(list(values.T)) - 0.5 * np.log10(values.shape[1]))

    def quantile(self, q: float, leaf: str = STATE) -> Floats:
        """The q-quantile over examples of log10 norm, by lag; an observed value, the higher of two."""
        return self._by_lag(leaf, lambda values: np.quantile(values, q, axis=1, method="higher"))

    def dead(self, leaf: str = STATE) -> Floats:
        """The fraction of examples whose gradient is exactly zero, by lag."""
        return self._by_lag(leaf, lambda values: np.mean(np.isneginf(values), axis=1))

    def not_finite(self, leaf: str = STATE) -> NDArray[np.int64]:
        """How many examples are NaN or +inf, by lag."""
        return self._by_lag(
            leaf, lambda values: np.sum(np.isnan(values) | np.isposinf(values), axis=1, dtype=float)
        ).astype(np.int64)

    def is_noise(self, leaf: str = STATE) -> NDArray[np.bool_]:
        """Whether the value at each lag (T,) is rounding noise, and says nothing about the network."""
        moved = np.abs(relative_to_first(self.summarised(leaf)))
        noise = self.noise.get(leaf, np.zeros(len(moved)))
        return (noise > NOISE_DECADES) & (noise > NOISE_SHARE * np.where(np.isfinite(moved), moved, 0.0))

    def is_cut(self, leaf: str = STATE) -> bool:
        """Whether the gradient is exactly zero at every lag in every example, in float64 too."""
        return not self.unverified and bool((self.dead(leaf) == 1).all())

    def statistic(self, leaf: str = STATE) -> str:
        """`mean`, or `median` where some examples' gradients are exactly zero: what summaries summarise."""
        return "median" if np.any(self.dead(leaf) > 0) else "mean"

    def summarised(self, leaf: str = STATE) -> Floats:
        """The typical curve, or the median over examples where some of them are exactly zero."""
        return self.typical(leaf) if self.statistic(leaf) == "mean" else self.quantile(0.5, leaf)

    def span(self, leaf: str = STATE) -> float:
        """Decades from lag 1 to lag T; -inf where the gradient is zero at lag T."""
        return float(relative_to_first(self.summarised(leaf))[-1])

    def slope(self, leaf: str = STATE) -> Slope:
        """Decades per timestep: mean over examples of each example's least-squares slope over its lags.

        Lags whose value is rounding noise are left out.
        """
        curve, kept = self.summarised(leaf), ~self.is_noise(leaf)
        zero = np.isneginf(curve)
        if zero[-1] and kept[-1]:
            return Slope(-np.inf, np.nan, np.nan, zero_from(zero))
        if kept.sum() < 2 or zero[kept].any():
            return Slope(np.nan, np.nan, np.nan)
        values, lags = self._of(leaf), self.lags
        if not kept.all():  # else it would be a copy of everything
            values, lags = values[kept], lags[kept]
        slopes, r2 = self._slopes(values, lags), explained(curve[kept], lags)
        if self.statistic(leaf) == "median":
            # A dead example has no slope; it counts as steeper than any other.
            ranked = np.sort(np.where(np.isneginf(values).any(axis=0), -np.inf, slopes))
            return Slope(float(np.quantile(ranked, 0.5, method="higher")), median_error(ranked), r2)
        error = slopes.std(ddof=1) / np.sqrt(len(slopes)) if len(slopes) > 1 else np.nan
        return Slope(float(slopes.mean()), float(error), r2)

    def half_life(self, leaf: str = STATE) -> HalfLife:
        """log10(2) / -slope in timesteps, where a straight line explains at least 90 % of the curve."""
        slope = self.slope(leaf)
        longest = len(self.lags)
        if slope.zero_from is not None or not slope.r2 >= 0.9:
            return HalfLife(np.nan, np.nan, np.nan, longest)
        spread = 0.0 if np.isnan(slope.error) else 2 * slope.error
        value, low, high = (_half_life(s) for s in (slope.value, slope.value - spread, slope.value + spread))
        return HalfLife(value, low, high, longest)

    def horizon(self, decades: float = THRESHOLD, leaf: str = STATE) -> Horizon:
        """The largest lag up to which the curve has never dropped `decades` below lag 1, nor become noise."""
        _check_decades(decades)
        relative = relative_to_first(self.summarised(leaf))
        return _horizon((relative >= -decades) & (relative < np.inf) & ~self.is_noise(leaf))

    def float32_horizon(self, leaf: str = STATE) -> Horizon:
        """The largest lag K with -37.9 < typical < 38.5 at lags 1..K: what a float32 backward pass sees."""
        curve = self.summarised(leaf)
        return _horizon((curve > FLOAT32_FLOOR) & (curve < FLOAT32_CEILING))

    def verdict(self, decades: float = THRESHOLD, leaf: str = STATE) -> Verdict:
        """Whether the curve falls or rises more than `decades` from lag 1 anywhere, with value and lag.

        Lags whose value is rounding noise are left out; where lag 1 is one of them, the word is `noise`.
        """
        _check_decades(decades)
        relative, noise = relative_to_first(self.summarised(leaf)), self.is_noise(leaf)
        bad = (np.isnan(relative) | np.isposinf(relative)) & ~noise
        if bad.any():
            lag = int(np.argmax(bad))
            return Verdict("non-finite", float(relative[lag]), lag + 1, leaf)
        if any(finding.kind == "state" for finding in self.non_finite):
            # Backward a ReLU turns the NaN of its forward pass into 0, which is no vanishing gradient.
            return Verdict("non-finite", float("nan"), 1, leaf)
        if self.is_cut(leaf):
            return Verdict("cut", -np.inf, 1, leaf)
        if noise[0]:
            return Verdict("noise", float(self.noise[leaf][0]), 1, leaf)
        relative = np.where(noise, 0.0, relative)
        low, high = int(np.argmin(relative)), int(np.argmax(relative))
        falls, rises = relative[low] < -decades, relative[high] > decades
        furthest = low if -relative[low] >= relative[high] else high
        word = "both" if falls and rises else "vanishing" if falls else "exploding" if rises else "held"
        return Verdict(word, float(relative[furthest]), furthest + 1, leaf)  # type: ignore[arg-type]

    def notes(self, leaf: str = STATE) -> list[str]:
        """What a reader of the numbers of a leaf must know about them, a sentence each."""
        notes = []
        if self.lengths is not None:
            first, last = int(self.lengths.min()), int(self.lengths.max())
            where = f"timestep {last}" if first == last else f"timesteps {first} to {last}"
            notes.append(f"lags count from the last output that the loss of each example reads ({where})")
        if leaf in self.saturated:
            notes.append(f"{self.dtype} is zero or imprecise from lag {self.saturated[leaf]}; float64 is shown")
        if self.unverified and np.any(self.dead(leaf) > 0):
            notes.append(f"reads 0 in {self.dtype}, and float64 cannot tell: {self.unverified}")
        if self.is_cut(leaf):
            notes.append(CUT)
        noise, largest = self.is_noise(leaf), self.largest_noise(leaf)
        if self.chaotic and largest:
            notes.append(f"one trajectory of a chaotic network: ± {largest:.2g} decades")
        if noise.any():
            from_lag = int(np.argmax(noise)) + 1
            notes.append(
                f"rounding noise from lag {from_lag} ({int(noise.sum())} lags), left out of slope and verdict"
            )
        return notes

    def all_notes(self) -> list[str]:
        """The notes of `state`, then what other leaves have to add, each after its name."""
        notes = self.notes()
        more = [f"{leaf}: {note}" for leaf in self.leaves[:-1] for note in self.notes(leaf) if note not in notes]
        return notes + more if len(self.leaves) > 2 else notes

    def largest_noise(self, leaf: str = STATE) -> float:
        """The most that rounding moves a value of a leaf, in decades; 0 where it moves none."""
        return float(self.noise.get(leaf, np.zeros(1)).max())

    def summary(self, leaf: str = STATE, decades: float = THRESHOLD) -> Summary:
        """All of the numbers above."""
        return Summary(
            len(self.lags),
            self.statistic(leaf),
            self.span(leaf),
            self.slope(leaf),
            self.half_life(leaf),
            self.horizon(decades, leaf),
            self.float32_horizon(leaf),
            self.verdict(decades, leaf),
            float(self.dead(leaf).max()),
            self.saturated.get(leaf),
            int(np.argmax(noise)) + 1 if (noise := self.is_noise(leaf)).any() else None,
            self.largest_noise(leaf),
        )

    def _of(self, leaf: str) -> Floats:
        if leaf not in self.log10_norm:
            raise unknown("leaf", leaf, self.log10_norm)
        return self.log10_norm[leaf]

    def _by_lag(self, leaf: str, reduce: Callable[[Floats], Floats]) -> Floats:
        """A function of (lags, examples) that gives a number for each lag, over the examples that have the lag."""
        values, start = self._of(leaf), 0
        found = np.empty(len(values))
        ends = [len(values)] if self.lengths is None else np.unique(self.lengths)
        for end in ends:  # the lags start + 1..end belong to the same examples
            having = slice(None) if self.lengths is None else self.lengths > start
            for rows in blocks(start, int(end)):
                found[rows] = reduce(values[rows, having])
            start = end
        return found

    def _slopes(self, values: Floats, lags: NDArray[np.int64]) -> Floats:
        """The least-squares slope of every example that has at least two of these lags."""
        if self.lengths is None:
            return least_squares(values, lags)
        ends = [(example, int(np.sum(lags <= length))) for example, length in enumerate(self.lengths)]
        slopes = [least_squares(values[:end, [example]], lags[:end])[0] for example, end in ends if end > 1]
        return np.array(slopes)


def _check_decades(decades: Any) -> None:
    if isinstance(decades, str):
        raise GradlabError(f"decades is `{decades}`: give a number; a leaf is given as leaf={decades!r}")
    if not (decades > 0 and np.isfinite(decades)):
        raise GradlabError(f"decades is {decades}: give a positive number")


def _horizon(inside: NDArray[np.bool_]) -> Horizon:
    reached = bool(inside.all())
    return Horizon(len(inside) if reached else int(np.argmin(inside)), reached)


def _half_life(slope: float) -> float:
    return np.inf if slope >= 0 else float(np.log10(2) / -slope)
