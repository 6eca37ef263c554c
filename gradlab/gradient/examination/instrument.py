"""The curves of the instrument against an explicit product of Jacobians, and the memory of a cell.

    λₜ₋₁ = (∂yₜ/∂sₜ₋₁)ᵀ gₜ + Jₜᵀ λₜ    Jₜ = ∂sₜ/∂sₜ₋₁

Here the rows of Jₜ are pulled back one unit vector at a time in float64, and multiplied in NumPy. A complex entry
counts as two numbers.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradlab.cells import Carry
from gradlab.errors import GradlabError
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.examination.finding import CellFinding, CellVerdict
from gradlab.gradient.examination.subject import FEW, Floats, StepArguments, Subject, Trajectory, moved, rms
from gradlab.gradient.measure import gradient_curve
from gradlab.gradient.state import split
from gradlab.gradient.trial import wide

LENGTHS = (1, 2, FEW)
LONG = 200
"""Lags over which growth and decay are measured."""
HOLD = 100
"""Timesteps without input over which a cell is to hold a value."""
TOLERANCE = 1e-4
"""Decades by which curve and product may differ."""
RESOLVED, RESOLVED_IN_FLOAT32 = 12, 5
"""Decades below the gradient of the whole state where that of a leaf may be rounding alone."""
PRECISION = 1e-2
"""Decades by which curves in float32 and float64 may differ."""


def instrument(of: Subject) -> list[CellFinding]:
    """The curves in float64 against the product of Jacobians, and those in float32 against float64."""
    weights = np.random.RandomState(1).standard_normal(of.double.outputs.shape[2:])
    expected = _products(of.double, weights)
    worst = 0.0
    for length in LENGTHS:
        curve = _curve(of.double, length, weights)
        for name, norms in expected[length].items():
            if name in curve.log10_norm:
                worst = max(
                    worst, _decades_apart(curve.log10_norm[name], norms, curve.log10_norm["state"] - RESOLVED)
                )
    about = f"decades from an explicit product of Jacobians, T = {', '.join(map(str, LENGTHS))}"
    found = [CellFinding("instrument", "ok", worst, f"gradient_curve is that many {about}")]
    if not worst <= TOLERANCE:
        text = f"gradient_curve is that many {about}: please report this cell as a fault of gradlab"
        found = [CellFinding("instrument", "fault", worst, text)]
    single, double = (_curve(path, FEW, weights) for path in (of.single, of.double))
    gap = max(
        _decades_apart(values, double.log10_norm[leaf], double.log10_norm["state"] - RESOLVED_IN_FLOAT32)
        for leaf, values in single.log10_norm.items()
    )
    text = f"curves of float32 and float64 are that many decades apart over {FEW} lags"
    verdict: CellVerdict = "ok" if gap <= PRECISION or single.chaotic else "fault"
    if verdict == "fault":
        text += ": a gradient of this cell is lost to rounding in float32; measure with --dtype float64"
    return [*found, CellFinding("curve", verdict, gap, text)]


def _curve(path: Trajectory, length: int, weights: np.ndarray) -> GradientCurve:
    """Of a loss that reads every output."""

    def loss(outputs: Array) -> Array:
        read = (outputs.real * weights).astype(outputs.real.dtype)
        return jnp.sum(read, axis=(0, *range(2, read.ndim)))

    with jax.enable_x64(path.x64):
        return gradient_curve(path.cell, path.params, jnp.asarray(path.inputs[:length]), loss, path.start)


def _products(path: Trajectory, weights: np.ndarray) -> dict[int, dict[str, np.ndarray]]:
    """For each length, for each leaf, log10 |λ| (T, B) by lag, of the loss of `_curve`."""
    rows = [_jacobian(path, path.at(t)) for t in range(1, FEW + 1)]
    ends = np.cumsum([leaf.shape[-1] for leaf in _flat(split(path.start)[0])])
    (g,) = _flat([np.broadcast_to(weights, path.outputs.shape[1:]).astype(path.outputs.dtype)])
    found = {}
    for length in LENGTHS:
        adjoint, norms = np.zeros((len(g), ends[-1])), []
        for jacobian in reversed(rows[:length]):
            adjoint = np.einsum("brn,br->bn", jacobian, np.concatenate([adjoint, g], axis=1))
            parts = np.split(adjoint, ends[:-1], axis=1)
            norms.append([np.sqrt(np.sum(part**2, axis=1)) for part in parts])
        with np.errstate(divide="ignore"):
            found[length] = dict(zip(path.leaves, np.log10(np.array(norms)).transpose(1, 0, 2), strict=True))
    return found


def _jacobian(path: Trajectory, at: StepArguments) -> np.ndarray:
    """∂(sₜ, yₜ)/∂sₜ₋₁ of each example in real numbers, (B, rows, N)."""
    rows, floats = [], split(path.start)[0]
    for index, leaf in enumerate(path.zeros):
        for entry in range(leaf[0].size):
            for unit in (1, 1j) if np.iscomplexobj(leaf) else (1,):
                cotangents = path.zeros
                cotangents[index].reshape(len(leaf), -1)[:, entry] = unit
                pulled = path.pull(at, cotangents).carry
                kept = [
                    each if np.iscomplexobj(like) else each.real for each, like in zip(pulled, floats, strict=True)
                ]
                rows.append(np.concatenate(_flat(kept), axis=1))
    return np.stack(rows, axis=1)


def _flat(leaves: Sequence[Any]) -> Floats:
    """Each leaf as real numbers (B, n), complex entries as pairs."""
    flat = [leaf.reshape(len(leaf), -1) for leaf in leaves]
    return [
        np.stack([leaf.real, leaf.imag], axis=-1).reshape(len(leaf), -1) if np.iscomplexobj(leaf) else leaf
        for leaf in flat
    ]


def _decades_apart(one: np.ndarray, other: np.ndarray, floor: np.ndarray) -> float:
    """The most that two arrays of log10 norms differ by, where not both are below a floor."""
    seen = (one > floor) | (other > floor)
    with np.errstate(invalid="ignore"):
        gaps = np.abs(one - other)[seen]
    return float(np.max(np.where(np.isnan(gaps), np.inf, gaps), initial=0.0))


# ---------------------------------------------------------------- memory


def memory(of: Subject) -> list[CellFinding]:
    """Decades per timestep of each leaf over 200 lags, and whether the cell holds a value without input."""
    weights = np.random.RandomState(1).standard_normal(of.single.outputs.shape[2:])

    def loss(outputs: Array) -> Array:
        read = (outputs[-1].real * weights).astype(outputs.real.dtype)
        return jnp.sum(read, axis=tuple(range(1, read.ndim)))

    path = of.single
    try:
        curve = gradient_curve(path.cell, path.params, jnp.asarray(path.inputs[:LONG]), loss, path.start)
    except GradlabError as error:
        return [CellFinding("growth", "fault", None, str(error))]
    found = []
    for leaf in curve.leaves:
        if leaf != "state" or len(curve.leaves) > 2:
            found.append(_growth(curve, leaf))
    found += [CellFinding("growth", "fault", None, f"over {LONG} timesteps {each}") for each in curve.non_finite]
    if not of.random:  # in float64 other random numbers are drawn, which is no imprecision of float32
        found += [CellFinding("curve", "note", None, note) for note in curve.all_notes()]
    if curve.unverified:
        found.append(
            CellFinding("curve", "note", None, f"no float64 measurement of the curve: {curve.unverified}")
        )
    return [*found, *_holding(of)]


def _growth(curve: GradientCurve, leaf: str) -> CellFinding:
    verdict = str(curve.verdict(leaf=leaf)).removeprefix(f"{leaf}: ")
    text = f"`{leaf}`: decades per timestep over {LONG} lags, half-life {curve.half_life(leaf)}; {verdict}"
    return CellFinding("growth", "note", curve.slope(leaf).value, text)


def _holding(of: Subject) -> list[CellFinding]:
    """What is left of a change of each leaf after many timesteps of zero input, and the spectral radius there."""
    path, rng = of.double, np.random.RandomState(2)
    at = path.states[FEW]
    inputs = np.zeros((HOLD, *path.inputs.shape[1:]))
    states, _ = path.walk(at, inputs)
    end, found = states[-1], []
    jacobian = _jacobian(path, StepArguments(path.params, end, inputs[0]))
    entries = [leaf.shape[-1] for leaf in _flat(split(end)[0])]
    first = 0
    for index, (name, size) in enumerate(zip(path.leaves, entries, strict=True)):
        part = slice(first, first + size)
        first += size
        radius = float(np.max(np.abs(np.linalg.eigvals(np.nan_to_num(jacobian[:, part, part])))))
        kept = _kept(path, at, inputs, states, index, rng)
        holds = "holds a value" if 0.5 <= kept <= 2 else "forgets" if kept < 0.5 else "amplifies"
        text = (
            f"`{name}` {holds}: of a small change that share is left after {HOLD} timesteps of zero input; "
            f"spectral radius of its own Jacobian there {radius:.3g}"
        )
        found.append(CellFinding("memory", "note", kept, text))
    return found


def _kept(
    path: Trajectory, at: Carry, inputs: np.ndarray, states: list[Carry], index: int, rng: np.random.RandomState
) -> float:
    """|change of a leaf at the end| / |change at the beginning|."""
    floats, rebuild = split(at)
    leaf = wide(floats[index])
    step = 1e-4 * (rms(leaf) or 1.0) * np.sign(wide(moved(leaf, rng)).real + 1e-300) * (1 + rng.rand(*leaf.shape))
    others: list[Any] = [*floats[:index], leaf + step, *floats[index + 1 :]]
    ended = path.walk(rebuild(others), inputs)[0][-1]
    change = wide(split(ended)[0][index]) - wide(split(states[-1])[0][index])
    with np.errstate(invalid="ignore"):
        return float(rms(change) / rms(step))
