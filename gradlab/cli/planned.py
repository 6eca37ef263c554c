"""What a sweep asks for and what of it is done, for `gradlab sweep` and its `--dry-run`."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gradlab.cli.console import Screen, counted
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store
from gradlab.runs.sweeps import Sweep, shard, with_choices
from gradlab.runs.tuning import Choice, TunedGroup, choose, stored_trials

Shard = tuple[int, int] | None
"""Part I of N of the runs, or all."""


def share_of(specs: Sequence[RunSpec], share: Shard) -> list[RunSpec]:
    """The runs of a share."""
    return list(specs) if share is None else shard(specs, *share)


def choices_of(store: Store, groups: Sequence[TunedGroup]) -> list[Choice | None]:
    """What the stored trials choose for each group, None where some have not ended."""
    runs = stored_trials(store, groups)
    return [choose(group, runs) for group in groups]


def list_runs(screen: Screen, store: Store, asked: Sweep, share: Shard, *, json: bool) -> None:
    """Every trial and every run, and whether it is to be done; the runs only once the trials have chosen."""
    choices = choices_of(store, asked.groups)
    waiting = sum(len(group.seeds) for group in asked.groups) if None in choices else 0
    if asked.groups and not waiting:
        asked = with_choices(asked, [choice for choice in choices if choice])
    trials, runs = (_states(screen, store, share_of(specs, share)) for specs in (asked.trials, asked.specs))
    if json:
        found: dict[str, Any] = {"sweep": asked.name, "runs": list(map(_as_json, runs))}
        if asked.groups:
            found |= {"trials": list(map(_as_json, trials)), "runs_to_choose": waiting}
        screen.json(found)
        return
    for rows, what in ((trials, "trial"), (runs, "run")):
        if rows:
            screen.table((what, "state", "status"), rows)
            counts = Counter(state for _, state, _ in rows)
            each = ", ".join(f"{count} {state}" for state, count in counts.items())
            screen.line(f"{counted(len(rows), what)}: {each}")
    if waiting:
        groups = counted(len(asked.groups), "setting")
        screen.line(f"then {counted(waiting, 'run')}, when the trials have chosen for each of {groups}")


def _states(screen: Screen, store: Store, specs: Sequence[RunSpec]) -> list[tuple[str, str, str]]:
    """Id, state and status of each run."""
    stored = {run.id: run for run in store.each(screen.warn, [spec.id for spec in specs])} if specs else {}
    rows = []
    for spec in specs:
        run = stored.get(spec.id)
        state, status = ("new", "") if run is None else (run.status, "")
        if run is not None and run.finished:
            state, status = "done" if store.completed(spec.id, spec.config()) else "to rerun", run.status
        rows.append((spec.id, state, status))
    return rows


def _as_json(row: tuple[str, str, str]) -> dict[str, Any]:
    name, state, status = row
    return {"id": name, "state": state, "status": status or None}
