"""Measuring without training, as `gradlab probe` does it, at two lengths: seconds once compiled, and memory."""

from dataclasses import replace
from typing import Any

from bench import say
from bench.fleet import Worker, WorkerFailed, closing
from bench.gpu.record import Record
from bench.gpu.scale import Scale
from bench.gpu.speed import GPU

QUICK_SECONDS = 2.0
"""A measurement that takes less is repeated `ROUNDS` times; a longer one counts alone, being compiled before."""
ROUNDS = 5


def run(record: Record, scale: Scale) -> None:
    """The workers compile side by side; then each measures alone, the short one first."""
    cases = [replace(scale.probe, length=length) for length in scale.probes]
    with closing([]) as workers:
        workers += [Worker("probing", {}, case, variables=GPU) for case in cases]
        for case, worker in zip(cases, workers, strict=True):
            record.put("probe", **{str(case): measured(worker)})


def measured(worker: Worker) -> dict[str, Any]:
    """Seconds of each measurement, and MB; or what went wrong."""
    try:
        worker.receive()
        seconds = [worker.ask("train", steps=1).seconds]
        if seconds[0] < QUICK_SECONDS:
            seconds = [worker.ask("train", steps=1).seconds for _ in range(ROUNDS)]
        found: dict[str, Any] = {"seconds": seconds} | worker.ask("device_memory").result
    except WorkerFailed as reason:
        return {"failed": str(reason)[-500:]}
    say(f"{worker.name}: {found}")
    return found
