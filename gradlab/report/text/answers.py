"""The answers at the top of the page, in words: how far the gradient reaches, what was learned, what predicts it."""

from collections.abc import Sequence
from typing import NamedTuple

from gradlab.gradient.summary import Word
from gradlab.judge.over_seeds import Seeds
from gradlab.judge.statistics import Share
from gradlab.report.data.counts import by_length, held, longest_passing, passed, seeds_of, solved
from gradlab.report.data.records import ROLES, Labelled, Record
from gradlab.report.text.findings import VERBS, overall, statement
from gradlab.report.text.findings import when as when_of
from gradlab.report.text.length_limit import relation, sentence
from gradlab.report.text.outcomes import outcome
from gradlab.report.text.prediction import briefly, explanation, rank_agreement

NAMED = 4
"""Settings that an answer names; with more it counts the rest."""


class Answer(NamedTuple):
    """A question, its answer in a few words, and the sentence with the numbers behind it."""

    question: str
    short: str
    long: str


def headline(series: Labelled) -> str:
    """One sentence: does the gradient reach back far enough, and was the task learned?

    Args:
        series: measured runs of one task that came to an end, by setting.
    """
    trained = [(label, group) for label, group in series if group[0].trained]
    if not trained:
        return f"{reached(series)}."
    if len(series) > 1 or len(series[0][1]) > 1:
        return f"{reached(trained)}; {_lowered(learned(trained))}"
    ((_, group),) = trained
    start, worst, end = (_reach(seeds_of(group, role)) for role in ROLES)
    when = "before training diverged" if group[0].run.status == "diverged" else "at the end of training"
    parts = [f"{start.full} at initialisation"]
    if worst not in (start, end):
        parts.append(f"{worst.brief if worst.brief and start.brief else worst.full} {when_of(group, 'worst')}")
    parts.append(
        f"{end.brief if end.brief and start.brief else end.full} {when}" if end != start else f"as far {when}"
    )
    return f"The gradient {_and(parts)}; the task was {_lowered(outcome(group))}."


def _lowered(text: str) -> str:
    return text[0].lower() + text[1:]


def reached(series: Labelled) -> str:
    """How far back the gradient reaches at the longest length, setting by setting, before training."""
    longest = max(int(record.config["length"]) for _, group in series for record in group)
    fresh = all(group[0].config["params"] == "none" for _, group in series)
    start = f"At T = {longest:,} the gradient{' at initialisation' if fresh else ''}"
    at_longest = ((label, by_length(group).get(longest)) for label, group in series)
    seeds = [(label, seeds_of(group, "initial")) for label, group in at_longest if group]
    if len(seeds) <= NAMED:
        return f"{start} {_reaches(seeds)}"
    held = sum(_whole(found) and set(found.words) == {"held"} for _, found in seeds)
    text = f"{start} is held over all {longest:,} timesteps in {held} of {len(seeds)} settings"
    lost = [(label, found) for label, found in seeds if not _whole(found) and found.horizon().mean.finite]
    if not lost:
        return text
    low, high = (end(lost, key=lambda pair: _lag(pair[1])) for end in (min, max))
    if len(lost) == 1:
        return f"{text} and {_reach(low[1]).full} in {low[0]}"
    return f"{text}; where it is lost it reaches from {_lag(low[1]):,.0f} ({low[0]}) to {_lag(high[1]):,.0f} ({high[0]})"


def _reaches(seeds: Sequence[tuple[str, Seeds]]) -> str:
    """`reaches all 40 timesteps in LSTM, 33 in GRU and 7 in RNN`, the furthest first."""
    if len(seeds) == 1:
        return _reach(seeds[0][1]).full
    alike: dict[Reach, list[str]] = {}
    for label, found in sorted(seeds, key=lambda pair: -_lag(pair[1])):
        alike.setdefault(_reach(found), []).append(label)
    parts, before = [], False
    for reach, labels in alike.items():
        parts.append(f"{reach.brief if before and reach.brief else reach.full} in {_and(labels)}")
        before = bool(reach.brief)
    return _and(parts)


def _lag(found: Seeds) -> float:
    return found.horizon().mean.mean if found.horizon().mean.finite else 0.0


def _whole(found: Seeds) -> bool:
    """Whether every seed's gradient reaches all timesteps."""
    return found.horizon().reached == len(found.summaries)


class Reach(NamedTuple):
    """How far a gradient reaches, as a verb phrase, and as a number that may follow another ("" if it is none)."""

    full: str
    brief: str = ""


def _reach(found: Seeds) -> Reach:
    """`reaches 33 of 40 timesteps`, `reaches all 40 timesteps but explodes`, `is not finite`."""
    horizon, count = found.horizon(), len(found.summaries)
    if len(set(found.words)) == 1 and found.words[0] in ("non-finite", "cut", "noise"):
        return Reach(VERBS[found.words[0]])
    notes = []
    if _whole(found):
        brief, full = f"all {horizon.longest:,}", f"reaches all {horizon.longest:,} timesteps"
    else:
        brief = f"{'at least ' if horizon.reached else ''}{horizon.mean.mean:,.0f}"
        full = f"reaches {brief} of {horizon.longest:,} timesteps"
        notes += [f"all in {horizon.reached} of {count} seeds"] if horizon.reached else []
    explodes = sum(word in ("exploding", "both") for word in found.words)
    also = " but explodes" if explodes == count else ""
    notes += [f"explodes in {explodes} of {count} seeds"] if 0 < explodes < count else []
    for word in ("non-finite", "cut", "noise"):
        many = found.words.count(word)
        notes += [f"{VERBS[word]} in {many} of {count} seeds"] if many else []
    also += f" ({', '.join(notes)})" if notes else ""
    return Reach(full + also, brief + also)


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def answers(series: Labelled) -> list[Answer]:
    """What the runs of one task say, question by question.

    Args:
        series: measured runs of one task that came to an end, by setting.
    """
    trained, probes = ([one for one in series if one[1][0].trained == kind] for kind in (True, False))
    found = []
    if trained:
        runs = [record for _, group in trained for record in group]
        budgets = {int(record.config["steps"]) for record in runs}
        within = f" within {max(budgets):,} training steps" if len(budgets) == 1 else ""
        solving = sum(record.run.status == "solved" for record in runs)
        long = (
            f"A cell solves a length if every seed does{within}, there and at every shorter length. "
            f"{solving} of {len(runs)} runs solved the task."
        )
        found.append(Answer("Up to what length does each cell learn?", learned(trained), long))
        agreement = rank_agreement(trained)
        if len(agreement.points) > 1:
            text = f"{relation(runs)} {explanation(agreement)}".strip()
            found.append(Answer("Does the initial gradient predict learning?", briefly(agreement), text))
    if probes:
        runs = [record for _, group in probes for record in group]
        fresh = all(record.config["params"] == "none" for record in runs)
        when = "at initialisation" if fresh else "with these weights"
        long = (
            "Held means: in every seed the gradient stays within 3 decades of its lag 1, at that length and at "
            f"every shorter one. In all, {overall(runs)}."
        )
        found.append(Answer(f"Over what length is the gradient held {when}?", kept(probes), long))
    return found


def learned(trained: Labelled) -> str:
    """`Solved in every seed by LSTM and GRU up to T = 200 (the longest), by RNN at no length.`"""
    return _limits([(label, solved(group)) for label, group in trained], "solved")


def kept(probes: Labelled) -> str:
    """The same of lengths over which the gradient is held, and how far it reaches at the longest."""
    return f"{_limits([(label, held(group)) for label, group in probes], 'held')} {reached(probes)}."


def _limits(counts: Sequence[tuple[str, dict[int, Share]]], done: str) -> str:
    """Up to which length each setting passes, the longest first."""
    tried = [(label, one) for label, one in counts if one]
    order = sorted(tried, key=lambda pair: -longest_passing(pair[1]))
    if not tried:
        return "No run came to an end."
    if not any(passed(share) for _, one in tried for share in one.values()):
        whom = "No cell" if done == "solved" else "In no cell was"
        some = any(share.count for _, one in tried for share in one.values())
        end = f"{done} any length{' in every seed' if some else ''}."
        return f"{whom} {end}" if done == "solved" else f"{whom} the gradient {end}"
    alike: dict[str, list[str]] = {}
    for label, one in order[:NAMED]:
        limit = longest_passing(one)
        where = f"up to T = {limit:,}{' (the longest)' * (limit == max(one))}" if limit else "at no length"
        alike.setdefault(where, []).append(label)
    by = "by" if done == "solved" else "in"
    parts = [f"{by} {_and(labels)} {where}" for where, labels in alike.items()]
    more = f"; {len(order) - NAMED} more below" if len(order) > NAMED else ""
    return f"{done.capitalize()} in every seed {', '.join(parts)}{more}."


def single(record: Record) -> list[Answer]:
    """The answers of one run."""
    text = statement([record], "").split(": ", 1)[1]
    words = [
        record.summary(role).verdict.word for role in (("initial", "final") if record.trained else ("initial",))
    ]
    short = f"{_adjective(words[0]).capitalize()} at initialisation"
    short += f", {_adjective(words[1])} at the end of training" if record.trained else ""
    found = [Answer("Does the gradient reach back?", f"{short}.", text[0].upper() + text[1:])]
    if record.trained:
        losses = record.run.done["losses"]
        levels = f"Chance is a loss of {losses['chance']:.4g}, solved is {losses['solved']:.4g} or less"
        last = losses.get("test") if losses.get("test") is not None else losses.get("final")
        ended = f"; it ended at {float(last):.4g}" if last is not None else ""
        found.append(Answer("Was the task learned?", f"{outcome([record])}.", f"{levels}{ended}."))
    return found


def _adjective(verdict: Word) -> str:
    return "both vanishing and exploding" if verdict == "both" else verdict


def sentences(series: Labelled) -> list[str]:
    """A sentence for each setting, over its lengths if there are several."""
    return [
        sentence(group, label) if len(by_length(group)) > 1 else statement(group, label) for label, group in series
    ]
