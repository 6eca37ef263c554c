"""The runs of one task that a page shows first: how far the gradient reaches, and what training made of it."""

from collections.abc import Sequence
from typing import NamedTuple

from gradlab.report.data.records import Labelled, Record, labelled, place_of_cell
from gradlab.runs.spec import FIELDS

_OF_TRAINING = tuple(
    name
    for name, each in FIELDS.items()
    if "probe" not in each.commands and not each.derived and name != "window"  # which cuts what is measured too
)
"""Fields without which two runs have the same gradient at initialisation."""


class Overview(NamedTuple):
    """The settings of one task that are shown first, each list at one length.

    Attributes:
        initial: at initialisation. trained: at the end of training, empty if nothing was trained.
    """

    initial: Labelled
    trained: Labelled


def overview(records: Sequence[Record]) -> Overview:
    """What is shown first of the measured runs of one task.

    What was trained is shown at its longest length. Probes beside it may be of more cells and longer: then what is
    at initialisation is shown at the length of most settings, the longest of those that what was trained has too,
    each setting once.
    """
    trained = [record for record in records if record.trained]
    last = labelled(_at(max(map(_length, trained)), trained)) if trained else []
    fresh = [one for one in records if one.config["params"] == "none" and not one.config.get("imported")]
    if not trained:
        return Overview(labelled(_at(max(map(_length, records)), records)), [])
    if {record.trained for record in fresh} != {True, False}:
        return Overview(last, last)
    groups = sorted(labelled(fresh, without=(*_OF_TRAINING, "length")), key=lambda pair: place_of_cell(pair[1][0]))
    settings = [(label, _once(group)) for label, group in groups]
    lengths = [length for _, group in settings for length in {_length(one) for one in group}]
    shared = {_length(one) for _, group in settings if any(one.trained for one in group) for one in group}
    longest = max(shared, key=lambda length: (lengths.count(length), length))
    return Overview([(label, some) for label, group in settings if (some := _at(longest, group))], last)


def _length(record: Record) -> int:
    return int(record.config["length"])


def _at(length: int, records: Sequence[Record]) -> list[Record]:
    return [record for record in records if _length(record) == length]


def _once(group: Sequence[Record]) -> list[Record]:
    """One run for each length and seed, a trained one if there is one."""
    found = {(_length(record), record.seed): record for record in sorted(group, key=lambda record: record.trained)}
    return [found[place] for place in sorted(found)]
