"""Side-by-side benchmarks of gradlab against what people would otherwise run.

Every contender is first compared with a float64 gradient, then lives in a process of its own and takes turns with
the others. `python -m bench all` writes `results/bench.md`, `.csv` and `.svg`; a section runs alone by its name.
Only workers (`worker.py`, `contenders/`, `reference.py`) import jax, torch, flax or equinox.
"""

import sys


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)
