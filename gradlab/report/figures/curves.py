"""The figures of gradient norm against lag, and as a map of training step by lag."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlab.report.data.counts import counted
from gradlab.report.data.gaps import view, where
from gradlab.report.data.records import ROLES, Record, lags_of, noise_lags, row_of, summarised
from gradlab.report.figures.drawing import (
    LAG,
    NOISE_LABEL,
    RELATIVE,
    Drawing,
    Floats,
    LineStyle,
    add_legend,
    draw_line,
    line_style,
    mark_floors,
    panels,
    run_choices,
    themed,
    wrapped,
)
from gradlab.report.figures.heat import heat_map
from gradlab.report.figures.training import draw_losses
from gradlab.report.text.findings import changes, notes_of, overall, title, trail
from gradlab.report.text.outcomes import at_steps

VIEW = 60.0
"""Decades from lag 1 that axes show at least before a few lines that go further are cut."""
BAND_ROOM = 2.0
"""Axes grow by at most this factor of what the lines need so that a band is whole."""
_STYLES = dict(zip(ROLES, (line_style(0), line_style(3)._replace(marker="s"), line_style(2)), strict=True))
_BANDS = "Line: typical over examples (the median where some are zero), band: 10-90 % of examples"
_SEED_BANDS = "Line: mean over seeds of typical curves, band: their range over seeds"


@themed()
def lag_figure(name: str, groups: Sequence[Sequence[Record]], names: Sequence[str]) -> Drawing:
    """Gradient norm against lag: a panel for each setting of one task and length, a line for each checkpoint.

    Args:
        name: of the file. groups: runs of each setting, measured. names: of the settings.
    """
    curves = ["task", "total"] if "total" in groups[0][0].log[0]["curves"] else ["task"]
    shown = [(group, label, curve) for group, label in zip(groups, names, strict=True) for curve in curves]
    columns = 2 if len(curves) == 2 else min(len(shown), 2 if len(shown) <= 4 else 3)
    width, height = (7.2, 4.6) if len(shown) == 1 else (4.8, 4.0)
    heading = _heading(groups)
    figure, axes = panels(math.ceil(len(shown) / columns), columns, (width, height), heading)
    levels, notes = [], []
    for ax, (group, label, curve) in zip(axes, shown, strict=False):
        levels.append([])
        for roles in _distinct(group):
            words = f"{' and '.join(roles)} ({at_steps([record.step(roles[0]) for record in group])})"
            found, odd = _checkpoint(ax, group, roles[0], curve, _STYLES[roles[0]], words)
            levels[-1] += found
            notes += [f"{label}, {curve} curve, {text}" for text in odd]
        _finish(ax, label if curve == "task" else f"{label}, total gradient (all outputs)")
    for spare in axes[len(shown) :]:
        spare.remove()
    said = [title(group, label) for group, label in zip(groups, names, strict=True)]
    if len(curves) == 2:
        said += [
            f"{label}, total curve: {trail(group, 'total')}" for group, label in zip(groups, names, strict=True)
        ]
    notes += _views(axes[: len(shown)], levels)
    return Drawing(name, figure, heading, _caption(groups, said, notes), choices=_choices(groups, "each setting"))


@themed()
def checkpoint_figure(
    name: str,
    groups: Sequence[Sequence[Record]],
    names: Sequence[str],
    roles: Sequence[str] = ("initial",),
    finding: str | None = None,
) -> Drawing:
    """Gradient norm against lag: a panel for each checkpoint, a line for each setting of one task and length.

    Args:
        name: of the file. groups: runs of each setting, measured. names: of the settings.
        roles: the checkpoints; probes have the initial one alone. finding: of the heading, instead of all verdicts.
    """
    heading = _heading(groups, finding)
    width, height = (7.2, 4.2) if len(roles) == 1 else (5.2, 3.6)
    figure, axes = panels(1, len(roles), (width, height + 0.24 * len(groups)), heading)
    levels, notes = [], []
    for ax, role in zip(axes, roles, strict=True):
        levels.append([])
        for index, (group, label) in enumerate(zip(groups, names, strict=True)):
            words = f"{label}: {changes(group, role)}"
            found, odd = _checkpoint(ax, group, role, "task", line_style(index), wrapped(words, width - 0.8))
            levels[-1] += found
            notes += odd
        _finish(ax, {"initial": "at initialisation", "final": "at the end of training"}.get(role, role))
    notes += _views(axes, levels)
    said = [title(group, label) for group, label in zip(groups, names, strict=True)]
    return Drawing(
        name, figure, heading, _caption(groups, said, notes), choices=_choices(groups, "settings together")
    )


def _heading(groups: Sequence[Sequence[Record]], finding: str | None = None) -> str:
    config = groups[0][0].config
    return f"{config['task']}, T = {config['length']}{finding or f': {overall(list(chain(*groups)))}'}"


def _choices(groups: Sequence[Sequence[Record]], shown: str) -> Mapping[str, str]:
    config = groups[0][0].config
    return {"Task": str(config["task"]), "Length T": str(config["length"]), "Show": shown}


def _finish(ax: Axes, label: str) -> None:
    ax.set_xlabel(LAG)
    ax.set_ylabel(RELATIVE)
    ax.set_title(wrapped(label, 4.4), loc="left")
    add_legend(ax)


def _checkpoint(
    ax: Axes, group: Sequence[Record], role: str, curve: str, style: LineStyle, words: str
) -> tuple[list[float], list[str]]:
    """Draw one checkpoint of one setting, relative to lag 1; returns the level of each seed there, and notes."""
    group = counted(group, role)
    arrays = [record.arrays() for record in group]
    rows = [row_of(each, record.step(role)) for each, record in zip(arrays, group, strict=True)]
    # Where sequences differ in length, what is drawn of several seeds are the lags that each of them has.
    end = min(lags_of(each, row, curve) for each, row in zip(arrays, rows, strict=True))
    lines = [summarised(each, row, curve)[:end] for each, row in zip(arrays, rows, strict=True)]
    bases = [float(line[0]) if math.isfinite(line[0]) else 0.0 for line in lines]
    relative = np.stack([line - base for line, base in zip(lines, bases, strict=True)])
    noise = np.stack([noise_lags(each, row, curve)[:end] for each, row in zip(arrays, rows, strict=True)])
    # A zero behind a forward pass that is not finite is no vanishing gradient.
    bad = np.array([record.summary(role, curve).verdict.word == "non-finite" for record in group])
    relative = np.where(bad[:, None] & np.isneginf(relative), np.nan, relative)
    kept, left_out = _averaged(relative, bad)
    if len(group) > 1:
        middle, band = relative[kept].mean(axis=0), (relative[kept].min(axis=0), relative[kept].max(axis=0))
    else:
        low, high = (arrays[0][f"{curve}/state/{edge}"][rows[0]][:end] - bases[0] for edge in ("q10", "q90"))
        middle, band, left_out = relative[0], (low, high), ""
    unsure = np.asarray(noise[kept].any(axis=0))
    stop = draw_line(ax, np.arange(1, end + 1), middle, style, label=words, band=band, noise=unsure)
    notes = [*filter(None, (left_out, stop)), *notes_of(group, role, curve)]
    return bases, [f"{' '.join(words.split())}: {note}" for note in notes]


def _averaged(relative: Floats, bad: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], str]:
    """The seeds (S,) whose mean is drawn, and which others there are: not finite, or zero at some lag.

    Seeds that are zero are drawn if there are no others.
    """
    zero = ~bad & np.isneginf(relative).any(axis=1)
    whole = ~bad & ~zero
    kept = whole if whole.any() else zero if zero.any() else bad
    counts = ((zero, "zero at some lag"), (bad, "not finite"))
    odd = [f"{flags.sum()} of {len(flags)} {word}" for flags, word in counts if (flags & ~kept).any()]
    return kept, f"the mean leaves out {', '.join(odd)}" if odd else ""


def _distinct(group: Sequence[Record]) -> list[list[str]]:
    """The roles to draw, those together that are the same checkpoint in every seed."""
    at: dict[tuple[int, ...], list[str]] = {}
    for role in ROLES:
        at.setdefault(tuple(record.step(role) for record in group), []).append(role)
    return list(at.values())


def _views(axes: Sequence[Axes], levels: Sequence[list[float]]) -> list[str]:
    """One range for all panels, cut where a few would flatten the rest; floors where they are in view."""
    lines = [(line, line.get_label() == NOISE_LABEL) for ax in axes for line in ax.get_lines()]
    sure, unsure = (
        [np.asarray(line.get_ydata(), np.float64) for line, noise in lines if noise == wanted]
        for wanted in (False, True)
    )
    low, high = view(np.concatenate([*sure, np.zeros(1)]), np.concatenate([*unsure, np.empty(0)]))
    furthest = [float(np.nanmax(np.abs(each), initial=0.0)) for each in sure]
    cut = max(VIEW, 1.2 * float(np.median(furthest)))
    notes = []
    if max(-low, high) > 2 * cut:
        low, high = max(low, -cut), min(high, cut)
        notes.append(f"The axes end {cut:.0f} decades from lag 1; a curve that leaves them goes on")
    bands = [band for ax in axes for band in ax.collections if isinstance(band, PolyCollection)]
    edges = np.concatenate([np.zeros(1), *(path.vertices[:, 1] for band in bands for path in band.get_paths())])
    room = BAND_ROOM * max(high - low, 1.0)
    low, high = max(min(low, edges.min()), high - room), min(max(high, edges.max()), low + room)
    if edges.min() < low or edges.max() > high:
        notes.append("A band that leaves the axes goes on")
    floors: set[float] = set()
    room = max(0.04 * (high - low), 0.1)
    for ax, at in zip(axes, levels, strict=True):
        ax.set_ylim(low - room, high + room)
        floors |= set(mark_floors(ax, at))
    if floors:
        listed = " and ".join(f"10^{floor:g}" for floor in sorted(floors, reverse=True))
        notes.append(f"Dashed grey: levels ({listed}) below which plain float32 reads 0")
    return notes


def _caption(groups: Sequence[Sequence[Record]], said: Sequence[str], notes: Sequence[str]) -> str:
    counts = {len(group) for group in groups}
    bands = f"One seed: {_BANDS}. Several: {_SEED_BANDS}"
    bands = _BANDS if counts == {1} else _SEED_BANDS if 1 not in counts else bands
    return " ".join(text if text.endswith(".") else f"{text}." for text in (*said, bands, *notes))


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
    figure: Figure
    height = 1.8 + 0.27 * len(steps)
    if loss:
        options = {"width_ratios": [1.5, 1]}
        figure, (ax, beside) = panels(1, 2, (5.2, min(max(height, 3.4), 4.6)), heading, **options)
        draw_losses(beside, [[record]], [label])
        beside.set_title("loss", loc="left")
    else:
        figure, (ax,) = panels(1, 1, (7.2, height), heading)
    heat_map(ax, values, steps.tolist(), noise)
    ax.set_title("change in gradient norm relative to lag 1", loc="left")
    caption = f"{heading}. {_map_caption(values, noise, there, steps.tolist())}"
    return Drawing(name, figure, heading, caption, "runs", run_choices(record, label, "map"))


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
