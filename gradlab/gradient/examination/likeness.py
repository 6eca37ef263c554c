"""A cell against another one that it claims to be, at equal weights."""

import jax
import numpy as np

from gradlab.cells import Cell
from gradlab.errors import GradlabError
from gradlab.gradient.examination.equivalence import ROUNDING
from gradlab.gradient.examination.finding import CellFinding
from gradlab.gradient.examination.subject import (
    FEW,
    StepArguments,
    Subject,
    Trajectory,
    apart,
    as_numpy,
    moved,
    params_of_jax,
)
from gradlab.gradient.state import named_leaves


def likeness(of: Subject, like: Cell, name: str) -> CellFinding:
    """Whether a cell gives what another gives with the same parameters, biases that are zero moved.

    Raises:
        GradlabError: their parameters or states are not alike.
    """
    params = _same_layout(of, like, name)
    start = as_numpy(like.carry(params_of_jax(params), of.sizes.batch_size))
    inputs, params_0 = of.single.inputs[:FEW], params
    params = moved(params, np.random.RandomState(0))
    paths = [Trajectory(cell, params, start, inputs, x64=False) for cell in (of.cell, like)]
    first = apart(*(path.values(StepArguments(params_0, start, inputs[0])) for path in paths))
    for timestep in range(1, FEW + 1):
        at = StepArguments(params, paths[1].states[timestep - 1], inputs[timestep - 1])
        ours, theirs = (path.values(at) for path in paths)
        gap = apart(theirs, ours)
        if gap > ROUNDING:
            leaves = [*paths[1].leaves, "the output"]
            off = [leaf for leaf, a, b in zip(leaves, theirs, ours, strict=True) if apart([a], [b]) > ROUNDING]
            text = (
                f"not {name}: at equal weights `{off[0]}` differs by this share at timestep {timestep}; "
                + (
                    "from a state of zero they agree, so look at what hₜ₋₁ goes through: "
                    if first <= ROUNDING
                    else ""
                )
                + "the order of gates, a bias, where the reset gate acts (before or after the product)"
            )
            return CellFinding("like", "fault", gap, text)
    return CellFinding("like", "ok", gap, f"the same as {name} at equal weights over {FEW} timesteps")


def _same_layout(of: Subject, like: Cell, name: str) -> object:
    sizes = of.sizes
    params = as_numpy(like.init(jax.random.key(sizes.seed), sizes.input_size, sizes.hidden_size))
    start = like.carry(params_of_jax(params), sizes.batch_size)
    pairs = (("parameters", of.single.params, params), ("state", of.single.start, start))
    for what, ours, theirs in pairs:
        found, wanted = _layout(ours), _layout(theirs)
        if found != wanted:
            raise GradlabError(
                f"--like {name} compares at equal weights: the {what} must be {wanted}, and are {found}"
            )
    return params


def _layout(tree: object) -> str:
    return ", ".join(f"{name} {leaf.shape}" for name, leaf in named_leaves(tree))
