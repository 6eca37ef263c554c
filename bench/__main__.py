"""`python -m bench all | quick | SECTION | page`: measure, and write the report."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench import anatomy, engine, length, machine, memory, say, seeds, startup, sweep, training
from bench.fleet import ROOT
from bench.page import page
from bench.plot import plot
from bench.rounds import FULL, LONG, QUICK
from bench.rows import Row, read, select, write

RESULTS = ROOT / "results"
NOTES = Path(__file__).with_name("notes.md")

Section = Callable[[], Iterator[Row]]

SECTIONS: dict[str, Section] = {
    "training": lambda: training.run(FULL),
    "anatomy": lambda: anatomy.run(QUICK),
    "sweep": lambda: sweep.run(FULL),
    "memory": lambda: memory.run(LONG),
    "length": lambda: length.run(LONG),
    "startup": startup.run,
    "seeds": seeds.run,
}
APART: dict[str, Section] = {"engine": engine.run}
"""Not part of `all`, which would take too long with them."""
QUICK_SECTIONS: dict[str, Section] = {
    "training": lambda: training.run(QUICK, training.QUICK_CASES),
    "sweep": lambda: sweep.run(QUICK, sweep.QUICK_CASES),
    "length": lambda: length.run(QUICK, length.QUICK_LENGTHS),
    "startup": lambda: startup.run(startup.QUICK_REPEATS),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for; 1 if a section could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "what", choices=["all", "quick", "page", *SECTIONS, *APART], help="page: again from bench.csv"
    )
    what = parser.parse_args(arguments).what
    if what == "page":
        rows, heading = read(RESULTS / "bench.csv")
        report("bench", rows, heading)
        return 0
    chosen = {"all": SECTIONS, "quick": QUICK_SECTIONS}.get(what) or {what: (SECTIONS | APART)[what]}
    return measure(
        "bench" if what == "all" else f"bench-{what}", chosen, machine.heading(f"python -m bench {what}")
    )


def measure(name: str, sections: Mapping[str, Section], heading: dict[str, str]) -> int:
    """Run sections one after the other; what is there is written after each, so that nothing is lost."""
    rows: list[Row] = []
    failed: list[str] = []
    started = time.perf_counter()
    for title, section in sections.items():
        say(f"== {title}")
        began = time.perf_counter()
        try:
            for row in section():
                rows.append(row)
        except Exception as reason:
            say(f"{title}: {type(reason).__name__}: {reason}")
            failed.append(title)
            heading["failed"] = ", ".join(failed)
        say(f"{title}: {time.perf_counter() - began:.0f} s")
        heading["took"] = f"{(time.perf_counter() - started) / 60:.1f} minutes"
        report(name, rows, heading)
    return 1 if failed else 0


def report(name: str, rows: Sequence[Row], heading: Mapping[str, str]) -> None:
    """Write the page, the table and, where training steps were timed, the picture."""
    RESULTS.mkdir(exist_ok=True)
    write(RESULTS / f"{name}.csv", rows, heading)
    (RESULTS / f"{name}.md").write_text(page(rows, heading, NOTES.read_text()))
    if select(rows, training.SECTION):
        plot(rows, RESULTS / f"{name}.svg")
    say(f"written: {RESULTS / name}.md")


if __name__ == "__main__":
    sys.exit(main())
