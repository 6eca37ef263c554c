"""The files of a figure."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from gradlab.report.figures.drawing import Drawing, themed
from gradlab.report.text.plain import public


def save(drawing: Drawing, folder: Path) -> list[Path]:
    """Write a figure as SVG, the same bytes from the same numbers, and as PNG."""
    paths = [folder / f"{drawing.name}.{suffix}" for suffix in ("svg", "png")]
    with themed():
        freeze(drawing.figure)
        drawing.figure.savefig(paths[0], metadata={"Date": None})
        drawing.figure.savefig(paths[1])
    return paths


def freeze(figure: Figure) -> None:
    """Lay a figure out once, with texts as a page shows them, and round: the solver's last bits differ by call."""
    if figure.get_layout_engine() is None:
        return
    for text in figure.findobj(Text):
        text.set_text(public(text.get_text()))
    lines = [line for ax in figure.axes for line in ax.lines]
    shown = [line.get_visible() for line in lines]
    for line in lines:  # within their axes, so that the layout does not depend on them
        line.set_visible(False)
    for _ in range(2):  # what stands beside axes at a share of their width moves when these are made narrower
        figure.draw_without_rendering()
    for line, visible in zip(lines, shown, strict=True):
        line.set_visible(visible)
    figure.set_layout_engine(None)  # `"none"` would make every file draw once more
    for ax in figure.axes:
        ax.set_position(tuple(np.round(ax.get_position(original=True).bounds, 5)))
