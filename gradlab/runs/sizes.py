"""The largest hidden size with which a cell stays below a number of parameters. Loads jax when it is called."""

from functools import lru_cache
from typing import Any

from gradlab.errors import GradlabError
from gradlab.runs.spec import RunSpec

TRIED = 64
"""The smallest size that a cell takes is looked for up to this one; of larger ones its multiples are tried."""


def largest_hidden(spec: RunSpec, max_params: int) -> int:
    """The largest hidden size of a spec's cell and readout with at most so many parameters.

    Args:
        spec: whose cell and task are asked about; its own hidden size does not matter.
        max_params: trained numbers at most, as `parameters` in `done.json` counts them.

    Raises:
        GradlabError: even the smallest size has more.

    Example:
        >>> largest_hidden(RunSpec(cell="rnn"), 5000), largest_hidden(RunSpec(cell="lstm"), 5000)
        (68, 33)
    """
    unit = _smallest(spec.cell, spec.cell_source, spec.task, spec.task_source)

    def fits(multiple: int) -> bool:
        return _parameters(spec, unit * multiple) <= max_params

    if not fits(1):
        least = _parameters(spec, unit)
        raise GradlabError(
            f"max_params is {max_params}: {spec.cell} on {spec.task} has {least} at its smallest, hidden={unit}"
        )
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return unit * low


def _parameters(spec: RunSpec, hidden: int) -> int:
    return _count(spec.cell, spec.cell_source, spec.task, spec.task_source, hidden)


@lru_cache(maxsize=256)
def _smallest(*names: Any) -> int:
    """The smallest hidden size that a cell takes; those of attention are multiples of its heads."""
    for hidden in range(1, TRIED):
        try:
            _count(*names, hidden)
        except GradlabError:
            continue
        return hidden
    _count(*names, TRIED)
    return TRIED


@lru_cache(maxsize=4096)
def _count(cell: str, cell_source: str | None, task: str, task_source: str | None, hidden: int) -> int:
    """The parameters of a cell with its readout; of the sources only the cache needs to know."""
    import jax

    from gradlab.runs.variants import get_cell, get_task
    from gradlab.training.model import Model
    from gradlab.training.weights import count

    return count(jax.eval_shape(Model(get_cell(cell), get_task(task), hidden).init, 0))
