"""Series that installed packages bring along, in order of time."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from gradlab.errors import unknown
from gradlab.tasks.data.parts import lacks_extra


def _eeg() -> np.ndarray:
    """An electroencephalogram, 4 channels, as matplotlib's examples plot it."""
    return np.fromfile(_sample("eeg.dat"), np.float64).reshape(-1, 4)


def _goog() -> np.ndarray:
    """The daily closing price of GOOG, 2004-2008."""
    return np.load(_sample("goog.npz"))["price_data"]["close"]


def _sample(name: str) -> str:
    import matplotlib

    return f"{matplotlib.get_data_path()}/sample_data/{name}"


def _sunspots() -> np.ndarray:
    """Sunspots of each year, 1700-2008."""
    return _statsmodels("sunspots")[:, 1]


def _co2() -> np.ndarray:
    """CO₂ in the air of Mauna Loa, weekly, 1958-2001; gaps are filled linearly."""
    found = _statsmodels("co2")[:, 0]
    gap = np.isnan(found)
    found[gap] = np.interp(np.flatnonzero(gap), np.flatnonzero(~gap), found[~gap])
    return found


def _elnino() -> np.ndarray:
    """The temperature of the sea off Peru, monthly, 1950-2010."""
    return _statsmodels("elnino")[:, 1:].ravel()


def _statsmodels(name: str) -> np.ndarray:
    try:
        from statsmodels import datasets
    except ModuleNotFoundError as error:
        raise lacks_extra("statsmodels", f"series {name}") from error
    return getattr(datasets, name).load_pandas().data.to_numpy(float).copy()


SERIES: dict[str, Callable[[], np.ndarray]] = {
    "eeg": _eeg,
    "goog": _goog,
    "sunspots": _sunspots,
    "co2": _co2,
    "elnino": _elnino,
}


@lru_cache
def series_of(name: str) -> np.ndarray:
    """The values (N, C) of a series, C at a time.

    Raises:
        GradlabError: an unknown series, or one of a package that is not installed.
    """
    if name not in SERIES:
        raise unknown("series", name, SERIES)
    found = SERIES[name]()
    return found.reshape(len(found), -1).astype(np.float64)
