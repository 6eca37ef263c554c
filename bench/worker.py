"""A long-lived process that is one contender: it answers requests, and sleeps in a read between them.

`python -m bench.worker ORDER`, with requests as JSON lines on stdin and answers as JSON lines on stdout.
"""

import json
import os
import sys
import time
import traceback
from typing import IO, Any


def main() -> None:
    """Make the contender that the order names and serve until stdin ends."""
    order = json.loads(sys.argv[1])
    if order["cores"]:
        os.sched_setaffinity(0, order["cores"])  # before any library counts the cores
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    contender = _make(order)
    _answer(answers, 0.0, "ready")
    for line in sys.stdin:
        request = json.loads(line)
        started = time.perf_counter()
        try:
            result, error = getattr(contender, request["do"])(**request["given"]), ""
        except Exception as reason:
            traceback.print_exc()
            result, error = None, f"{type(reason).__name__}: {reason}"
        _answer(answers, time.perf_counter() - started, result, error)


def _make(order: dict[str, Any]) -> Any:
    import importlib

    from bench.case import Case

    module = importlib.import_module(f"bench.contenders.{order['module']}")
    return module.make(Case(**order["case"]), order["problem"], **order["options"])


def _answer(stream: IO[str], seconds: float, result: Any, error: str = "") -> None:
    stream.write(json.dumps({"seconds": seconds, "result": result, "error": error}) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
