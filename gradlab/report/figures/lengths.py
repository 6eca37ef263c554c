"""The figures of lengths: to which T the task is solved, and how the gradient depends on T."""

from collections.abc import Sequence

from gradlab.gradient.summary import THRESHOLD
from gradlab.report.data.counts import by_length, held, longest_passing, passed, seeds_of, solved
from gradlab.report.data.records import Record, labelled
from gradlab.report.figures.drawing import Drawing, add_legend, line_style, panels, themed
from gradlab.report.figures.length_axes import (
    HALF_LIFE,
    HORIZON,
    SLOPE,
    SPAN,
    LengthLine,
    draw_numbers,
    draw_solved,
)
from gradlab.report.text.length_limit import briefly, in_every_seed
from gradlab.report.text.terms import tuning_clause
from gradlab.runs.labels import listed

MOST_NAMED = 4
"""Settings that a title names; with more it counts them."""
_GUIDE = (
    f"Thin dotted line: the gradient falls in a straight line and loses {THRESHOLD:.0f} decades over the length"
)


def lines_of(records: Sequence[Record], most: int) -> list[LengthLine]:
    """A line for each setting of the measured runs of one task."""
    groups = labelled(records, without=["length"])
    return [LengthLine(label, line_style(index), group) for index, (label, group) in enumerate(groups)][:most]


@themed()
def solving_figure(name: str, lines: Sequence[LengthLine], most: int | None = None) -> Drawing:
    """To which length settings solve the task, beside how far their gradient reaches; at most `most` are drawn."""
    task = lines[0].group[0].config["task"]
    heading = f"{task}: {_solvers(lines)}{tuning_clause(line.group for line in lines)}"
    lines = lines[:most]
    figure, (rate, horizon) = panels(1, 2, (5.2, 3.0 + 0.2 * len(lines)), heading)
    draw_solved(rate, lines)
    draw_numbers([horizon], HORIZON, lines, ["initial"], filled=True)
    add_legend(figure)
    about = (
        "Left: share of seeds, bars are the 95 % interval of the probability (Wilson). Right: horizon at "
        "initialisation, the mean over seeds, bars its 95 % interval from 3 seeds on. A marker is full where "
        "every seed solved the task, half where some did, empty where none did"
    )
    caption = ". ".join([heading, *filter(None, map(_solved_at, lines)), about, _GUIDE, *_apart(lines)])
    return Drawing(name, figure, heading, f"{caption}.", "lengths", {"Task": str(task), "Show": "solved"})


def _solved_at(line: LengthLine) -> str:
    """`RNN: solved T = 20 in 3 of 3 (median training step 100), T = 40 in 0 of 3`."""
    found = [row for row in line.rows if "solved" in row]
    counts = [
        f"T = {row['length']:,} in {row['solved']} of {row['runs']}"
        + (f" (median training step {row['median_step_solved']:,.0f})" if row["solved"] else "")
        for row in found
    ]
    return f"{line.label}: solved {', '.join(counts)}" if counts else ""


def _solvers(lines: Sequence[LengthLine]) -> str:
    """`solved in every seed by LSTM up to T = 200, RNN at none`."""
    counts = [(line.label, found) for line in lines if (found := solved(line.group))]
    if not counts:
        return "no run finished"
    every = in_every_seed(found for _, found in counts)
    if len(counts) <= MOST_NAMED:
        alike: dict[str, list[str]] = {}
        for label, each in counts:
            alike.setdefault(briefly(each, "").strip(), []).append(label)
        said = [f"{' and '.join(listed(labels))} {where}" for where, labels in alike.items()]
        return f"solved{every} by {', '.join(said)}"
    anything = sum(any(map(passed, each.values())) for _, each in counts)
    return f"{anything} of {len(counts)} settings solved some length{every}"


@themed()
def lengths_figure(name: str, lines: Sequence[LengthLine], most: int | None = None) -> Drawing:
    """Span, slope, half-life and horizon of one task against length, a line for each setting, at most `most`."""
    task = lines[0].group[0].config["task"]
    roles = ["initial", "final"] if any(line.group[0].trained for line in lines) else ["initial"]
    heading, lines = f"{task}: {_holders(lines, roles[-1])}", lines[:most]
    panel_rows, options = 2 * len(roles), {"sharey": "row" if len(roles) == 2 else False}
    figure, axes = panels(panel_rows, 2, (5.2, 2.7 + 0.2 * len(lines) / panel_rows), heading, **options)
    for index, number in enumerate((SPAN, SLOPE, HALF_LIFE, HORIZON)):
        draw_numbers(axes[index * len(roles) : (index + 1) * len(roles)], number, lines, roles)
    add_legend(figure)
    about = (
        f"{_GUIDE}; above it, one holds. Bars: 95 % interval of the mean from 3 seeds on. A point is missing "
        "where there is no such number: a half-life only where every seed's curve falls exponentially"
    )
    caption = ". ".join([heading, *_notes(lines, roles), about, *_apart(lines)])
    shown = "gradient" if len(roles) == 2 else "gradient of probes"
    return Drawing(name, figure, heading, f"{caption}.", "lengths", {"Task": str(task), "Show": shown})


def _holders(lines: Sequence[LengthLine], role: str) -> str:
    """Which settings hold the gradient at the longest length."""
    longest = max(int(record.config["length"]) for line in lines for record in line.group)
    counts = {line.label: held(line.group, role) for line in lines}
    there = [label for label, found in counts.items() if longest in found]
    holding = [label for label in there if passed(counts[label][longest])]
    when = "at initialisation" if role == "initial" else "at the end of training"
    if not there:
        return f"gradient against length, {when}"
    if not holding:
        best, limit = max(
            ((label, longest_passing(found)) for label, found in counts.items()), key=lambda one: one[1]
        )
        most = f"; {best} does up to T = {limit:,}" if limit else ""
        return f"at T = {longest:,} no setting holds the gradient {when} in every seed{most}"
    rest = len(there) - len(holding)
    if len(holding) > MOST_NAMED:
        return f"at T = {longest:,} {len(holding)} of {len(there)} settings held the gradient {when}"
    others = f", {rest} other{'s do' if rest > 1 else ' does'} not" if rest else ""
    return f"at T = {longest:,} {', '.join(listed(holding))} held the gradient {when}{others}"


def _apart(lines: Sequence[LengthLine]) -> list[str]:
    """Which fields make lines of one cell stand apart: a line has only the lengths of its own setting."""
    settings = [line.group[0].setting for line in lines]
    fields = [
        name
        for name in settings[0]
        for cell in {str(setting["cell"]) for setting in settings}
        if name != "length"
        and len({str(one[name]) for one in settings if one["cell"] == cell and name in one}) > 1
    ]
    listed = ", ".join(dict.fromkeys(fields))
    return [f"Lines of one cell that differ in {listed} are drawn apart"] if fields else []


def _notes(lines: Sequence[LengthLine], roles: Sequence[str]) -> list[str]:
    """Slopes at the shortest and the longest length, and which seeds the means leave out."""
    slopes, odd = [], []
    for line in lines:
        for role in roles:
            found = {at: seeds_of(runs, role) for at, runs in by_length(line.group, role).items()}
            ends = [f"{found[at].slope} at T = {at:,}" for at in dict.fromkeys([*found][:1] + [*found][-1:])]
            slopes += [f"{line.label}, slope {role}: {', '.join(ends)}"] if ends else []
            out = [f"{seeds.span.left_out} at T = {at:,}" for at, seeds in found.items() if seeds.span.left_out]
            odd += [f"{line.label}, {role}, not in the means: {'; '.join(out)}"] if out else []
    return slopes + odd
