"""One `gradlab check` or `bless` inside a tree, in a process of its own; leaves the curves that it measured.

    python driver.py OUT.npz SEED check ...      SEED: of streams that must not matter

Stands alone: it is run by path, with the working directory as the tree whose package is imported.
"""

import os
import random
import sys


def main() -> int:
    """Run the command and write what `measure` gave it."""
    sys.path.insert(0, os.getcwd())
    out, seed, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    import jax
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)
    if seed:
        jax.random.normal(jax.random.key(seed), (seed,)).block_until_ready()
    from gradlab.cli import check as command
    from gradlab.cli.app import main as gradlab
    from gradlab.judge import bless, check

    kept = {}
    measure = check.measure

    def keeping(scenario: object) -> object:
        found = measure(scenario)  # type: ignore[arg-type]
        for part, values in found.parts.items():
            kept[f"{scenario.name}__{part}"] = values.curves  # type: ignore[attr-defined]
            for key, curve in values.more.items():
                kept[f"{scenario.name}__{part}__{key}"] = curve.values  # type: ignore[attr-defined]
        return found

    # A picture takes as long as the rest of a check that finds something, and is not what is studied.
    command._overlays = lambda results: []
    check.measure = bless.measure = keeping  # type: ignore[assignment]
    code = gradlab(words)
    np.savez(out, allow_pickle=False, **kept)
    return code


if __name__ == "__main__":
    sys.exit(main())
