"""Figures of what was worked out beside the curves of one run: spectrum, credit, paths and remembrance."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gradlab.gradient.curve import STATE
from gradlab.gradient.reductions import relative_to_first
from gradlab.gradient.summary import in_decades
from gradlab.report.data.records import Record, lags_of, row_of, summarised
from gradlab.report.figures.drawing import (
    RELATIVE,
    Drawing,
    Floats,
    add_legend,
    draw_line,
    line_style,
    panels,
    run_choices,
    themed,
)
from gradlab.report.figures.ticks import lag_axis
from gradlab.report.text.analyses import sentence

Arrays = Mapping[str, np.ndarray]

_ABOUT = {
    "spectrum": "Singular values of the product of Jacobians from each lag to the last state: the gradient of a "
    "loss at the last output lies between the largest and the smallest",
    "credit": "The running sum over lags of what each timestep gives of the gradient of the weights: its share of "
    "the whole along the direction of that, its cosine with it, and what truncation there is off by",
    "paths": "The part of the gradient at each lag that came through one path alone; the rest changed its path",
    "precision": "The gradient by plain automatic differentiation in each arithmetic, beside float64; a line ends "
    "where an example's underflows to 0",
    "remembrance": "How far the last output moves when the input at a lag is exchanged for another example's, "
    "beside the gradient",
}


def analysis_figures(name: str, record: Record, label: str) -> Iterator[Drawing]:
    """A figure for each analysis of a run: of its initial weights, and of its final ones where it was trained."""
    found = record.run.done.get("analyses") or {}
    if not found or not record.run.has("analyses.npz"):
        return
    arrays = record.run.arrays("analyses.npz")
    for analysis in next(iter(found.values())):
        if all("failed" in each[analysis] for each in found.values()):
            continue
        yield _figure(f"{analysis}-{name}", analysis, record, label, arrays)


@themed()
def _figure(name: str, analysis: str, record: Record, label: str, arrays: Arrays) -> Drawing:
    found: Mapping[str, Mapping[str, Any]] = record.run.done["analyses"]
    said = {when: sentence(analysis, each[analysis], _lags(record, when)) for when, each in found.items()}
    start = f"{label}, T = {record.config['length']}, seed {record.seed}"
    heading = f"{start}, {_at(next(iter(said)))}: {next(iter(said.values()))}"
    drawn = [when for when, each in found.items() if "failed" not in each[analysis]]
    figure, axes = panels(1, len(drawn), (6.0 if len(drawn) > 1 else 7.2, 4.4), heading, sharey=True)
    for ax, when in zip(axes, drawn, strict=True):
        prefix = f"{when}/{analysis}/"
        own = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
        _DRAWN[analysis](ax, own, _gradient(record, when))
        ax.set_title(_at(when), loc="left")
        lag_axis(ax)
    add_legend(figure, columns=3)
    caption = f"{start}. {_ABOUT[analysis]}. {'; '.join(f'{_at(when)}, {text}' for when, text in said.items())}."
    return Drawing(name, figure, heading, caption, "runs", run_choices(record, label, analysis))


def _at(when: str) -> str:
    return {"initial": "at initialisation", "final": "after training"}[when]


def _lags(record: Record, when: str) -> int:
    arrays = record.arrays()
    return lags_of(arrays, row_of(arrays, record.step(when)))


def _gradient(record: Record, when: str) -> Floats:
    """The curve of the run relative to lag 1."""
    arrays = record.arrays()
    row = row_of(arrays, record.step(when))
    curve = summarised(arrays, row, "task", STATE)[: lags_of(arrays, row)]
    return relative_to_first(curve)


def _spectrum(ax: Axes, arrays: Arrays, gradient: Floats) -> None:
    lags, values = arrays["lags"], arrays["singular_values"]
    places = {"largest": 0, "median": (values.shape[1] - 1) // 2, "smallest": -1}
    # The smallest falls so far that the others would be one line.
    shown = [*values[:, [0, places["median"]]].ravel(), *gradient]
    finite = [value for value in shown if np.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    low, high = low - 0.05 * (high - low) - 0.1, high + 0.05 * (high - low) + 0.1
    for index, (which, place) in enumerate(places.items()):
        end = values[-1, place]
        below = f" (to {in_decades(end)})" if end < low else ""
        draw_line(ax, lags, values[:, place], line_style(index), label=f"{which} singular value{below}")
    draw_line(ax, np.arange(1, len(gradient) + 1), gradient, line_style(3), label="gradient of the run")
    ax.set_ylabel(RELATIVE)
    ax.set_ylim(low, high)


def _credit(ax: Axes, arrays: Arrays, gradient: Floats) -> None:
    del gradient
    lags = np.arange(1, len(arrays["share"]) + 1)
    lines = {"share of the whole": "share", "cosine with the whole": "cosine", "missing by truncation": "missing"}
    for index, (words, name) in enumerate(lines.items()):
        draw_line(ax, lags, arrays[name], line_style(index), label=words)
    ax.set_ylabel("gradient of the weights\nfrom the last k timesteps")
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, -0.5), min(high, 1.5))


def _paths(ax: Axes, arrays: Arrays, gradient: Floats) -> None:
    del gradient
    names = [key.removeprefix("alone_share/") for key in arrays if key.startswith("alone_share/")]
    shares = {name: arrays[f"alone_share/{name}"] for name in names}
    shares["mixed"] = 1 - np.sum(list(shares.values()), axis=0)
    for index, (name, share) in enumerate(shares.items()):
        words = {"carried": "carried state alone", "mixed": "changed its path"}.get(name, f"{name} alone")
        draw_line(ax, np.arange(1, len(share) + 1), share, line_style(index), label=words)
    ax.set_ylabel("share of the gradient")


def _remembrance(ax: Axes, arrays: Arrays, gradient: Floats) -> None:
    if len(change := arrays["change"]):
        lags, relative = arrays["lags"], relative_to_first(change)
        draw_line(ax, lags, relative, line_style(0), label="change of the last output (forward)")
    draw_line(ax, np.arange(1, len(gradient) + 1), gradient, line_style(1), label="gradient (backward)")
    ax.set_ylabel("relative to lag 1 (decades)")


def _precision(ax: Axes, arrays: Arrays, gradient: Floats) -> None:
    del gradient
    exact = arrays["exact"]
    plain = {key.removeprefix("plain/"): line for key, line in arrays.items() if key.startswith("plain/")}
    lines = {"float64": exact, **{f"{dtype}, plain": line for dtype, line in plain.items()}}
    for index, (words, line) in enumerate(lines.items()):
        draw_line(ax, np.arange(1, len(line) + 1), line - exact[0], line_style(index), label=words)
    ax.set_ylabel(RELATIVE)


_DRAWN: Mapping[str, Callable[[Axes, Arrays, Floats], None]] = {
    "spectrum": _spectrum,
    "credit": _credit,
    "paths": _paths,
    "remembrance": _remembrance,
    "precision": _precision,
}
