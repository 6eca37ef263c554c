"""What was aimed at on a GPU, whether it was reached, and what the time of a timestep is made of."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

CUDNN, FLAX = 10.0, 3.0
"""Many runs against cuDNN in a row, and one run, measuring, against flax."""


class Judged(NamedTuple):
    """One ratio of medians, other / gradlab; `goal` is None where nothing was aimed at."""

    what: str
    ratio: float
    goal: float | None
    note: str

    @property
    def verdict(self) -> str:
        """`met`, `**missed**` or nothing."""
        return "" if self.goal is None else "met" if self.ratio >= self.goal else "**missed**"


PAIRS: tuple[tuple[str, str, str, float | None], ...] = (
    ("many", "torch: row", "cuDNN, one after the other", CUDNN),
    ("many", "torch: streams", "cuDNN on streams", None),
    ("many", "torch: graphs", "cuDNN as captured graphs, one after the other", None),
    ("many", "torch: graphs on streams", "cuDNN as captured graphs on streams", None),
    ("many", "flax: many", "flax under vmap", None),
    ("many, TF32", "torch: row, TF32", "cuDNN, one after the other, both in TF32", None),
    ("many", "gradlab: many, no norms", "itself without norms", None),
    ("one", "flax: one", "flax", FLAX),
    ("one", "torch: one", "cuDNN", None),
    ("one", "torch: one, graph", "cuDNN as a captured graph", None),
    ("one, TF32", "torch: one, TF32", "cuDNN, both in TF32", None),
    ("one", "gradlab: one, no norms", "itself without norms", None),
)


def targets(found: Mapping[str, Any]) -> list[Judged]:
    """Every ratio whose two sides were measured."""
    judged = []
    for name, times in found.get("speed", {}).items():
        if not name.startswith("times "):
            continue
        medians = {key: statistics.median(one["ms"]) for key, one in times.items() if one["ms"]}
        for way, other, what, goal in PAIRS:
            ours = medians.get(f"gradlab: {way}")
            if ours is not None and other in medians:
                note = f"{medians[other]:.3g} ms / {ours:.3g} ms"
                title = f"{name.removeprefix('times ')}, {way}: {what}"
                judged.append(Judged(title, medians[other] / ours, goal, note))
    return judged


def slope_us(profile: Mapping[str, Any], way: str) -> float | None:
    """µs of a training step for each timestep more, by least squares over the lengths that were timed."""
    points = [
        (int(name.removeprefix("T=")), statistics.median(one[way]))
        for name, one in profile.items()
        if name.startswith("T=") and way in one
    ]
    if len(points) < 2:
        return None
    slope, _ = statistics.linear_regression(*zip(*points, strict=True))
    return 1000 * slope


def launches(profile: Mapping[str, Any], way: str) -> int | None:
    """Instructions that launch something in a round of the loops over timesteps, forward and backward together."""
    loops = profile.get("kernels", {}).get(way, [])
    inner = [loop for loop in loops if loop["times"] and "while" not in loop["kinds"]]
    # The backward loop runs over a stretch of timesteps at a time: as often in all, less often in a row. Loops of
    # random numbers have fewer rounds.
    two = sorted(inner, key=lambda loop: -loop["times"])[:2]
    return sum(sum(loop["kinds"].values()) for loop in two) if len(two) == 2 else None


def reasons(found: Mapping[str, Any], judged: Sequence[Judged]) -> list[str]:
    """Where a target is missed: what was measured of a timestep."""
    if all(one.verdict != "**missed**" for one in judged):
        return []
    profile = found.get("profile", {})
    lines = [""]
    for way in ("one", "many"):
        per, count = slope_us(profile, way), launches(profile, way)
        if per is not None:
            each = f", in which the loops launch about {count} times: {per / count:.1f} µs each" if count else ""
            lines.append(f"- {way}: a timestep more costs {per:.1f} µs{each}.")
    return lines if len(lines) > 1 else []
