"""Measuring without training, as `gradlab probe` does it: curves and gates of the initial weights."""

import jax

from bench.case import Case
from bench.peak import MB, growth_mb
from gradlab.cells import CELLS
from gradlab.tasks.adding import adding
from gradlab.training.checkpoint_metrics import CheckpointPrograms
from gradlab.training.keys import stream
from gradlab.training.model import Model


def make(case: Case, problem: str) -> "Probing":
    return Probing(case)


class Probing:
    def __init__(self, case: Case) -> None:
        model = Model(CELLS[case.cell](), adding(), case.hidden)
        self.params = jax.jit(lambda: model.init(0))()
        batch = jax.jit(lambda key: model.task.sample(key, case.batch, case.length))(stream(0, "measure"))
        self.batch = jax.block_until_ready(batch)
        self.metrics = CheckpointPrograms.of(model, case.length)
        for compile_one in self.metrics.compilations(self.params, self.batch):
            compile_one()

    def train(self, steps: int) -> None:
        """One "training step" is one measurement."""
        for _ in range(steps):
            self.metrics.measure(self.params, self.batch)

    def growth(self) -> tuple[float, float]:
        """MB, of one measurement, beyond parameters and inputs; and how many of them are the curves that come out.

        A curve has a number for each timestep, example and leaf, and grows with T as the inputs do.
        """
        sizes: list[int] = []

        def measure() -> None:
            curves = self.metrics.measure(self.params, self.batch).curves.values()
            sizes.append(sum(leaf.nbytes for curve in curves for leaf in curve.log10_norm.values()))

        return growth_mb(measure), sizes[0] / MB

    def device_memory(self) -> dict[str, float | None]:
        """MB: what the compiler planned for the larger program, and what the device held at most, if it says."""
        planned = max(program.bytes or 0 for program in self.metrics.programs)
        seen = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        compiled = self.metrics.compile_seconds
        return {"planned_mb": planned / MB, "peak_mb": None if seen is None else seen / MB, "compile_s": compiled}
