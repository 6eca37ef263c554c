"""The figures of gradient norm: against lag, and as a map of training step by lag."""

import math
from collections.abc import Sequence
from itertools import chain

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlab.report.data.gaps import view, where
from gradlab.report.data.outcomes import at_steps
from gradlab.report.data.records import ROLES, Record, lags_of, noise_lags, row_of, summarised
from gradlab.report.figures.drawing import (
    LAG,
    NOISE_LABEL,
    RELATIVE,
    Drawing,
    Floats,
    Look,
    draw_line,
    heat_map,
    look,
    mark_floors,
    themed,
    wrapped,
)
from gradlab.report.text.findings import changes, counted, notes_of, overall, title, trail

LEGEND = 6.6
"""Inches of the names in a legend, at the size of titles."""
VIEW = 60.0
"""Decades from lag 1 that axes show at least before a few lines that go further are cut."""
_LOOKS = {"initial": look(0), "worst": Look(look(3).colour, look(1).dashes, "s"), "final": look(2)}


def lag_figure(name: str, groups: Sequence[Sequence[Record]], names: Sequence[str]) -> Drawing:
    """Gradient norm against lag: a panel for each setting of one task and length.

    Args:
        name: of the file. groups: runs of each setting, measured. names: of the settings.
    """
    curves = ["task", "total"] if "total" in groups[0][0].log[0]["curves"] else ["task"]
    panels = [(group, label, curve) for group, label in zip(groups, names, strict=True) for curve in curves]
    columns = 2 if len(curves) == 2 else min(len(panels), 2 if len(panels) <= 4 else 3)
    rows = math.ceil(len(panels) / columns)
    width, height = (7.2, 4.2) if len(panels) == 1 else (5.0, 3.5)
    notes: list[str] = []
    with themed():
        figure = Figure(figsize=(width * columns, height * rows + 0.4 * (len(panels) > 1)), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        levels = [_panel(ax, *panel, width, notes) for ax, panel in zip(axes, panels, strict=False)]
        for spare in axes[len(panels) :]:
            spare.remove()
        notes += _views(axes[: len(panels)], levels)
        config = groups[0][0].config
        heading = f"{config['task']}, T = {config['length']}: {overall(list(chain(*groups)))}"
        if len(panels) > 1:
            figure.suptitle(wrapped(heading, width * columns), x=0.01, ha="left")
    said = [title(group, label) for group, label in zip(groups, names, strict=True)]
    if len(curves) == 2:
        said += [
            f"{label}, total curve: {trail(group, 'total')}" for group, label in zip(groups, names, strict=True)
        ]
    return Drawing(name, figure, heading, _caption(groups, said, notes))


def probe_figure(
    name: str,
    groups: Sequence[Sequence[Record]],
    names: Sequence[str],
    role: str = "initial",
    finding: str | None = None,
) -> Drawing:
    """Gradient norm against lag at one checkpoint: one line for each setting.

    Args:
        name: of the file. groups: runs of each setting of one task and length. names: of the settings.
        role: the checkpoint; probes have the initial one alone. finding: of the heading, instead of all verdicts.
    """
    config = groups[0][0].config
    notes: list[str] = []
    with themed():
        figure = Figure(figsize=(7.2, 4.4 + 0.22 * len(groups)), layout="constrained")
        ax = figure.subplots()
        levels = []
        for index, (group, label) in enumerate(zip(groups, names, strict=True)):
            words = f"{label}: {changes(group, role)}"
            levels += _checkpoint(ax, group, role, "task", look(index), words, notes)
        ax.set_xlabel(LAG)
        ax.set_ylabel(RELATIVE)
        notes += _views([ax], [levels])
        heading = f"{config['task']}, T = {config['length']}{finding or f': {overall(list(chain(*groups)))}'}"
        ax.set_title(wrapped(heading, 6.6), loc="left")
        figure.legend(loc="outside lower center")
    said = [title(group, label) for group, label in zip(groups, names, strict=True)]
    return Drawing(name, figure, heading, _caption(groups, said, notes))


def _panel(
    ax: Axes, group: Sequence[Record], label: str, curve: str, width: float, notes: list[str]
) -> list[float]:
    """Draw the checkpoints of one setting; returns the levels of the lines at lag 1."""
    levels: list[float] = []
    for roles in _distinct(group):
        words = f"{' and '.join(roles)} ({at_steps([record.step(roles[0]) for record in group])})"
        stops: list[str] = []
        levels += _checkpoint(ax, group, roles[0], curve, _LOOKS[roles[0]], words, stops)
        notes += [f"{label}, {curve} curve, {stop}" for stop in stops]
    ax.set_xlabel(LAG)
    ax.set_ylabel(RELATIVE)
    text = title(group, label, curve) if curve == "task" else f"total curve (all outputs): {trail(group, 'total')}"
    ax.set_title(wrapped(text, width - 0.6), loc="left")
    ax.legend()
    return levels


def _checkpoint(
    ax: Axes, group: Sequence[Record], role: str, curve: str, style: Look, words: str, notes: list[str]
) -> list[float]:
    """Draw one checkpoint of one setting, relative to lag 1; returns the level of each seed there."""
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
    kept, said = _averaged(relative, bad)
    if len(group) > 1:
        middle, band = relative[kept].mean(axis=0), (relative[kept].min(axis=0), relative[kept].max(axis=0))
        notes += [f"{words}: {said}"] if said else []
    else:
        low, high = (arrays[0][f"{curve}/state/{name}"][rows[0]][:end] - bases[0] for name in ("q10", "q90"))
        middle, band = relative[0], (low, high)
    unsure = np.asarray(noise[kept].any(axis=0))
    label = wrapped(words, LEGEND)
    stop = draw_line(ax, np.arange(1, len(middle) + 1), middle, style, label=label, band=band, noise=unsure)
    notes += [f"{words}: {stop}"] if stop else []
    notes += [f"{words}: {note}" for note in notes_of(group, role, curve)]
    return bases


def _averaged(relative: Floats, bad: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], str]:
    """The seeds (S,) whose mean is drawn, and which others there are: not finite, or zero at some lag.

    Seeds that are zero are drawn where there are no others.
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
    single = "Line: typical over examples (the median where some are zero), band: 10-90 % of examples"
    many = "Line: mean over seeds of typical curves, band: their range over seeds"
    bands = single if counts == {1} else many if 1 not in counts else f"One seed: {single}. Several: {many}"
    listed = [text if text.endswith(".") else f"{text}." for text in (*said, bands, *notes)]
    return " ".join(listed)


def heat_figure(name: str, record: Record, label: str) -> Drawing:
    """The task curve of one run as a map of training step by lag."""
    arrays = record.arrays()
    steps, rows = np.unique(arrays["step"], return_index=True)
    curves = np.stack([summarised(arrays, row) for row in rows])
    noise = np.stack([noise_lags(arrays, int(row)) for row in rows])
    there = np.arange(curves.shape[1]) < np.array([[lags_of(arrays, int(row))] for row in rows])
    with np.errstate(invalid="ignore"):
        values = curves - np.where(np.isfinite(curves[:, :1]), curves[:, :1], 0.0)
    heading = f"{title([record], label)} (seed {record.seed})"
    with themed():
        figure = Figure(figsize=(7.2, 1.8 + 0.27 * len(steps)), layout="constrained")
        ax = figure.subplots()
        heat_map(ax, values, steps.tolist(), "decades from lag 1", noise)
        ax.set_title(wrapped(heading, 6.6), loc="left")
    return Drawing(name, figure, heading, f"{heading}. {_lost(values, noise, there, steps.tolist())}")


def _lost(values: Floats, noise: NDArray[np.bool_], there: NDArray[np.bool_], steps: Sequence[int]) -> str:
    """Caption of a map: its range, and what is grey; `there` are the lags that a curve has."""
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
