"""`python -m bench.gpu --out DIR [--small]` measures, `python -m bench.gpu page DIR...` writes the report."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.fleet import ROOT
from bench.gpu import driver
from bench.gpu.page import write
from bench.gpu.scale import FULL, SMALL

RESULTS = ROOT / "results"


def main(words: Sequence[str]) -> int:
    """0 where every part came to its end."""
    if words and words[0] == "page":
        print(write([Path(word) for word in words[1:]], RESULTS))
        return 0
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of what is found")
    parser.add_argument("--seconds-budget", type=float, default=420.0, help="for everything")
    parser.add_argument("--small", action="store_true", help="toy sizes, to try it without a GPU")
    parser.add_argument("--only", default=",".join(driver.NAMES), help="parts, with commas between")
    parser.add_argument("--part", choices=driver.NAMES, help="do this one here, in the time of the budget")
    asked = parser.parse_args(words)
    scale = SMALL if asked.small else FULL
    if asked.part:
        driver.do(asked.part, asked.out, scale, asked.seconds_budget)
        return 0
    command = " ".join(["python", "-m", "bench.gpu", *words])
    return driver.measure(asked.only.split(","), asked.out, asked.seconds_budget, scale, command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
