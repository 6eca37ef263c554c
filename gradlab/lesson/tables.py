"""The tables of a lesson."""

import numpy as np

from gradlab.gradient.curve import STATE
from gradlab.lesson.findings import mean_factor
from gradlab.lesson.records import Lesson, WorkedExample, middle_length
from gradlab.lesson.wording import half_life, horizon, rounded, signed, slope
from gradlab.report.data.records import Record
from gradlab.report.page.context import Column, Table
from gradlab.report.page.render import tex

LINKS = 6
"""Lags of the worked example that are shown."""
_TIMESTEPS = (1, 2, 5, 10, 20, 50, 100, 200, 400)


def tables(lesson: Lesson, record: Record | None = None) -> dict[str, Table]:
    """The tables of a page by name."""
    found = {"factors": _factors(lesson), "grid": _grid(lesson)}
    if lesson.example is not None:
        found["chain"] = _chain(lesson.example)
    if record is not None:
        found["training"] = _training(record)
    return found


def _chain(example: WorkedExample) -> Table:
    timesteps, probe = len(example.norms), 10 ** example.curve.summarised()
    rows = []
    for lag in range(1, min(timesteps, LINKS) + 1):
        t = timesteps - lag
        link = ["from the loss", "", ""]
        if lag > 1:
            link = [tex(f"J_{{{t + 1}}}"), f"{example.chain.stretch[t]:.4f}", f"{example.factors[lag - 2]:.4f}"]
        norms = [f"{example.norms[lag - 1]:.6f}", f"{probe[lag - 1]:.6f}"]
        rows.append([str(lag), tex(f"s_{{{t}}}"), *link, *norms])
    caption = (
        "Euclidean norm of the gradient at each state. “At most” is the largest singular value of the matrix: no "
        "gradient can grow by more."
    )
    columns = [Column("lag"), Column("state"), Column("multiplied by"), *_numbers("at most", "factor")]
    return Table(caption, [*columns, *_numbers("product of matrices", "gradlab probe")], rows, sortable=False)


def _factors(lesson: Lesson) -> Table:
    middle = middle_length(lesson.lengths)
    points = [lesson.grid[row][middle] for row in lesson.axis.contrast]
    shortest = min(len(one.curve.lags) for one in points)
    timesteps = [count for count in _TIMESTEPS if count < shortest]
    rows = [
        [lesson.place(one), rounded(mean_factor(one), 4), *(signed(float(one.relative()[k])) for k in timesteps)]
        for one in points
    ]
    caption = "The gradient after 1, 2, 5 … timesteps, in decades: −1 is a tenth, −2 a hundredth"
    columns = [Column("setting"), *_numbers("mean factor", *map(str, timesteps))]
    return Table(caption, columns, rows, sortable=False)


def _grid(lesson: Lesson) -> Table:
    rows = []
    for row in lesson.grid:
        last = row[-1].curve.summary()
        spans = [signed(one.curve.span()) for one in row]
        setting = lesson.axis.setting(row[0].value)
        rows.append([setting, *spans, slope(last), half_life(last), horizon(last.horizon)])
    caption = (
        f"Decades from lag 1 to lag T at each position; slope, half-life and horizon at T = {lesson.lengths[-1]}"
    )
    lengths = (f"T = {length}" for length in lesson.lengths)
    return Table(caption, [Column("setting"), *_numbers(*lengths, "slope", "half-life", "horizon")], rows)


def _training(record: Record) -> Table:
    rows = []
    for line in record.log:
        state = line["curves"]["task"][STATE]
        span, loss = signed(float(state["span"])), f"{float(line['loss']):.4g}"
        rows.append([f"{line['step']:,}", loss, span, state["verdict"], f"{state['horizon']}"])
    columns = [Column("training step"), *_numbers("held-out loss", "decades to lag T"), Column("verdict")]
    return Table("Checkpoints of the run", [*columns, *_numbers("horizon")], rows)


def _numbers(*names: str) -> list[Column]:
    return [Column(name, number=True) for name in names]


def products(example: WorkedExample) -> list[str]:
    """The first products of the chain as LaTeX, from the loss backwards; none if a Jacobian has many entries."""
    chain, timesteps = example.chain, len(example.norms)
    if len(chain.entries) > 6:
        return []
    lines = [_derivative(timesteps - 1) + " = " + _matrix(chain.adjoint[timesteps - 1][:, None])]
    for t in range(timesteps - 2, max(timesteps - 4, -1), -1):
        after, value = chain.adjoint[t + 1][:, None], chain.adjoint[t][:, None]
        symbols = rf"J_{{{t + 1}}}^\top {_derivative(t + 1)}"
        parts = [_derivative(t), symbols, _matrix(chain.jacobians[t].T) + _matrix(after), _matrix(value)]
        lines.append(" = ".join(parts))
    return lines


def _derivative(t: int) -> str:
    return rf"\frac{{\partial L}}{{\partial s_{{{t}}}}}"


def _matrix(values: np.ndarray) -> str:
    rows = [" & ".join(f"{v:.3f}" if abs(v) >= 0.01 or v == 0 else f"{v:.2g}" for v in row) for row in values]
    return r"\begin{pmatrix} " + r" \\ ".join(rows) + r" \end{pmatrix}"
