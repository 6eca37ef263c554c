"""Tasks with long dependencies, one per file or a few that are akin; on recorded data in `data/`."""

from collections.abc import Callable

from gradlab.tasks.adding import adding, multiplication
from gradlab.tasks.associative_recall import associative_recall
from gradlab.tasks.base import Batch, Task
from gradlab.tasks.copy import copy, variable_copy
from gradlab.tasks.data import DATA_TASKS, digits, forecast, language
from gradlab.tasks.delayed_xor import delayed_xor
from gradlab.tasks.latch import latch
from gradlab.tasks.mackey_glass import mackey_glass
from gradlab.tasks.selective_copy import selective_copy
from gradlab.tasks.temporal_order import temporal_order

TASKS: dict[str, Callable[..., Task]] = {
    "adding": adding,
    "multiplication": multiplication,
    "delayed_xor": delayed_xor,
    "latch": latch,
    "temporal_order": temporal_order,
    "copy": copy,
    "variable_copy": variable_copy,
    "selective_copy": selective_copy,
    "associative_recall": associative_recall,
    "mackey_glass": mackey_glass,
    **DATA_TASKS,
}

__all__ = [
    "TASKS",
    "Batch",
    "Task",
    "adding",
    "associative_recall",
    "copy",
    "delayed_xor",
    "digits",
    "forecast",
    "language",
    "latch",
    "mackey_glass",
    "multiplication",
    "selective_copy",
    "temporal_order",
    "variable_copy",
]
