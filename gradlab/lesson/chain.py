"""Sections one and two: the chain of Jacobians, written down with numbers, and one factor per timestep."""

import math

import numpy as np

from gradlab.gradient.curve import STATE
from gradlab.judge.statistics import difference
from gradlab.lesson.equations import setting
from gradlab.lesson.words import place, power, relative, rounded, signed, tiny
from gradlab.report.figures.chart import Frame, Level, Line, chart, legend
from gradlab.report.page.html import Markup, command_block, join, scroll, section, table, tag
from gradlab.report.page.mathml import formula, matrix
from gradlab.report.page.mathml import math as mathml
from gradlab.runs.lesson import Example, Lesson, Position, few_rows, middle_length

SHOWN = 5
"""Links of the chain that are written down."""
WRITTEN = 6
"""Entries of the state up to which a Jacobian is written down."""
COMPOUND = (1, 2, 5, 10, 20, 50, 100, 200, 400)


def chain_section(lesson: Lesson) -> Markup:
    """The chain rule through time, then the same with numbers."""
    words = (
        "A recurrent network uses one cell again and again. At timestep t it reads the state that the timestep "
        "before left behind and the new input, and leaves a new state.",
        "To learn from something that happened long ago, the network has to know how the loss would change if a "
        "state of long ago were a little different. That is the gradient of the loss at that state. The state "
        "acts on the loss "
        "through every timestep in between, so by the chain rule the gradient is a product: one matrix for each "
        "timestep.",
    )
    product = (
        "∂L/∂s_{T-k} = J_{T-k+1}^⊤ ⋯ J_{T-2}^⊤ J_{T-1}^⊤ ∂L/∂s_{T-1}",
        "J_t = ∂s_t/∂s_{t-1}",
    )
    formulas = tag("div", *(mathml(line, block=True) for line in product), class_="formulas")
    after = (
        "J is the Jacobian of one timestep: how each entry of the new state moves with each entry of the old one. "
        "Backpropagation through time multiplies these matrices from the loss backwards. The lag k counts how "
        "many "
        "timesteps back: lag 1 is the state that enters the last timestep."
    )
    return section(
        "chain",
        "1. The chain",
        *(tag("p", line) for line in words),
        formulas,
        tag("p", after),
        _example(lesson),
    )


def _example(lesson: Lesson) -> Markup:
    found = lesson.example
    if found is None:
        why = lesson.missing.get("example", "")
        return tag("p", f"For this cell the chain could not be written down with numbers: {why}.", class_="muted")
    chain, timesteps = found.chain, len(found.chain.jacobians)
    entries = ", ".join(chain.entries)
    told = (
        f"Here it is with numbers: this cell with {found.hidden} units ({len(chain.entries)} numbers in its "
        f"state: {entries}), {timesteps} timesteps of {lesson.task}, one example, in double precision."
    )
    with np.errstate(divide="ignore"):
        worst = float(np.abs(difference(np.log10(chain.norms[::-1]), found.curve.summarised())).max())
    check = (
        "The last two columns are measured in two ways that share no code: as the product of the matrices, and "
        f"by the instrument behind gradlab probe. Their largest difference at any lag is {tiny(worst)} decades."
    )
    return join(
        (
            tag("h3", "The same with numbers"),
            tag("p", told),
            _picture(found),
            _matrices(found),
            _norm_table(found),
            tag("p", check),
            command_block("example-command", found.command, "The reading of the instrument again"),
        )
    )


def lags_shown(found: Example) -> list[int]:
    """The lags of the example that are written down."""
    return list(range(1, min(len(found.chain.jacobians), SHOWN + 1) + 1))


def factors(found: Example) -> np.ndarray:
    """|λ| at lag k + 1 over |λ| at lag k, k = 1..: what each timestep multiplied the gradient by."""
    norms = found.chain.norms[::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(norms[1:] / norms[:-1])


def _picture(found: Example) -> Markup:
    """States from left to right, the gradient from right to left with its factors."""
    shown = lags_shown(found)
    norms, ratio = found.chain.norms[::-1], factors(found)
    timesteps, wide = len(found.chain.jacobians), 116
    width = wide * (len(shown) + 1) + 20
    parts = []
    for index, lag in enumerate(reversed(shown)):
        x = 14 + index * wide
        parts.append(tag("rect", x=x, y=40, width=64, height=38, rx=7, class_="box"))
        parts.append(_state(timesteps - lag, x + 32, 64))
        parts.append(tag("path", d=f"M{x + 66} 59H{x + wide - 4}l-7 -4m7 4l-7 4", class_="forward"))
        parts.append(tag("text", f"{norms[lag - 1]:#.3g}", x=x + 32, y=126, class_="value middle"))
        if lag > 1:
            factor = tag("text", f"× {ratio[lag - 2]:#.3g}", x=x + 32 + wide / 2, y=110, class_="factor middle")
            parts += [tag("path", d=f"M{x + wide + 2} 120H{x + 64}l7 -4m-7 4l7 4", class_="backward"), factor]
    x = 14 + len(shown) * wide
    parts.append(tag("circle", cx=x + 26, cy=59, r=22, class_="box"))
    parts.append(tag("text", "loss", x=x + 26, y=64, class_="value middle"))
    parts.append(tag("path", d=f"M{x + 26} 84V120H{x - 44}l7 -4m-7 4l7 4", class_="backward"))
    parts.append(tag("text", "forwards in time", x=14, y=24, class_="tick"))
    parts.append(tag("text", "size of the gradient, backwards", x=14, y=152, class_="tick"))
    told = ", ".join(f"{norms[lag - 1]:.3g} at lag {lag}" for lag in shown)
    svg = tag(
        "svg",
        *parts,
        viewBox=f"0 0 {width} 162",
        role="img",
        aria_label=f"States in a row, and the size of the gradient at each, from the loss backwards: {told}.",
        class_="chart chain",
    )
    return scroll(svg, "The chain of states, and the gradient at each")


def _state(index: int, x: float, y: float) -> Markup:
    return tag("text", "s", tag("tspan", str(index), dy=4, class_="sub"), x=x, y=y, class_="state middle")


def _matrices(found: Example) -> Markup | None:
    """The product written out, from the loss backwards."""
    if len(found.chain.entries) > WRITTEN:
        return tag("p", f"A Jacobian has {len(found.chain.entries)}² entries here, too many to write down.")
    lines = []
    timesteps = len(found.chain.jacobians)
    for lag in lags_shown(found)[:3]:
        t = timesteps - lag
        vector = matrix([[_entry(value)] for value in found.chain.adjoint[t]])
        if lag == 1:
            lines.append(formula(_derivative(t), tag("mo", "="), vector))
            continue
        transposed = matrix([[_entry(value) for value in row] for row in found.chain.jacobians[t].T])
        before = matrix([[_entry(value)] for value in found.chain.adjoint[t + 1]])
        name = mathml(f"J_{t + 1}^⊤ ∂L/∂s_{t + 1}")
        inner = Markup(name.removeprefix("<math>").removesuffix("</math>"))
        lines.append(
            formula(
                _derivative(t), tag("mo", "="), inner, tag("mo", "="), transposed, before, tag("mo", "="), vector
            )
        )
    items = (tag("div", line, class_="product") for line in lines)
    return scroll(tag("div", *items, class_="products"), "The first products of the chain, with numbers")


def _derivative(index: int) -> Markup:
    inner = mathml(f"∂L/∂s_{index}")
    return Markup(inner.removeprefix("<math>").removesuffix("</math>"))


def _entry(value: float) -> str:
    return (f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}").replace("-", "−")


def _norm_table(found: Example) -> Markup:
    timesteps = len(found.chain.jacobians)
    norms, read, ratio = found.chain.norms[::-1], 10 ** found.curve.summarised(), factors(found)
    stretch = found.chain.stretch
    rows = []
    for lag in lags_shown(found):
        t = timesteps - lag
        if lag == 1:
            link: list[object] = ["from the loss", "", ""]
        else:
            inner = Markup(mathml(f"J_{t + 1}"))
            link = [inner, f"{stretch[t]:.4f}", f"{ratio[lag - 2]:.4f}"]
        rows.append([f"{lag}", _state_name(t), *link, f"{norms[lag - 1]:.6f}", f"{read[lag - 1]:.6f}"])
    columns = ("lag", "state", "multiplied by", "at most", "factor", "product of matrices", "instrument")
    caption = (
        "The size (Euclidean norm) of the gradient at each state. “At most” is the largest singular value of the "
        "matrix: no gradient can grow by more."
    )
    return table(columns, rows, caption=caption, right=("at most", "factor", "product of matrices", "instrument"))


def _state_name(index: int) -> Markup:
    return mathml(f"s_{index}")


def factor_section(lesson: Lesson) -> Markup:
    """Each timestep multiplies the gradient by a number, and numbers compound."""
    at = middle_length(lesson.lengths)
    shown = [lesson.positions[row][at] for row in few_rows(lesson.knob)]
    words = [
        "Look at sizes only. On its way back through one timestep the gradient is multiplied by one factor. "
        "Below 1 it "
        "shrinks, above 1 it grows, and the factors multiply.",
        _small_factors(lesson),
        f"The network of {lesson.hidden} units does the same. Below is the factor of each timestep, the "
        "geometric mean over "
        f"{lesson.examples} examples, T = {lesson.lengths[at]}.",
    ]
    return section(
        "factors",
        "2. One factor per timestep: shrink or grow",
        *(tag("p", line) for line in words if line),
        _factor_chart(lesson, shown),
        tag("p", _compound_words(lesson.chosen[at])),
        _compound_table(lesson, shown),
        command_block("factor-command", lesson.commands["factors"], "These settings again"),
    )


def _small_factors(lesson: Lesson) -> str:
    if lesson.example is None:
        return ""
    ratio = factors(lesson.example)
    if not np.isfinite(ratio).all():
        return ""
    total = float(np.prod(ratio))
    written = [f"{value:#.3g}" for value in ratio]
    product = " × ".join(written if len(written) < 9 else [*written[:4], "…", written[-1]])
    norms = lesson.example.chain.norms[::-1]
    return (
        f"In the chain above they are {product} = {total:.3g}, which is the gradient at the first state over the "
        "one "
        f"at lag 1: {norms[-1]:.6f} / {norms[0]:.6f}."
    )


def timestep_factors(position: Position) -> np.ndarray:
    """The factor of each timestep, from that between lags 1 and 2 on; geometric mean over examples."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(10 ** np.diff(relative(position, STATE)))


def _factor_chart(lesson: Lesson, shown: list[Position]) -> Markup:
    lines = []
    for index, one in enumerate(shown):
        values = timestep_factors(one)
        name = setting(lesson.knob.option, one.value)
        lines.append(Line(name, np.arange(2, len(values) + 2, dtype=float), values, f"l{index}"))
    finite = np.concatenate([line.y[np.isfinite(line.y)] for line in lines] + [np.ones(1)])
    top = min(2.0, max(1.1, float(np.quantile(finite, 0.995)) * 1.05))
    frame = Frame(
        (0, max(len(line.x) for line in lines) + 1),
        (0, round(top, 2)),
        "lag",
        "factor of one timestep",
        height=300,
    )
    means = "; ".join(
        f"{line.name}: {rounded(_mean_factor(one), 3)}" for line, one in zip(lines, shown, strict=True)
    )
    label = f"Factor of each timestep by lag. Geometric mean over all of them: {means}."
    picture = chart("factor-chart", frame, lines, label, levels=[Level(1.0, "")])
    caption = (
        f"Factor of each timestep; at the dashed line, 1, it neither shrinks nor grows. Mean factor: {means}."
    )
    return tag("figure", picture, legend([(line.name, line.look) for line in lines]), tag("figcaption", caption))


def _mean_factor(position: Position) -> float:
    """The factor that, taken at every timestep, gives the same product."""
    lags = len(position.curve.lags)
    return float(10 ** (position.curve.span() / (lags - 1))) if lags > 1 else math.nan


def _compound_words(position: Position) -> str:
    mean, lags = _mean_factor(position), len(position.curve.lags)
    if lags < 2:
        return "There is one timestep here, and nothing to compound."
    if not math.isfinite(mean):
        return "The gradient is not finite here, or zero already at lag 1, and has no factors to compound."
    if mean == 0:
        return "Some factor is 0, and then everything before it is 0 as well."
    return (
        f"A factor that looks harmless compounds. For this cell the mean factor is {mean:.4g}, and "
        f"{mean:.4g} to the power of {lags - 1} is {power(position.curve.span())}."
    )


def _compound_table(lesson: Lesson, shown: list[Position]) -> Markup:
    longest = min(len(one.curve.lags) for one in shown)
    timesteps = [count for count in COMPOUND if count < longest]
    rows = []
    for one in shown:
        mean, curve = _mean_factor(one), relative(one)
        rows.append(
            [place(lesson, one), rounded(mean, 4), *(f"{signed(float(curve[count]))}" for count in timesteps)]
        )
    columns = ["setting", "mean factor", *(str(count) for count in timesteps)]
    caption = "The gradient after 1, 2, 5 … timesteps, measured in decades: −1 is a tenth, −2 a hundredth"
    return table(columns, rows, caption=caption, right=columns[1:])
