"""`lengths.csv`: a row for each setting and length with solving, and the numbers of the gradient over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradlab.judge.over_seeds import median
from gradlab.report.data.counts import by_length, seeds_of, solved
from gradlab.report.data.records import ROLES, Record, labelled
from gradlab.report.data.tables import numbers
from gradlab.report.text.terms import tuned_words
from gradlab.runs.jsonable import number
from gradlab.runs.labels import init_of, varying
from gradlab.runs.spec import VERSIONS


def rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """A row for each setting and length.

    Args:
        records: measured runs that came to an end.

    Returns:
        For each setting and length the fields that tell settings apart or were chosen, `runs`, `solved` with
        its rate and the interval of that, the median training step at which it was solved, `init`, `clip`,
        `terms` (what was tuned, or "at one setting"), and for the initial, the worst and the final checkpoint
        span, slope, half-life, horizon and verdict; nan where there is no such number.
    """
    series = labelled(records, without=["length"])
    apart = varying([group[0].setting for _, group in series], without=("task", "cell", "length"))
    found = []
    for label, group in series:
        first = group[0]
        about = {"task": first.config["task"], "setting": label, "cell": first.config["cell"]}
        about |= {name: first.setting.get(name) for name in apart}
        for length, runs in by_length(group).items():
            row = about | {"length": length} | runs[0].resolved | {"runs": len(runs)} | _solving(runs)
            row |= {"init": init_of(runs[0].config["cell"])}
            row |= {"clip": runs[0].config["clip"], "terms": tuned_words(first.tuned)} if first.trained else {}
            for role in ROLES if first.trained else ROLES[:1]:
                row |= _numbers(runs, role)
            found.append(row)
    return found


def _solving(runs: Sequence[Record]) -> dict[str, Any]:
    """How many of the runs of one length solved the task, and when; empty if none was trained to an end."""
    counts = list(solved(runs).values())
    if not counts:
        return {}
    steps = [number(one.run.done["solved_at"]) for one in runs if one.run.status == "solved"]
    return {
        "solved": counts[0].count,
        "solve_rate": counts[0].rate,
        "solve_rate_low": counts[0].low,
        "solve_rate_high": counts[0].high,
        "median_step_solved": median(steps),
    }


def _numbers(runs: Sequence[Record], role: str) -> dict[str, Any]:
    """Some of the numbers of `seeds.csv` at one checkpoint."""
    found = numbers(seeds_of(runs, role))
    names = [f"{name}_{end}" for name in ("span", "slope") for end in ("mean", "low", "high")]
    names += ["half_life", "half_life_low", "half_life_high", "horizon_mean", "horizon_low", "horizon_high"]
    names += ["horizon_reached", "verdict"]
    row = {f"{role}_{name.removesuffix('_mean')}": found[name] for name in names}
    return row | {f"{role}_zero": found["span_zero"], f"{role}_not_finite": found["span_not_finite"]}


def constant(records: Sequence[Record]) -> Mapping[str, Any]:
    """The fields that all runs share, but for the seed and the versions of the code."""
    settings = [record.setting for record in records]
    first = {name: value for name, value in settings[0].items() if name not in VERSIONS}
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in settings)}
