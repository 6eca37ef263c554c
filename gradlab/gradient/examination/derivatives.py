"""The derivative that JAX takes of `step`, against finite differences in float64, for each of its arguments.

Of z, any argument of (sₜ, yₜ) = F(z), with random directions v and gradients u of the results:

    ⟨Jᵀu, v⟩  against  ⟨u, F(z + εv) - F(z - εv)⟩ / 2ε

Where the differences ahead and behind do not agree, F has a kink there, and nothing is said.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradlab.gradient.examination.finding import CellFinding
from gradlab.gradient.examination.subject import FEW, Floats, StepArguments, Subject, Trajectory, apart, moved, rms
from gradlab.gradient.state import split, step_of
from gradlab.gradient.trial import gaussian, wide

STEP = 1e-6
"""ε, in units of the size of an argument."""
TOLERANCE = 1e-4
"""By which share the two may differ."""
_NOISE = 1e-8
"""What rounding makes of a difference, in units of the products that are summed in it."""
_KINK = 1e-3
"""By which share the differences ahead and behind may differ."""
CARRIED = "carried"
"""The state again, as the next state alone depends on it: what goes back in time."""
_TIMESTEPS = (2, 5, FEW)
_DIRECTIONS = 2


@dataclass
class Tested:
    """What was found of one argument.

    Attributes:
        gradient, difference: the largest of each, in size; where one is not zero, the other should not be.
        wrong: by which share they differ at worst. ratio: gradient / difference there.
        moves: by how much a large change of it moves the results. read: whether NaN in it reaches them.
        decided: at how many points the two could be compared.
    """

    gradient: float = 0.0
    difference: float = 0.0
    wrong: float = 0.0
    ratio: float = 1.0
    moves: float = 0.0
    read: bool = False
    decided: int = 0


def derivatives(of: Subject) -> list[CellFinding]:
    """Wrong derivatives, leaves that no gradient reaches, and leaves that do not matter."""
    path, rng = of.double, np.random.RandomState(0)
    kinds = {"state": path.leaves, CARRIED: path.leaves, "input": ["x"], "parameters": path.weights}
    found = {(kind, name): Tested() for kind, names in kinds.items() for name in names}
    for at in _points(path, rng):
        for (kind, name), tested in found.items():
            for _ in range(_DIRECTIONS):
                _compare(path, at, kind, kinds[kind].index(name), rng, tested)
    return [*_correctness(of, found), *_reach(of, found)]


def _points(path: Trajectory, rng: np.random.RandomState) -> Iterator[StepArguments]:
    """States along the path with the parameters, as they are and moved: some are zero at the beginning."""
    for timestep in _TIMESTEPS:
        at = path.at(timestep)
        yield at
        yield at._replace(params=moved(at.params, rng), carry=moved(at.carry, rng))


def _compare(
    path: Trajectory, at: StepArguments, kind: str, index: int, rng: np.random.RandomState, tested: Tested
) -> None:
    """One comparison, of one leaf of one kind of argument, added to what is known of it."""
    leaf = _leaf(at, kind, index)
    if not np.isfinite(leaf).all():
        return
    v = wide(gaussian(rng, leaf.shape, leaf.dtype)) * (rms(leaf) or 1.0)
    u = path.cotangents(rng)
    if kind == CARRIED:
        u[-1] = np.zeros_like(u[-1])
    pulled = path.pull(at, u)
    leaves = {"input": [pulled.x_t], "parameters": pulled.params}.get(kind, pulled.carry)
    gradient = _dot([leaves[index]], [v])
    here, ahead, behind = (path.values(_with(at, kind, index, leaf + sign * STEP * v)) for sign in (0, 1, -1))
    after, before = (_dot(u, _minus(*pair)) / STEP for pair in ((ahead, here), (here, behind)))
    noise = _NOISE * sum(float(np.sum(np.abs(wide(a)) * np.abs(b))) for a, b in zip(u, here, strict=True))
    tested.moves = max(tested.moves, apart(here, path.values(_with(at, kind, index, wide(moved(leaf, rng))))))
    tested.read |= apart(here, path.values(_with(at, kind, index, np.full_like(leaf, np.nan)))) > 0
    if not np.isfinite([gradient, after, before]).all():
        return
    if abs(after - before) > _KINK * max(abs(after), abs(before)) + noise:
        return
    difference = (after + before) / 2
    tested.decided += 1
    tested.gradient = max(tested.gradient, abs(gradient))
    tested.difference = max(tested.difference, abs(difference) if abs(difference) > noise else 0.0)
    gap = abs(gradient - difference)
    wrong = gap / (max(abs(gradient), abs(difference)) + noise / TOLERANCE)
    if wrong > tested.wrong:
        tested.wrong, tested.ratio = wrong, gradient / difference if difference else np.inf


def _leaf(at: StepArguments, kind: str, index: int) -> np.ndarray:
    tree = {"input": at.x_t, "parameters": at.params}.get(kind, at.carry)
    return np.asarray(split(tree)[0][index])


def _with(at: StepArguments, kind: str, index: int, value: np.ndarray) -> StepArguments:
    """The arguments with one leaf of one argument replaced."""
    if kind == "input":
        return at._replace(x_t=value)
    floats, rebuild = split(at.params if kind == "parameters" else at.carry)
    leaves: list[Any] = [*floats[:index], value, *floats[index + 1 :]]
    new = rebuild(leaves)
    return at._replace(params=new) if kind == "parameters" else at._replace(carry=new)


def _dot(u: Sequence[np.ndarray], v: Sequence[np.ndarray]) -> float:
    """⟨u, v⟩ as jax pairs a gradient with a direction: Re Σ u v."""
    return float(sum(np.sum(wide(a) * b).real for a, b in zip(u, v, strict=True)))


def _minus(a: Floats, b: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return [np.where(x == y, 0.0, x - y) for x, y in zip(a, b, strict=True)]


# ---------------------------------------------------------------- findings

Results = dict[tuple[str, str], Tested]


def _correctness(of: Subject, found: Results) -> Iterator[CellFinding]:
    detached = [key for key, one in found.items() if one.gradient == 0 and one.wrong > TOLERANCE]
    cut = {name for kind, name in detached if kind in ("state", CARRIED)}
    wrong = {
        name: one
        for (kind, name), one in found.items()
        if one.wrong > TOLERANCE
        and (kind, name) not in detached
        and not (kind in ("state", CARRIED) and name in cut)
    }
    for kind, name in detached:
        if not (kind == CARRIED and ("state", name) in detached):
            yield CellFinding(
                kind.replace(CARRIED, "state"), "fault", found[kind, name].difference, _cut(of, kind, name)
            )
    if wrong:
        name = max(wrong, key=lambda name: wrong[name].wrong)
        text = (
            f"the derivative of {step_of(of.cell)} with respect to {_listed(wrong)} is not that of its values "
            f"(in `{name}` {wrong[name].ratio:.3g} times the finite difference): mend its custom_vjp or "
            "custom_jvp, or take a stop_gradient away; a surrogate gradient shows here too"
        )
        yield CellFinding("derivative", "fault", wrong[name].wrong, text)
    elif not any(one.decided for one in found.values()):
        yield CellFinding(
            "derivative", "note", None, "no finite difference could be taken: `step` has jumps everywhere"
        )
    else:
        worst = max(one.wrong for key, one in found.items() if key not in detached)
        yield CellFinding("derivative", "ok", worst, "autodiff agrees with finite differences in float64")


def _cut(of: Subject, kind: str, name: str) -> str:
    what, lost = {
        "state": (f"leaf `{name}` of the state", "no gradient goes back in time through it"),
        CARRIED: (f"leaf `{name}` of the state", "no gradient goes back in time through it"),
        "input": ("the input", "no gradient reaches what feeds the cell"),
        "parameters": (f"parameter `{name}`", "it is never trained"),
    }[kind]
    changes = "the next state" if kind == CARRIED else f"what {step_of(of.cell)} returns"
    return (
        f"{what} is detached: it changes {changes}, and its gradient there is exactly zero, so that {lost}; take "
        "the stop_gradient away"
    )


def _reach(of: Subject, found: Results) -> Iterator[CellFinding]:
    step = step_of(of.cell)
    for kind in ("state", "input", "parameters"):
        of_kind = {name: one for (other, name), one in found.items() if other == kind}
        if of_kind and all(one.gradient > 0 for one in of_kind.values()):
            yield CellFinding(kind, "ok", None, f"a gradient reaches {_listed(of_kind)}")
        for name, one in of_kind.items():
            if not one.decided or one.gradient or one.difference:
                continue
            what, advice = {
                "state": (f"leaf `{name}` of the state", "it is written and never read: take it out of the state"),
                "input": ("the input", f"{step} never reads it"),
                "parameters": (f"parameter `{name}`", f"{step} never reads it: take it out of `init`, or use it"),
            }[kind]
            if one.moves == 0 and not one.read:
                yield CellFinding(kind, "fault", 0.0, f"{what} does not matter: {advice}")
                continue
            if one.moves == 0:
                yield CellFinding(kind, "note", 0.0, f"{what} had no effect at the states that were tried")
                continue
            text = f"{what} acts in jumps only (token ids, rounding, a threshold): its gradient is zero"
            yield CellFinding(kind, "note" if kind == "input" else "fault", one.moves, text)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))
