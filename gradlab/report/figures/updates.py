"""The figure of what the optimiser was given: the norm of the weights' gradient, and how often it was clipped."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from gradlab.report.data.records import Record
from gradlab.report.figures.drawing import (
    INK,
    Drawing,
    Floats,
    add_legend,
    label_level,
    line_style,
    named_line,
    panels,
    themed,
    wrapped,
)
from gradlab.report.figures.training import stretches

NORM, CLIPPED = "trace/log10_grad_norm", "trace/clipped"
_ABOUT = (
    "Left: log10 norm of the gradient of all weights, before clipping. Right: the share that was clipped, of "
    "training steps (clip by norm) or of entries (by value). Each point is the mean of a stretch of training "
    "steps, left out where a value of it is zero or not finite"
)


@themed()
def updates_figure(name: str, groups: Sequence[Sequence[Record]], names: Sequence[str]) -> Drawing | None:
    """The norm of the weights' gradient and the share of clipped training steps, a line for each setting.

    None where no run recorded them, or no training step was done.
    """
    found = [
        (label, group, [_traces(record) for record in group if len(_trace(record, NORM))])
        for group, label in zip(groups, names, strict=True)
    ]
    shown = [(label, group, traces) for label, group, traces in found if traces]
    if not shown:
        return None
    config = shown[0][1][0].config
    shares = [_share([clipped for _, clipped in traces]) for _, _, traces in shown]
    bounds = {str(group[0].config["clip"]) for _, group, _ in shown}
    heading = f"{config['task']}, T = {config['length']}: {_clipping(shares, bounds)}"
    figure, (left, right) = panels(1, 2, (5.2, 3.4 + 0.2 * len(shown)), heading)
    for index, (label, _, traces) in enumerate(shown):
        for ax, some in zip((left, right), zip(*traces, strict=True), strict=True):
            _draw(ax, some, index, label)
    left.set_ylabel("gradient norm of the weights\n(log10)")
    right.set_ylabel("share clipped")
    right.set_ylim(-0.03, 1.03)
    right.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    for ax in (left, right):
        ax.set_xlabel("training step")
    kind, _, bound = next(iter(bounds)).partition(":")
    if len(bounds) == 1 and kind == "norm":
        left.axhline(math.log10(float(bound)), color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        label_level(left, math.log10(float(bound)), f"clip\n{float(bound):g}")
    add_legend(figure)
    said = [f"{label}: {_percent(share)} clipped" for (label, _, _), share in zip(shown, shares, strict=True)]
    said = said if len(shown) > 1 else []  # that of one setting is the heading
    choices = {"Task": str(config["task"]), "Length T": str(config["length"])}
    return Drawing(name, figure, heading, f"{'. '.join([*said, _ABOUT])}.", "training", choices)


def _trace(record: Record, name: str) -> Floats:
    return np.asarray(record.arrays().get(name, ()), np.float64)


def _traces(record: Record) -> tuple[Floats, Floats]:
    return _trace(record, NORM), _trace(record, CLIPPED)


def _draw(ax: Axes, traces: Sequence[Floats], index: int, label: str) -> None:
    """The median over seeds of the means of stretches, and their range."""
    steps, means = stretches([np.where(np.isfinite(trace), trace, np.nan) for trace in traces])
    known = np.isfinite(means).any(axis=0)
    if not known.any():
        return
    steps, means, style = steps[known], means[:, known], line_style(index)
    parts, _ = named_line(ax, steps, np.nanmedian(means, axis=0), style, wrapped(label, 6.0), 7, linewidth=1.4)
    if len(traces) > 1:
        low, high = np.nanmin(means, axis=0), np.nanmax(means, axis=0)
        ax.fill_between(steps, low, high, color=style.colour, alpha=0.15, linewidth=0, gid=f"{parts}-band")


def _share(clipped: Sequence[Floats]) -> float:
    """What share was clipped, over all training steps of all seeds whose gradient was finite."""
    known = np.concatenate(clipped)
    return float(known[np.isfinite(known)].mean()) if np.isfinite(known).any() else 0.0


def _clipping(shares: Sequence[float], bounds: Iterable[str]) -> str:
    """`the gradient was clipped in 3 % to 40 % of training steps`."""
    low, high = _percent(min(shares)), _percent(max(shares))
    if max(shares) == 0:
        return "the gradient of the weights was never clipped"
    of = "entries" if all(bound.startswith("value") for bound in bounds) else "training steps"
    return f"the gradient of the weights was clipped in {low if low == high else f'{low} to {high}'} of {of}"


def _percent(share: float) -> str:
    return "0 %" if share == 0 else "less than 1 %" if share < 0.01 else f"{100 * share:.0f} %"
