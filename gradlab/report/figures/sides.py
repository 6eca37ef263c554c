"""The gradient at the inputs of cells and networks on the same axes, and both sides of a bidirectional network."""

from collections.abc import Sequence

from gradlab.gradient.curve import STATE
from gradlab.report.data.records import Record, leaves_of
from gradlab.report.figures.curves import CurveLine, draw_panels
from gradlab.report.figures.drawing import Drawing, line_style, run_choices, themed
from gradlab.report.figures.ticks import LAG
from gradlab.report.text.findings import beginning, changes, when

_INPUT = "x"
_FUTURE = "_future"
_RELATIVE = "gradient norm at the input relative\nto that of its lag 1 (decades)"
_SIDE = "gradient norm relative to the state's\nat lag 1 of the past (decades)"


@themed()
def inputs_figure(name: str, groups: Sequence[Sequence[Record]], names: Sequence[str]) -> Drawing | None:
    """|dL/dx| by lag, a line for each setting of a task and length; None where none has a state beside it."""
    pairs = [(group, label) for group, label in zip(groups, names, strict=True) if _INPUT in _leaves(group)]
    if not any(len(_leaves(group)) > 2 for group, _ in pairs):
        return None
    config = pairs[0][0][0].config
    said = [
        f"{label}: {changes(group, role, 'task', _INPUT)} {when(group, role)}"
        for group, label in pairs
        for role in _roles(group)
    ]
    shown = {
        beginning(record for group, _ in pairs for record in group)
        if role == "initial"
        else "at the end of training": [
            CurveLine(
                group, role, f"{label}: {changes(group, role, 'task', _INPUT)}", line_style(index), leaf=_INPUT
            )
            for index, (group, label) in enumerate(pairs)
        ]
        for role in _roles(pairs[0][0])
    }
    heading = f"{config['task']}, T = {config['length']}: the gradient at the inputs, x"
    figure, notes = draw_panels(heading, shown, len(shown), _RELATIVE)
    about = "Lag k is the input that enters the same timestep as the state of that lag"
    caption = ". ".join([f"{heading}. {about}", *said, *notes]) + "."
    choices = {"Task": str(config["task"]), "Length T": str(config["length"]), "Show": "inputs"}
    return Drawing(name, figure, heading, caption, choices=choices)


@themed()
def sides_figure(name: str, group: Sequence[Record], label: str) -> Drawing | None:
    """Every leaf on the past and future side of a bidirectional network; None where the future is a timestep."""
    first = group[0].log[0]["curves"]
    curves = [
        curve for curve in ("task", "total") if first.get(curve + _FUTURE, {STATE: {"lags": 1}})[STATE]["lags"] > 1
    ]
    if not curves:
        return None
    curve, config = curves[0], group[0].config
    sides = {"past": curve, "future": curve + _FUTURE}
    leaves = list(dict.fromkeys(leaf for side in sides.values() for leaf in leaves_of(group[0].arrays(), side)))
    styles = {leaf: line_style(index) for index, leaf in enumerate(leaf for leaf in leaves if leaf != STATE)}
    shown = {
        f"{side} side {when(group, role)}": [
            CurveLine(group, role, leaf, styles[leaf], stored, leaf, curve)
            for leaf in leaves_of(group[0].arrays(), stored)
            if leaf != STATE
        ]
        for role in _roles(group)
        for side, stored in sides.items()
    }
    said = "; ".join(
        f"{changes(group, 'initial', stored)} on the side of the {side}" for side, stored in sides.items()
    )
    which = " of the total curve" if curve == "total" else ""
    heading = f"{label}, T = {config['length']}, {when(group, 'initial')}: {said}{which}"
    figure, notes = draw_panels(heading, shown, 2, _SIDE)
    for past, future in zip(figure.axes[::2], figure.axes[1::2], strict=True):
        past.invert_xaxis()
        future.set_xlabel(LAG.replace("before", "after"))
    about = (
        "Left, lags count back from the last output that the loss reads; right, on from the first one. Each leaf "
        "is a state of a direction, or x, the input, where it enters that timestep"
    )
    caption = ". ".join([heading, about, *notes]) + "."
    return Drawing(name, figure, heading, caption, "runs", run_choices(group[0], label, "past and future"))


def _leaves(group: Sequence[Record]) -> list[str]:
    return leaves_of(group[0].arrays(), "task")


def _roles(group: Sequence[Record]) -> list[str]:
    return ["initial", "final"] if group[0].trained else ["initial"]
