"""A cell driven to where its gates are exactly 0 or 1: values and gradients must stay finite."""

import numpy as np

from gradlab.gradient.examination.finding import CellFinding
from gradlab.gradient.examination.subject import FEW, StepArguments, Subject, Trajectory
from gradlab.gradient.state import split, step_of
from gradlab.gradient.trial import wide

INPUTS = (1e3, -1e3, 1e4, -1e4)
"""Inputs that drive pre-activations to a thousand and beyond."""
_TIMESTEPS = 3


def extremes(of: Subject) -> list[CellFinding]:
    """Large inputs, from a state that is reached, and an input of zero at the initial state."""
    path, rng = of.single, np.random.RandomState(0)
    at = path.at(FEW)
    for size in INPUTS:
        signs = {"all": np.ones_like(at.x_t), "signs mixed": np.sign(rng.standard_normal(at.x_t.shape))}
        for which, sign in signs.items():
            if lost := _lost(path, at._replace(x_t=(size * sign).astype(np.float32))):
                text = (
                    f"inputs of {size:g} ({which}) make {lost} not finite in {step_of(of.cell)}: an exponential "
                    "that overflows, or 0 · inf in a derivative; subtract the largest exponent first "
                    "(a stabiliser), or bound it"
                )
                return [CellFinding("extremes", "fault", size, text), *_zero(of)]
    text = "values and gradients are finite at inputs of that size, gates at exactly 0 and 1"
    return [CellFinding("extremes", "ok", max(INPUTS), text), *_zero(of)]


def _zero(of: Subject) -> list[CellFinding]:
    path = of.single
    lost = _lost(path, StepArguments(path.params, path.start, np.zeros_like(path.inputs[0])))
    if lost:
        text = (
            f"an input of zero at the initial state makes {lost} not finite in {step_of(of.cell)}: the "
            "derivative of a root, a norm or a logarithm; add a small constant, or take jnp.where on both sides"
        )
        return [CellFinding("zero", "fault", 0.0, text)]
    return [
        CellFinding("zero", "ok", 0.0, "values and gradients are finite for an input of zero at the initial state")
    ]


def _lost(path: Trajectory, at: StepArguments) -> str:
    """The first quantity that is not finite within a few timesteps at this input; "" if none is."""
    rng = np.random.RandomState(1)
    for _ in range(_TIMESTEPS):
        s_t, y_t = path.step(at)
        for name, leaf in [*zip(path.leaves, split(s_t)[0], strict=True), ("the output", y_t)]:
            if not np.isfinite(wide(leaf)).all():
                return f"`{name}`" if name != "the output" else name
        pulled = path.pull(at, path.cotangents(rng))
        named = [*zip(path.leaves, pulled.carry, strict=True), ("x", pulled.x_t)]
        named += zip(path.weights, pulled.params, strict=True)
        for name, gradient in named:
            if not np.isfinite(gradient).all():
                return f"the gradient with respect to `{name}`"
        at = at._replace(carry=s_t)
    return ""
