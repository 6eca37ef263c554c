"""The theme of gradlab's figures, lines with their bands, and the figure of one curve."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike, NDArray

from gradlab.gradient.curve import FLOAT32_FLOOR, NAIVE_FLOOR, STATE, GradientCurve
from gradlab.report.data.gaps import gap, noise_words
from gradlab.report.data.records import Record
from gradlab.report.figures.sampling import sampled
from gradlab.report.figures.ticks import lag_axis, wrapped
from gradlab.report.text.findings import change

Floats = NDArray[np.float64]

# Distinct hues; figures.css gives each a lighter partner for dark pages.
COLOURS = (
    "#0173b2", "#c47a00", "#028a65", "#8b3fb0", "#c2273d", "#767676",
    "#8f8600", "#d0559f", "#6b4423", "#4a4fc4", "#1c93a8", "#5d7a2e",
)  # fmt: skip
DASHES: tuple[tuple[int, tuple[float, ...]], ...] = ((0, ()), (0, (5, 2)), (0, (2.5, 1.5)), (0, (6, 2, 1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK = "#333333"
RELATIVE = "change in gradient norm\nrelative to lag 1 (decades)"
NOISE_COLOUR, NOISE_DASHES = "#888888", (0, (1, 1.2))
NOISE_LABEL = "_rounding noise"
"""Label of the parts of lines that are rounding noise; matplotlib leaves names with _ out of legends."""
BAND_LAGS = 40
"""Points of a band at most."""
NO_FLOOR_LABEL = 0.12
"""Two floors nearer than this share of the axis carry one label."""
_FLOORS = {
    NAIVE_FLOOR: "Underflow in\nfloat32: norms\n(10⁻¹⁹)",
    FLOAT32_FLOOR: "Underflow in\nfloat32: entries\n(10⁻³⁷·⁹)",
}

_OWN: dict[str, Any] = {
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 100,
    "figure.titlesize": 10,
    "font.sans-serif": ["DejaVu Sans"],  # the same letters, and so the same SVG, on every machine
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 3.0,
    "lines.linewidth": 1.7,
    "path.simplify_threshold": 0.15,
    "savefig.dpi": 144,
    "svg.fonttype": "none",
    "svg.hashsalt": "gradlab",
    "text.parse_math": False,  # a `$` in a name is a dollar
    "text.usetex": False,
    "text.hinting": "none",  # so that text is as wide in the PNG as in the layout, which knows another resolution
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


class LineStyle(NamedTuple):
    """Colour, dashes and marker of a line: any one of them tells neighbours apart."""

    colour: str
    dashes: tuple[int, tuple[float, ...]]
    marker: str


class Drawing(NamedTuple):
    """A figure with what stands around it.

    Attributes:
        name: of its files, and prefix of the ids in its SVG.
        heading: the finding. caption: its numbers; serves as alternative text.
        section: of the page that shows it: `overview`, `curves`, `lengths`, `training` or `runs`.
        choices: values of the selectors that show it among the figures of its section, `{"Length T": "200"}`.
    """

    name: str
    figure: Figure
    heading: str
    caption: str
    section: str = "curves"
    choices: Mapping[str, str] = {}


def run_choices(record: Record, label: str, shown: str) -> dict[str, str]:
    """The selectors of a figure of one run."""
    return {"Task": str(record.config["task"]), "Setting": label, "Show": shown}


def line_style(index: int) -> LineStyle:
    """The style of the index-th line of an axes."""
    return LineStyle(COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)], MARKERS[index % len(MARKERS)])


@contextmanager
def themed() -> Iterator[None]:
    """The theme of gradlab's figures, and nothing global afterwards."""
    style = sns.axes_style("whitegrid", {"grid.color": "#e4e4e4", "axes.edgecolor": "#888888"})
    settings: Any = {**style, **sns.plotting_context("notebook"), **_OWN}
    with matplotlib.rc_context(settings):
        yield


def panels(
    rows: int, columns: int, size: tuple[float, float], heading: str, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of equal panels under its heading, which the page shows above the figure instead.

    Args:
        size: inches of one panel. options: of `Figure.subplots`.
    """
    title = wrapped(heading, size[0] * columns)
    height = size[1] * rows + 0.2 * len(title.splitlines())
    layout = ConstrainedLayoutEngine(w_pad=0.08)
    figure = Figure(figsize=(size[0] * columns, height), layout=layout)
    figure.suptitle(title, x=0.01, ha="left").set_gid("heading")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).flat)


def plot(curve: GradientCurve, ax: Axes | None = None, *, relative: bool = True) -> Axes:
    """Draw a gradient curve: a typical line for each leaf, and where 10-90 % of the examples lie.

    Args:
        curve: what `gradient_curve` or `RunResult.curve` gives.
        ax: where to draw; a new figure of pyplot if None.
        relative: decades from lag 1; False draws log10 norms.

    Returns:
        The axes, titled with what the curve does. Values that are zero or not finite leave a gap, those that are
        rounding noise are dotted and grey, and the legend says where that begins.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> axes = plot(GradientCurve.of({"h": [[0.0, 0.1], [-1.0, -1.2], [-2.0, -2.4]]}))
        >>> axes.get_title(loc="left"), len(axes.lines)
        ('T = 3: 2.2 decades lost', 1)
    """
    with themed():
        legend = (
            Axes.legend if ax is not None else add_legend
        )  # below the axes there may be no room in others' figures
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.subplots(figsize=(6.4, 4.4), layout="constrained")[1]
        names = curve.leaves[:-1] if len(curve.leaves) == 2 else curve.leaves
        odd = []
        for index, leaf in enumerate(names):
            line = curve.summarised(leaf)
            base = float(line[0]) if relative and math.isfinite(line[0]) else 0.0
            band = (curve.quantile(0.1, leaf) - base, curve.quantile(0.9, leaf) - base)
            noise = curve.is_noise(leaf)
            odd.append(
                draw_line(ax, curve.lags, line - base, line_style(index), label=leaf, band=band, noise=noise)
            )
        mark_floors(ax, [float(curve.summarised(leaf)[0]) for leaf in names] if relative else [0.0])
        lag_axis(ax)
        ax.set_ylabel(RELATIVE if relative else "log10 gradient norm (decades)")
        said = change(curve.summary(STATE), [str(finding) for finding in curve.non_finite], curve.notes())
        ax.set_title(f"T = {len(curve.lags)}: {said}", loc="left")
        if len(names) > 1 or any(odd):
            legend(ax, title="leaf of the state")
    return ax


def draw_line(
    ax: Axes,
    x: NDArray[np.int64],
    values: Floats,
    style: LineStyle,
    *,
    label: str,
    band: tuple[Floats, Floats] | None = None,
    noise: NDArray[np.bool_] | None = None,
) -> str:
    """One line with its band; a gap where values are not finite, which its label in the legend then says.

    Args:
        x: (K,), lags. values: (K,). band: lower and upper edge, (K,) each.
        noise: (K,), where a value is rounding noise; there the line is dotted and grey.

    Returns:
        `""`, or where the line stops: `zero from lag 12`, `not finite from lag 3`.
    """
    noise = np.zeros(len(x), bool) if noise is None else noise
    stop = gap(np.where(noise, 0.0, values), x)
    odd = ", ".join(filter(None, (stop, noise_words(noise, x))))
    kept = sampled(values, noise)
    x, values, noise = x[kept], values[kept], noise[kept]
    # A line that has no point at some lags has these on its axis all the same.
    ax.update_datalim([(x[0], 0.0), (x[-1], 0.0)], updatey=False)
    finite = np.isfinite(values) & ~noise
    label = f"{label} ({odd})" if odd else label
    parts, _ = named_line(ax, x, np.where(finite, values, np.nan), style, label, markers=8)
    if band is not None:
        some = np.unique(np.linspace(0, len(x) - 1, min(len(x), BAND_LAGS)).round().astype(int))
        low, high = (np.where(finite & np.isfinite(edge[kept]), edge[kept], np.nan)[some] for edge in band)
        ax.fill_between(x[some], low, high, color=style.colour, alpha=0.18, linewidth=0, gid=f"{parts}-band")
    if noise.any():
        reached = noise | np.append(noise[1:], False)  # from the last point that is a value
        drawn: dict[str, Any] = {"color": NOISE_COLOUR, "linestyle": NOISE_DASHES, "label": NOISE_LABEL}
        ax.plot(x, np.where(reached, values, np.nan), gid=f"{parts}-noise", **drawn)
    if odd:
        first = int(np.argmin(finite))
        place = (x[first - 1], values[first - 1]) if first else (x[0], 0.0)
        ax.plot(*place, "x", color=style.colour, markersize=9, markeredgewidth=2, gid=f"{parts}-mark")
    return stop


def named_line(
    ax: Axes, x: ArrayLike, values: ArrayLike, style: LineStyle, label: str, markers: int = 0, **options: Any
) -> tuple[str, Line2D]:
    """A line with a name in the legend, and the prefix of the ids of its parts; a marker at each point if 0."""
    figure = ax.get_figure(root=True)
    panel = figure.axes.index(ax) if figure is not None else 0
    index = sum(not str(line.get_label()).startswith("_") for line in ax.get_lines())
    styled: dict[str, Any] = {"color": style.colour, "linestyle": style.dashes, "marker": style.marker}
    if markers:  # those of lines that coincide stand beside each other
        every = max(1, np.size(x) // markers)
        options["markevery"] = (index * every // 4 % every, every)
    styled |= {"markersize": 4, "gid": f"a{panel}-s{index}-line"}
    (line,) = ax.plot(x, values, label=label, **styled | options)
    return f"a{panel}-s{index}", line


def add_legend(owner: Axes | Figure, *, title: str | None = None, columns: int = 1) -> None:
    """The names of lines below their axes, or below all panels of a figure; each entry has the id of its line."""
    axes = [owner] if isinstance(owner, Axes) else owner.axes
    lines = {str(line.get_label()): line for ax in reversed(axes) for line in reversed(ax.get_lines())}
    named: list[Artist] = [line for name, line in reversed(lines.items()) if not name.startswith("_")]
    if not named:
        return
    place: dict[str, Any] = {"loc": "outside lower left"}
    if isinstance(owner, Axes):
        below = owner.transAxes + ScaledTranslation(0, -0.45, owner.figure.dpi_scale_trans)
        place = {"loc": "upper left", "bbox_to_anchor": (0, 0), "bbox_transform": below}
    found = owner.legend(handles=named, title=title, ncols=columns, **place)
    found.set_alignment("left")
    for line, handle, text in zip(named, found.legend_handles, found.get_texts(), strict=True):
        prefix = str(line.get_gid()).rpartition("-")[0]
        handle.set_gid(f"{prefix}-key")  # type: ignore[union-attr]
        text.set_gid(f"{prefix}-name")


def mark_floors(ax: Axes, levels: Sequence[float]) -> list[float]:
    """Mark where plain float32 underflows, if that is in view; the names stand right of the axes.

    Args:
        ax: axes in decades relative to lag 1.
        levels: log10 norm at lag 1 of each line; the floors are those of the median one.

    Returns:
        The floors that were marked, as log10 of a norm.
    """
    level = float(np.median([level for level in levels if math.isfinite(level)] or [0.0]))
    bottom, top = ax.get_ylim()
    floors = [floor for floor in _FLOORS if floor - level > bottom]
    close = len(floors) == 2 and (NAIVE_FLOOR - FLOAT32_FLOOR) / (top - bottom) < NO_FLOOR_LABEL
    for floor in floors:
        ax.axhline(floor - level, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
        if not close:
            label_level(ax, floor - level, _FLOORS[floor])
    if close:
        label_level(ax, NAIVE_FLOOR - level, "Underflow\nin float32")
    ax.set_ylim(bottom, top)
    return floors


def label_level(ax: Axes, height: float, text: str) -> None:
    """The name of a horizontal line, right of the axes."""
    place: dict[str, Any] = {
        "xycoords": ("axes fraction", "data"),
        "textcoords": "offset points",
        "xytext": (4, 0),
    }
    ax.annotate(
        text, (1.0, height), ha="left", va="center", fontsize=7.5, color=INK, annotation_clip=False, **place
    )
