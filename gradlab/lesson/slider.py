"""Section four: the curve at every position of the sliders, in a picture that moves and in some that do not."""

import math
from typing import Any

import numpy as np

from gradlab.gradient.curve import FLOAT32_FLOOR, STATE
from gradlab.lesson.equations import knob_words, setting
from gradlab.lesson.words import noise, power, reading, relative, sentence, signed, theory
from gradlab.report.figures.chart import NOISE, Frame, Level, Line, axes, chart, legend, parted
from gradlab.report.page.html import Markup, command_block, join, section, table, tag
from gradlab.runs.lesson import Lesson, Position

DEEPEST = -60.0
"""Decades below lag 1 where a picture ends at the latest; numbers go on beside it."""
NEAR = 6.0
X_NAME, Y_NAME = "lag (timesteps before the loss)", "gradient, decades from lag 1"


def frames(lesson: Lesson) -> tuple[Frame, Frame]:
    """The frame that shows all positions, and the one that looks at the first decades."""
    lags = max(len(position.curve.lags) for row in lesson.positions for position in row)
    values = np.concatenate([relative(position) for row in lesson.positions for position in row])
    unsure = np.concatenate([noise(position) for row in lesson.positions for position in row])
    finite = values[np.isfinite(values) & ~unsure]
    finite = finite if len(finite) else np.zeros(1)
    low, high = max(DEEPEST, min(-1.0, float(finite.min()))), max(1.0, float(finite.max()))
    pad = 0.04 * (high - low)
    x = (0.0, float(max(lags, 2)))
    # Whole tenths, so that the script and this page agree on the scale.
    whole = Frame(x, (round(low - pad, 1), round(high + pad, 1)), X_NAME, Y_NAME)
    return whole, Frame(x, (-NEAR, NEAR), X_NAME, Y_NAME)


def leaves(lesson: Lesson) -> list[str]:
    """The leaves worth a line: the state, and its parts where there are several."""
    names = lesson.chosen[0].curve.leaves
    return [STATE, *names[:-1]] if len(names) > 2 else [STATE]


def slider_data(lesson: Lesson) -> dict[str, Any]:
    """What the script reads: every position in words and numbers."""
    whole, near = frames(lesson)
    return {
        "leaves": leaves(lesson),
        "frames": [
            {"box": [round(side, 1) for side in frame.box], "x": frame.x, "y": frame.y} for frame in (whole, near)
        ],
        "values": [setting(lesson.knob.option, value) for value in lesson.knob.values],
        "lengths": list(lesson.lengths),
        "positions": [[_for_script(lesson, position) for position in row] for row in lesson.positions],
    }


def _for_script(lesson: Lesson, position: Position) -> dict[str, Any]:
    beside = theory(lesson, position)
    return {
        "said": sentence(lesson, position),
        "command": position.command,
        "reading": [value for _, value in reading(lesson, position)],
        "lines": [_short(line.y) for line in _measured(lesson, position)],
        "floor": next((round(level.y, 2) for level in _floor_level(position)), None),
        "theory": None if beside is None else _short(beside.decades),
    }


def _short(values: Any) -> list[float | None]:
    return [round(float(value), 2) + 0.0 if math.isfinite(value) else None for value in values]


def slider_section(lesson: Lesson) -> Markup:
    """Sliders, the picture they move, and all of their positions at once."""
    name, what = knob_words(lesson.knob.option)
    turned = f"the {name} and the length" if lesson.knob.option else "the length"
    opening = [
        f"Every position of the sliders below was measured by a probe: {lesson.cell} on {lesson.task}, "
        f"{lesson.hidden} units, {lesson.examples} examples, weights as they are before training."
    ]
    if lesson.knob.option:
        opening.append(f"The {name} is {what}.")
    opening.append(
        "One decade is a factor of ten. A straight line that falls is a gradient that vanishes exponentially."
    )
    return section(
        "slider",
        f"4. Turn {turned}",
        *(tag("p", line) for line in opening),
        _lab(lesson),
        tag("h3", "All positions at once"),
        tag("p", _lying(lesson)),
        _multiples(lesson),
        _grid_table(lesson),
        command_block("grid-command", lesson.commands["grid"], "All of these numbers again, in one command"),
    )


def _lying(lesson: Lesson) -> str:
    if len(lesson.lengths) < 2:
        return "One picture for each setting."
    return (
        "One picture for each setting. The curves of all lengths are drawn in each: a dot ends each curve. Where "
        "they lie on "
        "one another, a longer sequence does not change the line, it goes further along it."
    )


def _lab(lesson: Lesson) -> Markup:
    position = lesson.chosen[-1]
    at = len(lesson.lengths) - 1
    whole, near = frames(lesson)
    lines, key = _lines(lesson, position)
    picture = chart(
        "lab-chart", whole, lines, _label(lesson, position), levels=_floor_level(position), class_="chart moving"
    )
    # The axes of the closer look wait in the picture for the script.
    picture = Markup(picture.replace("</svg>", f"{axes(near, class_='near')}</svg>"))
    sliders = [_slider("length", "length T", [str(length) for length in lesson.lengths], at, "T = ")]
    if lesson.knob.option:
        values = [value.replace("-", "−") for value in lesson.knob.values]
        sliders.insert(0, _slider("knob", knob_words(lesson.knob.option)[0], values, lesson.knob.chosen))
    zoom = tag("button", "Look at the first decades", type="button", id="zoom", aria_pressed="false")
    terms = join(
        tag("div", tag("dt", term), tag("dd", value, data_reading=str(index)))
        for index, (term, value) in enumerate(reading(lesson, position))
    )
    return tag(
        "div",
        tag("div", *sliders, zoom, class_="js controls", hidden=True),
        tag(
            "figure",
            tag("figcaption", tag("p", sentence(lesson, position), id="lab-said", role="status")),
            picture,
            legend(key),
        ),
        tag("dl", terms, class_="reading"),
        command_block("lab-command", position.command, "This position again"),
        class_="lab",
        id="lab",
    )


def _slider(name: str, label: str, values: list[str], at: int, before: str = "") -> Markup:
    marks = tag("div", *(tag("span", value) for value in values), class_="marks", aria_hidden="true")
    bar = tag(
        "input", type="range", id=name, min="0", max=str(len(values) - 1), step="1", value=str(at),
        aria_valuetext=before + values[at], data_values="|".join(before + value for value in values),
    )  # fmt: skip
    shown = tag("output", before + values[at], for_=name, id=f"{name}-value")
    return tag("div", tag("label", label, for_=name), shown, bar, marks, class_="slider")


_LOOKS = {STATE: "l0", "h": "l1", "c": "l2"}


def _lines(lesson: Lesson, position: Position) -> tuple[list[Line], list[tuple[str, str]]]:
    """What is drawn at a position, and the names of it; the theory first, below the rest."""
    found = _measured(lesson, position)
    names = {STATE: "measured: whole state", NOISE: NOISE}
    key = list(dict.fromkeys((names.get(line.name, f"measured: {line.name} alone"), line.look) for line in found))
    lags = position.curve.lags.astype(float)
    beside = theory(lesson, position)
    if beside is not None:
        found.append(Line("theory", lags, beside.decades, "theory"))
        key.append((f"theory: {beside.name}", "theory"))
    return found, key


def _measured(lesson: Lesson, position: Position) -> list[Line]:
    """A line for each leaf; where any position of the lesson has rounding noise, one for that after each."""
    noisy = any(noise(one, leaf).any() for row in lesson.positions for one in row for leaf in leaves(lesson))
    found = []
    for index, leaf in enumerate(leaves(lesson)):
        unsure = noise(position, leaf)
        line = Line(leaf, position.curve.lags.astype(float), relative(position, leaf), _look(leaf, index), unsure)
        parts = parted([line])
        empty = line._replace(name=NOISE, y=np.full(len(line.x), np.nan), look="noise")
        found += [*parts, empty] if noisy and len(parts) == 1 else parts
    return [line._replace(noise=None) for line in found]


def _look(leaf: str, index: int) -> str:
    return _LOOKS.get(leaf, f"l{1 + index % 6}")


def _floor_level(position: Position) -> list[Level]:
    level = float(position.curve.summarised()[0])
    return [Level(FLOAT32_FLOOR - level, "plain float32 reads 0 below")] if math.isfinite(level) else []


def _label(lesson: Lesson, position: Position) -> str:
    values = "; ".join(f"{term} {value}" for term, value in reading(lesson, position))
    return f"Gradient by lag. {sentence(lesson, position)} {values}."


def _multiples(lesson: Lesson) -> Markup:
    whole, _ = frames(lesson)
    small = whole._replace(
        width=250, height=170, margin=(38, 8, 10, 24), ticks=(3, 4), x_name="", y_name="", x_ticks=_few(whole.x[1])
    )
    figures = [_multiple(lesson, row, small, index) for index, row in enumerate(lesson.positions)]
    caption = f"Across: {X_NAME}. Upwards: {Y_NAME}, the same scale in every picture."
    return tag("div", tag("div", *figures, class_="multiples"), tag("p", caption, class_="small muted"))


def _few(highest: float) -> tuple[float, ...]:
    return (1.0, float(round(highest / 2)), highest) if highest > 3 else ()


def _multiple(lesson: Lesson, row: tuple[Position, ...], frame: Frame, index: int) -> Markup:
    lines = [
        Line("", one.curve.lags.astype(float), relative(one), f"l0 faint{at}", noise(one))
        for at, one in enumerate(reversed(row))
    ]
    spans = ", ".join(f"{signed(one.curve.span())} at T = {one.length}" for one in row)
    name = setting(lesson.knob.option, row[0].value)
    dots = [
        tag(
            "circle",
            cx=round(frame.at_x(len(one.curve.lags)), 1),
            cy=round(frame.at_y(float(relative(one)[-1])), 1),
            r=3,
            class_="dot",
        )
        for one in row
        if frame.y[0] <= relative(one)[-1] <= frame.y[1]
    ]
    picture = chart(f"multiple-{index}", frame, lines, f"{name}: decades from lag 1 to lag T: {spans}")
    picture = Markup(picture.replace("</svg>", f"{join(dots)}</svg>"))
    last = row[-1].curve.summary()
    unknown = last.verdict.word in ("cut", "noise", "non-finite")
    said = last.verdict.word + ("" if unknown else f": {signed(last.span)} at T = {row[-1].length}")
    chosen = (
        tag("span", " (this cell)", class_="muted") if index == lesson.knob.chosen and lesson.knob.option else None
    )
    return tag("figure", tag("figcaption", tag("strong", name), chosen, tag("br"), said), picture)


def _grid_table(lesson: Lesson) -> Markup:
    columns = ["setting", *(f"T = {length}" for length in lesson.lengths), "slope", "half-life", "horizon"]
    rows = []
    for value, row in zip(lesson.knob.values, lesson.positions, strict=True):
        last = row[-1].curve.summary()
        spans = [tag("span", signed(one.curve.span()), title=power(one.curve.span())) for one in row]
        horizon = str(last.horizon).replace(">=", "at least")
        rows.append(
            [setting(lesson.knob.option, value), *spans, _number(last.slope.value), half_life_short(last), horizon]
        )
    caption = (
        f"Decades from lag 1 to lag T at each position; slope, half-life and horizon at T = {lesson.lengths[-1]}"
    )
    return tag(
        "details",
        tag("summary", "These positions as a table"),
        table(columns, rows, caption=caption, right=columns[1:]),
    )


def half_life_short(found: Any) -> str:
    """A half-life without its unit."""
    value = found.half_life.value
    return "none" if not math.isfinite(value) else str(found.half_life)


def _number(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−") if math.isfinite(value) else "none"
