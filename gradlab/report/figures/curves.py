"""The figures of gradient norm against lag, and as a map of training step by lag."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlab.gradient.curve import STATE
from gradlab.report.data.counts import counted
from gradlab.report.data.gaps import view
from gradlab.report.data.records import ROLES, Labelled, Record, lags_of, noise_lags, row_of, summarised
from gradlab.report.figures.drawing import (
    INK,
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
    themed,
    wrapped,
)
from gradlab.report.figures.ticks import lag_axis
from gradlab.report.text.findings import beginning, changes, notes_of, overall, title, trail
from gradlab.report.text.outcomes import at_steps

VIEW = 60.0
"""Decades from lag 1 that axes show at least before a few lines that go further are cut."""
BAND_ROOM = 2.0
"""Axes grow by at most this factor of what the lines need so that a band is whole."""
_STYLES = dict(zip(ROLES, (line_style(0), line_style(3)._replace(marker="s"), line_style(2)), strict=True))
_BANDS = "Line: typical over examples (the median where some are zero), band: 10-90 % of examples"
_SEED_BANDS = "Line: mean over seeds of typical curves, band: their range over seeds"


class CurveLine(NamedTuple):
    """One line: a curve of one setting at a checkpoint.

    Attributes:
        group: its seeds. role: of the checkpoint. curve, leaf: what of it.
        zero: curve whose norm of the whole state at lag 1 is 0, the own leaf's if None.
    """

    group: Sequence[Record]
    role: str
    words: str
    style: LineStyle
    curve: str = "task"
    leaf: str = STATE
    zero: str | None = None


@themed()
def lag_figure(name: str, groups: Sequence[Sequence[Record]], names: Sequence[str]) -> Drawing:
    """Gradient norm against lag: a panel for each setting of one task and length, a line for each checkpoint."""
    curves = ["task", "total"] if "total" in groups[0][0].log[0]["curves"] else ["task"]
    shown: dict[str, list[CurveLine]] = {}
    said = [title(group, label) for group, label in zip(groups, names, strict=True)]
    for group, label in zip(groups, names, strict=True):
        for curve in curves:
            panel = label if curve == "task" else f"{label}, total gradient (all outputs)"
            shown[panel] = [
                CurveLine(group, roles[0], words, _STYLES[roles[0]], curve)
                for roles, words in distinct_roles(group)
            ]
        said += [f"{label}, total curve: {trail(group, 'total')}"] if len(curves) == 2 else []
    columns = 2 if len(curves) == 2 or len(shown) <= 4 else 3
    return _figure(name, groups, shown, min(columns, len(shown)), _heading(groups), said, "each setting")


@themed()
def checkpoint_figure(
    name: str,
    groups: Sequence[Sequence[Record]],
    names: Sequence[str],
    roles: Sequence[str] = ("initial",),
    finding: str | None = None,
    told: bool = False,
) -> Drawing:
    """Gradient norm against lag: a panel for each checkpoint, a line for each setting of one task and length.

    Probes have the initial checkpoint alone; `finding` stands in the heading instead of all verdicts. What each
    setting did is `told` if the caption of another figure beside this one says it.
    """
    shown = {
        {"initial": beginning(chain(*groups)), "final": "at the end of training"}.get(role, role): [
            CurveLine(group, role, f"{label}: {changes(group, role)}", line_style(index))
            for index, (group, label) in enumerate(zip(groups, names, strict=True))
        ]
        for role in roles
    }
    said = [] if told else [title(group, label) for group, label in zip(groups, names, strict=True)]
    return _figure(name, groups, shown, len(roles), _heading(groups, finding), said, "settings together")


def overview_figure(name: str, initial: Labelled, trained: Labelled) -> Drawing:
    """Gradient norm against lag of the settings that a page shows first, each list at one length.

    A panel for each list; where both are the same runs, as `checkpoint_figure` draws them.
    """
    names, groups = zip(*initial, strict=True)
    finding = f": {overall(list(chain(*groups)))}"
    if not trained or initial == trained:
        return checkpoint_figure(name, groups, names, ROLES[:: 2 if trained else 3], finding)
    return _two_lengths(name, initial, trained, finding)


@themed()
def _two_lengths(name: str, initial: Labelled, trained: Labelled, finding: str) -> Drawing:
    known = list(dict.fromkeys(label for label, _ in (*initial, *trained)))
    shown = {
        f"{when}, T = {series[0][1][0].config['length']:,}": [
            CurveLine(group, role, f"{label}: {changes(group, role)}", line_style(known.index(label)))
            for label, group in series
        ]
        for when, role, series in (
            ("at initialisation", "initial", initial),
            ("at the end of training", "final", trained),
        )
    }
    said = [title(group, label) for label, group in trained]
    return _figure(
        name, [group for _, group in initial], shown, 2, _heading(initial[0][1:], finding), said, "first"
    )


def _figure(
    name: str,
    groups: Sequence[Sequence[Record]],
    shown: Mapping[str, Sequence[CurveLine]],
    columns: int,
    heading: str,
    said: Sequence[str],
    choice: str,
) -> Drawing:
    figure, notes = draw_panels(heading, shown, columns)
    config = groups[0][0].config
    choices = {"Task": str(config["task"]), "Length T": str(config["length"]), "Show": choice}
    return Drawing(name, figure, heading, caption(groups, said, notes), choices=choices)


def draw_panels(
    heading: str, shown: Mapping[str, Sequence[CurveLine]], columns: int, y_name: str = RELATIVE
) -> tuple[Figure, list[str]]:
    """A panel for each title in `shown` with its lines, all of one range; and notes on them."""
    width, height = (7.2, 4.2) if len(shown) == 1 else (4.9, 3.5)
    height += 0.2 * max(map(len, shown.values()))
    figure, axes = panels(math.ceil(len(shown) / columns), columns, (width, height), heading)
    levels: list[list[float]] = []
    notes: list[str] = []
    for ax, (label, lines) in zip(axes, shown.items(), strict=False):
        levels.append([])
        for line in lines:
            found, odd = draw_curve(ax, line, width)
            levels[-1] += found
            notes += [f"{label}, {line.words}: {text}" for text in odd]
        lag_axis(ax)
        ax.set_ylabel(y_name)
        ax.set_title(wrapped(label, width - 0.6))
        add_legend(ax)
    for spare in axes[len(shown) :]:
        spare.remove()
    notes += fit_views(axes[: len(shown)], levels)
    return figure, notes + mark_windows(axes, shown.values())


def mark_windows(axes: Sequence[Axes], shown: Iterable[Sequence[CurveLine]]) -> list[str]:
    """Mark the lag up to which truncated training goes back, where it is shorter than the curves."""
    notes: dict[str, None] = {}
    for ax, lines in zip(axes, shown, strict=False):
        for window in {record.run.done.get("window") or 0 for line in lines for record in line.group}:
            if 0 < window < ax.dataLim.x1:
                ax.axvline(window, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
                notes[f"Dotted grey: training goes back {window} timesteps, and cuts the gradient there"] = None
    return list(notes)


def _heading(groups: Sequence[Sequence[Record]], finding: str | None = None) -> str:
    config, lags = groups[0][0].config, groups[0][0].summary("initial").lags
    more = "" if lags == config["length"] else f" ({lags:,} timesteps)"  # as of copy
    return f"{config['task']}, T = {config['length']}{more}{finding or f': {overall(list(chain(*groups)))}'}"


def draw_curve(ax: Axes, line: CurveLine, width: float) -> tuple[list[float], list[str]]:
    """Draw one line; returns the level of each seed at lag 1, and notes."""
    place, group = (line.curve, line.leaf), counted(line.group, line.role)
    arrays = [record.arrays() for record in group]
    rows = [row_of(each, record.step(line.role)) for each, record in zip(arrays, group, strict=True)]
    pairs = list(zip(arrays, rows, strict=True))
    # Where sequences differ in length, what is drawn of several seeds are the lags that each of them has.
    end = min(lags_of(each, row, line.curve) for each, row in pairs)
    norms = np.stack([summarised(each, row, *place)[:end] for each, row in pairs])
    zero = (line.zero, STATE) if line.zero else place
    levels = np.array([summarised(each, row, *zero)[0] for each, row in pairs])
    levels = np.where(np.isfinite(levels), levels, 0.0)
    relative = norms - levels[:, None]
    # A zero behind a forward pass that is not finite is no vanishing gradient.
    bad = np.array([record.summary(line.role, *place).verdict.word == "non-finite" for record in group])
    relative = np.where(bad[:, None] & np.isneginf(relative), np.nan, relative)
    kept, left_out = _averaged(relative, bad)
    if len(group) > 1:
        middle, band = relative[kept].mean(axis=0), (relative[kept].min(axis=0), relative[kept].max(axis=0))
    else:
        low, high = (arrays[0][f"{'/'.join(place)}/{edge}"][rows[0]][:end] - levels[0] for edge in ("q10", "q90"))
        middle, band, left_out = relative[0], (low, high), ""
    noise = np.stack([noise_lags(each, row, *place)[:end] for each, row in pairs])
    unsure = np.asarray(noise[kept].any(axis=0))
    label = wrapped(line.words, width - 0.8)
    stop = draw_line(ax, np.arange(1, end + 1), middle, line.style, label=label, band=band, noise=unsure)
    return levels.tolist(), [*filter(None, (left_out, stop)), *notes_of(group, line.role, line.curve)]


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


def distinct_roles(group: Sequence[Record]) -> list[tuple[list[str], str]]:
    """The roles to draw and their words, those together that are the same checkpoint in every seed."""
    at: dict[tuple[int, ...], list[str]] = {}
    for role in ROLES:
        at.setdefault(tuple(record.step(role) for record in group), []).append(role)
    if len(at) == 1:
        return [(roles, at_steps(steps)) for steps, roles in at.items()]
    return [(roles, f"{' and '.join(roles)} ({at_steps(steps)})") for steps, roles in at.items()]


def fit_views(axes: Sequence[Axes], levels: Sequence[list[float]]) -> list[str]:
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
    corners = [np.asarray(path.vertices)[:, 1] for band in bands for path in band.get_paths()]
    edges = np.concatenate([np.zeros(1), *corners])
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
        notes.append(f"Dotted: underflow in float32, which reads 0 below these levels ({listed})")
    return notes


def caption(groups: Sequence[Sequence[Record]], said: Sequence[str], notes: Sequence[str]) -> str:
    """The sentences of a caption: findings, what lines and bands are, notes."""
    counts = {len(group) for group in groups}
    bands = f"One seed: {_BANDS}. Several: {_SEED_BANDS}"
    bands = _BANDS if counts == {1} else _SEED_BANDS if 1 not in counts else bands
    return " ".join(text if text.endswith(".") else f"{text}." for text in (*said, bands, *notes))
