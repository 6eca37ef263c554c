"""Tasks with long dependencies, one per file: synthetic ones, and those on recorded data in `data/`."""

from collections.abc import Callable

from gradlab.tasks.adding import adding
from gradlab.tasks.base import Batch, Task
from gradlab.tasks.copy import copy
from gradlab.tasks.data import DATA_TASKS, digits, forecast, language

TASKS: dict[str, Callable[..., Task]] = {
    "adding": adding,
    "copy": copy,
    **DATA_TASKS,
}

__all__ = ["TASKS", "Batch", "Task", "adding", "copy", "digits", "forecast", "language"]
