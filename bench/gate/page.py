"""The study as results/gate-study.md and .csv, from nothing but its records."""

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.gate.peers import COLUMNS
from gradlab.judge.suite import log_spaced

Record = Mapping[str, Any]
_WHERE = ("lag", "scenario", "part", "curve")
TITLES = {
    "default, norms": "default",
    "rtol 1e-2, norms": "rtol 1e-2",
    "default, log10": "default, log10",
    "rtol 1e-2, log10": "rtol 1e-2, log10",
}
ABOUT = """`make gate-study` makes this page. Each row changes a copy of the package, in a process of its own:
`gradlab check` on a suite of six small scenarios (`bench/gate/suite.toml`: rnn, lstm, gru and a zoneout cell of
one's own on adding, lstm on copy, gru in float64; T = 24, H = 8, before and after 6 training steps, 4 seeds).
*Caught* is exit code 1 with scenario, lag and decades in the first line, or of a stored number what it is and was
measured as; a crash does not count. The peer is the
`ndarrays_regression` fixture of pytest-regressions, on the same curves: as norms, which is what a test would keep,
with its default tolerance (rtol 1e-5, atol 1e-8) and with rtol 1e-2, and as log10 values, gradlab's own scale. A
dash: it was not asked.

*Change* is how far a curve of any seed moved, where that is most, whatever the gate says of it; none where a fault
is in what is stored or read. The peer with log10 values has next to no tolerance where a value is near 0, which is
a norm of 1."""


def merged(folder: Path, records: Sequence[Record], order: Sequence[tuple[str, str]]) -> list[Record]:
    """The records in an order of (kind, name); those of the page in `folder` where there is no other.

    What the peer said stays as well where it was not asked again.
    """
    path = folder / "gate-study.csv"
    with path.open(newline="") as file:
        before = {(row["kind"], row["name"]): _stored(row) for row in csv.DictReader(file)}
    now = {(one["kind"], one["name"]): one for one in records}
    for key, one in now.items():
        now[key] = {**one, "peers": one["peers"] or before.get(key, {}).get("peers", {})}
    found = before | now
    return [found[key] for key in order if key in found]


def _stored(row: Mapping[str, str]) -> Record:
    """The record that a row of the CSV was written of."""
    change: dict[str, Any] = {name: row.get(f"change_{name}", "") for name in _WHERE}
    change["decades"] = float(row["change_decades"])
    said = {column: row[f"pytest-regressions {TITLES[column]}"] for column in COLUMNS}
    return {
        **{name: row[name] for name in ("kind", "group", "name", "story", "file", "headline")},
        "code": int(row["exit_code"]),
        "named": row["caught"] == "True",
        "same_bits": row["same_bits"] == "True",
        "change": {} if math.isnan(change["decades"]) else change,
        "peers": {column: value == "True" for column, value in said.items() if value},
        "commit": row.get("commit", ""),
    }


def largest_change(blessed: Path, now: Path) -> dict[str, Any]:
    """Where a seed moved most: scenario, part, lag, decades; empty where nothing was measured."""
    if not now.exists():
        return {}
    worst: dict[str, Any] = {"decades": 0.0}
    with np.load(blessed) as before, np.load(now) as after:
        for name in before.files:
            if name not in after.files or after[name].shape != before[name].shape:
                continue
            with np.errstate(invalid="ignore"):
                shifts = after[name] - before[name]
            shifts = np.where(after[name] == before[name], 0.0, shifts)
            largest = np.abs(np.where(np.isnan(shifts), np.inf, shifts)).max(axis=0)
            at = int(np.argmax(largest))
            if largest[at] > worst["decades"]:
                scenario, part, *more = name.split("__")
                # Sequences of the study are so short that the task curve is compared at every lag.
                lags = log_spaced(before[f"{scenario}__{part}"].shape[1], len(largest))
                where = {"scenario": scenario, "part": part, "curve": "".join(more)}
                worst = where | {"lag": lags[at], "decades": float(largest[at])}
    return worst


def write(folder: Path, records: Sequence[Record], environment: Mapping[str, str]) -> None:
    """Write both files."""
    lines = ["# Does the gate tell a fault from a change that does not matter?", "", ABOUT, "", *_summary(records)]
    lines += ["## Faults", "", *_faults([one for one in records if one["kind"] == "fault"])]
    lines += [
        "## Faults that change no curve",
        "",
        *_harmless([one for one in records if one["kind"] == "harmless"]),
    ]
    lines += ["## Clean repeats", "", *_clean([one for one in records if one["kind"] == "clean"])]
    said = ", ".join(f"{name} {value or 'none'}" for name, value in environment.items())
    lines += [f"Measured with {said}.", ""]
    (folder / "gate-study.md").write_text("\n".join(lines))
    _write_csv(folder / "gate-study.csv", records)


def caught(record: Record) -> bool:
    """Exit 1 with scenario, lag and decades named."""
    return bool(record["code"] == 1 and record["named"])


def _alarms(clean: Sequence[Record]) -> int:
    return sum(one["code"] == 1 for one in clean)


def _summary(records: Sequence[Record]) -> list[str]:
    faults = [one for one in records if one["kind"] == "fault"]
    clean = [one for one in records if one["kind"] == "clean"]
    differ = sum(not one["same_bits"] for one in clean)
    rows = [f"| gradlab check | {sum(map(caught, faults))} of {len(faults)} | {_alarms(clean)} of {len(clean)} |"]
    for column in COLUMNS:
        said = [[one["peers"][column] for one in group if column in one["peers"]] for group in (faults, clean)]
        name = f"pytest-regressions, {TITLES[column]}"
        rows.append(f"| {name} | {' | '.join(f'{sum(group)} of {len(group)}' for group in said)} |")
    lines = ["| | faults caught | false alarms |", "|---|--:|--:|", *rows]
    undecided = sum(one["code"] == 3 for one in clean)
    return [
        *lines,
        "",
        f"{differ} of the {len(clean)} clean repeats differ from the baseline in at least one bit. "
        f"Of {undecided or 'none'} "
        "the gate said that it cannot tell (exit 3).",
        "",
        f"{_commits(records)} The last column of the CSV says which.",
        "",
    ]


def _commits(records: Sequence[Record]) -> str:
    """Which commits were checked: not every row is run anew for every page."""
    counts = Counter((one["kind"], one.get("commit") or "an earlier one") for one in records)
    kinds = {"fault": "faults", "harmless": "harmless faults", "clean": "clean repeats"}
    said = [
        f"{name}: " + ", ".join(f"{count} on {commit}" for (key, commit), count in counts.items() if key == kind)
        for kind, name in kinds.items()
    ]
    return f"Commits that were checked: {'; '.join(said)}."


def _faults(faults: Sequence[Record]) -> list[str]:
    head = ["fault", "what", "change", "gradlab", *(TITLES[column] for column in COLUMNS)]
    lines = [f"| {' | '.join(head)} |", "|---|---|---|---|" + "---|" * len(COLUMNS)]
    for one in faults:
        cells = [one["name"], one["story"], _change(one), "caught" if caught(one) else f"**exit {one['code']}**"]
        cells += [{True: "caught", False: "missed"}.get(one["peers"].get(column), "-") for column in COLUMNS]
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    lines += ["", "What the first line of `gradlab check` said:", ""]
    return [*lines, *(f"- *{_cell(one['name'])}*: {one['headline']}" for one in faults), ""]


def _harmless(records: Sequence[Record]) -> list[str]:
    lines = ["The gate has nothing to find here.", "", "| fault | what | change | gradlab |", "|---|---|---|---|"]
    for one in records:
        verdict = {0: "unchanged", 1: "**alarm**"}.get(one["code"], f"exit {one['code']}")
        lines.append(f"| {' | '.join(map(_cell, (one['name'], one['story'], _change(one), verdict)))} |")
    return [*lines, ""]


def _clean(records: Sequence[Record]) -> list[str]:
    lines = ["| what is varied | repeats | differ in bits | largest change (decades) | gradlab alarms | exit 3 |"]
    lines += ["|---|--:|--:|--:|--:|--:|"]
    for group in dict.fromkeys(one["group"] for one in records):
        some = [one for one in records if one["group"] == group]
        largest = max(one["change"].get("decades", math.nan) for one in some)
        numbers = f"{len(some)} | {sum(not one['same_bits'] for one in some)} | {largest:.1g}"
        undecided = sum(one["code"] == 3 for one in some)
        lines.append(f"| {group} | {numbers} | {_alarms(some)} | {undecided} |")
    alarms = [one for one in records if one["code"] != 0]
    if alarms:
        lines += ["", "What was not answered by `unchanged`:", ""]
        lines += [f"- *{_cell(one['name'])}*: {one['headline']}" for one in alarms]
    return [*lines, ""]


def _change(record: Record) -> str:
    change = record["change"]
    if not change.get("scenario"):
        return "none" if change else "crashed"
    when = "" if change["part"] == "initial" else " after training"
    curve = f" ({change['curve']})" if change.get("curve") else ""
    return f"{change['decades']:.2g} at lag {change['lag']}, {change['scenario'].rpartition('-T')[0]}{when}{curve}"


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|")


def _write_csv(path: Path, records: Sequence[Record]) -> None:
    columns = ["kind", "group", "name", "story", "file", "exit_code", "caught", "same_bits"]
    columns += [f"change_{name}" for name in ("decades", *_WHERE)]
    columns += [f"pytest-regressions {TITLES[column]}" for column in COLUMNS]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*columns, "headline", "commit"])
        for one in records:
            change = one["change"]
            row = [one[name] for name in ("kind", "group", "name", "story", "file", "code")]
            row += [caught(one), one["same_bits"], f"{change.get('decades', math.nan):.6g}"]
            row += [change.get(name, "") for name in _WHERE]
            row += [one["peers"].get(column) for column in COLUMNS]
            writer.writerow([*row, one["headline"], one.get("commit", "")])
