"""Sentences that state what runs found, made from their numbers."""

import math
import re
from collections.abc import Iterable, Sequence

from gradlab.gradient.curve import STATE
from gradlab.gradient.summary import CUT, Summary, Word, in_decades
from gradlab.judge.over_seeds import NEGLIGIBLE, Seeds, verdict_over_seeds
from gradlab.report.data.counts import counted, seeds_of
from gradlab.report.data.records import ROLES, Record
from gradlab.report.text.outcomes import at_steps, diverged_at, has_no_solved_level, outcome, unfinished
from gradlab.report.text.plain import Sentence
from gradlab.report.text.terms import tuning_clause

VERBS: dict[Word, str] = {
    "vanishing": "vanishes",
    "exploding": "explodes",
    "both": "both vanishes and explodes",
    "held": "holds",
    "non-finite": "is not finite",
    "cut": "is cut",
    "noise": "is rounding noise",
}
CHAOTIC = "one trajectory of a chaotic network"
"""How the note on a trajectory begins that rounding moves."""
_LOST_OR_GAINED = re.compile(r"(\d+\.\d+(?: \[[^\]]*\])?)( decades (?:lost|gained))")


def change(summary: Summary, findings: Sequence[str] = (), notes: Sequence[str] = ()) -> str:
    """The change in gradient norm relative to lag 1 where it is largest, in words.

    Args:
        findings: where NaN or infinity begins, named after a finite curve. notes: of these the chaotic trajectory.

    Example:
        >>> from gradlab.gradient import GradientCurve
        >>> change(GradientCurve.of({"h": [[0.0], [-2.0], [-4.4]]}).summary())
        '4.4 decades lost'
        >>> change(GradientCurve.of({"h": [[0.0], [3.5], [1.0]]}).summary())
        '3.5 decades gained by lag 2'
    """
    verdict = summary.verdict
    if verdict.word == "non-finite":
        first = f" ({findings[0].replace(' is not finite', '')})" if findings else f", first at lag {verdict.lag}"
        return f"not finite{first}"
    if verdict.word == "noise":
        return f"rounding noise, ± {verdict.decades:.1f} decades at lag {verdict.lag}"
    beside = [*findings, *([f"rounding noise from lag {summary.noise_from}"] if summary.noise_from else [])]
    beside += [note for note in notes if note.startswith(CHAOTIC)]
    return _moved(summary) + (f" ({'; '.join(beside)})" if beside else "")


def _moved(summary: Summary) -> str:
    """The largest change of a finite curve, and for a verdict of both what it does elsewhere."""
    decades, lag = summary.verdict.decades, summary.verdict.lag
    if summary.verdict.word == "cut":
        return "cut, exactly zero at every lag"
    if decades == -math.inf:
        zero = summary.slope.zero_from
        text = f"zero at lag {lag}" if zero is None else f"zero from lag {zero}"
        unit = " decades"
    elif abs(decades) < NEGLIGIBLE:
        return "nothing lost"
    else:
        at = "" if lag == summary.lags else f" by lag {lag}"
        text, unit = f"{in_decades(abs(decades))} decades {_direction(decades)}{at}", ""
    elsewhere = f", and more than 3{unit} {_direction(-decades)} elsewhere"
    return text + (elsewhere if summary.verdict.word == "both" else "")


def capitalised(text: str) -> str:
    """The text with an upper-case first letter, the others as they are."""
    return text[0].upper() + text[1:]


def uncapitalised(text: str) -> str:
    """The text with a lower-case first letter, the others as they are."""
    return text[0].lower() + text[1:]


def _direction(decades: float) -> str:
    return "lost" if decades < 0 else "gained"


def changes(group: Sequence[Record], role: str, curve: str = "task", leaf: str = STATE) -> str:
    """`change` of one run, or the mean over seeds with its interval from 3 finite seeds on.

    Where one seed falls and another rises a mean alone would hide both, so their range goes first. Seeds that the
    mean leaves out are counted beside it.
    """
    runs, found = counted(group, role), seeds_of(group, role, curve, leaf)
    if len(runs) == 1:
        return change(found.summaries[0], runs[0].findings(role, curve), runs[0].notes(role, curve))
    beside = ", ".join(_beside(runs, found, role, curve))
    mean = found.change
    if not mean.finite:
        return beside
    low, high = found.range
    if found.disagree:
        centre, left, right = (f"{round(each, 1) + 0.0:+.1f}" for each in (mean.mean, mean.low, mean.high))
        ends = "" if math.isnan(mean.low) else f" [{left}, {right}]"
        mean_text = ", ".join(filter(None, [f"mean {centre}{ends}", beside]))
        return f"{in_decades(low, sign=True)} to {in_decades(high, sign=True)} decades ({mean_text})"
    sign = -1 if mean.mean < 0 else 1
    first, last = sorted((sign * mean.low, sign * mean.high))
    ends = "" if math.isnan(mean.low) else f" [{first:.1f}, {last:.1f}]".replace("-0.0", "0.0")
    text = f"{in_decades(abs(mean.mean))}{ends} decades {_direction(mean.mean)}"
    text = "nothing lost" if max(-low, high) < NEGLIGIBLE else text
    return f"{text} ({beside})" if beside else text


def _beside(runs: Sequence[Record], found: Seeds, role: str, curve: str) -> list[str]:
    """What a mean over seeds does not say, each with the number of seeds in which it holds."""
    words = found.words
    findings = [bool(record.findings(role, curve)) for record in runs]
    zero = sum(one.verdict.decades == -math.inf for one in found.summaries) - words.count("cut")
    beside = sum(had and word != "non-finite" for had, word in zip(findings, words, strict=True))
    chaotic = sum(any(note.startswith(CHAOTIC) for note in one.notes(role, curve)) for one in runs)
    counts = (
        (zero, "zero at some lag"),
        (words.count("cut"), "cut, exactly zero at every lag,"),
        (words.count("noise"), "rounding noise"),
        (sum(one.noise_from is not None for one in found.finite), "rounding noise at some lags"),
        (words.count("both"), "more than 3 decades both lost and gained"),
        (words.count("non-finite"), "not finite"),
        (beside, "NaN or infinity beside the curve"),
        (chaotic, CHAOTIC),
    )
    return [f"{what} in {count} of {len(words)}" for count, what in counts if count]


def notes_of(group: Sequence[Record], role: str, curve: str = "task") -> list[str]:
    """What a reader must know about the numbers of a checkpoint."""
    return together([record.notes(role, curve) for record in counted(group, role)], "seeds")


def together(notes: Sequence[Sequence[str]], of: str) -> list[str]:
    """The notes of several runs, those that differ in numbers alone once with how many there are of them.

    Example:
        >>> together([["noise from lag 8"], ["noise from lag 9"], []], "seeds")
        ['noise from lag 8 (this or similar in 2 of 3 seeds)']
    """
    found: dict[str, list[str]] = {}
    for note in (note for some in notes for note in dict.fromkeys(some)):
        found.setdefault(re.sub(r"[\d.]+(e[+-]?\d+)?", "#", note), []).append(note)
    if len(notes) < 2:
        return [some[0] for some in found.values()]
    similar = {kind: "" if len(set(some)) == 1 else "this or similar " for kind, some in found.items()}
    return [f"{some[0]} ({similar[kind]}in {len(some)} of {len(notes)} {of})" for kind, some in found.items()]


def trail(group: Sequence[Record], curve: str = "task") -> str:
    """`4.4 decades lost at initialisation, 13.1 at worst (training step 10), 0.8 when solved`."""
    initial = changes(group, "initial", curve)
    if not group[0].trained:
        return f"{initial} {beginning(group)}"
    steps = {role: [record.step(role) for record in counted(group, "final")] for role in ROLES}
    parts = [f"{initial} at initialisation{', the worst' * (steps['worst'] == steps['initial'])}"]
    last = when(group, "final")
    if steps["worst"] == steps["final"] != steps["initial"]:
        parts.append(f"{changes(group, 'final', curve)} at worst and {last}")
    else:
        for role, words in (("worst", when(group, "worst")), ("final", last)):
            parts += [f"{changes(group, role, curve)} {words}"] if steps[role] != steps["initial"] else []
    kept, unit = [], ""
    for part in parts:  # `decades lost` is written once, until it changes
        found = _LOST_OR_GAINED.match(part)
        kept.append(part.replace(found[2], "", 1) if found and unit == found[2] else part)
        unit = found[2] if found else unit
    return ", ".join(kept)


def beginning(records: Iterable[Record]) -> str:
    """Of the first checkpoint: `at initialisation`, `as imported`, `at these weights`; of several, `at first`."""
    origins = {
        "imported" if record.config.get("imported") else record.config["params"] == "none" for record in records
    }
    words = {"imported": "as imported", True: "at initialisation", False: "at these weights"}
    return words[origins.pop()] if len(origins) == 1 else "at first"


def when(group: Sequence[Record], role: str) -> str:
    """`at initialisation`, `at worst (training step 10)`, `when solved`."""
    runs = counted(group, role)
    steps = at_steps([record.step(role) for record in runs])
    if role == "initial":
        return beginning(group)
    if role == "worst":
        return f"at worst ({steps})"
    statuses = {record.run.status for record in runs}
    if statuses == {"solved"}:
        return "when solved"
    if statuses == {"trained"}:
        return f"at the end ({'' if has_no_solved_level(runs) else 'not solved, '}{steps})"
    if statuses == {"diverged"}:
        return f"before it diverged at {at_steps([diverged_at(record) for record in runs])}"
    return f"at the end ({verdict_over_seeds([record.run.status for record in runs])}, {steps})"


def title(group: Sequence[Record], label: str, curve: str = "task") -> str:
    """The title of a panel: `LSTM, T = 200: 4.4 decades lost at initialisation, ...`."""
    more = unfinished(group)
    several = f", {len(group)} seeds{f' ({more})' if more else ''}" if len(group) > 1 else ""
    return f"{label}, T = {group[0].config['length']}{several}: {trail(group, curve)}"


def statement(group: Sequence[Record], label: str) -> Sentence:
    """One plain sentence on a setting: verdict, numbers, and whether the task was solved."""
    config = group[0].config
    name = f"{label} on {config['task']}, T = {config['length']}"
    origin = config["params"]
    start = "at initialisation" if origin == "none" else f"with the final weights of {origin}"
    first = f"the gradient {_clause(group, 'initial')} {start}"
    if config.get("imported"):
        return Sentence(name, f": the gradient {_clause(group, 'initial')} as imported{_seeds(group)}.")
    if not group[0].trained:
        return Sentence(name, f": {first}. Not trained{_seeds(group)}.")
    worst = f"{changes(group, 'worst')} {when(group, 'worst')}"
    last = f"at the end it {_clause(group, 'final')}"
    return Sentence(name, f": {first}; {worst}; {last}. {outcome(group)}{tuning_clause([group])}{_seeds(group)}.")


def _clause(group: Sequence[Record], role: str) -> str:
    """`vanishes (4.4 decades lost)`, or `vanishes in 5 of 8, holds in 3 of 8 seeds (...)`."""
    found = seeds_of(group, role).words
    if set(found) == {"non-finite"}:
        return f"is {changes(group, role)}"
    words, cut = [VERBS[word] for word in found], "" if set(found) != {"cut"} else f"; {CUT.partition('; ')[2]}"
    seeds = "" if len(words) == 1 else " seeds"
    return f"{verdict_over_seeds(words)}{seeds} ({changes(group, role)}{cut})"


def _seeds(group: Sequence[Record]) -> str:
    """What the numbers of a statement are of."""
    if len(group) == 1:
        return f" (seed {group[0].seed})"
    finite = {seeds_of(group, role).change.finite for role in (ROLES if group[0].trained else ROLES[:1])}
    if finite == {len(group)}:
        interval = "mean and 95 % interval over" if len(group) > 2 else "mean over"
        return f" ({interval} {len(group)} seeds)"
    return f" ({len(group)} seeds; means are over those with a finite number, with a 95 % interval from 3 on)"


def overall(records: Sequence[Record]) -> str:
    """`vanishing in 4 of 5 runs before training; held in 5 of 5 runs at the end of training`."""
    fresh = [record for record in records if record.config["params"] == "none"]
    imported = [record for record in records if record.config.get("imported")]
    parts = (
        ("initial", fresh, "before training"),
        ("final", [one for one in records if one.trained and one.run.finished], "at the end of training"),
        (
            "initial",
            [one for one in records if one.config["params"] != "none" and not one.config.get("imported")],
            "with the final weights of another run",
        ),
        ("initial", imported, "as imported"),
    )
    said = [
        f"{Seeds([one.summary(role) for one in some]).verdict}{' runs' if len(some) > 1 else ''} {when_}"
        for role, some, when_ in parts
        if some
    ]
    return "; ".join(said) or "nothing was measured"
