"""On which terms cells are compared, in words: what was tuned and chosen, sizes, initialisation, clipping."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradlab.report.data.records import Record
from gradlab.runs.jsonable import number
from gradlab.runs.labels import cell_labels, describe, format_value, init_of, labels
from gradlab.runs.spec import seed_list
from gradlab.runs.sweeps import StoredSweep
from gradlab.runs.tuning import RULE

ONE_SETTING = "at one setting"
"""Said of a finding about a cell that was trained without tuning."""
CHOICE_COLUMNS = (
    "setting",
    "task",
    "T",
    "chosen",
    "edge of its list",
    "trials: solved (mean training step) or loss",
)

Configs = Iterable[Mapping[str, Any]]


def tuned_words(tuned: Sequence[str]) -> str:
    """`learning rate tuned`, or that nothing was.

    Example:
        >>> tuned_words(["learning_rate", "clip"]), tuned_words([])
        ('learning rate and clip tuned', 'at one setting')
    """
    return f"{joined([name.replace('_', ' ') for name in tuned])} tuned" if tuned else ONE_SETTING


def tuning_clause(groups: Iterable[Sequence[Record]]) -> str:
    """`, at one setting` or `, learning rate tuned`, after what trained runs found; "" if none was trained."""
    found = dict.fromkeys(tuned_words(group[0].tuned) for group in groups if group[0].trained)
    return f", {' or '.join(found)}" if found else ""


def terms(sweep: StoredSweep, configs: Sequence[Mapping[str, Any]]) -> str:
    """The terms on which the runs of a sweep are compared, in a few sentences."""
    trained = [config for config in configs if config["steps"]]
    parts = [_tuning(sweep, trained), *_edges(sweep)] if trained else []
    parts.append(_sizes(sweep, configs))
    parts.append(f"Initialisation: {initialisation(str(config['cell']) for config in configs)}.")
    parts += [f"Clipping: {_values(trained, 'clip')}."] if trained else []
    return " ".join(parts)


def _tuning(sweep: StoredSweep, trained: Sequence[Mapping[str, Any]]) -> str:
    if not sweep.tune:
        rate = f"learning rate {_values(trained, 'learning_rate')}"
        return f"{ONE_SETTING.capitalize()}: nothing was tuned for any cell ({rate})."
    tried = [f"{name.replace('_', ' ')} of {joined(map(format_value, sweep.tune[name]))}" for name in sweep.tuned]
    count = math.prod(map(len, sweep.tune.values()))
    seeds, several = sweep.tune["seed"], "s" * (len(sweep.tune["seed"]) > 1)
    return (
        f"Tuned: {'; '.join(tried)}, chosen for each cell, task and length by {count} trials on "
        f"seed{several} {seed_list(seeds)} ({RULE}); the runs that count have other seeds, "
        f"{seed_list(sorted({config['seed'] for config in trained}))}."
    )


def _edges(sweep: StoredSweep) -> list[str]:
    """Where a choice lies at the edge of its list, so that a better value may lie beyond it."""
    names = labels([choice["setting"] for choice in sweep.choices])
    at = [
        f"{name} at T = {choice['setting']['length']:,} ({_values([choice['values']], field)})"
        for name, choice in zip(names, sweep.choices, strict=True)
        for field in choice["edges"]
    ]
    if not at:
        return []
    few = "1 choice lies" if len(at) == 1 else f"{len(at)} choices lie"
    return [f"{few} at an edge of the list, beyond which a better value may lie: {', '.join(at)}."]


def _sizes(sweep: StoredSweep, configs: Configs) -> str:
    """Whether cells have an equal hidden size or an equal number of parameters."""
    most = sorted({run["max_params"] for run in sweep.runs if "max_params" in run})
    if not most:
        sizes = sorted({config["hidden"] for config in configs})
        equal = "At equal hidden size" if len(sizes) == 1 else "Hidden sizes"
        return f"{equal}: {', '.join(map(str, sizes))}."
    found: dict[str, set[int]] = {}
    for config in configs:
        found.setdefault(str(config["cell"]), set()).add(config["hidden"])
    named = cell_labels(found)
    each = ", ".join(f"{named[cell]} {'/'.join(map(str, sorted(sizes)))}" for cell, sizes in found.items())
    return f"At equal number of parameters, at most {' or '.join(f'{one:,}' for one in most)}: hidden size {each}."


def initialisation(cells: Iterable[str]) -> str:
    """How the recurrent weights of cells start.

    Example:
        >>> initialisation(["rnn", "gru"]), initialisation(["rnn", "lru"])
        ('orthogonal', 'orthogonal (RNN), the default of the cell (lru)')
    """
    found: dict[str, list[str]] = {}
    for cell, label in cell_labels(cells).items():
        found.setdefault(init_of(cell), []).append(label)
    alone = len(found) == 1
    return ", ".join(init if alone else f"{init} ({', '.join(named)})" for init, named in found.items())


def choice_rows(choices: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A row for each choice of a sweep: what was chosen, whether at the edge of a list, and how candidates did."""
    names = labels([choice["setting"] for choice in choices])
    rows = []
    for name, choice in zip(names, choices, strict=True):
        setting, values = choice["setting"], choice["values"]
        chosen = ", ".join(describe(field, value) for field, value in values.items())
        edges = ", ".join(field.replace("_", " ") for field in choice["edges"]) or "-"
        trials = "; ".join(map(_candidate, choice["candidates"]))
        rows.append([name, setting["task"], f"{setting['length']:,}", chosen, edges, trials])
    return rows


def _candidate(result: Mapping[str, Any]) -> str:
    """`0.01: 2 of 2 (450)`, or the loss of one that no trial solved."""
    values = " ".join(map(format_value, result["values"].values()))
    solved, loss = result["solved"], number(result["loss"])
    how = f"{number(result['steps']):,.0f}" if solved else f"loss {loss:.3g}" if math.isfinite(loss) else "no loss"
    odd = [f"{result[key]} {words}" for key, words in (("not_finite", "not finite"), ("failed", "failed"))
           if result[key]]  # fmt: skip
    return f"{values}: {solved} of {len(result['runs'])} ({', '.join([how, *odd])})"


def _values(configs: Configs, name: str) -> str:
    return ", ".join(dict.fromkeys(format_value(config[name]) for config in configs))


def joined(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = names
    return " and ".join(filter(None, [", ".join(first), last]))
