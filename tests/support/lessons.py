"""Lessons that are small enough to measure in a test, or whose numbers are known."""

from dataclasses import replace

from synthetic import falling

from gradlab.lesson.axes import default_axis
from gradlab.lesson.commands import comparison_commands
from gradlab.lesson.comparison import CellComparison, ComparedCell, StepFactors
from gradlab.lesson.measure import measure_lesson
from gradlab.lesson.records import GridPoint
from gradlab.runs.labels import cell_labels
from gradlab.runs.spec import RunSpec

LENGTHS = (4, 8)
HIDDEN = 4


def quiet(text):
    pass


def small(cell="lstm", task="adding", lengths=LENGTHS, axis=None):
    base = RunSpec(task=task, cell=cell, hidden=HIDDEN, steps=0)
    found = measure_lesson(base, axis or default_axis(base.cell), lengths, 1, quiet)
    return replace(found, commands={**found.commands, "lesson": f"gradlab lesson {task} --cell {cell}"})


FACTORS = {
    "rnn": StepFactors(0.0, {"1 − h²": 0.95}, (1.0, 1.0), 0.95),
    "lstm": StepFactors(0.74, {"i": 0.5, "1 − g²": 0.97, "o": 0.5, "1 − tanh²(c)": 0.9}, (1.0, 1.0), 0.96),
    "gru": StepFactors(0.5, {"1 − z": 0.5, "r": 0.5, "1 − n²": 1.0}, (1.0, 1.0), 0.75),
}


def compared(spans, lengths=(20, 40), factors=FACTORS):
    """Cells compared, with straight curves: decades from lag 1 to the last lag at the longest length, by cell."""
    cells = []
    for cell, span in spans.items():
        points = tuple(
            GridPoint(cell, length, cell, f"gradlab probe adding --cell {cell} --len {length}",
                      falling(-span * (length - 1) / (lengths[-1] - 1), lags=length), {})
            for length in lengths
        )  # fmt: skip
        alone = points[-1]._replace(curve=falling(9.0, lags=lengths[-1])) if cell in ("lstm", "gru") else None
        cells.append(ComparedCell(cell, cell_labels(spans)[cell], points, factors.get(cell), alone))
    paths = {each.cell: each.alone and each.alone.cell for each in cells}
    commands = comparison_commands(RunSpec(hidden=HIDDEN, steps=0, length=lengths[-1]), paths, lengths)
    commands["lesson"] = f"gradlab lesson adding --cell {','.join(spans)}"
    return CellComparison("adding", HIDDEN, 8, lengths, tuple(cells), commands)
