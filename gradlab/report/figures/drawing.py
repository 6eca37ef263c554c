"""How figures look, and the figure of one curve. The only file that knows seaborn."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gradlab.gradient.curve import FLOAT32_FLOOR, NAIVE_FLOOR, STATE, GradientCurve
from gradlab.report.data.gaps import gap, noise_words
from gradlab.report.text.findings import change

Floats = NDArray[np.float64]

COLOURS: list[str] = list(sns.color_palette("colorblind").as_hex())
DASHES: tuple[tuple[int, tuple[float, ...]], ...] = ((0, ()), (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK = "#333333"
LAG = "lag (timesteps before the loss)"
RELATIVE = "gradient norm, decades from lag 1"
NO_FLOOR_LABEL = 0.07
"""Two floors nearer than this share of the axis carry one label."""
NAMED_ROWS = 24
"""A map with more rows than this names some of them only."""
LIGHTEST = 0.45
"""How light letters may be, 1 being white."""
PALE = "#e4e4e4"
NOISE_LABEL, NOISE_COLOUR, NOISE_DASHES = "_rounding noise", "#888888", (0, (1, 1.2))
"""How lines are drawn where their values are rounding noise; matplotlib leaves names with _ out of legends."""
STRIP = 2.0
"""Lines whose levels at lag 1 differ by more decades share the floor of the median one."""
_FLOORS = {NAIVE_FLOOR: "naive float32 norms read 0 (10⁻¹⁹)", FLOAT32_FLOOR: "float32 entries read 0 (10⁻³⁷·⁹)"}

_OWN: dict[str, Any] = {
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 100,
    "figure.titlesize": 11,
    "font.sans-serif": ["DejaVu Sans"],  # the same letters, and so the same SVG, on every machine
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "legend.frameon": True,
    "legend.framealpha": 0.8,
    "legend.handlelength": 3.0,
    "lines.linewidth": 1.7,
    "savefig.dpi": 144,
    "svg.fonttype": "none",
    "svg.hashsalt": "gradlab",
    "text.hinting": "none",  # so that text is as wide in the PNG as in the layout, which knows another resolution
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


class Look(NamedTuple):
    """Colour, dashes and marker of a line: any one of them tells lines apart."""

    colour: str
    dashes: tuple[int, tuple[float, ...]]
    marker: str


class Drawing(NamedTuple):
    """A figure with its file name, its heading, and a caption whose numbers serve as alt text."""

    name: str
    figure: Figure
    heading: str
    caption: str


def look(index: int) -> Look:
    """The look of the index-th line of an axes."""
    return Look(COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)], MARKERS[index % len(MARKERS)])


def darker(colour: str) -> str:
    """A colour for letters: a thin stroke of a light colour cannot be read on white."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    light = (0.299 * red + 0.587 * green + 0.114 * blue) / 255
    by = min(1.0, LIGHTEST / max(light, 1e-9))
    return "#" + "".join(f"{round(part * by):02x}" for part in (red, green, blue))


@contextmanager
def themed() -> Iterator[None]:
    """The look of gradlab's figures, and nothing global afterwards."""
    style = sns.axes_style("whitegrid", {"grid.color": "#e4e4e4", "axes.edgecolor": "#888888"})
    settings: Any = {**style, **sns.plotting_context("notebook"), **_OWN}
    with matplotlib.rc_context(settings):
        yield


def plot(curve: GradientCurve, ax: Axes | None = None, *, relative: bool = True) -> Axes:
    """Draw a gradient curve: a typical line for each leaf, and where 10-90 % of the examples lie.

    Args:
        curve: what `gradient_curve` or `RunResult.curve` gives.
        ax: where to draw; a new figure of pyplot where it is None.
        relative: decades from lag 1; False draws log10 norms.

    Returns:
        The axes, titled with what the curve does. Values that are zero or not finite leave a gap, those that are
        rounding noise are dotted and grey, and the lag where that begins is marked.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> axes = plot(GradientCurve.of({"h": [[0.0, 0.1], [-1.0, -1.2], [-2.0, -2.4]]}))
        >>> axes.get_title(loc="left"), len(axes.lines)
        ('T = 3: 2.2 decades lost', 1)
    """
    with themed():
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")[1]
        names = curve.leaves[:-1] if len(curve.leaves) == 2 else curve.leaves
        for index, leaf in enumerate(names):
            line = curve.summarised(leaf)
            base = float(line[0]) if relative and math.isfinite(line[0]) else 0.0
            low, high = curve.quantile(0.1, leaf) - base, curve.quantile(0.9, leaf) - base
            draw_line(
                ax, curve.lags, line - base, look(index), label=leaf, band=(low, high), noise=curve.is_noise(leaf)
            )
        levels = [float(curve.summarised(leaf)[0]) for leaf in names] if relative else [0.0]
        mark_floors(ax, levels)
        ax.set_xlabel(LAG)
        ax.set_ylabel(RELATIVE if relative else "log10 gradient norm (decades)")
        said = change(curve.summary(STATE), [str(finding) for finding in curve.non_finite], curve.notes())
        ax.set_title(f"T = {len(curve.lags)}: {said}", loc="left")
        if len(names) > 1:
            ax.legend(title="leaf of the state")
    return ax


def draw_line(
    ax: Axes,
    x: NDArray[np.int64],
    values: Floats,
    style: Look,
    *,
    label: str,
    band: tuple[Floats, Floats] | None = None,
    noise: NDArray[np.bool_] | None = None,
) -> str:
    """One line with its band; gaps where values are not finite, and a word at the lag where that begins.

    Args:
        noise: (K,), where a value is rounding noise; there the line is dotted and grey.

    Returns:
        `""`, or where the line stops: `zero from lag 12`, `not finite from lag 3`.
    """
    noise = np.zeros(len(x), bool) if noise is None else noise
    # A line that has no point at some lags has these on its axis all the same.
    ax.update_datalim([(x[0], 0.0), (x[-1], 0.0)], updatey=False)
    finite = np.isfinite(values) & ~noise
    shown = np.where(finite, values, np.nan)
    every = max(1, len(x) // 8)
    ax.plot(
        x,
        shown,
        color=style.colour,
        linestyle=style.dashes,
        marker=style.marker,
        markevery=every if len(x) > 1 else None,
        markersize=4,
        label=label,
    )
    if band is not None:
        low, high = (np.where(finite & np.isfinite(edge), edge, np.nan) for edge in band)
        ax.fill_between(x, low, high, color=style.colour, alpha=0.18, linewidth=0)
    if finite.all():
        return ""
    if noise.any():
        reached = noise | np.append(noise[1:], False)  # from the last point that is a value
        drawn: dict[str, Any] = {"color": NOISE_COLOUR, "linestyle": NOISE_DASHES, "label": NOISE_LABEL}
        ax.plot(x, np.where(reached, values, np.nan), **drawn)
    stop = gap(np.where(noise, 0.0, values), x)
    _note_odd(ax, ", ".join(filter(None, (stop, noise_words(noise, x)))), int(np.argmin(finite)), x, values, style)
    return stop


def _note_odd(ax: Axes, words: str, first: int, x: NDArray[np.int64], values: Floats, style: Look) -> None:
    """A cross at the last value before something odd, with what it is; below each other where lines share it."""
    where = (float(x[first - 1]), float(values[first - 1])) if first else (float(x[0]), 0.0)
    height = 4 - 11 * sum(isinstance(text, Annotation) and text.xy == where for text in ax.texts)
    ax.plot(*where, marker="x", markersize=9, markeredgewidth=2, color=style.colour, linestyle="none")
    ax.annotate(words, where, xytext=(6, height), textcoords="offset points", color=style.colour, fontsize=8)


def mark_floors(ax: Axes, levels: Sequence[float]) -> list[float]:
    """Mark where plain float32 stops seeing, if that is in view.

    Args:
        ax: axes in decades relative to lag 1.
        levels: log10 norm at lag 1 of each line; where they differ, a floor is a strip.

    Returns:
        The floors that were marked, as log10 of a norm.
    """
    finite = [level for level in levels if math.isfinite(level)] or [0.0]
    level = float(np.median(finite))
    bottom, top = ax.get_ylim()
    floors = [floor for floor in (NAIVE_FLOOR, FLOAT32_FLOOR) if floor - level > bottom]
    close = len(floors) == 2 and (NAIVE_FLOOR - FLOAT32_FLOOR) / (top - bottom) < NO_FLOOR_LABEL
    for floor in floors:
        if max(finite) - min(finite) < STRIP:
            ax.axhspan(floor - max(finite), floor - min(finite), facecolor=INK, alpha=0.12, linewidth=0)
        ax.axhline(floor - level, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
        if not close:
            _note_floor(ax, floor - level, _FLOORS[floor])
    if close:
        _note_floor(ax, NAIVE_FLOOR - level, "float32 reads 0 (norms 10⁻¹⁹, entries 10⁻³⁷·⁹)")
    ax.set_ylim(bottom, top)
    return floors


def _note_floor(ax: Axes, height: float, text: str) -> None:
    ax.annotate(
        text,
        (0.99, height),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=7.5,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
    )


def heat_map(
    ax: Axes, values: Floats, steps: Sequence[int], label: str, noise: NDArray[np.bool_] | None = None
) -> None:
    """Training step by lag in colour; grey where a value is zero or not finite, pale where it is rounding noise.

    Args:
        ax: where to draw.
        values: [training step, lag], decades from lag 1. steps: the training steps. label: of the colours.
        noise: [training step, lag], where a value is rounding noise.
    """
    noise = np.zeros(values.shape, bool) if noise is None else noise
    finite = np.isfinite(values) & ~noise
    shown = values[finite] if finite.any() else np.zeros(1)
    named = math.ceil(len(steps) / NAMED_ROWS)
    ax.set_facecolor("#bbbbbb")
    sns.heatmap(
        np.where(finite, values, 0.0),
        ax=ax,
        mask=~finite,
        cmap="viridis",
        vmin=float(shown.min()),
        vmax=float(max(shown.max(), shown.min() + 1e-9)),
        rasterized=True,
        cbar_kws={"label": label, "pad": 0.02, "aspect": 24},
        xticklabels=False,
        yticklabels=[f"{step:,}" if row % named == 0 else "" for row, step in enumerate(steps)],
    )
    for row, flags in enumerate(noise):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            ax.add_patch(Rectangle((first, row), last - first, 1, facecolor=PALE, edgecolor="none"))
    bar = ax.collections[0].colorbar
    if bar is not None:
        bar.ax.tick_params(length=3, width=0.8, color="#888888")
        bar.locator = MaxNLocator(6)
        bar.update_ticks()
    lags = values.shape[1]
    nice = MaxNLocator(6, steps=[1, 2, 5, 10], integer=True).tick_values(1, lags)
    ticks = [1, *(int(tick) for tick in nice if 2 < tick <= lags)]
    ax.set_xticks([tick - 0.5 for tick in ticks], [str(tick) for tick in ticks])
    ax.tick_params(axis="y", rotation=0)
    ax.set_xlabel(LAG)
    ax.set_ylabel("training step")


def wrapped(text: str, inches: float) -> str:
    """A title broken into lines that fit a width."""
    return "\n".join(textwrap.wrap(text, max(24, int(inches * 13.5)), break_on_hyphens=False))
