"""Tasks on recorded data that need no download: text, series, images that installed packages bring along."""

from gradlab.tasks.data.digits import digits
from gradlab.tasks.data.forecast import forecast
from gradlab.tasks.data.language import language

__all__ = ["digits", "forecast", "language"]
