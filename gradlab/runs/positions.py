"""The probes of a lesson: one cell at every value of its knob and every length."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import jax
import jax.numpy as jnp

from gradlab.cells import Params
from gradlab.cells.traced import traced_step
from gradlab.errors import GradlabError
from gradlab.runs.execute import run
from gradlab.runs.lesson import Knob, Position
from gradlab.runs.result import RunResult
from gradlab.runs.spec import RunSpec
from gradlab.training.loop import Checkpoint, initial_params, train
from gradlab.training.model import Model

Tell = Callable[[str], None]


class Prober:
    """Probes that share their compiled programs where built-in cells have one step and differ in how they start.

    Args:
        base: task, hidden size and seed of all of them. shared: whether the cells are built-in ones.
    """

    def __init__(self, base: RunSpec, shared: bool) -> None:
        self.base, self.shared = base, shared
        self.models: dict[str, Model] = {}
        self.params = lru_cache(maxsize=None)(self._params)

    def grid(self, knob: Knob, lengths: Sequence[int], tell: Tell) -> tuple[tuple[Position, ...], ...]:
        """A position [value][length]; one length after the other, as each compiles anew."""
        found: dict[tuple[int, int], Position] = {}
        for at, length in enumerate(lengths):
            for row, (value, cell) in enumerate(zip(knob.values, knob.cells, strict=True)):
                tell(f"lesson: probe {len(found) + 1} of {len(knob.cells) * len(lengths)}, {cell}, T = {length}")
                found[row, at] = self.probe(replace(self.base, cell=cell, length=length), value)
        return tuple(tuple(found[row, at] for at in range(len(lengths))) for row in range(len(knob.cells)))

    def probe(self, spec: RunSpec, value: str) -> Position:
        """What `gradlab probe` measures of this spec."""
        if not self.shared:
            mark = measured(spec).checkpoints[0]
        else:
            with jax.enable_x64(spec.dtype == "float64"):
                events = train(self._model(spec), spec.plan(), self.params(spec.cell))
                mark = next(event for event in events if isinstance(event, Checkpoint))
        gates = {name: gate.mean for name, gate in mark.metrics.gates.items()}
        return Position(value, spec.length, spec.cell, spec.command(), mark.metrics.curves["task"], gates)

    def _model(self, spec: RunSpec) -> Model:
        """The model whose programs measure this spec: the first one with the same step."""
        model = spec.model()
        x_t = jnp.zeros((spec.measure_batch, model.task.input_size))
        step = traced_step(model.cell, model.hidden, x_t)
        return self.models.setdefault(step, model)

    def _params(self, cell: str) -> Params:
        spec = replace(self.base, cell=cell)
        with jax.enable_x64(spec.dtype == "float64"):
            # Drawn without compiling, which would take longer than all probes of one length; of these schemes the
            # bits are the same, because nothing is multiplied twice.
            if "init=" in cell and "init=chrono" not in cell:
                return initial_params(spec.model(), spec.plan())
            return spec.model().init(jnp.uint32(spec.seed))


def measured(spec: RunSpec, shards: int = 1) -> RunResult:
    """A run that is not stored.

    Raises:
        GradlabError: it failed; the reason is in it.
    """
    result = run(spec, shards=shards)
    if result.status == "failed":
        raise GradlabError(f"cell `{spec.cell}` cannot be measured: {result.reason}", exit_code=1)
    return result
