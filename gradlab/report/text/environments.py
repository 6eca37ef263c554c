"""How the runs were computed, in words."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gradlab.report.data.records import Record
from gradlab.report.text.plain import Sentence


class Environments(NamedTuple):
    """A line for each way in which runs were computed; `warning` is None if there is only one."""

    warning: Sentence | None
    lines: list[str]


def environments(records: Sequence[Record]) -> Environments:
    """How the runs were computed; warns if they were not computed alike."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        env = record.run.env()
        groups.setdefault(json.dumps(env.get("execution", {}), sort_keys=True), []).append(env)
    ways = [json.loads(execution) for execution in groups]
    lines = [_line(way, envs) for way, envs in zip(ways, groups.values(), strict=True)]
    if len(ways) < 2:
        return Environments(None, lines)
    keys = sorted({key for way in ways for key in way})
    differing = [key for key in keys if len({json.dumps(way.get(key)) for way in ways}) > 1]
    warning = Sentence(
        f"These runs were computed in {len(groups)} different ways",
        f" (they differ in {', '.join(differing)}). Equal bits are promised only within one of them.",
    )
    return Environments(warning, lines)


def _line(execution: Mapping[str, Any], envs: Sequence[Mapping[str, Any]]) -> str:
    runs = f"{len(envs)} run{'s' * (len(envs) != 1)}"
    if not execution:
        return f"{runs}: not recorded"
    how = ", ".join(f"{key} {value}" for key, value in execution.items() if value not in ("", None))
    gits = [env.get("git") or {} for env in envs]
    changed = [" with changes" if git.get("dirty") else "" for git in gits]
    commits = {
        f"in a repository at commit {str(git['commit'])[:10]}{more}" if git else "in no repository"
        for git, more in zip(gits, changed, strict=True)
    }
    versions = {str(env.get("versions", {}).get("gradlab-rnn")) for env in envs}
    pythons = {str(env.get("python")) for env in envs}
    listed = [", ".join(sorted(found)) for found in (versions, commits, pythons)]
    return "{}: {}; gradlab {}, {}; Python {}".format(runs, how, *listed)
