"""For the tests of other projects: a cell's gradient curve must equal the accepted one.

    from gradlab.testing import assert_curve

    def test_memory_of_my_cell():
        assert_curve(MyCell(), baseline="tests/curves/my-cell.json", length=100)

Installed beside pytest, gradlab adds a fixture that does the same, `gradient_curve`, and `--gradlab-bless`
(`plugin.py`).
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradlab.judge.check import ScenarioResult
    from gradlab.judge.suite import Scenario
    from gradlab.report.figures.overlay import Pair

_SHOWN_LAGS = 6


def assert_curve(
    cell: Any,
    *,
    baseline: str | Path,
    length: int | None = None,
    task: str = "adding",
    hidden: int | None = None,
    batch: int = 16,
    steps: int = 0,
    learning_rate: float = 0.003,
    dtype: str = "float32",
    seeds: int = 8,
    bless: bool = False,
    allow_zero: bool = False,
    tolerance: float | None = None,
) -> None:
    """Fail unless the gradient curve of a cell equals its baseline, by the tolerances of `gradlab check`.

    Args:
        cell: an object that `gradlab.as_cell` takes, such as one with init, carry and step, or a variant such as
            `lstm:forget_bias=3`. Or a `GradientCurve`, such as one of `gradlab.torch.watch`, that is compared.
        baseline: a JSON file; if it is missing it is written, and the test fails so that somebody looks at it.
        length: of the sequences, as the task counts it; to be given for a cell. task: a task variant.
        hidden: H; where None that of an object of a library that has its weights, else 32.
        batch: measured examples, and examples of a training step.
        steps: training steps before a second measurement; 0 for none. learning_rate: of Adam.
        dtype: float32 or float64. seeds: compared one by one.
        bless: write the baseline and pass. allow_zero: accept a gradient that is exactly zero at every lag.
        tolerance: decades by which a given curve may move (default 0.001); those of a cell are measured.

    Raises:
        AssertionError: the curve changed, cannot be compared, had no baseline, or is exactly zero at every lag.
        GradlabError: an argument is wrong, or the curves cannot be a baseline.

    Example:
        >>> assert_curve("rnn", baseline="no/such/folder/rnn.txt", length=10)
        Traceback (most recent call last):
            ...
        gradlab.errors.GradlabError: baseline is `no/such/folder/rnn.txt`: give the path of a JSON file
    """
    __tracebackhide__ = True
    from gradlab.errors import GradlabError
    from gradlab.gradient.curve import GradientCurve
    from gradlab.gradient.summary import CUT
    from gradlab.judge.baseline import paths_of
    from gradlab.judge.bless import bless as bless_scenarios
    from gradlab.judge.check import check
    from gradlab.judge.measure import zero_parts
    from gradlab.judge.suite import TOLERANCE, curve_scenario
    from gradlab.runs.cache import use_cache
    from gradlab.runs.spec import RunSpec

    path = Path(baseline)
    if path.suffix != ".json":
        raise GradlabError(f"baseline is `{baseline}`: give the path of a JSON file")
    if isinstance(cell, GradientCurve):
        given = TOLERANCE if tolerance is None else tolerance
        scenario = curve_scenario(path.stem, {"curve": path.stem, "tolerance": given}, lambda: [cell], given)
    elif length is None or tolerance is not None:
        lacks = "has no length: give length=100" if length is None else "measures its tolerance: leave it out"
        raise GradlabError(f"assert_curve of a cell {lacks}")
    else:
        hidden = _own_size(cell, task) or 32 if hidden is None else hidden
        fields = {"task": task, "length": length, "hidden": hidden, "batch": batch, "measure_batch": batch}
        fields |= {"steps": steps, "learning_rate": learning_rate, "dtype": dtype, "stop": "never"}
        scenario = _scenario(cell, path.stem, RunSpec.from_dict(fields), fields, seeds)
    use_cache()
    if bless or not paths_of(path.parent, path.stem)[0].exists():
        reason, option = "blessed by a test", "allow_zero=True"
        bless_scenarios([scenario], path.parent, reason, allow_zero=allow_zero, zero_option=option)
        if not bless:
            raise AssertionError(f"no baseline yet: {path} was written now; look at it, commit it and run again")
        return
    (result,) = check("test", [scenario], path.parent).scenarios
    if result.worst.status != "unchanged":
        raise AssertionError(_failure(result, path))
    cut = [] if result.now is None or allow_zero else zero_parts(result.now)
    if cut:
        raise AssertionError(f"{path.stem} is {CUT} ({', '.join(cut)}); allow_zero=True accepts it")


def _own_size(cell: Any, task: str) -> int | None:
    from gradlab.adapters import as_cell
    from gradlab.runs.variants import get_task

    own_size = None if isinstance(cell, str) else getattr(as_cell(cell), "own_size", None)
    return own_size and own_size(get_task(task).input_size)


def _scenario(cell: Any, name: str, spec: Any, stated: dict[str, Any], seeds: int) -> "Scenario":
    """The scenario of a cell, an object or a variant; `stated` are the other fields as they were given."""
    from gradlab.adapters import as_cell
    from gradlab.judge.suite import scenario_of
    from gradlab.training.model import Model

    if isinstance(cell, str):
        spec, stated = replace(spec, cell=cell), stated | {"cell": cell}
    scenario = replace(scenario_of(spec, seeds, stated=stated, name=name), former="")
    if isinstance(cell, str):
        return scenario
    cell = as_cell(cell)
    return replace(
        scenario,
        config=dict(scenario.config) | {"cell": getattr(cell, "__name__", type(cell).__qualname__)},
        build=lambda: (Model(cell, spec.build_task(), spec.hidden), spec.plan()),
        spec=None,
    )


def _failure(result: "ScenarioResult", path: Path) -> str:
    """What changed, the lags around it, the figure, and how to accept it."""
    from gradlab.judge.check import overlay_title
    from gradlab.report.figures.overlay import Pair, draw_overlay
    from gradlab.runs.store import Store

    lines, columns = [str(result.worst)], {title: Pair(*each) for title, each in result.overlay().items()}
    worst = result.worst
    pair = columns.get(overlay_title(worst.part, f"{worst.curve}/{worst.leaf}"))
    if pair is not None and worst.lag in pair.lags:
        lines += _table(pair, pair.lags.index(worst.lag), math.nan if worst.decades is None else worst.decades)
    lines += [f"environment differs from the baseline: {change}" for change in result.changes]
    if columns:
        figure = draw_overlay(Store(None).root / "check", result.scenario, str(worst), columns)[0]
        lines.append(f"new curve over the baseline: {figure}")
    return "\n".join([*lines, f"baseline: {path}; to accept the new curve: pytest --gradlab-bless, or bless=True"])


def _table(curves: "Pair", at: int, decades: float) -> list[str]:
    """Baseline, measured, shift and tolerance around the lag that decides, of the seed that does.

    Args:
        at: the index of that lag. decades: the shift there.
    """
    import numpy as np

    from gradlab.judge.statistics import difference

    shifts = difference(curves.before, curves.after)
    found = np.isfinite(shifts[:, at]) if np.isnan(decades) else np.abs(shifts[:, at] - decades)
    seed = int(np.argmin(np.nan_to_num(found, nan=0.0)))  # infinity less infinity: that one too is the shift
    first = max(0, min(at - _SHOWN_LAGS // 2, len(curves.lags) - _SHOWN_LAGS))
    rows = [f"{'lag':>6} {'baseline':>12} {'measured':>12} {'shift':>12} {'tolerance':>10}"]
    for i in range(first, min(first + _SHOWN_LAGS, len(curves.lags))):
        old, new, shift = (each[seed, i] for each in (curves.before, curves.after, shifts))
        mark = " <" if i == at else ""
        rows.append(
            f"{curves.lags[i]:>6} {old:12.6f} {new:12.6f} {shift:+12.2e} {curves.tolerance[i]:10.1e}{mark}"
        )
    return [*rows, "(log10 gradient norm of the seed that decides)"]
