"""For the tests of other projects: a cell's gradient curve must be the one that was blessed.

    from gradlab.testing import assert_curve

    def test_memory_of_my_cell():
        assert_curve(MyCell(), baseline="tests/curves/my-cell.json", length=100)

Installed beside pytest, gradlab adds a fixture that does the same, `gradient_curve`, and `--gradlab-bless`
(`plugin.py`).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradlab.judge.check import Judged
    from gradlab.judge.suite import Scenario

_SHOWN_LAGS = 6


def assert_curve(
    cell: Any,
    *,
    baseline: str | Path,
    length: int,
    task: str = "adding",
    hidden: int = 32,
    batch: int = 16,
    steps: int = 0,
    learning_rate: float = 0.003,
    dtype: str = "float32",
    seeds: int = 8,
    bless: bool = False,
    allow_zero: bool = False,
) -> None:
    """Fail unless the gradient curve of a cell is the one in a baseline, by `gradlab check`'s tolerances.

    Args:
        cell: an object with init, carry and step, or a variant such as `lstm:forget_bias=3`.
        baseline: a JSON file; where it is missing it is written, and the test fails so that somebody looks at it.
        length: of the sequences, in timesteps as the task counts them.
        task: a task variant. hidden: H. batch: examples that are measured, and of a training step.
        steps: training steps before a second look; 0 for none. learning_rate: of Adam.
        dtype: float32 or float64. seeds: compared one by one.
        bless: write the baseline and pass.
        allow_zero: let a gradient pass that is exactly zero at every lag.

    Raises:
        AssertionError: the curve changed, cannot be compared, had no baseline, or is exactly zero at every lag.
        GradlabError: an argument is wrong, or what was measured is not fit for a baseline.

    Example:
        >>> assert_curve("rnn", baseline="no/such/folder/rnn.txt", length=10)
        Traceback (most recent call last):
            ...
        gradlab.errors.GradlabError: baseline is `no/such/folder/rnn.txt`: give the path of a JSON file
    """
    __tracebackhide__ = True
    from gradlab.errors import GradlabError
    from gradlab.gradient.summary import CUT
    from gradlab.judge.baseline import paths_of
    from gradlab.judge.bless import bless as bless_scenarios
    from gradlab.judge.check import check
    from gradlab.judge.measure import zero_parts
    from gradlab.runs.cache import use_cache
    from gradlab.runs.spec import RunSpec

    path = Path(baseline)
    if path.suffix != ".json":
        raise GradlabError(f"baseline is `{baseline}`: give the path of a JSON file")
    fields = {"task": task, "length": length, "hidden": hidden, "batch": batch, "measure_batch": batch}
    fields |= {"steps": steps, "learning_rate": learning_rate, "dtype": dtype, "stop": "never"}
    scenario = _scenario(cell, path.stem, RunSpec.from_dict(fields), fields, seeds)
    use_cache(clean=False)
    if bless or not paths_of(path.parent, path.stem)[0].exists():
        bless_scenarios([scenario], path.parent, "blessed by a test", allow_zero=allow_zero)
        if not bless:
            raise AssertionError(f"no baseline yet: {path} was written now; look at it, commit it and run again")
        return
    (judged,) = check("test", [scenario], path.parent).judged
    if judged.worst.status != "unchanged":
        raise AssertionError(_failure(judged, path))
    cut = [] if judged.now is None or allow_zero else zero_parts(judged.now)
    if cut:
        raise AssertionError(f"{path.stem} is {CUT} ({', '.join(cut)}); allow_zero=True lets it pass")


def _scenario(cell: Any, name: str, spec: Any, said: dict[str, Any], seeds: int) -> "Scenario":
    """The scenario of a cell that is an object or a variant; `said`: the other fields as they were given."""
    from gradlab.judge.suite import scenario_of

    if isinstance(cell, str):
        asked = scenario_of(replace(spec, cell=cell), seeds, said=said | {"cell": cell}, name=name)
        return replace(asked, former="")
    from gradlab.errors import GradlabError
    from gradlab.training.model import Model

    missing = [part for part in ("init", "carry", "step") if not callable(getattr(cell, part, None))]
    if missing:
        raise GradlabError(f"cell {cell!r} has no {', '.join(missing)}: a cell needs init, carry and step")
    scenario = replace(scenario_of(spec, seeds, said=said, name=name), former="")
    label = getattr(cell, "__name__", type(cell).__qualname__)
    return replace(
        scenario,
        config=dict(scenario.config) | {"cell": label},
        build=lambda: (Model(cell, spec.build_task(), spec.hidden), spec.plan()),
    )


def _failure(judged: "Judged", path: Path) -> str:
    """What changed, the lags around it, the picture, and how to accept it."""
    from gradlab.cli.check import overlay
    from gradlab.cli.verdicts import sentence
    from gradlab.runs.store import Store

    lines = [sentence(judged.worst), *_table(judged)]
    lines += [f"environment differs from the baseline: {change}" for change in judged.changes]
    pictures = overlay(judged, judged.scenario, Store(None).root / "check")
    lines += [f"new curve over the baseline: {picture}" for picture in pictures]
    lines.append(f"baseline: {path}; to accept the new curve: pytest --gradlab-bless, or bless=True")
    return "\n".join(lines)


def _table(judged: "Judged") -> Sequence[str]:
    """Baseline, measured, shift and tolerance around the lag that decides, in medians over seeds."""
    import numpy as np

    from gradlab.judge.compare import tolerance
    from gradlab.judge.statistics import difference

    worst, old, now = judged.worst, judged.baseline, judged.now
    if worst.lag is None or old is None or now is None or worst.part not in now.parts or worst.lag not in now.lags:
        return []
    before, after = old.measurement.parts[worst.part].curves, now.parts[worst.part].curves
    shifts, allowed = np.median(difference(before, after), axis=0), tolerance(old.noise[worst.part])
    at = now.lags.index(worst.lag)
    first = max(0, min(at - _SHOWN_LAGS // 2, len(now.lags) - _SHOWN_LAGS))
    rows = [f"{'lag':>6} {'baseline':>12} {'measured':>12} {'shift':>12} {'tolerance':>10}"]
    for index in range(first, min(first + _SHOWN_LAGS, len(now.lags))):
        numbers = f"{np.median(before[:, index]):12.6f} {np.median(after[:, index]):12.6f} {shifts[index]:+12.2e}"
        rows.append(f"{now.lags[index]:>6} {numbers} {allowed[index]:10.1e}{' <' if index == at else ''}")
    return [*rows, "(log10 gradient norm, median over seeds)"]
