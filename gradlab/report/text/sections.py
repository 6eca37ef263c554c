"""The sections of the page, each as Markdown."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradlab.judge.over_seeds import Seeds
from gradlab.report.data.outcomes import at_steps, ending, solved_of
from gradlab.report.data.records import ROLES, Record, grouped, named
from gradlab.report.data.tables import markdown
from gradlab.report.text.findings import overall, seeds_of, statement
from gradlab.runs.jsonable import number
from gradlab.runs.spec import command

STATEMENTS = 12
ROWS = 60
COMMANDS = 40
ENDINGS = 40
COLUMNS = (
    "task",
    "setting",
    "T",
    "seeds",
    "checkpoint",
    "span",
    "slope",
    "half-life",
    "horizon",
    "float32 horizon",
    "verdict",
    "solved",
    "training steps",
    "seconds",
)
ABOUT = (
    "Gradient of the loss that needs the memory (task curve), all of the state. Span in decades, slope in decades "
    "per timestep, the rest in timesteps; ± is an error at these weights, [ ] a 95 % interval of the mean over "
    "seeds, given from 3 seeds on; training steps and seconds are medians."
)


def statements(records: Sequence[Record]) -> str:
    """What was found, in sentences with numbers first."""
    measured = [record for record in records if record.marks]
    finished = sum(record.run.finished for record in records)
    trained = [record for record in measured if record.trained and record.run.finished]
    lines = [
        f"{_count(len(records), 'run')} in this folder, {finished} finished. The gradient: {overall(measured)}."
    ]
    if trained:
        solved = sum(record.run.status == "solved" for record in trained)
        lines[0] += f" The task was solved in {solved} of {_count(len(trained), 'trained run')}."
    groups = grouped(measured)
    names = named(groups)
    chosen = list(range(len(groups))) if len(groups) <= STATEMENTS else _longest(groups)
    lines += [f"- {_text(statement(groups[index], names[index]))}" for index in chosen[:STATEMENTS]]
    if len(groups) > len(chosen[:STATEMENTS]):
        lines.append(f"- The other {len(groups) - len(chosen[:STATEMENTS])} settings are in the tables below.")
    return "\n".join([lines[0], "", *lines[1:]])


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _longest(groups: Sequence[Sequence[Record]]) -> list[int]:
    """The index of the longest length of every setting, in order."""
    best: dict[str, int] = {}
    for index, group in enumerate(groups):
        rest = {name: value for name, value in group[0].setting.items() if name != "length"}
        key = json.dumps(rest, sort_keys=True, default=str)
        if key not in best or group[0].config["length"] > groups[best[key]][0].config["length"]:
            best[key] = index
    return sorted(best.values())


def summary_table(records: Sequence[Record]) -> str:
    """The numbers of the state's task curve for each setting at its initial, worst and final checkpoint."""
    rows = summary_rows(records)
    table = _text(markdown(COLUMNS, rows[:ROWS], right=("T", "seeds")))
    more = f"\n\n{len(rows) - ROWS} more rows are in seeds.csv." if len(rows) > ROWS else ""
    return f"{ABOUT}\n\n{table}{more}"


def summary_rows(records: Sequence[Record]) -> list[list[str]]:
    """The rows of that table, as text in the order of `COLUMNS`."""
    groups = grouped(record for record in records if record.marks)
    return [row for group, label in zip(groups, named(groups), strict=True) for row in _rows(group, label)]


def _rows(group: Sequence[Record], label: str) -> Iterable[list[str]]:
    config = group[0].config
    share = solved_of(group) if group[0].trained else "not trained"
    cost = [_median(group, name) for name in ("training_steps", "wall_seconds")]
    roles: dict[tuple[int, ...], list[str]] = {}
    for role in ROLES if group[0].trained else ROLES[:1]:
        roles.setdefault(tuple(record.step(role) for record in group), []).append(role)
    for steps, same in roles.items():
        borrowed = config["params"] != "none"
        at = f"final weights of {config['params']}" if borrowed else f"{', '.join(same)} ({at_steps(steps)})"
        numbers = _numbers(group, same[0])
        yield [config["task"], label, f"{config['length']}", f"{len(group)}", at, *numbers, share, *cost]


def _median(group: Sequence[Record], name: str) -> str:
    """The median of a number of `done.json` over seeds."""
    values = [number(record.run.done.get(name)) for record in group]
    finite = [value for value in values if math.isfinite(value)]
    return f"{statistics.median(finite):,.4g}" if finite else "-"


def _numbers(group: Sequence[Record], role: str) -> list[str]:
    found = seeds_of(group, role)
    if len(group) == 1:
        one, findings = found.summaries[0], group[0].findings(role)
        word = one.verdict.word if findings and one.verdict.word == "non-finite" else one.verdict
        verdict = ": ".join([str(word), *(["; ".join(findings)] if findings else [])])
        numbers = (f"{one.span:.1f}", one.slope, one.half_life, one.horizon, one.float32_horizon, verdict)
        return [str(number) for number in numbers]
    horizons = [str(found.horizon(name)) for name in ("horizon", "float32_horizon")]
    return [str(found.span), str(found.slope), _half_life(found), *horizons, found.verdict]


def _half_life(found: Seeds) -> str:
    """From the slope over seeds and its interval, where every seed's curve is exponential."""
    if found.bent:
        return f"not exponential in {found.bent} of {len(found.summaries)}"
    mean = found.half_life
    if mean is None:
        return "none"
    # A gradient that surely rises has no half-life, and so no interval of one.
    known = not math.isnan(mean.low) and math.isfinite(min(mean.low, mean.high))
    return f"{mean} [{mean.low:.3g}, {mean.high:.3g}]" if known else str(mean)


def endings(records: Sequence[Record], skipped: Sequence[str]) -> str:
    """Runs that diverged, failed, were interrupted or killed, and what could not be read."""
    odd = [record for record in records if record.run.status not in ("measured", "solved", "trained")]
    lines = [f"- `{record.run.id}` {_text(ending(record))}" for record in odd]
    lines += [f"- {_text(message)}" for message in skipped]
    if not lines:
        return "None: every run here was measured, or trained to its end."
    more = [f"- and {len(lines) - ENDINGS} more; see `gradlab ls`"] if len(lines) > ENDINGS else []
    return "\n".join([*lines[:ENDINGS], *more])


NOT_REPEATED = "A finished run is not repeated; --rerun makes it again."


def commands(records: Sequence[Record]) -> list[str]:
    """The commands that make these runs, one for each setting."""
    return [command(group[0].config, [record.seed for record in group]) for group in grouped(records)]


def reproduce(records: Sequence[Record]) -> str:
    """Those commands as Markdown."""
    found = commands(records)
    more = f"\n\n{len(found) - COMMANDS} more settings: their fields are in summaries.csv."
    listed = "\n".join(found[:COMMANDS])
    return f"{NOT_REPEATED}\n\n```\n{listed}\n```{more if len(found) > COMMANDS else ''}"


def environments(records: Sequence[Record]) -> str:
    """How the runs were computed; says so when they were not computed alike."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        env = record.run.env()
        groups.setdefault(json.dumps(env.get("execution", {}), sort_keys=True), []).append(env)
    lines = [_environment(json.loads(execution), envs) for execution, envs in groups.items()]
    if len(groups) == 1:
        return lines[0].removeprefix("- ")
    keys = sorted({key for execution in groups for key in json.loads(execution)})
    differing = [key for key in keys if len({json.loads(one).get(key) for one in groups}) > 1]
    warning = (
        f"**These runs were computed in {len(groups)} different ways** (they differ in {', '.join(differing)}). "
        "Equal bits are promised only within one of them."
    )
    return "\n".join([warning, "", *lines])


def _environment(execution: Mapping[str, Any], envs: Sequence[Mapping[str, Any]]) -> str:
    if not execution:
        return f"- {_count(len(envs), 'run')}: not recorded"
    how = ", ".join(f"{key} {value}" for key, value in execution.items() if value not in ("", None))
    versions = sorted({str(env.get("versions", {}).get("gradlab-rnn")) for env in envs})
    commits = sorted({_commit(env.get("git")) for env in envs})
    python = sorted({str(env.get("python")) for env in envs})
    return (
        f"- {_count(len(envs), 'run')}: {how}; gradlab {', '.join(versions)} at {', '.join(commits)}; "
        f"Python {', '.join(python)}"
    )


def _commit(git: Mapping[str, Any] | None) -> str:
    if not git:
        return "no commit"
    return f"commit {str(git.get('commit'))[:10]}{' with changes' if git.get('dirty') else ''}"


def how_to_read() -> str:
    """The words of the page in a few lines."""
    return _HOW_TO_READ.strip()


def _text(text: str) -> str:
    """Names come from users: no HTML in them."""
    return text.replace("<", "&lt;")


_HOW_TO_READ = """
- **Lag k** is how many timesteps before the loss the state stands; lag T is the initial state.
- A **decade** is a factor of ten. "4.4 decades lost" means that where the gradient's norm gets furthest from lag
  1 it is 10^4.4 times smaller than there.
- **Vanishing** falls more than 3 decades below lag 1 anywhere, **exploding** rises as much, **both** does both,
  **held** does neither, **non-finite** has a NaN or an infinity, forward or backward; **cut** is exactly zero at
  every lag.
- **Rounding noise** is a value that other arithmetic gives otherwise: it is drawn dotted and grey, and is left out
  of slope and verdict. Where the value at lag 1 is noise, so is the verdict.
- Means over seeds leave out curves that are not finite and gradients that are exactly zero, and count them beside
  the mean. Where some seeds fall and others rise, their range goes first.
- **Horizon**: the largest lag before the gradient has dropped 3 decades; ">=" where it never does. **Half-life**:
  timesteps in which it halves, where it falls exponentially. **Span**: decades from lag 1 to lag T.
- **Worst** is the checkpoint at which the curve gets furthest from lag 1 during training.
- **float32 horizon**: how far a plain float32 backward pass would see before its entries are lost below 1e-38; a
  plain norm, which squares them, is lost below 1e-19 already. gradlab itself has no floor.
- In the CSV tables `nan` is a number that does not exist there, `-inf` a gradient that is exactly zero.
"""
