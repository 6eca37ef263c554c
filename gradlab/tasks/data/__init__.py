"""Tasks on recorded data that need no download: text, series, images that installed packages bring along."""

from collections.abc import Callable

from gradlab.tasks.base import DataTask
from gradlab.tasks.data.digits import digits
from gradlab.tasks.data.forecast import forecast
from gradlab.tasks.data.language import language

DATA_TASKS: dict[str, Callable[..., DataTask]] = {"language": language, "forecast": forecast, "digits": digits}

__all__ = ["DATA_TASKS", "digits", "forecast", "language"]
