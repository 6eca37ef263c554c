"""gradlab: does the gradient reach back far enough?

Measures how much of a loss's gradient reaches each earlier timestep of a recurrent network. Importing gradlab
is cheap: jax, pandas and seaborn are loaded when a name is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradlab.adapters import as_cell as as_cell
    from gradlab.cells import Cell as Cell
    from gradlab.errors import GradlabError as GradlabError
    from gradlab.gradient import GradientCurve as GradientCurve
    from gradlab.gradient import gradient_curve as gradient_curve
    from gradlab.gradient.credit import weight_credit as weight_credit
    from gradlab.gradient.examination.examine import check_cell as check_cell
    from gradlab.gradient.paths import path_credit as path_credit
    from gradlab.gradient.precision import precision_curves as precision_curves
    from gradlab.gradient.remembrance import remembrance as remembrance
    from gradlab.gradient.spectrum import jacobian_spectrum as jacobian_spectrum
    from gradlab.report.comparison import compare as compare
    from gradlab.report.comparison import plot as plot
    from gradlab.report.data.tables import load as load
    from gradlab.runs.execute import run as run
    from gradlab.runs.imported_curves import store_curve as store_curve
    from gradlab.runs.result import RunResult as RunResult
    from gradlab.runs.spec import RunSpec as RunSpec
    from gradlab.runs.variants import get_cell as get_cell
    from gradlab.runs.variants import get_task as get_task
    from gradlab.tasks import Batch as Batch
    from gradlab.tasks import Task as Task

__version__ = "0.1.0"

_HOME = {
    "Batch": "gradlab.tasks",
    "Cell": "gradlab.cells",
    "GradientCurve": "gradlab.gradient",
    "GradlabError": "gradlab.errors",
    "RunResult": "gradlab.runs.result",
    "RunSpec": "gradlab.runs.spec",
    "Task": "gradlab.tasks",
    "as_cell": "gradlab.adapters",
    "check_cell": "gradlab.gradient.examination.examine",
    "compare": "gradlab.report.comparison",
    "get_cell": "gradlab.runs.variants",
    "get_task": "gradlab.runs.variants",
    "gradient_curve": "gradlab.gradient",
    "jacobian_spectrum": "gradlab.gradient.spectrum",
    "load": "gradlab.report.data.tables",
    "path_credit": "gradlab.gradient.paths",
    "plot": "gradlab.report.comparison",
    "precision_curves": "gradlab.gradient.precision",
    "remembrance": "gradlab.gradient.remembrance",
    "run": "gradlab.runs.execute",
    "store_curve": "gradlab.runs.imported_curves",
    "weight_credit": "gradlab.gradient.credit",
}

__all__ = [
    "Batch",
    "Cell",
    "GradientCurve",
    "GradlabError",
    "RunResult",
    "RunSpec",
    "Task",
    "as_cell",
    "check_cell",
    "compare",
    "get_cell",
    "get_task",
    "gradient_curve",
    "jacobian_spectrum",
    "load",
    "path_credit",
    "plot",
    "precision_curves",
    "remembrance",
    "run",
    "store_curve",
    "weight_credit",
]


def __getattr__(name: str) -> Any:
    if name in ("testing", "torch"):
        return importlib.import_module(f"gradlab.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'gradlab' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
