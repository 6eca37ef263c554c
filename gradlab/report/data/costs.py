"""What each cell costs: parameters, time for a training step, memory."""

from collections.abc import Sequence

from gradlab.judge.over_seeds import median
from gradlab.report.data.records import Record
from gradlab.runs.jsonable import number


def costs_of(group: Sequence[Record]) -> tuple[float, float, float]:
    """Parameters, milliseconds for a training step and megabytes for training: medians over the runs of a setting."""
    done = [record.run.done for record in group]
    rates = [number(each.get("train_steps_per_second")) for each in done]
    return (
        median(number(each.get("parameters")) for each in done),
        median(1000 / rate for rate in rates if rate > 0),
        median(number(each.get("training_bytes")) / 1e6 for each in done),
    )
