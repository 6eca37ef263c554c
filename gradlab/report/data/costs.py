"""What each cell costs: parameters, time for a training step, memory; a row for each setting and length."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from gradlab.report.data.records import Record, grouped, named
from gradlab.runs.jsonable import number

COSTS = ("setting", "task", "T", "runs", "parameters", "ms per training step", "MB for training")
ABOUT = (
    "Milliseconds are wall time over all training steps, compiling left out and measuring at checkpoints "
    "included, on the machine named below; runs that went on beside each other slowed each other. Megabytes are "
    "what the compiled training program takes for its arguments, results and everything between, as the compiler "
    "says."
)


def cost_rows(records: Iterable[Record]) -> list[list[str]]:
    """A row for each setting that was trained; the median over its runs.

    Args:
        records: runs that came to an end.
    """
    groups = grouped(record for record in records if record.trained and record.run.finished)
    return [_row(group, label) for group, label in zip(groups, named(groups), strict=True)]


def _row(group: Sequence[Record], label: str) -> list[str]:
    done = [record.run.done for record in group]
    rates = [number(each.get("train_steps_per_second")) for each in done]
    parameters = _median(number(each.get("parameters")) for each in done)
    times = _median(1000 / rate for rate in rates if rate > 0)
    memory = _median(number(each.get("training_bytes")) / 1e6 for each in done)
    config = group[0].config
    place = [label, config["task"], f"{config['length']}", f"{len(group)}"]
    return [*place, _said(parameters, ",.0f"), _said(times, ",.3g"), _said(memory, ",.3g")]


def _median(values: Iterable[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.median(finite)) if finite else math.nan


def _said(value: float, form: str) -> str:
    return "not recorded" if math.isnan(value) else format(value, form)
