"""The command line that makes stored runs again, from their config alone. Knows no jax."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from gradlab.runs.labels import VERSIONS

_PLACED = ("task", "cell", "length", "seed", "params")
_ABOUT_FILES = ("store", *VERSIONS)
_TRAINING = ("batch", "optimizer", "learning_rate", "clip", "steps", "stop", "measure")
"""Fields that a probe of trained weights does not ask for."""
_FIRST = ("hidden", "batch", "optimizer", "learning_rate", "clip", "steps")


def command(config: Mapping[str, Any], seeds: Sequence[int] = ()) -> str:
    """The command line that makes the runs of one setting, every option spelt out, so that no default matters.

    Args:
        config: what was asked of one of them. seeds: of all of them; that of the config where there are none.

    Example:
        >>> command({"task": "adding", "cell": "gru", "length": 50, "steps": 100, "seed": 0}, [0, 1])
        'gradlab run adding --cell gru --len 50 --steps 100 --seed 0-1'
    """
    words = ["gradlab", "run", config["task"]]
    skip: tuple[str, ...] = ()
    if config.get("params") not in (None, "none"):
        words = ["gradlab", "probe", config["task"], "--params", config["params"]]
        skip = _TRAINING
    words += ["--cell", config["cell"], "--len", str(config["length"])]
    for name in dict.fromkeys((*_FIRST, *config)):
        if name in config and name not in (*_PLACED, *_ABOUT_FILES, *skip):
            value = config[name]
            words += ["--" + name.replace("_", "-"), repr(value) if isinstance(value, float) else str(value)]
    return shlex.join([*words, "--seed", seed_list(seeds or [config["seed"]])])


def seed_list(seeds: Sequence[int]) -> str:
    """Seeds as the command line takes them.

    Example:
        >>> seed_list([0, 1, 2]), seed_list([3]), seed_list([0, 2])
        ('0-2', '3', '0,2')
    """
    low, high = min(seeds), max(seeds)
    if len(seeds) > 1 and sorted(seeds) == list(range(low, high + 1)):
        return f"{low}-{high}"
    return ",".join(str(seed) for seed in seeds)
