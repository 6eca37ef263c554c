"""One cell, computed in several ways that must agree: eager, vectorised, as a scan, in float64."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradlab.cells import Carry, Params
from gradlab.gradient.assumptions import gradients_meet, halves, not_linear
from gradlab.gradient.examination.finding import CellFinding
from gradlab.gradient.examination.subject import (
    FEW,
    LONGEST,
    StepArguments,
    Subject,
    Trajectory,
    apart,
    is_key,
    moved,
    params_of_jax,
)
from gradlab.gradient.state import has_batch_axis, split, step_of
from gradlab.gradient.trial import UNOPTIMISED, trial, wide

ROUNDING = 2.0**-12
"""What two ways to compute one timestep in float32 may differ by, in units of the largest entry."""
DRIFT = 1e-2
"""What they may differ by after many timesteps: rounding grows along a sequence."""
_TRIED = (1, 3, FEW)
"""Timesteps at which what is tested at one state is tested."""


def eager(of: Subject) -> CellFinding:
    """Whether a compiled timestep gives what the same function gives uncompiled."""
    at = of.single.at(FEW)
    s_t, y_t = of.cell.step(params_of_jax(at.params), jax.tree.map(jnp.asarray, at.carry), jnp.asarray(at.x_t))
    gap = apart([*map(wide, split(s_t)[0]), wide(y_t)], of.single.values(at))
    if gap > ROUNDING:
        text = f"{step_of(of.cell)} under jax.jit differs from the plain call: it reads more than its arguments"
        return CellFinding("jit", "fault", gap, text)
    return CellFinding("jit", "ok", gap, "compiled and plain calls agree")


def scan(of: Subject) -> list[CellFinding]:
    """Whether `lax.scan` gives what a loop of Python gives, and outputs do not depend on later inputs."""
    path, step = of.single, of.cell.step

    def run(params: Params, start: Carry, inputs: Array) -> Array:
        with jax.default_matmul_precision("highest"):
            return lax.scan(lambda s, x_t: step(params, s, x_t), start, inputs)[1]

    program = jax.jit(run).lower(path.params, path.start, path.inputs).compile(UNOPTIMISED)
    outputs = np.asarray(program(path.params, path.start, path.inputs))
    near, far = apart([outputs[:FEW]], [path.outputs[:FEW]]), apart([outputs], [path.outputs])
    agrees = f"lax.scan and a loop of Python agree over {LONGEST} timesteps"
    scanned = CellFinding("scan", "ok", far, agrees)
    if near > DRIFT:
        text = f"lax.scan differs from a loop of Python within {FEW} timesteps: `step` is no pure function"
        scanned = CellFinding("scan", "fault", near, text)
    elif far > DRIFT:
        text = (
            f"lax.scan and a loop of Python agree over {FEW} timesteps, then rounding grows: the cell is chaotic"
        )
        scanned = CellFinding("scan", "note", far, text)
    inputs, half = path.inputs.copy(), LONGEST // 2
    inputs[half:] = -inputs[half:][::-1]
    gap = apart([outputs[:half]], [np.asarray(program(path.params, path.start, inputs))[:half]])
    causal = CellFinding("later inputs", "ok", gap, "no output depends on a later input")
    if gap > ROUNDING:
        causal = CellFinding(
            "later inputs", "fault", gap, "outputs depend on later inputs: `step` is no pure function"
        )
    return [scanned, causal]


def single_examples(of: Subject) -> CellFinding:
    """Whether an example alone, vectorised by `jax.vmap`, gives what it gives in the batch."""
    path, step, size = of.single, of.cell.step, of.sizes.batch_size
    leaves, treedef = jax.tree.flatten(path.start)
    axes = [0 if row else None for row in has_batch_axis(of.cell, path.params, path.start, size)]

    def one(params: Params, rows: list[Array], x: Array) -> list[Array]:
        alone = [leaf if axis is None else leaf[None] for leaf, axis in zip(rows, axes, strict=True)]
        with jax.default_matmul_precision("highest"):
            s_t, y_t = step(params, jax.tree.unflatten(treedef, alone), x[None])
        return [leaf[0] for leaf in [*split(s_t)[0], y_t]]

    lowered = jax.jit(jax.vmap(one, (None, axes, 0))).lower(path.params, leaves, path.inputs[0])
    program = lowered.compile(UNOPTIMISED)
    gap = 0.0
    for at in map(path.at, _TRIED):
        alone = program(at.params, jax.tree.leaves(at.carry), at.x_t)
        gap = max(gap, apart([*map(wide, alone)], path.values(at)))
    if gap <= ROUNDING:
        return CellFinding("vmap", "ok", gap, "an example alone (jax.vmap) gives what it gives in the batch")
    if of.random:
        text = (
            "the random numbers of an example depend on the size of the batch: one key for each example avoids it"
        )
        return CellFinding("vmap", "note", gap, text)
    text = (
        f"an example alone gives another result than in the batch: {step_of(of.cell)} mixes examples (batch "
        "statistics?) or depends on the size of the batch; normalise within each example"
    )
    return CellFinding("vmap", "fault", gap, text)


def examples(of: Subject) -> CellFinding:
    """Whether examples influence each other, forward or backward."""
    path, rng, name = of.single, np.random.RandomState(0), "examples"
    for at in map(path.at, _TRIED):
        if reason := gradients_meet(trial(of.cell, at.params, at.carry, at.x_t)):
            return CellFinding(name, "fault", None, reason)
        for members in halves(of.sizes.batch_size):
            other = _others_moved(of, at, rng, members)
            gap = apart(
                [leaf[~members] for leaf in path.values(at)], [leaf[~members] for leaf in path.values(other)]
            )
            if gap > ROUNDING:
                text = (
                    f"examples meet in {step_of(of.cell)}: an example changes where only others are changed "
                    "(batch statistics behind a stop_gradient?); normalise within each example"
                )
                return CellFinding(name, "fault", gap, text)
    return CellFinding(name, "ok", None, "no example influences another, forward or backward")


def _others_moved(
    of: Subject, at: StepArguments, rng: np.random.RandomState, members: np.ndarray
) -> StepArguments:
    """The same arguments with those of some examples moved."""
    leaves, treedef = jax.tree.flatten(at.carry)
    rows = has_batch_axis(of.cell, at.params, at.carry, of.sizes.batch_size)

    def mixed(leaf: np.ndarray) -> np.ndarray:
        return np.where(members.reshape(-1, *[1] * (leaf.ndim - 1)), moved(leaf, rng), leaf)

    new = [mixed(leaf) if row and not is_key(leaf) else leaf for leaf, row in zip(leaves, rows, strict=True)]
    return StepArguments(at.params, jax.tree.unflatten(treedef, new), mixed(at.x_t))


def linearity(of: Subject) -> CellFinding:
    """Whether the pullback is linear: a gradient that is clipped inside `step` is not."""
    for at in map(of.single.at, _TRIED):
        if reason := not_linear(trial(of.cell, at.params, at.carry, at.x_t)):
            return CellFinding("linear", "fault", None, reason)
    return CellFinding("linear", "ok", None, "a gradient that is scaled comes back scaled")


def precision(of: Subject) -> CellFinding:
    """Whether float32 gives what float64 gives, after one timestep and after many; not of random numbers."""
    if of.random:
        return CellFinding("float32", "note", None, "not compared with float64, which draws other random numbers")
    pairs = [(of.single.values(at), of.double.values(at64)) for at, at64 in _same_points(of.single, of.double)]
    near, far = max(apart(*pair) for pair in pairs), apart([of.single.outputs], [of.double.outputs])
    if near > ROUNDING:
        text = (
            f"one timestep of {step_of(of.cell)} in float32 is off by this share of the largest entry: it "
            "cancels, overflows or rounds inside; rearrange it"
        )
        return CellFinding("float32", "fault", near, text)
    if far > DRIFT:
        text = (
            f"float32 and float64 agree in one timestep and part within {LONGEST}: rounding grows along the path"
        )
        return CellFinding("float32", "note", far, text)
    return CellFinding("float32", "ok", far, f"float32 agrees with float64 over {LONGEST} timesteps")


def _same_points(single: Trajectory, double: Trajectory) -> Iterator[tuple[StepArguments, StepArguments]]:
    for timestep in _TRIED:
        at = single.at(timestep)
        wider = jax.tree.map(
            lambda leaf, like: leaf if is_key(leaf) else leaf.astype(like.dtype), at.carry, double.start
        )
        yield at, StepArguments(double.params, wider, at.x_t.astype(np.float64))
