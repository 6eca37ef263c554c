"""One picture: how long a training step of the others takes, in training steps of gradlab."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.style import context

from bench import training
from bench.contenders import OURS
from bench.rows import Row, select
from bench.targets import AUGMENTED, GROUPS, LOOP, PLAIN

SERIES = {
    PLAIN: ("torch nn.*, the better of 1 and 2 threads: no norms", "o"),
    LOOP: ("torch loop + retain_grad: norms of h", "s"),
    AUGMENTED: ("torch augmented input: norms of h", "^"),
    "naive JAX scan + taps": ("naive JAX scan: all norms", "D"),
    "flax nnx.RNN": ("flax nnx.RNN: no norms", "v"),
    "equinox scan": ("equinox scan: no norms", "P"),
}
COLOURS = sns.color_palette("colorblind")
SPREAD = 0.5
"""Of a line's height, what its points are spread over."""
TICKS = (0.5, 1, 2, 3, 5, 10, 20, 30)
NAMES = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN (tanh)"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gradlab",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
}


def plot(rows: Sequence[Row], path: Path) -> None:
    """Write the picture as SVG."""
    timed = select(rows, training.SECTION, contender=OURS.name)
    cells = [cell for cell in NAMES if any(row.cell == cell for row in timed)]
    sizes = list(dict.fromkeys(row.size for row in timed))
    with sns.axes_style("whitegrid"), context(STYLE):
        figure = Figure(figsize=(9.2, 4.4))
        axes = figure.subplots(1, len(cells), sharey=True, squeeze=False)
        for panel, cell in zip(axes[0], cells, strict=True):
            _panel(panel, cell, [row for row in rows if row.cell == cell], sizes)
        handles = {h.get_label(): h for panel in axes[0] for h in panel.get_legend_handles_labels()[0]}
        figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=2, frameon=False, fontsize=8.5)
        title = "Time of one training step, as a multiple of gradlab's while gradlab measures every state"
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        figure.subplots_adjust(left=0.185, right=0.985, top=0.86, bottom=0.32, wspace=0.06)
        figure.supxlabel("times as long as gradlab (right of the line: slower than gradlab)", y=0.2, fontsize=9)
        figure.savefig(path, metadata={"Date": None}, facecolor="white")


def _panel(axes: Any, cell: str, rows: Sequence[Row], sizes: Sequence[Any]) -> None:
    for place, (name, (label, marker)) in enumerate(SERIES.items()):
        # One below the other, so that equal times do not hide each other.
        offset = SPREAD * (place / (len(SERIES) - 1) - 0.5)
        points = [(row.ratio, sizes.index(row.size) + offset) for row in _of(rows, name) if row.size in sizes]
        if points:
            axes.scatter(
                *zip(*points, strict=True), s=30, marker=marker, color=COLOURS[place], label=label, zorder=3
            )
    axes.axvline(1, color="#333333", linewidth=1.4, zorder=2)
    axes.set(xscale="log", xlim=(0.5, 40), ylim=(len(sizes) - 0.5, -0.5))
    axes.set_title(NAMES[cell], loc="left", fontsize=9.5)
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.minorticks_off()
    axes.set_yticks(range(len(sizes)), [f"T={t}, H={h}, B={b}" for t, h, b in sizes])


def _of(rows: Sequence[Row], name: str) -> list[Row]:
    section = training.TARGETS if name in GROUPS else training.SECTION
    return select(rows, section, contender=name)
