"""The files of a figure."""

import io
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from gradlab.report.figures.drawing import Drawing, themed
from gradlab.report.text.plain import public


def save(drawing: Drawing, folder: Path) -> list[Path]:
    """Write a figure as SVG, the same bytes from the same numbers, and as PNG."""
    paths = [folder / f"{drawing.name}.{suffix}" for suffix in ("svg", "png")]
    paths[0].write_bytes(vector(drawing.figure).encode())
    with themed():
        drawing.figure.savefig(paths[1])
    return paths


def vector(figure: Figure) -> str:
    """The SVG of a figure, which is laid out for good and drawn once, however often this is called."""
    return _drawn(figure)[0]


def below_heading(figure: Figure) -> float:
    """How many points of the top of the same figure are empty when its heading is taken away."""
    return _drawn(figure)[1]


def discard_drawing(figure: Figure) -> None:
    """Draw a figure again when it is asked for next: its lines have changed."""
    _DRAWN.pop(figure, None)


def _drawn(figure: Figure) -> tuple[str, float]:
    if figure not in _DRAWN:
        stream = io.StringIO()
        with themed():
            freeze(figure)
            top = 0.0
            for text in figure.texts:
                if text.get_gid() == "heading":
                    bottom = text.get_window_extent().y0 * 72 / figure.dpi
                    top = float(max(0.0, figure.get_figheight() * 72 - bottom - 4))
            figure.savefig(stream, format="svg", metadata={"Date": None})
        _DRAWN[figure] = stream.getvalue(), top
    return _DRAWN[figure]


_DRAWN: WeakKeyDictionary[Figure, tuple[str, float]] = WeakKeyDictionary()


def freeze(figure: Figure) -> None:
    """Lay a figure out once, with texts as a page shows them, and round: the solver's last bits differ by call."""
    layout = figure.get_layout_engine()
    if layout is None:
        return
    for text in figure.findobj(Text):
        text.set_text(public(text.get_text()))
    for _ in range(2):  # what stands beside axes at a share of their width moves when these are made narrower
        layout.execute(figure)
    figure.set_layout_engine(None)  # with an engine, even one that does nothing, all is drawn twice for each file
    for ax in figure.axes:
        ax.set_position(tuple(np.round(ax.get_position(original=True).bounds, 5)))
