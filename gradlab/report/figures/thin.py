"""Paths with fewer points that look the same: what ten thousand lags add on a few hundred points of paper."""

import re

import numpy as np
from numpy.typing import NDArray

from gradlab.report.figures.drawing import Floats

TOLERANCE = 0.15
"""How far, in points, a path may move: a twelfth of the width of a line."""
FEW = 60
"""Points up to which a path stays as it is."""
_POINT = re.compile(r"([ML]) (\S+) (\S+)\s*")


def thinned(path: str) -> str:
    """A path of straight lines with the points that it can do without left out.

    Args:
        path: the `d` of an SVG path. One that has curves comes back as it is.

    Example:
        >>> thinned("M 0 0 " + " ".join(f"L {x} {2 * x}" for x in range(1, 100)))
        'M 0 0L 99 198'
    """
    body = path.strip()
    end = " z" if body.endswith(("z", "Z")) else ""
    body = body.rstrip("zZ ")
    found = _POINT.findall(f"{body} ")
    if len(found) <= FEW or len(_POINT.sub("", f"{body} ")) > 0:
        return path
    points = np.array([(float(x), float(y)) for _, x, y in found])
    starts = [index for index, (command, _, _) in enumerate(found) if command == "M"]
    kept: list[str] = []
    for first, last in zip(starts, [*starts[1:], len(found)], strict=True):
        part = points[first:last]
        for index in np.flatnonzero(needed(part)):
            kept.append(f"{'L' if index else 'M'} {_plain(part[index, 0])} {_plain(part[index, 1])}")
    return "".join(kept) + end


def needed(points: Floats) -> NDArray[np.bool_]:
    """Which points (N, 2) of a line stay so that it moves by at most `TOLERANCE`.

    Source: Douglas and Peucker (1973), "Algorithms for the reduction of the number of points required to represent
    a digitized line or its caricature", https://doi.org/10.3138/FM57-6770-U75U-7727
    """
    keep = np.zeros(len(points), bool)
    keep[[0, -1]] = True
    open_ = [(0, len(points) - 1)]
    while open_:
        first, last = open_.pop()
        if last - first < 2:
            continue
        away = _away(points[first + 1 : last], points[first], points[last])
        furthest = int(np.argmax(away))
        if away[furthest] > TOLERANCE:
            middle = first + 1 + furthest
            keep[middle] = True
            open_ += [(first, middle), (middle, last)]
    return keep


def _away(points: Floats, first: Floats, last: Floats) -> Floats:
    """Distances from the stretch between two points."""
    along = last - first
    square = float(along @ along)
    share = np.clip((points - first) @ along / square, 0, 1) if square else np.zeros(len(points))
    return np.hypot(*(points - first - share[:, None] * along).T)


def _plain(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
