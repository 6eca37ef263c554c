"""Sentences that state what runs found, made from their numbers. Knows no figure and no table."""

import math
from collections.abc import Sequence

from gradlab.gradient.summary import Summary
from gradlab.judge.statistics import over_seeds, verdict_over_seeds
from gradlab.report.records import ROLES, Record
from gradlab.runs.jsonable import number

_VERBS = {
    "vanishing": "vanishes",
    "exploding": "explodes",
    "both": "both vanishes and explodes",
    "held": "holds",
    "non-finite": "is not finite",
}


def change(summary: Summary, findings: Sequence[str] = ()) -> str:
    """How far a curve gets from its lag 1, in words.

    Args:
        summary: the numbers of the curve.
        findings: where NaN or infinity begins; they go before any number.

    Example:
        >>> from gradlab.gradient import GradientCurve
        >>> change(GradientCurve.of({"h": [[0.0], [-2.0], [-4.4]]}).summary())
        '4.4 decades lost'
        >>> change(GradientCurve.of({"h": [[0.0], [3.5], [1.0]]}).summary())
        '3.5 decades gained by lag 2'
    """
    if findings:
        return f"not finite ({findings[0].replace(' is not finite', '')})"
    verdict = summary.verdict
    if verdict.word == "non-finite":
        return f"not finite from lag {verdict.lag}"
    if summary.slope.zero_from is not None:
        return f"zero from lag {summary.slope.zero_from}"
    where = "" if verdict.lag == summary.lags else f" by lag {verdict.lag}"
    if abs(verdict.decades) < 0.05:
        return "nothing lost"
    both = ", and more than 3 gained elsewhere" if verdict.word == "both" else ""
    return f"{abs(verdict.decades):.1f} decades {_direction(verdict.decades)}{where}{both}"


def _direction(decades: float) -> str:
    return "lost" if decades < 0 else "gained"


def changes(group: Sequence[Record], role: str, curve: str = "task") -> str:
    """`change` of one run, or the mean over seeds with its interval from 3 seeds on."""
    states = [record.summary(role, curve) for record in group]
    if len(group) == 1:
        return change(states[0], group[0].findings(role, curve))
    numbers = [
        math.nan if record.findings(role, curve) else state.verdict.decades
        for record, state in zip(group, states, strict=True)
    ]
    decades = [value for value in numbers if math.isfinite(value)]
    zero = sum(value == -math.inf for value in numbers)
    bad = len(numbers) - len(decades) - zero
    odd = [f"zero beyond some lag in {zero} of {len(group)}"] if zero else []
    odd += [f"not finite in {bad} of {len(group)}"] if bad else []
    if not decades:
        return ", ".join(odd)
    mean = over_seeds(decades)
    sign = -1 if mean.mean < 0 else 1
    ends = "" if math.isnan(mean.low) else f" [{_ends(sign, mean.low, mean.high)}]"
    text = f"{abs(mean.mean):.1f}{ends} decades {_direction(mean.mean)}"
    return f"{text} ({', '.join(odd)})" if odd else text


def _ends(sign: int, low: float, high: float) -> str:
    first, last = sorted((sign * low, sign * high))
    return f"{first:.1f}, {last:.1f}".replace("-0.0", "0.0")


def trail(group: Sequence[Record], curve: str = "task") -> str:
    """`4.4 decades lost at initialisation, 13.1 at worst (training step 10), 0.8 when solved`."""
    if not group[0].trained:
        origin = group[0].config["params"]
        return (
            f"{changes(group, 'initial', curve)} {'at initialisation' if origin == 'none' else 'at these weights'}"
        )
    steps = {role: [record.step(role) for record in group] for role in ROLES}
    said = {role: changes(group, role, curve) for role in ROLES}
    parts = [f"{said['initial']} at initialisation{', the worst' * (steps['worst'] == steps['initial'])}"]
    last = when(group, "final")
    if steps["worst"] == steps["final"] != steps["initial"]:
        parts.append(f"{said['final']} at worst and {last}")
    else:
        parts += [f"{said['worst']} {when(group, 'worst')}"] if steps["worst"] != steps["initial"] else []
        parts += [f"{said['final']} {last}"] if steps["final"] != steps["initial"] else []
    return ", ".join(_short(parts))


def _short(parts: Sequence[str]) -> list[str]:
    """The parts, `decades lost` said where it begins to hold and not again."""
    kept, said = [], ""
    for part in parts:
        for words in (" decades lost", " decades gained"):
            if words in part:
                kept.append(part.replace(words, "", 1) if said == words else part)
                said = words
                break
        else:
            kept.append(part)
    return kept


def when(group: Sequence[Record], role: str) -> str:
    """`at initialisation`, `at worst (training step 10)`, `when solved`."""
    steps = at_steps([record.step(role) for record in group])
    if role == "initial":
        return "at initialisation"
    if role == "worst":
        return f"at worst ({steps})"
    statuses = {record.run.status for record in group}
    if statuses == {"solved"}:
        return "when solved"
    if statuses == {"trained"}:
        return f"at the end (not solved, {steps})"
    if statuses == {"diverged"}:
        return f"before it diverged at {at_steps([_bad_step(record) for record in group])}"
    return f"at the end ({verdict_over_seeds([record.run.status for record in group])}, {steps})"


def _bad_step(record: Record) -> int:
    return int((record.run.done.get("diverged") or {}).get("step", record.step("final") + 1))


def at_steps(values: Sequence[float]) -> str:
    """`training step 10`, or `training steps 10–50` where values differ.

    Example:
        >>> at_steps([10, 50, 20]), at_steps([5, 5])
        ('training steps 10–50', 'training step 5')
    """
    low, high = min(values), max(values)
    return f"training step {low:,.0f}" if low == high else f"training steps {low:,.0f}–{high:,.0f}"


def title(group: Sequence[Record], label: str, curve: str = "task") -> str:
    """The title of a panel: `LSTM, T = 200: 4.4 decades lost at initialisation, ...`."""
    several = f", {len(group)} seeds" if len(group) > 1 else ""
    return f"{label}, T = {group[0].config['length']}{several}: {trail(group, curve)}"


def statement(group: Sequence[Record], label: str) -> str:
    """One plain sentence on a setting: verdict, numbers, and whether the task was solved."""
    config = group[0].config
    name = f"**{label} on {config['task']}, T = {config['length']}**"
    origin = config["params"]
    start = "at initialisation" if origin == "none" else f"with the final weights of {origin}"
    first = f"the gradient {_clause(group, 'initial')} {start}"
    if not group[0].trained:
        return f"{name}: {first}. Not trained{_seeds(group)}."
    worst = f"{changes(group, 'worst')} {when(group, 'worst')}"
    return f"{name}: {first}; {worst}; at the end it {_clause(group, 'final')}. {outcome(group)}{_seeds(group)}."


def _clause(group: Sequence[Record], role: str) -> str:
    """`vanishes (4.4 decades lost)`, or `vanishes in 5 of 8, holds in 3 of 8 seeds (...)`."""
    words = [
        _VERBS["non-finite"] if record.findings(role) else _VERBS[record.summary(role).verdict.word]
        for record in group
    ]
    if set(words) == {_VERBS["non-finite"]}:
        return f"is {changes(group, role)}"
    seeds = "" if len(group) == 1 else " seeds"
    return f"{verdict_over_seeds(words)}{seeds} ({changes(group, role)})"


def _seeds(group: Sequence[Record]) -> str:
    if len(group) == 1:
        return f" (seed {group[0].seed})"
    interval = "mean and 95 % interval over" if len(group) > 2 else "mean over"
    return f" ({interval} {len(group)} seeds)"


def outcome(group: Sequence[Record]) -> str:
    """Whether a task was solved, and when: `Solved in 3 of 3 seeds at training steps 150–200`."""
    solved = [record for record in group if record.run.status == "solved"]
    if solved:
        share = "" if len(group) == 1 else f" in {len(solved)} of {len(group)} seeds"
        return f"Solved{share} at {at_steps([number(record.run.done['solved_at']) for record in solved])}"
    diverged = [record for record in group if record.run.status == "diverged"]
    if diverged:
        share = "" if len(group) == 1 else f" in {len(diverged)} of {len(group)} seeds"
        return f"Diverged{share} at {at_steps([_bad_step(record) for record in diverged])}"
    steps = at_steps([number(record.run.done.get("training_steps", record.step("final"))) for record in group])
    return f"Not solved by {steps}"


def overall(records: Sequence[Record]) -> str:
    """`vanishing in 4 of 5 runs before training; held in 5 of 5 runs at the end of training`."""

    def count(role: str, some: Sequence[Record]) -> str:
        words = ["non-finite" if each.findings(role) else each.summary(role).verdict.word for each in some]
        return f"{verdict_over_seeds(words)}{' runs' if len(some) > 1 else ''}"

    fresh = [record for record in records if record.config["params"] == "none"]
    trained = [record for record in records if record.trained]
    borrowed = [record for record in records if record not in fresh]
    parts = [f"{count('initial', fresh)} before training"] if fresh else []
    parts += [f"{count('final', trained)} at the end of training"] if trained else []
    parts += [f"{count('initial', borrowed)} with the final weights of another run"] if borrowed else []
    return "; ".join(parts)


def ending(record: Record) -> str:
    """How a run ended, with the numbers that matter."""
    done = record.run.done
    count = f"{len(record.log)} checkpoint{'' if len(record.log) == 1 else 's'}"
    measured = f"{count} measured" if record.log else "nothing measured"
    if record.run.status == "diverged":
        bad = done.get("diverged") or {}
        return f"diverged: the {bad.get('what')} was not finite at training step {bad.get('step')}; {measured}"
    if record.run.status == "failed":
        return f"failed: {done.get('reason')}; {measured}"
    if record.run.status == "interrupted":
        return f"interrupted at training step {done.get('training_steps')}; {measured}"
    return f"{record.run.status}, no done.json; {measured}"
