"""What a lesson on several cells measures: their curves by length, and what one timestep does to the gradient."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.cells import Params
from gradlab.cells.base import pre_activation
from gradlab.gradient.plain import prepared, states_and_outputs
from gradlab.lesson.axes import GATED, SweepAxis, family_of, with_options
from gradlab.lesson.commands import comparison_commands
from gradlab.lesson.measure import OnProgress, Prober, check_has_state
from gradlab.lesson.records import Floats, GridPoint
from gradlab.runs.labels import cell_labels
from gradlab.runs.spec import RunSpec
from gradlab.runs.variants import get_cell
from gradlab.tasks import Batch
from gradlab.training.numerics import numerics

EXAMPLES = 16
"""Held-out examples of which the factors are means."""
ORTHOGONAL = 1e-3
"""Share by which singular values of a multiple of an orthogonal matrix may differ, by rounding."""
SLOPES = {"tanh": "1 − h²", "sigmoid": "h (1 − h)", "relu": "share of active units", "linear": "1, no squashing"}


class StepFactors(NamedTuple):
    """What one timestep multiplies the gradient by, as means over timesteps, examples and units.

    The slope of an rnn is a root mean square.

    Attributes:
        keep: the forget gate of an lstm, the update gate of a gru, 0 of an rnn: the direct path.
        through: the factors of the path through the recurrent weights of the candidate (rnn: of its only path).
        singular: the smallest and the largest singular value of these weights.
        together: the largest |keep + write λ| over the eigenvalues λ of these weights.
    """

    keep: float
    through: Mapping[str, float]
    singular: tuple[float, float]
    together: float

    @property
    def write(self) -> float:
        """The product of `through`."""
        return math.prod(self.through.values())

    @property
    def scale(self) -> float | None:
        """What the weights multiply every norm by, if they are a multiple of an orthogonal matrix."""
        low, high = self.singular
        return high if high - low < ORTHOGONAL * high else None


class ComparedCell(NamedTuple):
    """One cell of a comparison.

    Attributes:
        cell: the variant. label: its name on the page. points: by length.
        factors: at the longest length, None where the equations are not known or a state is not finite.
        alone: the direct path alone, which is the cell with its recurrent weights at 0; None where it has none.
    """

    cell: str
    label: str
    points: tuple[GridPoint, ...]
    factors: StepFactors | None
    alone: GridPoint | None

    @property
    def longest(self) -> GridPoint:
        """At the longest length."""
        return self.points[-1]

    @property
    def family(self) -> str:
        """`rnn`, `lstm` or `gru`; empty for any other."""
        return family_of(self.cell)


@dataclass(frozen=True)
class CellComparison:
    """Everything that the page on several cells shows; `commands` as in `commands.py`."""

    task: str
    hidden: int
    examples: int
    lengths: tuple[int, ...]
    cells: tuple[ComparedCell, ...]
    commands: Mapping[str, str]


def measure_comparison(
    base: RunSpec, cells: Sequence[str], lengths: Sequence[int], on_progress: OnProgress
) -> CellComparison:
    """Measure several cells on one task; nothing is stored.

    Args:
        base: task, hidden size and seed; the rest is a probe's default.
        cells: canonical variants. lengths: in rising order.

    Raises:
        GradlabError: a cell fails or has no state.
    """
    specs = [replace(base, cell=cell, length=lengths[-1]) for cell in cells]
    for spec in specs:
        check_has_state(spec)
    prober, names = Prober(base), cell_labels(cells)
    grid = prober.grid(SweepAxis("cell", tuple(cells), tuple(cells), 0), lengths, on_progress)
    found = []
    for spec, points in zip(specs, grid, strict=True):
        on_progress(f"lesson: the factors of one timestep, {spec.cell}")
        alone, factors = _alone(spec), None
        if family_of(spec.cell):
            factors = step_factors(spec, prober.params(spec.cell), prober.examples(spec.length))
        measured = None if alone is None else prober.probe(replace(spec, cell=alone), "0")
        found.append(ComparedCell(spec.cell, names[spec.cell], points, factors, measured))
    paths = {each.cell: each.alone and each.alone.cell for each in found}
    commands = comparison_commands(base, paths, tuple(lengths))
    return CellComparison(base.task, base.hidden, base.measure_batch, tuple(lengths), tuple(found), commands)


def _alone(spec: RunSpec) -> str | None:
    """The variant in which only the direct path is left."""
    return with_options(spec.cell, {"gain": "0"}) if family_of(spec.cell) in GATED else None


def step_factors(spec: RunSpec, params: Params, batch: Batch) -> StepFactors | None:
    """The factors of one timestep of an rnn, lstm or gru; None where a state is not finite.

    The path from state to state is d = keep + write W with W the recurrent weights of the candidate: an rnn has
    keep = 0 and write = φ'(a), an lstm keep = f and write = i (1 - g²) o (1 - tanh²(c)) for its memory c, a gru
    keep = z and write = (1 - z) r (1 - n²). Paths through the weights of the gates are left out.

    Args:
        params: of the whole model. batch: held-out examples, of which the first count.
    """
    model = spec.model()
    with numerics(spec.dtype):
        inputs = model.embedded(params, batch).inputs[:, :EXAMPLES]
    cell, own, inputs, start = prepared(model.cell, params["cell"], inputs, None)
    gated: Any = cell
    with jax.enable_x64(True):
        states, _ = states_and_outputs(cell, own, inputs, start)
        pre = pre_activation(gated, own, states, inputs)
        values = {name: np.asarray(each) for name, each in gated.gate_values(pre).items()}
        slope = jax.jvp(lambda pre: gated.gates(pre, states)["h"], (pre,), (jnp.ones_like(pre),))[1]
    weights = np.asarray(own["w_h"])
    keep, through = _parts(spec.cell, values, np.asarray(slope), {k: np.asarray(it) for k, it in states.items()})
    block = _candidate(weights, list(values))
    if not np.isfinite([keep, *through.values()]).all():
        return None
    singular = np.linalg.svd(block, compute_uv=False)
    write = math.prod(through.values())
    together = float(np.abs(keep + write * np.linalg.eigvals(block)).max())
    return StepFactors(keep, through, (float(singular[-1]), float(singular[0])), together)


def _parts(
    cell: str, values: Mapping[str, Floats], slope: Floats, states: Mapping[str, Floats]
) -> tuple[float, dict[str, float]]:
    """Means of what the direct path keeps, and of each factor of the path through the candidate."""
    mean = {name: float(each.mean()) for name, each in values.items()}
    if family_of(cell) == "rnn":
        built: Any = get_cell(cell)
        # Orthogonal weights spread the gradient over all units, and its norm is multiplied by a mean square.
        return 0.0, {SLOPES[built.activation]: float(np.sqrt((slope**2).mean()))}
    if family_of(cell) == "gru":
        return mean["z"], {"1 − z": 1 - mean["z"], "r": mean["r"], "1 − n²": float((1 - values["n"] ** 2).mean())}
    inner = {"i": mean["i"], "1 − g²": float((1 - values["g"] ** 2).mean()), "o": mean["o"]}
    return mean.get("f", 1.0), inner | {"1 − tanh²(c)": float((1 - np.tanh(states["c"]) ** 2).mean())}


def _candidate(weights: Floats, names: Sequence[str]) -> Floats:
    """The block of the recurrent weights that makes the candidate: h of an rnn, g of an lstm, n of a gru."""
    blocks = np.split(weights, weights.shape[1] // weights.shape[0], axis=1)
    return np.asarray(blocks[next(at for at, name in enumerate(names) if name in ("h", "g", "n"))])
