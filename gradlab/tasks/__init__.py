"""Synthetic tasks with long dependencies, one per file."""

from collections.abc import Callable

from gradlab.tasks.adding import adding
from gradlab.tasks.base import Batch, Task
from gradlab.tasks.copy import copy

TASKS: dict[str, Callable[..., Task]] = {"adding": adding, "copy": copy}

__all__ = ["TASKS", "Batch", "Task", "adding", "copy"]
