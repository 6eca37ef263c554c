"""The figure of a claim: what each expectation asks for, and what was seen in every seed."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from gradlab.report.figures.drawing import Drawing, panels, themed
from gradlab.report.figures.save import freeze

_COLOURS = {"holds": "#028a65", "fails": "#c2273d", "undecided": "#c47a00", "not run": "#767676"}
_MOST_ROWS = 40
"""Of a figure; a claim of more settings has them in its table."""


@themed()
def claim_figure(record: Mapping[str, Any]) -> Drawing:
    """A panel for each expectation, a row for each setting: seeds, their mean with its interval, and the bound."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for each in record["expectations"][:_MOST_ROWS]:
        groups.setdefault(each["expected"], []).append(each)
    heading = f"{record['verdict']}: {record['sentence']}"
    rows = [len(group) for group in groups.values()]
    figure, axes = panels(
        len(groups),
        1,
        (8.0, 0.75 + 0.26 * sum(rows) / len(rows)),
        heading,
        height_ratios=[2 + row for row in rows],
    )
    for ax, (expected, group) in zip(axes, groups.items(), strict=True):
        _draw(ax, expected, group)
    return Drawing(record["claim"], figure, heading, heading)


def save_claim_figure(record: Mapping[str, Any], folder: Path) -> Path:
    """Write the figure of a claim as SVG."""
    drawing, path = claim_figure(record), folder / f"{record['claim']}.svg"
    with themed():
        freeze(drawing.figure)
        drawing.figure.savefig(path, metadata={"Date": None})
    return path


def _draw(ax: Axes, expected: str, group: Sequence[Mapping[str, Any]]) -> None:
    value = group[0]["value"]
    if isinstance(value, (list, tuple)):
        ax.axvspan(*value, color="#028a65", alpha=0.12, linewidth=0)
    for bound in value if isinstance(value, (list, tuple)) else (value,):
        ax.axvline(bound, color="#333333", linewidth=1, linestyle="--")
    for at, each in enumerate(group):
        colour = _COLOURS[each["verdict"]]
        seeds = [one for one in each["values"] if math.isfinite(one)]
        ax.plot(seeds, [at] * len(seeds), ".", color=colour, alpha=0.5)
        if math.isfinite(each["low"]) and math.isfinite(each["high"]):
            ax.plot([each["low"], each["high"]], [at, at], color=colour, linewidth=2)
        if math.isfinite(each["mean"]):
            ax.plot(each["mean"], at, "D", color=colour, markersize=4)
    ax.set_yticks(range(len(group)), [each["setting"] or "all runs" for each in group])
    ax.set_ylim(len(group) - 0.5, -0.5)
    ax.set_title(expected, loc="left", fontsize="small")
