"""The figure of `measure=every`: what the training pass itself saw, training step by training step."""

import numpy as np

from gradlab.report.data.records import Record
from gradlab.report.figures.drawing import Drawing, Floats, panels, run_choices, themed
from gradlab.report.figures.heat import heat_map

ROWS = 120
"""Rows of the map; with more training steps than that, a row is the deepest of several."""


@themed()
def per_step_figure(name: str, record: Record, label: str) -> Drawing | None:
    """Norm of the state by training step and lag in float arithmetic, or None if it was not recorded."""
    if not record.run.has("every.npz"):
        return None
    leaves = record.run.arrays("every.npz")
    norms = _state_norm(list(leaves.values()))
    if not len(norms):
        return None
    with np.errstate(invalid="ignore"):
        values = norms - norms[:, :1]
    steps, rows = _deepest(values)
    end = values[:, -1]
    zero = int(np.isneginf(norms[:, -1]).sum())
    finite = end[np.isfinite(end)]
    heading = f"{label}, every training step (seed {record.seed})"
    if finite.size:
        at = int(np.flatnonzero(end == finite.min())[0]) + 1
        heading += f": lag {values.shape[1]} at {finite.min():+.1f} decades at training step {at:,}"
    figure, (ax,) = panels(1, 1, (7.2, 5.0), heading)
    heat_map(figure, ax, values[rows], steps)
    per_row = -(-len(values) // ROWS)
    each = "a training step" if per_row == 1 else f"the deepest of {per_row} training steps"
    caption = (
        f"{heading}. As the training pass itself saw it: rms over the examples of each batch, total gradient, in "
        f"{next(iter(leaves.values())).dtype}, which reads 0 below 1e-38 in float32. Each row is {each}. "
        f"Grey: zero or not finite; lag {values.shape[1]} read zero in {zero:,} of {len(values):,} training steps."
    )
    return Drawing(
        name, figure, heading, caption, "runs", run_choices(record, label, "map of every training step")
    )


def _state_norm(leaves: list[Floats]) -> Floats:
    """log10 of the norm over all leaves, (training steps, lags), from those of each."""
    stacked = np.stack([np.asarray(leaf, np.float64) for leaf in leaves])
    top = stacked.max(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = np.sum(10.0 ** (2 * (stacked - np.where(np.isfinite(top), top, 0.0))), axis=0)
        return np.asarray(np.where(np.isfinite(top), top + 0.5 * np.log10(squares), top))


def _deepest(values: Floats) -> tuple[list[int], list[int]]:
    """Where each row of the map begins, and which training step it shows: the lowest at the last lag."""
    size = -(-len(values) // ROWS)
    starts = range(0, len(values), size)
    # Not a number goes first: it is a finding that must be seen.
    depth = np.where(np.isnan(values[:, -1]), -np.inf, values[:, -1])
    return [at + 1 for at in starts], [at + int(np.argmin(depth[at : at + size])) for at in starts]
