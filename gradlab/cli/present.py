"""A run, a grid and a table over seeds on the terminal, from the records of stored runs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gradlab.cli.chart import chart
from gradlab.cli.console import Screen
from gradlab.gradient.curve import FLOAT32_FLOOR, NAIVE_FLOOR
from gradlab.gradient.summary import SENTENCES, Summary, Verdict, in_decades
from gradlab.judge.over_seeds import Seeds, over_seeds
from gradlab.report.data.records import CURVES, lags_of, noise_lags, row_of, summarised
from gradlab.report.text.analyses import sentences
from gradlab.report.text.findings import together
from gradlab.runs.jsonable import jsonable, number
from gradlab.runs.labels import describe, format_value, varying
from gradlab.runs.listing import SPEC_NUMBERS
from gradlab.runs.schema import DONE
from gradlab.runs.spec import VERSIONS, RunSpec
from gradlab.runs.store import StoredRun

Record = Mapping[str, Any]

_COLUMNS = ("training step", "leaf", "span", "slope", "half-life", "horizon", "float32", "verdict")
_NUMERIC = ("length", "seed", "span", "half-life", "horizon", "float32")
_FOLDED = ("half-life", "training step", "verdict", "cell")
_FLOORS = {"float32 norms read 0": NAIVE_FLOOR, "float32 entries read 0": FLOAT32_FLOOR}
_UNITS = (
    "span in decades, slope in decades per timestep (± at these weights), lags in timesteps; held: within "
    "3 decades of lag 1 up to lag T"
)
_MEMORY = (
    "horizon is how far back the gradient reaches, until 3 decades below lag 1: the memory offered to training"
)


def record_of(run: StoredRun) -> dict[str, Any]:
    """The record of a stored run, which `--json` prints."""
    done = {name: value for name, value in run.done.items() if name != "digests"}
    about = {"id": run.id, "spec": run.config, "status": run.status}
    return about | done | {"checkpoints": run.log(), "path": str(run.path)}


def failure_of(spec: RunSpec, reason: str | None) -> dict[str, Any]:
    """The record of a failed run that is not stored."""
    return {"id": spec.id, "spec": spec.config(), "status": "failed", "reason": reason, "summary": {}}


_LEVELS = {"chance": "chance", "solved": "solved means at most", "autoregression": "autoregression"}


def headline(record: Record) -> str:
    """One line: status, training steps, and loss against chance."""
    status, losses = record["status"], record["losses"]
    tested = losses["test"] is not None
    kind, loss = ("test loss", losses["test"]) if tested else ("held-out loss", losses["final"])
    done = "not solved within" if losses["solved"] else "trained for"
    words = {
        "solved": f"solved at training step {record['solved_at']}",
        "trained": f"{done} {record['training_steps']} training steps",
        "measured": "imported" if record["spec"].get("imported") else "measured without training",
        "failed": f"failed: {record['reason']}",
        "interrupted": f"interrupted at training step {record['training_steps']}",
    }
    text = words.get(status) or str(status)
    if status == "diverged" and (bad := record["diverged"]):
        text = f"diverged: {bad['what']} not finite at training step {bad['step']}"
    if loss is None:
        return text
    score = f" ({record['score']})" if record.get("score") else ""
    shown = {
        key: name for key, name in _LEVELS.items() if losses.get(key) and (key, status) != ("solved", "measured")
    }
    levels = [f"{name} {losses[key]:.4g}" for key, name in shown.items()]
    if status == "trained" and number(loss) <= losses["solved"]:
        levels.append("which is tested every 50 training steps on other examples")
    return f"{text}; {kind} {number(loss):.4g}{score}, {', '.join(levels)}"


def show_run(screen: Screen, record: Record, arrays: Mapping[str, Any] | None) -> None:
    """Headline, table of the initial, worst and final checkpoint, and the plot of their curves."""
    screen.heading(record["id"])
    screen.prose(headline(record))
    marks = record.get("summary") or {}
    if marks:
        screen.line()
        _summary_table(screen, marks)
        screen.prose(_reach(marks))
        _notes(screen, marks)
    for leaf, seen in (record.get("every") or {}).items():
        span = number(seen["span"])
        depth = "where it is zero" if span == -math.inf else "not finite or zero at lag 1 already"
        depth = f"{span:+.1f} decades from lag 1" if math.isfinite(span) else depth
        screen.prose(
            f"every training step, {leaf}: lag T lowest at training step {seen['training_step']}, {depth}; "
            f"read 0 in {seen['zero']} training steps"
        )
    for when, name, text in sentences(record.get("analyses") or {}, _timesteps(marks)):
        screen.prose(f"{name}, {when}: {text}")
    if arrays is not None and marks:
        screen.line()
        screen.line("log10 gradient norm of the state by lag, in decades from lag 1 (task curve)")
        series, noise = _series(arrays, marks)
        for line in chart(series, width=min(screen.out.width, 100), floors=_FLOORS, noise=noise):
            screen.line(line)


def _reach(marks: Mapping[str, Any]) -> str:
    """How far back the gradient of the state reaches: its horizon."""
    found = ", ".join(reach(mark) for mark in {mark["step"]: mark for mark in marks.values()}.values())
    return (
        f"the gradient reaches {found} (its horizon, until 3 decades below lag 1: the memory offered to training)"
    )


def reach(mark: Mapping[str, Any]) -> str:
    """The horizon of the state at one checkpoint: `all 50 timesteps at training step 0`."""
    read = Summary.from_dict("state", mark["curves"]["task"]["state"]).horizon
    return f"{'all ' if read.reached else ''}{read.lag} timesteps at training step {mark['step']}"


def _timesteps(marks: Mapping[str, Any]) -> int:
    """T, the points of the curves."""
    return int(marks["initial"]["curves"]["task"]["state"]["lags"]) if marks else 0


def _summary_table(screen: Screen, marks: Mapping[str, Any]) -> None:
    rows = []
    measured = {name for mark in marks.values() for name in mark["curves"]}
    for curve in [name for name in CURVES if name in measured and name != "direct"]:  # the report has that too
        for at, mark in _distinct(marks).items():
            leaves = mark["curves"][curve]
            for leaf in leaf_rows(leaves):
                label = at if curve == "task" else f"{at}, {curve.replace('_', ' ')}"
                rows.append([label, leaf, *_cells(leaf, leaves[leaf])])
    screen.table(_COLUMNS, rows, right=_NUMERIC, fold=_FOLDED)


def _distinct(marks: Mapping[str, Any]) -> dict[str, Any]:
    """Each checkpoint once, by training step and role: `0 initial`, `60 worst, final`; the only one is `0`."""
    names: dict[int, list[str]] = {}
    for name, mark in marks.items():
        names.setdefault(mark["step"], []).append(name)
    by_step = {mark["step"]: mark for mark in marks.values()}
    if len(by_step) == 1:
        return {str(step): mark for step, mark in by_step.items()}
    return {f"{step} {', '.join(roles)}": by_step[step] for step, roles in names.items()}


def leaf_rows(leaves: Mapping[str, Any]) -> list[str]:
    """The leaves with a row of their own: not `state` if it is a single leaf."""
    names = [name for name in leaves if name not in SENTENCES]
    return names[:-1] if len(names) == 2 else names


def _cells(leaf: str, stored: Mapping[str, Any]) -> list[str]:
    read = Summary.from_dict(leaf, stored)
    slope = str(read.slope).replace(" ± ", "±")  # no space, at which a narrow table would wrap
    lags = map(str, (read.half_life, read.horizon, read.float32_horizon))
    return [in_decades(read.span), slope, *lags, _verdict(read.verdict)]


def _verdict(read: Verdict) -> str:
    """`vanishing -4.4 @200`: the word, the largest change in decades, and its lag."""
    if read.word == "cut":
        return "cut"
    change = "zero" if read.decades == -math.inf else in_decades(read.decades, sign=True)
    words = {"non-finite": read.word, "noise": f"noise ± {read.decades:.1f}"}
    return f"{words.get(read.word, f'{read.word} {change}')} @{read.lag}"


def _notes(screen: Screen, marks: Mapping[str, Any]) -> None:
    """Remarks below the table: medians, saturation, NaN and infinity."""
    screen.prose(_UNITS, "dim")
    for at, mark in _distinct(marks).items():
        for curve, leaves in mark["curves"].items():
            sentences, state = [*leaves.get("non_finite", ()), *leaves.get("notes", ())], leaves["state"]
            if state["statistic"] == "median" and state["verdict"] != "cut":
                sentences.append(f"up to {state['dead']:.0%} of examples are zero; median shown")
            for sentence in sentences:
                screen.prose(f"{at}, {curve} curve: {sentence}")


def _series(arrays: Mapping[str, Any], marks: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The curve of each checkpoint by its name, and where it is rounding noise."""
    rows = {f"training step {name}": row_of(arrays, at["step"]) for name, at in _distinct(marks).items()}
    ends = {name: lags_of(arrays, row) for name, row in rows.items()}
    series = {name: summarised(arrays, row)[: ends[name]] for name, row in rows.items()}
    return series, {name: noise_lags(arrays, row)[: ends[name]] for name, row in rows.items()}


def show_grid(screen: Screen, records: Sequence[Record]) -> None:
    """One row for each run and leaf at its last checkpoint, then intervals over seeds."""
    screen.heading(f"{len(records)} runs, at their last checkpoint (task curve)")
    fields = _varying(records)
    columns = ("cell", "length", *(name.replace("_", " ") for name in fields), "seed", *_COLUMNS[1:], "status")
    rows = [row for record in records for row in _grid_rows(record, fields)]
    # Constant columns are left out.
    kept = [i for i, name in enumerate(columns) if name not in ("seed", "status") or len({r[i] for r in rows}) > 1]
    screen.table(
        [columns[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        right=(*_NUMERIC, *(name.replace("_", " ") for name in SPEC_NUMBERS)),
        fold=_FOLDED,
    )
    screen.prose(_UNITS, "dim")
    screen.prose(_MEMORY, "dim")
    ends = [record["summary"]["final"]["curves"]["task"] for record in records if record.get("summary")]
    for note in together([curve.get("notes", []) for curve in ends], "runs"):
        screen.prose(note)
    for record in records:
        for when, name, text in sentences(record.get("analyses") or {}, _timesteps(record.get("summary") or {})):
            screen.prose(f"{record['id']}, {name}, {when}: {text}")
    show_seeds(screen, records)


def _varying(records: Sequence[Record]) -> list[str]:
    """The fields in which the runs of a table differ, apart from those that every table has."""
    about = ("cell", "length", "seed", "store", *VERSIONS)
    return varying([record["spec"] for record in records], without=about)


def _grid_rows(record: Record, fields: Sequence[str]) -> list[list[str]]:
    """A row for each leaf of a run, or one with nothing but its status."""
    spec, marks = record["spec"], record.get("summary")
    start = [format_value(spec.get(name)) for name in ("cell", "length", *fields, "seed")]
    if not marks:
        return [[*start, *["-"] * 7, record["status"]]]
    leaves = marks["final"]["curves"]["task"]
    return [[*start, leaf, *_cells(leaf, leaves[leaf]), record["status"]] for leaf in leaf_rows(leaves)]


def show_seeds(screen: Screen, records: Sequence[Record]) -> None:
    """The table over seeds, for settings with at least two of them."""
    rows, fields = seed_rows(records), _varying(records)
    if not rows:
        return
    screen.heading("over seeds (mean, 95 % interval from 3 seeds on; state of the task curve)")
    shown = []
    for row in rows:
        outcome = ["-", "-"]
        if row["trained"]:
            outcome = [f"{row['solved']} of {row['ended']}", str(row["training_steps"])]
        name = ", ".join([f"{row['cell']} {row['length']}", *(describe(field, row[field]) for field in fields)])
        for when in ("initial", "worst", "final") if row["trained"] else ("initial",):
            numbers = row[when]
            shown.append([name, when, str(numbers["span"]), str(numbers["slope"]), numbers["verdict"], *outcome])
            outcome = ["", ""]
    named = ", ".join(["cell, length", *(name.replace("_", " ") for name in fields)])
    columns = (named, "at", "span", "slope", "verdict", "solved", "training steps")
    screen.table(columns, shown, fold=columns[::-1])


def seed_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The statistics over seeds of each setting with at least two seeds."""
    fields = _varying(records)
    groups: dict[str, list[Record]] = {}
    for record in records:
        asked = {key: value for key, value in record["spec"].items() if key != "seed"}
        if record.get("summary"):
            groups.setdefault(str(sorted(asked.items())), []).append(record)
    return [_seed_row(group, fields) for group in groups.values() if len(group) > 1]


def _seed_row(group: Sequence[Record], fields: Sequence[str]) -> dict[str, Any]:
    spec, ended = group[0]["spec"], [record for record in group if record["status"] in DONE]
    row: dict[str, Any] = {
        **{name: spec.get(name) for name in ("task", "cell", "length", *fields)},
        "seeds": len(group),
        "ended": len(ended),
        "trained": spec["steps"] > 0,
        "solved": sum(record["status"] == "solved" for record in group),
        "training_steps": over_seeds(number(record["training_steps"]) for record in ended),
    }
    for when in ("initial", "worst", "final"):
        # The last checkpoint of a run that did not end is not the end of its training.
        some = group if when == "initial" or not ended else ended
        found = Seeds.stored("state", (record["summary"][when]["curves"]["task"]["state"] for record in some))
        row[when] = {"span": found.span, "slope": found.slope, "verdict": found.verdict}
    return row


def as_json(records: Sequence[Record]) -> dict[str, Any]:
    """The object of `--json`: the runs, and the table over seeds."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: bare(item) for key, item in value.items()}
        return vars(value) if hasattr(value, "__dataclass_fields__") else value

    return jsonable({"runs": list(records), "seeds": [bare(row) for row in seed_rows(records)]})
