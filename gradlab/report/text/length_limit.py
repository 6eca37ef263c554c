"""Up to which length a setting solves its task or holds its gradient, in words made from counts."""

import math
from collections.abc import Iterable, Mapping, Sequence

from gradlab.gradient.summary import Word, in_decades
from gradlab.judge.statistics import Share
from gradlab.report.data.counts import by_length, held, longest_passing, passed, seeds_of, solved
from gradlab.report.data.records import Record
from gradlab.report.text.findings import VERBS, changes
from gradlab.report.text.plain import Sentence
from gradlab.report.text.terms import tuning_clause

MOST_NAMED = 3
"""Lengths beyond the limit that are named at most."""
ZERO = "all of it (exactly zero)"
PAST: dict[Word, str] = {
    "held": "was held",
    "vanishing": "vanished",
    "exploding": "exploded",
    "both": "both vanished and exploded",
    "non-finite": "was not finite",
    "cut": "was cut",
    "noise": "was rounding noise",
}


def length_limit(counts: Mapping[int, Share], did: str, does: str) -> str:
    """Up to which length something works, with the counts behind it.

    Args:
        counts: of seeds, by length. did: `solved`. does: `solves`.

    Example:
        >>> from gradlab.judge.statistics import share
        >>> length_limit({100: share(3, 3), 200: share(3, 3), 400: share(0, 3)}, "solved", "solves")
        'solved T = 200 in 3 of 3 seeds and T = 400 in 0 of 3: it solves up to T = 200'
        >>> length_limit({100: share(0, 3), 200: share(0, 3)}, "solved", "solves")
        'solves no tested length (0 of 3 seeds at T = 100)'
    """
    lengths = sorted(counts)
    limit = longest_passing(counts)
    if limit == lengths[-1]:
        if len(lengths) == 1:
            return f"{did} T = {limit:,} in {counts[limit]} seeds: it {does} at least T = {limit:,}"
        through = f"{did} every length up to T = {limit:,} in every seed ({counts[limit]} there)"
        return f"{through}: it {does} at least T = {limit:,}"
    stop = next(length for length in lengths if length > limit)
    beyond = [f"T = {at:,} in {counts[at]}" for at in lengths if at > stop and counts[at].count]
    also = f"; beyond that {_first(beyond)}" if beyond else ""
    if limit:
        both = f"{did} T = {limit:,} in {counts[limit]} seeds and T = {stop:,} in {counts[stop]}"
        return f"{both}: it {does} up to T = {limit:,}{also}"
    if not counts[stop].count and not beyond:
        return f"{does} no tested length ({counts[stop]} seeds at T = {stop:,})"
    return f"{did} T = {stop:,} in {counts[stop]} seeds, so not even the shortest length in every seed{also}"


def _first(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = [f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    return ", ".join([*names[:MOST_NAMED], *more])


def in_every_seed(counts: Iterable[Mapping[int, Share]]) -> str:
    """` in every seed` where there are several, else ""."""
    return " in every seed" if any(share.of > 1 for each in counts for share in each.values()) else ""


def briefly(counts: Mapping[int, Share], label: str) -> str:
    """The same for a title: `LSTM up to T = 200`.

    Example:
        >>> from gradlab.judge.statistics import share
        >>> briefly({100: share(3, 3), 200: share(0, 3)}, "LSTM"), briefly({100: share(1, 3)}, "RNN")
        ('LSTM up to T = 100', 'RNN at no tested length')
    """
    limit = longest_passing(counts)
    if limit == max(counts):
        return f"{label} up to T = {limit:,}, the longest"
    beyond = [f"T = {length:,}" for length in sorted(counts) if length > limit and passed(counts[length])]
    if limit:
        return f"{label} up to T = {limit:,}{f' and again at {_first(beyond)}' if beyond else ''}"
    return f"{label} at {_first(beyond)}, not at every shorter one" if beyond else f"{label} at no tested length"


def sentence(group: Sequence[Record], label: str) -> Sentence:
    """Up to which length a setting solves its task (if trained), and what its gradient does before training."""
    name, origin = f"{label} on {group[0].config['task']}", group[0].config["params"]
    start = "At initialisation" if origin == "none" else f"With the weights of {origin}"
    start = "As imported" if group[0].config.get("imported") else start
    holds = held(group)
    before = f"{start} its gradient {_holding(group, holds)}"
    counts = solved(group)
    if not counts:
        return Sentence(name, f": {before[0].lower()}{before[1:]} ({_decades(group, holds)}).")
    limit = length_limit(counts, "solved", "solves")
    return Sentence(name, f" {limit}{tuning_clause([group])}. {before} ({_decades(group, counts)}).")


def _holding(group: Sequence[Record], holds: Mapping[int, Share]) -> str:
    """`is held over T = 40 in ...`, or `vanishes at every tested length (0 of 3 seeds at T = 20)`."""
    words = {word for runs in by_length(group).values() for word in seeds_of(runs, "initial").words}
    if any(count.count for count in holds.values()):
        return length_limit(holds, "is held over", "holds")
    shortest = min(holds)
    does = VERBS[words.pop()] if len(words) == 1 else "is held"
    where = "no tested length" if does == "is held" else "every tested length"
    return f"{does} at {where} (held in {holds[shortest]} seeds at T = {shortest:,})"


def _decades(group: Sequence[Record], counts: Mapping[int, Share]) -> str:
    """What is lost at the longest length that passes and at the first that does not."""
    found, limit = by_length(group), longest_passing(counts)
    around = [length for length in sorted(counts) if length >= limit and length in found][:2]
    return ", ".join(f"{changes(found[length], 'initial')} over T = {length:,}" for length in around)


def relation(records: Sequence[Record]) -> str:
    """What the initial gradient says about solving: how many trained runs of each verdict were solved."""
    ended = [record for record in records if record.trained and record.run.finished and record.marks]
    kinds: dict[Word, list[Record]] = {}
    for record in ended:
        kinds.setdefault(record.summary("initial").verdict.word, []).append(record)
    if not ended:
        return ""
    parts = []
    for word, runs in sorted(kinds.items(), key=lambda pair: -len(pair[1])):
        solving = sum(record.run.status == "solved" for record in runs)
        parts.append(f"where it {PAST[word]}, {solving} of {len(runs)} runs solved the task")
    text = f"By the gradient at initialisation: {'; '.join(parts)}"
    falling = [record for word in ("held", "vanishing", "cut") for record in kinds.get(word, ())]
    yes = [_lost(record) for record in falling if record.run.status == "solved"]
    no = [_lost(record) for record in falling if record.run.status != "solved"]
    if not yes or not no:
        return f"{text}."
    most = ZERO if math.isinf(max(yes)) else f"{in_decades(max(yes))} decades"
    least = ZERO if math.isinf(min(no)) else f"from {in_decades(min(no))} on"
    return f"{text}. Solved runs lost up to {most} there, unsolved ones {least}."


def _lost(record: Record) -> float:
    return max(0.0, -record.summary("initial").verdict.decades)
