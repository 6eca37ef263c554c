"""Up to which length a setting does something, in words made from counts; knows no figure and no table."""

import math
from collections.abc import Mapping, Sequence

from gradlab.gradient.summary import Word
from gradlab.judge.statistics import Share, share
from gradlab.report.data.records import Record
from gradlab.report.text.findings import changes

BEYOND = 3
"""Lengths beyond the reach that are named at most."""
WHOLE = "all of it (exactly zero)"
PAST: dict[Word, str] = {
    "held": "was held",
    "vanishing": "vanished",
    "exploding": "exploded",
    "both": "both vanished and exploded",
    "non-finite": "was not finite",
    "cut": "was cut",
    "noise": "was rounding noise",
}


def by_length(group: Sequence[Record], role: str = "initial") -> dict[int, list[Record]]:
    """The measured runs of a setting by length, ascending; after the initial one only those trained to an end."""
    found: dict[int, list[Record]] = {}
    for record in sorted(group, key=lambda record: (record.config["length"], record.seed)):
        if record.marks and (role == "initial" or (record.trained and record.run.finished)):
            found.setdefault(int(record.config["length"]), []).append(record)
    return found


def solved(group: Sequence[Record]) -> dict[int, Share]:
    """How many seeds solved the task at each length, of those that came to an end."""
    ended = by_length([record for record in group if record.trained and record.run.finished])
    return {at: share(sum(one.run.status == "solved" for one in ended[at]), len(ended[at])) for at in ended}


def held(group: Sequence[Record], role: str = "initial") -> dict[int, Share]:
    """In how many seeds the gradient was held at each length."""
    found = by_length(group, role)
    return {at: share(sum(word(one, role) == "held" for one in found[at]), len(found[at])) for at in found}


def word(record: Record, role: str = "initial") -> Word:
    """The verdict on a checkpoint."""
    return record.summary(role).verdict.word


def furthest(counts: Mapping[int, Share]) -> int:
    """The longest length up to which every seed does it at every length; 0 where there is none.

    Example:
        >>> furthest({50: share(3, 3), 100: share(3, 3), 200: share(1, 3), 400: share(3, 3)})
        100
    """
    reached = 0
    for length in sorted(counts):
        if counts[length].count < counts[length].of:
            break
        reached = length
    return reached


def reach(counts: Mapping[int, Share], did: str, does: str) -> str:
    """How far something goes, with the counts that say so.

    Args:
        counts: of seeds, by length. did: `solved`. does: `solves`.

    Example:
        >>> reach({100: share(3, 3), 200: share(3, 3), 400: share(0, 3)}, "solved", "solves")
        'solved T = 200 in 3 of 3 seeds and T = 400 in 0 of 3: it solves up to T = 200'
        >>> reach({100: share(3, 3), 200: share(3, 3)}, "solved", "solves")
        'solved every length up to T = 200 in every seed (3 of 3 there): it solves at least T = 200'
        >>> reach({100: share(0, 3), 200: share(0, 3)}, "solved", "solves")
        'solved T = 100 in 0 of 3 seeds and no longer one: it solves none of these lengths'
    """
    lengths = sorted(counts)
    reached = furthest(counts)
    if reached == lengths[-1]:
        if len(lengths) == 1:
            return f"{did} T = {reached:,} in {counts[reached]} seeds: it {does} at least T = {reached:,}"
        every = f"{did} every length up to T = {reached:,} in every seed ({counts[reached]} there)"
        return f"{every}: it {does} at least T = {reached:,}"
    stop = next(length for length in lengths if length > reached)
    beyond = [length for length in lengths if length > stop and counts[length].count]
    also = f"; beyond that {_listed(counts, beyond)}" if beyond else ""
    if reached:
        seen = f"{did} T = {reached:,} in {counts[reached]} seeds and T = {stop:,} in {counts[stop]}"
        return f"{seen}: it {does} up to T = {reached:,}{also}"
    seen = f"{did} T = {stop:,} in {counts[stop]} seeds"
    if not counts[stop].count and not beyond:
        longer = " and no longer one" if len(lengths) > 1 else ""
        return f"{seen}{longer}: it {does} none of these lengths"
    return f"{seen}, so not even the shortest length in every seed{also}"


def _listed(counts: Mapping[int, Share], lengths: Sequence[int]) -> str:
    """`T = 400 in 1 of 3`, and how many more."""
    named = [f"T = {length:,} in {counts[length]}" for length in lengths[:BEYOND]]
    more = [f"{len(lengths) - BEYOND} longer ones"] if len(lengths) > BEYOND else []
    return ", ".join([*named, *more])


def briefly(counts: Mapping[int, Share], label: str) -> str:
    """The same for a title: `LSTM up to T = 200`.

    Example:
        >>> briefly({100: share(3, 3), 200: share(0, 3)}, "LSTM"), briefly({100: share(1, 3)}, "RNN")
        ('LSTM up to T = 100', 'RNN at none')
        >>> briefly({100: share(2, 3), 200: share(3, 3)}, "GRU")
        'GRU at T = 200, not at every shorter one'
    """
    reached = furthest(counts)
    if reached == max(counts):
        return f"{label} up to T = {reached:,}, the longest"
    beyond = [f"T = {length:,}" for length in sorted(counts) if length > reached and every(counts[length])]
    named = ", ".join(beyond[:BEYOND]) + (f" and {len(beyond) - BEYOND} more" if len(beyond) > BEYOND else "")
    if reached:
        return f"{label} up to T = {reached:,}{f' and again at {named}' if beyond else ''}"
    return f"{label} at {named}, not at every shorter one" if beyond else f"{label} at none"


def every(count: Share) -> bool:
    """Whether all seeds did it."""
    return count.count == count.of > 0


def sentence(group: Sequence[Record], label: str) -> str:
    """What a setting reaches: the length that it solves and what its gradient does there before training.

    Without training: the length over which its gradient is held.
    """
    name = f"**{label} on {group[0].config['task']}**"
    holds = held(group)
    before = f"At initialisation its gradient {reach(holds, 'is held over', 'holds')}"
    if group[0].config["params"] != "none":
        before = before.replace("At initialisation", f"With the weights of {group[0].config['params']}")
    counts = solved(group)
    if not counts:
        return f"{name}: {before[0].lower()}{before[1:]} ({_decades(group, holds)})."
    return f"{name} {reach(counts, 'solved', 'solves')}. {before} ({_decades(group, counts)})."


def _decades(group: Sequence[Record], counts: Mapping[int, Share]) -> str:
    """What is lost at the last length that is reached and at the first that is not."""
    found = by_length(group)
    reached = furthest(counts)
    around = [length for length in sorted(counts) if length >= reached and length in found][:2]
    return ", ".join(f"{changes(found[length], 'initial')} over T = {length:,}" for length in around)


def relation(records: Sequence[Record]) -> str:
    """What the gradient at initialisation says about solving: how many runs of either kind were solved.

    Args:
        records: trained runs that came to an end; the answer is empty where there are none.
    """
    ended = [record for record in records if record.trained and record.run.finished and record.marks]
    kinds: dict[Word, list[Record]] = {}
    for record in ended:
        kinds.setdefault(word(record), []).append(record)
    if not ended:
        return ""
    commonest = sorted(kinds, key=lambda kind: -len(kinds[kind]))
    parts = [f"where it {PAST[kind]}, {_solved(kinds[kind])}" for kind in commonest]
    text = f"By the gradient at initialisation: {'; '.join(parts)}"
    falling = [record for record in ended if word(record) in ("held", "vanishing", "cut")]
    yes = [_lost(record) for record in falling if record.run.status == "solved"]
    no = [_lost(record) for record in falling if record.run.status != "solved"]
    if not yes or not no:
        return f"{text}."
    most = WHOLE if math.isinf(max(yes)) else f"{max(yes):.1f} decades"
    least = WHOLE if math.isinf(min(no)) else f"from {min(no):.1f} on"
    return f"{text}. Solved runs lost up to {most} there, unsolved ones {least}."


def _lost(record: Record) -> float:
    return max(0.0, -record.summary("initial").verdict.decades)


def _solved(records: Sequence[Record]) -> str:
    count = sum(record.run.status == "solved" for record in records)
    return f"{count} of {len(records)} runs solved the task"
