"""What the runs of one setting count for: seeds at a checkpoint, runs by length, seeds that passed a length."""

from collections.abc import Mapping, Sequence

from gradlab.gradient.curve import STATE
from gradlab.judge.over_seeds import Seeds
from gradlab.judge.statistics import Share, share
from gradlab.report.data.records import Record


def counted(group: Sequence[Record], role: str) -> list[Record]:
    """The runs of a setting that count at a checkpoint: after the initial one those that came to an end."""
    ended = [record for record in group if record.run.finished]
    return list(group) if role == "initial" or not ended else ended


def seeds_of(group: Sequence[Record], role: str, curve: str = "task", leaf: str = STATE) -> Seeds:
    """The numbers of the whole state, or of a leaf, in the runs that count at a checkpoint."""
    return Seeds([record.summary(role, curve, leaf) for record in counted(group, role)])


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
    words = {at: seeds_of(runs, role).words for at, runs in by_length(group, role).items()}
    return {at: share(found.count("held"), len(found)) for at, found in words.items()}


def passed(count: Share) -> bool:
    """Whether every seed did it."""
    return count.count == count.of > 0


def longest_passing(counts: Mapping[int, Share]) -> int:
    """The longest length up to which every seed does it at every length; 0 if there is none.

    Example:
        >>> longest_passing({50: share(3, 3), 100: share(3, 3), 200: share(1, 3), 400: share(3, 3)})
        100
    """
    longest = 0
    for length in sorted(counts):
        if not passed(counts[length]):
            break
        longest = length
    return longest
