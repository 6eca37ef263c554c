"""One picture of several runs, for a notebook, a slide or a paper: gradient norm of the state against lag."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradlab.errors import GradlabError, unknown
from gradlab.report.data.records import ROLES, Record, labelled
from gradlab.report.figures.curves import CurveLine, caption, distinct_roles, draw_curve, fit_views, mark_windows
from gradlab.report.figures.drawing import RELATIVE, add_legend, line_style, themed
from gradlab.report.figures.save import freeze
from gradlab.report.figures.ticks import lag_axis
from gradlab.report.text.findings import beginning, changes, when

BY = ("cell", "length", "step")
FORMATS = ("pdf", "svg", "png")
MOST_LINES = 12
"""Lines that can be told apart."""


class FigureStyle(NamedTuple):
    """Inches of the axes with their labels, points of texts, and width of lines."""

    width: float
    height: float
    text: float
    line: float


STYLES = {
    "page": FigureStyle(7.2, 4.2, 9, 1.7),
    "paper": FigureStyle(3.4, 2.5, 7, 1.2),
    "talk": FigureStyle(10.0, 5.2, 18, 3.0),
}
"""`paper` is as wide as a column, `talk` half as high as wide."""


def draw_runs(records: Sequence[Record], ax: Axes | None = None, *, by: str | None, at: str) -> Axes:
    """Draw runs in axes, or in a new figure of pyplot."""
    lines = lines_of(records, by, at)
    with themed():
        own = ax is None
        if ax is None:
            from matplotlib import pyplot

            style = STYLES["page"]
            size = (style.width, style.height + 0.2 * len(lines))
            ax = pyplot.subplots(figsize=size, layout="constrained")[1]
        _draw(ax, lines, 7.2)
        title = _moment(lines)
        if own and isinstance(ax.figure, Figure):
            add_legend(ax.figure, title=title)
        else:
            ax.legend(title=title)
    return ax


def _moment(lines: Sequence[CurveLine]) -> str | None:
    """Which checkpoint the lines are of, where training made others: there is no caption to say so."""
    records, roles = [record for line in lines for record in line.group], {line.role for line in lines}
    if len(roles) > 1 or not any(record.trained for record in records):
        return None
    role = roles.pop()
    return beginning(records) if role == "initial" else f"{role} checkpoint of training"


def write_figure(records: Sequence[Record], path: Path, *, by: str | None, at: str, style: str) -> str:
    """Write the picture of some runs to a file and give its caption.

    Raises:
        GradlabError: an unknown style or format, too many lines, or a file that cannot be written.
    """
    if style not in STYLES:
        raise unknown("--style", style, STYLES)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise unknown("--output format", kind or path.name, FORMATS)
    lines, form = lines_of(records, by, at), STYLES[style]
    with _styled(form):
        columns = 2 if len(lines) > 2 and max(len(line.words) for line in lines) <= 24 else 1
        height = form.height + form.text / 45 * math.ceil(len(lines) / columns)
        figure = Figure(figsize=(form.width, height), layout="constrained")
        ax = figure.subplots()
        notes = _draw(ax, lines, form.width * 9 / form.text)
        for text in ax.texts:
            text.set_fontsize(0.8 * form.text)
        for drawn in ax.get_lines():
            drawn.set_markersize(2.4 * form.line)
        add_legend(figure, columns=columns)
        freeze(figure)
        try:
            figure.savefig(path, metadata={"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind))
        except OSError as error:
            raise GradlabError(f"{path} cannot be written: {error.strerror}") from error
    return caption([line.group for line in lines], _said(lines), notes)


def lines_of(records: Sequence[Record], by: str | None, at: str) -> list[CurveLine]:
    """A line for each setting, length or checkpoint; seeds of one setting are one line."""
    trained = any(record.trained for record in records)
    by = by or ("step" if len(records) == 1 and trained else "cell")
    if by not in BY:
        raise unknown("way to draw", by, BY)
    if at not in ROLES:
        raise unknown("checkpoint", at, ROLES)
    groups = labelled(records)
    if by == "length":
        groups = sorted(groups, key=lambda each: int(each[1][0].config["length"]))
    lines = []
    for label, group in groups:
        cell = [label] if by == "cell" or len({name for name, _ in groups}) > 1 else []
        length = [f"T = {group[0].config['length']}"]
        length = length if by == "length" or _differ(records, "length") else []
        task = [str(group[0].config["task"])] if _differ(records, "task") else []
        first = [*length, *cell] if by == "length" else [*cell, *length]
        steps = distinct_roles(group) if by == "step" else [([at], "")]
        lines += [(group, roles[0], ", ".join(filter(None, [*first, *task, words]))) for roles, words in steps]
    if len(lines) > MOST_LINES:
        raise GradlabError(f"{len(lines)} lines cannot be told apart: choose runs for at most {MOST_LINES}")
    return [CurveLine(group, role, words, line_style(at)) for at, (group, role, words) in enumerate(lines)]


def _differ(records: Sequence[Record], name: str) -> bool:
    return len({record.config[name] for record in records}) > 1


def _draw(ax: Axes, lines: Sequence[CurveLine], width: float) -> list[str]:
    """Draw lines in axes; returns notes for a caption."""
    levels: list[float] = []
    notes: list[str] = []
    for line in lines:
        found, odd = draw_curve(ax, line, width)
        levels += found
        notes += [f"{line.words}: {text}" for text in odd]
    lag_axis(ax)
    ax.set_ylabel(RELATIVE)
    return notes + fit_views([ax], [levels]) + mark_windows([ax], [lines])


def _said(lines: Sequence[CurveLine]) -> list[str]:
    """The first sentences of a caption: what is drawn, and what each line does."""
    records = [record for line in lines for record in line.group]
    tasks = sorted({str(record.config["task"]) for record in records})
    lengths = sorted({int(record.config["length"]) for record in records})
    settings = {label for label, _ in labelled(records)}
    of = f"{settings.pop()} on " if len(settings) == 1 else ""
    of += f"{' and '.join(tasks)}, T = {', '.join(map(str, lengths))}"
    roles = {line.role for line in lines}
    at = f", {beginning(records)}" if roles == {"initial"} else ""
    moments = ["" if at or len(roles) > 1 else f" {when(line.group, line.role)}" for line in lines]
    found = [
        f"{line.words}: {changes(line.group, line.role)}{moment}"
        for line, moment in zip(lines, moments, strict=True)
    ]
    return [f"Gradient norm of the state against lag, relative to lag 1 ({of}){at}", "; ".join(found)]


@contextmanager
def _styled(form: FigureStyle) -> Iterator[None]:
    """The theme with texts and lines of a style, and texts of a PDF as text."""
    sizes = ("axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize", "legend.title_fontsize")
    own: dict[str, Any] = dict.fromkeys(sizes, form.text) | {"lines.linewidth": form.line, "pdf.fonttype": 42}
    own |= {"axes.linewidth": form.line / 2, "grid.linewidth": form.line / 2}
    own |= dict.fromkeys(("xtick.major.pad", "ytick.major.pad"), form.text / 2)
    settings: Any = own | {"savefig.dpi": 300}
    with themed(), matplotlib.rc_context(settings):
        yield
