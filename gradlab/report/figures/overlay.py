"""New curves over those of a baseline, for a change that the gate has found."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from gradlab.errors import GradlabError
from gradlab.judge.statistics import difference
from gradlab.report.figures.drawing import INK, Drawing, add_legend, draw_line, line_style, panels, themed
from gradlab.report.figures.save import save
from gradlab.report.figures.ticks import lag_axis

Floats = NDArray[np.float64]


class Pair(NamedTuple):
    """What one column shows: curves (S, K) of the baseline and new ones at lags (K,).

    Attributes:
        tolerance: (K,), decades by which a seed may move.
        lag: the one that is marked.
    """

    lags: list[int]
    before: Floats
    after: Floats
    tolerance: Floats
    lag: int | None = None


def draw_overlay(folder: Path, name: str, heading: str, columns: Mapping[str, Pair]) -> list[Path]:
    """Write `<name>.svg` and `<name>.png`: baseline and new curves over each other, below them their difference.

    Args:
        folder: made where it is missing. heading: what changed.
        columns: by title, such as `at initialisation`.

    Returns:
        The paths of both.

    Raises:
        GradlabError: the folder cannot be written.
    """
    with themed():
        figure, axes = panels(2, len(columns), (5.2, 3.8), heading)
        halves = axes[: len(columns)], axes[len(columns) :]
        for top, bottom, (title, pair) in zip(*halves, columns.items(), strict=True):
            _draw_curves(top, np.array(pair.lags), pair)
            _draw_shifts(bottom, np.array(pair.lags), pair)
            top.set_title(title, loc="left")
            for ax in (top, bottom):
                lag_axis(ax)
                if pair.lag is not None:
                    ax.axvline(pair.lag, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return save(Drawing(_file_name(name), figure, heading, heading), folder)
    except OSError as error:
        raise GradlabError(f"{folder} cannot be written: {error.strerror}") from error


def _draw_curves(ax: Axes, lags: NDArray[np.int64], pair: Pair) -> None:
    for index, (label, curves) in enumerate((("baseline", pair.before), ("now", pair.after))):
        draw_line(ax, lags, np.median(curves, axis=0), line_style(index), label=label, band=_range(curves))
    ax.set_ylabel("log10 gradient norm (decades)")
    add_legend(ax, title="median and range over seeds")


def _draw_shifts(ax: Axes, lags: NDArray[np.int64], pair: Pair) -> None:
    shifts = difference(pair.before, pair.after)  # no shift where both are zero
    draw_line(ax, lags, np.median(shifts, axis=0), line_style(1), label="now - baseline", band=_range(shifts))
    for sign in (-1, 1):
        ax.plot(lags, sign * pair.tolerance, color=INK, linewidth=0.9, linestyle=(0, (5, 2)))
    ax.set_ylabel("decades of one seed from its baseline")
    add_legend(ax, title="dashed: tolerance")


def _range(curves: Floats) -> tuple[Floats, Floats]:
    """Lowest and highest finite value at each lag; infinities where there is none, which are not drawn."""
    low = np.where(np.isfinite(curves), curves, np.inf).min(axis=0)
    return low, np.where(np.isfinite(curves), curves, -np.inf).max(axis=0)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._=-" else "-" for letter in name)
