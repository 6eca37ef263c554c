"""Maps of training step by lag."""

import math
from collections.abc import Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gradlab.report.figures.drawing import LAG, Floats

NAMED_ROWS = 24
"""A map with more rows than this names some of them only."""
PALE = "#e4e4e4"


def heat_map(ax: Axes, values: Floats, steps: Sequence[int], noise: NDArray[np.bool_] | None = None) -> None:
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
    sns.heatmap(
        np.where(finite, values, 0.0),
        ax=ax,
        mask=~finite,
        cmap="viridis",
        vmin=float(shown.min()),
        vmax=float(max(shown.max(), shown.min() + 1e-9)),
        rasterized=True,
        cbar_kws={"label": "decades from lag 1", "pad": 0.02, "aspect": 24},
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
