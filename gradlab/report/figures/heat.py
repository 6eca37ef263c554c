"""Maps of training step by lag."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gradlab.report.data.gaps import where
from gradlab.report.data.records import Record, lags_of, noise_lags, summarised
from gradlab.report.figures.drawing import Drawing, Floats, panels, run_choices, themed
from gradlab.report.figures.ticks import LAG
from gradlab.report.figures.training import draw_losses
from gradlab.report.text.findings import title

NAMED_ROWS = 24
"""A map with more rows than this names some of them only."""
PALE = "#e4e4e4"


def heat_map(
    figure: Figure, ax: Axes, values: Floats, steps: Sequence[int], noise: NDArray[np.bool_] | None = None
) -> None:
    """Training step by lag in colour; grey where a value is zero or not finite, pale where it is rounding noise.

    Args:
        values: (steps, lags), decades from lag 1. steps: the training steps.
        noise: (steps, lags), where a value is rounding noise.
    """
    noise = np.zeros(values.shape, bool) if noise is None else noise
    finite = np.isfinite(values) & ~noise
    shown = values[finite] if finite.any() else np.zeros(1)
    named = math.ceil(len(steps) / NAMED_ROWS)
    ax.set_facecolor("#bbbbbb")
    low, high = float(shown.min()), float(max(shown.max(), shown.min() + 1e-9))
    mesh = ax.pcolormesh(np.ma.array(values, mask=~finite), cmap="viridis", vmin=low, vmax=high)
    mesh.set_rasterized(True)
    bar = figure.colorbar(mesh, ax=ax, label="decades from lag 1", pad=0.02, aspect=24)
    bar.ax.tick_params(length=3, width=0.8, color="#888888")
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(6)
    bar.update_ticks()
    ax.grid(False)
    ax.invert_yaxis()
    names = [f"{step:,}" if row % named == 0 else "" for row, step in enumerate(steps)]
    ax.set_yticks(np.arange(len(steps)) + 0.5, names)
    for row, flags in enumerate(noise):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            ax.add_patch(Rectangle((first, row), last - first, 1, facecolor=PALE, edgecolor="none"))
    lags = values.shape[1]
    nice = MaxNLocator(6, steps=[1, 2, 5, 10], integer=True).tick_values(1, lags)
    ticks = [1, *(int(tick) for tick in nice if 2 < tick <= lags)]
    ax.set_xticks([tick - 0.5 for tick in ticks], [str(tick) for tick in ticks])
    ax.set_xlabel(LAG)
    ax.set_ylabel("training step")


@themed()
def heat_figure(name: str, record: Record, label: str, *, loss: bool = False) -> Drawing:
    """The task curve of one run as a map of training step by lag, with the loss beside it if asked for."""
    arrays = record.arrays()
    steps, rows = np.unique(arrays["step"], return_index=True)
    curves = np.stack([summarised(arrays, row) for row in rows])
    noise = np.stack([noise_lags(arrays, int(row)) for row in rows])
    there = np.arange(curves.shape[1]) < np.array([[lags_of(arrays, int(row))] for row in rows])
    with np.errstate(invalid="ignore"):
        values = curves - np.where(np.isfinite(curves[:, :1]), curves[:, :1], 0.0)
    heading = f"{title([record], label)} (seed {record.seed})"
    height = 1.8 + 0.27 * len(steps)
    if loss:
        options = {"width_ratios": [1.5, 1]}
        figure, (ax, beside) = panels(1, 2, (5.2, min(max(height, 3.4), 4.6)), heading, **options)
        draw_losses(beside, [[record]], [label])
        beside.set_title("loss", loc="left")
    else:
        figure, (ax,) = panels(1, 1, (7.2, height), heading)
    heat_map(figure, ax, values, steps.tolist(), noise)
    ax.set_title("change in gradient norm relative to lag 1", loc="left")
    caption = f"{heading}. {_map_caption(values, noise, there, steps.tolist())}"
    return Drawing(name, figure, heading, caption, "runs", run_choices(record, label, "map"))


def heat_with_loss(name: str, record: Record, label: str) -> Drawing:
    """The map with the loss beside it."""
    return heat_figure(name, record, label, loss=True)


def _map_caption(values: Floats, noise: NDArray[np.bool_], there: NDArray[np.bool_], steps: Sequence[int]) -> str:
    """Range of a map, and what is grey; `there` are the lags that a curve has."""
    finite, lags = np.isfinite(values), np.arange(1, values.shape[1] + 1)
    text = "Each row is a checkpoint, each column a lag, colour is decades from lag 1"
    if (finite & ~noise).any():
        shown = values[finite & ~noise]
        text += f", from {shown.min():.1f} to {shown.max():+.1f}"
    for name, flags in (
        ("Grey (zero or not finite)", ~finite & ~noise & there),
        ("Pale grey (rounding noise)", noise),
    ):
        rows = filter(None, (where(row, lags, f"{step:,}") for step, row in zip(steps, flags, strict=True)))
        text += f". {name}: training step {', '.join(rows)}" if flags.any() else ""
    return f"{text}."
