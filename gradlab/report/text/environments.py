"""How the runs were computed, in words."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gradlab.report.data.records import Record


class Environments(NamedTuple):
    """A line for each way in which runs were computed; `warning` is "" if there is only one."""

    warning: str
    lines: list[str]


def environments(records: Sequence[Record]) -> Environments:
    """How the runs were computed; warns if they were not computed alike."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        env = record.run.env()
        groups.setdefault(json.dumps(env.get("execution", {}), sort_keys=True), []).append(env)
    lines = [_line(json.loads(execution), envs) for execution, envs in groups.items()]
    if len(groups) < 2:
        return Environments("", lines)
    ways = [json.loads(execution) for execution in groups]
    keys = sorted({key for way in ways for key in way})
    differing = [key for key in keys if len({json.dumps(way.get(key)) for way in ways}) > 1]
    warning = (
        f"**These runs were computed in {len(groups)} different ways** (they differ in {', '.join(differing)}). "
        "Equal bits are promised only within one of them."
    )
    return Environments(warning, lines)


def _line(execution: Mapping[str, Any], envs: Sequence[Mapping[str, Any]]) -> str:
    runs = f"{len(envs)} run{'' if len(envs) == 1 else 's'}"
    if not execution:
        return f"{runs}: not recorded"
    how = ", ".join(f"{key} {value}" for key, value in execution.items() if value not in ("", None))
    versions, commits, pythons = (
        ", ".join(sorted(set(found)))
        for found in (
            (str(env.get("versions", {}).get("gradlab-rnn")) for env in envs),
            (_commit(env.get("git")) for env in envs),
            (str(env.get("python")) for env in envs),
        )
    )
    return f"{runs}: {how}; gradlab {versions} at {commits}; Python {pythons}"


def _commit(git: Mapping[str, Any] | None) -> str:
    if not git:
        return "no commit"
    return f"commit {str(git.get('commit'))[:10]}{' with changes' if git.get('dirty') else ''}"
