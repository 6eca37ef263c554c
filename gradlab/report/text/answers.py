"""The answers of the page, in words: how far the gradient reaches, what was learned, what predicts it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from gradlab.gradient.summary import Word
from gradlab.judge.over_seeds import Seeds
from gradlab.judge.statistics import Share
from gradlab.report.data.counts import by_length, held, longest_passing, passed, seeds_of, solved
from gradlab.report.data.overview import overview
from gradlab.report.data.records import ROLES, Labelled, Record
from gradlab.report.data.study import Study
from gradlab.report.text.findings import VERBS, beginning, capitalised, overall, statement, uncapitalised
from gradlab.report.text.findings import when as when_of
from gradlab.report.text.length_limit import briefly as limit_of
from gradlab.report.text.length_limit import in_every_seed, relation, sentence
from gradlab.report.text.outcomes import has_no_solved_level, outcome
from gradlab.report.text.plain import Sentence
from gradlab.report.text.prediction import briefly, explanation, rank_agreement
from gradlab.report.text.terms import joined, tuning_clause
from gradlab.runs.labels import listed

_ADJECTIVES: dict[Word, str] = {"both": "both vanishing and exploding"}
MOST_NAMED = 4
"""Settings that an answer names; with more it counts the rest."""


class Answer(NamedTuple):
    """A question, its answer in a few words, and the sentence with the numbers behind it."""

    question: str
    short: str
    long: str


def headline(series: Labelled) -> str:
    """On one task: does the gradient reach back far enough, and was the task learned?"""
    trained = [(label, group) for label, group in series if group[0].trained]
    if not trained:
        return f"{reached(series)}."
    if len(series) > 1 or len(series[0][1]) > 1:
        shown = overview([record for _, group in series for record in group])
        if len(trained) < len(series):
            return f"{reached(shown.initial)}. {capitalised(_trained_alone(shown.initial, series, trained))}"
        return f"{reached(shown.initial)}; {uncapitalised(learned(trained))}"
    ((_, group),) = trained
    start, worst, end = (_reach(seeds_of(group, role)) for role in ROLES)
    when = "before training diverged" if group[0].run.status == "diverged" else "at the end of training"
    parts = [f"{start.full} at initialisation"]
    if worst not in (start, end):
        parts.append(f"{_after(start, worst)} {when_of(group, 'worst')}")
        parts.append(f"{_after(start, end)} {when}")
    else:
        parts.append(f"as far {when}" if end == start and end.brief else f"{_after(start, end)} {when}")
    return f"The gradient {joined(parts)}; the task was {uncapitalised(outcome(group))}{tuning_clause([group])}."


def _trained_alone(initial: Labelled, series: Labelled, trained: Labelled) -> str:
    """What was learned by the settings that were trained, where others were not, or not at these lengths."""
    found = uncapitalised(learned(trained))
    if len(trained) == 1:
        found = found.replace("no cell solved any length", "it solved no length", 1)
    few = len(trained) <= MOST_NAMED
    named = joined(listed([label for label, _ in trained])) if few else f"{len(trained)} settings"
    lengths = sorted({int(record.config["length"]) for _, group in trained for record in group})
    same = lengths[-1:] == [initial[0][1][0].config["length"]]
    at = "" if same else f", {'at' if len(lengths) == 1 else 'up to'} T = {lengths[-1]:,}"
    cells = [{record.config["cell"] for _, group in some for record in group} for some in (trained, series)]
    only = "only " if few and cells[0] != cells[1] else ""
    return f"{only}{named} {'was' if len(trained) == 1 else 'were'} trained{at}: {found}"


def reached(series: Labelled) -> str:
    """How far back the gradient reaches at the longest length, setting by setting, before training."""
    longest = max(int(record.config["length"]) for _, group in series for record in group)
    first = beginning(group[0] for _, group in series)
    start = f"At T = {longest:,} the gradient{f' {first}' if first != 'at first' else ''}"
    at_longest = ((label, by_length(group).get(longest)) for label, group in series)
    seeds = [(label, seeds_of(group, "initial")) for label, group in at_longest if group]
    if len(seeds) <= MOST_NAMED:
        return f"{start} {_reaches(seeds)}"
    lags = max(found.horizon().longest for _, found in seeds)  # copy has more timesteps than its T
    rest = [
        (label, found) for label, found in seeds if not found.horizon().all_reach and found.horizon().mean.finite
    ]
    whole = sum(found.horizon().all_reach for _, found in seeds)
    odd = sum(bool({"exploding", "both", "non-finite"} & set(found.words)) for _, found in seeds)
    note = f" ({odd} of {len(seeds)} settings explode or are not finite)" if odd else ""
    all_ = f"{start} reaches all {lags:,} timesteps in {whole} of {len(seeds)} settings"
    if not rest:
        return all_ + note
    ends = [end(rest, key=lambda pair: _lag(pair[1])) for end in (min, max)]
    low, high = (f"{_lag(found):,.0f} ({label})" for label, found in ends)
    span = f"{low} to {high}" if len(rest) > 1 and low.split()[0] != high.split()[0] else low.split()[0]
    if whole:
        return f"{all_} and {span} in the others{note}"
    return f"{start} reaches {span} of {lags:,} timesteps in {len(seeds)} settings{note}"


def _reaches(seeds: Sequence[tuple[str, Seeds]]) -> str:
    """`reaches all 40 timesteps in LSTM, 33 in GRU and 7 in RNN`, the furthest first."""
    if len(seeds) == 1:
        return _reach(seeds[0][1]).full
    alike: dict[Reach, list[str]] = {}
    for label, found in sorted(seeds, key=lambda pair: -_lag(pair[1])):
        alike.setdefault(_reach(found), []).append(label)
    return joined(
        [
            f"{_after(last, reach)} in {joined(listed(alike[reach]))}"
            for last, reach in pairwise((Reach(""), *alike))
        ]
    )


def _lag(found: Seeds) -> float:
    return found.horizon().mean.mean if found.horizon().mean.finite else 0.0


class Reach(NamedTuple):
    """How far a gradient reaches, as a verb phrase, and as a number that may follow another ("" if it is none)."""

    full: str
    brief: str = ""


def _after(first: Reach, second: Reach) -> str:
    """The second as it follows the first."""
    return second.brief if first.brief and second.brief else second.full


def _reach(found: Seeds) -> Reach:
    """`reaches 33 of 40 timesteps`, `reaches all 40 timesteps but explodes`, `is not finite`."""
    horizon, count = found.horizon(), len(found.summaries)
    if len(set(found.words)) == 1 and found.words[0] in ("non-finite", "cut", "noise"):
        return Reach(VERBS[found.words[0]])
    counts = Counter(word for word in found.words if word in ("non-finite", "cut", "noise"))
    notes = [f"{VERBS[word]} in {many} of {count} seeds" for word, many in counts.items()]
    if not horizon.mean.finite:
        return Reach(joined(notes))
    if horizon.all_reach:
        brief, full = f"all {horizon.longest:,}", f"reaches all {horizon.longest:,} timesteps"
    else:
        brief = f"{'at least ' if horizon.reached else ''}{horizon.mean.mean:,.0f}"
        full = f"reaches {brief} of {horizon.longest:,} timesteps"
        notes += [f"all in {horizon.reached} of {count} seeds"] if horizon.reached else []
    explodes = sum(word in ("exploding", "both") for word in found.words)
    also = " but explodes" if explodes == count else ""
    notes += [f"explodes in {explodes} of {count} seeds"] if 0 < explodes < count else []
    also += f" ({', '.join(notes)})" if notes else ""
    return Reach(full + also, brief + also)


def answers(series: Labelled) -> list[Answer]:
    """What the measured runs of one task say, question by question."""
    trained, probes = ([one for one in series if one[1][0].trained == kind] for kind in (True, False))
    found = []
    if trained and has_no_solved_level([record for _, group in trained for record in group]):
        long = "At the weights whose loss on the validation part is the lowest; the test part decides nothing."
        found.append(Answer("Which loss does each cell reach?", learned(trained), long))
    elif trained:
        runs = [record for _, group in trained for record in group if record.run.finished]
        budgets = {int(record.config["steps"]) for record in runs}
        within = f" within {max(budgets):,} training steps" if len(budgets) == 1 else ""
        solving = sum(record.run.status == "solved" for record in runs)
        long = f"A cell solves a length if every seed does{within}, there and at every shorter length. "
        long += f"{solving} of {len(runs)} runs solved the task."
        found.append(Answer("Up to what length does each cell learn?", learned(trained), long))
        agreement, terms = rank_agreement(trained), tuning_clause(group for _, group in trained)
        if len(agreement.points) > 1:
            text = f"{relation(runs)} {explanation(agreement)} All of it{terms}."
            found.append(Answer("Does the initial gradient predict learning?", briefly(agreement), text))
    if probes:
        runs = [record for _, group in probes for record in group]
        first = beginning(runs)
        long = "Held means: in every seed the gradient stays within 3 decades of its lag 1, at that length and at "
        long += f"every shorter one. In all, {overall(runs)}."
        short = f"{_limits([(label, held(group)) for label, group in probes], 'held', 'in')} {reached(probes)}."
        found.append(Answer(f"Over what length is the gradient held {first}?", short, long))
    return found


def learned(trained: Labelled) -> str:
    """`Solved in every seed by LSTM up to T = 200, the longest, by RNN at no tested length, at one setting.`"""
    terms = tuning_clause(group for _, group in trained)
    if has_no_solved_level([record for _, group in trained for record in group]):
        ends = [f"{uncapitalised(outcome(group))} with {label}" for label, group in trained]
        return f"The task was {', and '.join(ends)}{terms}."
    found = _limits([(label, solved(group)) for label, group in trained], "solved", "by")
    return f"{found.removesuffix('.')}{terms}."


def _limits(counts: Sequence[tuple[str, Mapping[int, Share]]], done: str, by: str) -> str:
    """Up to which length each setting passes, the longest first."""
    tried = sorted((pair for pair in counts if pair[1]), key=lambda pair: -longest_passing(pair[1]))
    if not tried:
        return "No run finished."
    shares, every = [share for _, one in tried for share in one.values()], in_every_seed(one for _, one in tried)
    if not any(map(passed, shares)):
        whom = "No cell solved" if done == "solved" else f"In no cell was the gradient {done} over"
        return f"{whom} any length{' in every seed' if any(share.count for share in shares) else ''}."
    alike: dict[str, list[str]] = {}
    for label, one in tried:
        alike.setdefault(limit_of(one, "").strip(), []).append(label)
    if len(tried) <= MOST_NAMED:
        parts = [f"{by} {joined(listed(labels))} {where}" for where, labels in alike.items()]
        return f"{done.capitalize()}{every} {', '.join(parts)}."
    some = sum(any(map(passed, one.values())) for _, one in tried)
    where, best = next(iter(alike.items()))
    few = len(best) <= MOST_NAMED + 1
    names = listed(best) if few else [*listed(best[:MOST_NAMED]), f"{len(best) - MOST_NAMED} more"]
    return f"{some} of {len(tried)} settings {done} some length{every}, {joined(names)} {where}."


def single(record: Record) -> list[Answer]:
    """The answers of one run."""
    text = statement([record], "").rest.removeprefix(": ")
    roles = {"initial": beginning([record])} | ({"final": "at the end of training"} if record.trained else {})
    words = [
        f"{_ADJECTIVES.get(word := record.summary(role).verdict.word, word)} {when}"
        for role, when in roles.items()
    ]
    found = [Answer("Does the gradient reach back?", f"{capitalised(', '.join(words))}.", capitalised(text))]
    if record.trained:
        losses = record.run.done["losses"]
        long = f"Chance is a loss of {losses['chance']:.4g}"
        long += f", solved is {losses['solved']:.4g} or less" if losses["solved"] else ""
        last = losses.get("test") if losses.get("test") is not None else losses.get("final")
        score = f" ({record.run.done['score']})" if record.run.done.get("score") else ""
        long += f"; it ended at {float(last):.4g}{score}." if last is not None else "."
        found.append(Answer("Was the task learned?", f"{outcome([record])}.", long))
    return found


def sentences(series: Labelled) -> list[Sentence]:
    """A sentence for each setting, over its lengths if there are several."""
    return [
        sentence(group, label) if len(by_length(group)) > 1 else statement(group, label) for label, group in series
    ]


def presence(study: Study) -> Sentence:
    """`48 of 54 runs complete: 40 solved, 8 trained. Not complete: 4 missing, 2 failed.`"""
    text = f"{len(study.finished)} of {len(study.sweep.runs)} runs complete"
    text += f": {_counted(record.run.status for record in study.finished)}."
    if not study.absent:
        return Sentence("", text)
    return Sentence(f"{text} Not complete: {_counted(study.absent.values())}.", " The findings leave these out.")


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in Counter(words).most_common())


def summary(records: Sequence[Record], measured: Sequence[Record]) -> Sentence:
    """How many runs there are, what their gradients do, and in how many the task was solved."""
    finished = sum(record.run.finished for record in records)
    trained = [record for record in measured if record.trained and record.run.finished]
    runs = f"{len(records)} run{'s' * (len(records) != 1)}, {finished} finished"
    text = f"{runs}. The gradient: {overall(measured)}."
    if trained and not has_no_solved_level(trained):
        solved = sum(record.run.status == "solved" for record in trained)
        text += f" The task was solved in {solved} of {len(trained)} trained run{'s' * (len(trained) != 1)}."
    return Sentence("", text)
