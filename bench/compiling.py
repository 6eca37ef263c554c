"""`python -m bench.compiling`: what a run compiles, by program and by XLA's optimisation level.

Processor seconds to trace, lower and compile each program of a default run, in a process of its own that keeps
nothing, and whether the losses of the first 50 training steps have the bits of the default level. Written to
results/bench-compiling.md.
"""

import json
import os
import subprocess
import sys
from typing import Any

from bench import machine, say
from bench.fleet import ROOT

CELLS = ("rnn", "lstm", "gru")
LEVELS = {
    "default": "",
    "level 1": "--xla_backend_optimization_level=1",
    "level 0": "--xla_backend_optimization_level=0",
}
PROGRAMS = ("init", "draw", "chunk", "test")
"""Initial weights, held-out examples, 50 training steps, and the test of solving (`training/jit_cache.py`)."""

WORKER = """
import json, sys, time
import jax.numpy as jnp
import numpy as np
from gradlab.runs.spec import RunSpec
from gradlab.training.jit_cache import programs_for
from gradlab.training.step import start_state

spec = RunSpec(cell=sys.argv[1])
model, plan = spec.model(), spec.plan()
programs, seed, seconds = programs_for(model, plan), jnp.uint32(0), {}


def compiled(name, *arguments):
    clock = [time.process_time()]
    traced = getattr(programs, name)._for(arguments).trace(*arguments)
    clock.append(time.process_time())
    lowered = traced.lower()
    clock.append(time.process_time())
    executable = lowered.compile()
    clock.append(time.process_time())
    seconds[name] = [after - before for before, after in zip(clock, clock[1:])]
    return executable


params = compiled("init", seed)(seed)
compiled("draw", seed)
start = start_state(model, plan, params), jnp.int32(50)
rows = compiled("chunk", *start)(*start)[1]
compiled("test", params, seed)
print(json.dumps({"seconds": seconds, "losses": np.asarray(rows.loss).tobytes().hex()}))
"""


def main() -> int:
    """Measure and write the page."""
    lines = []
    for cell in CELLS:
        found = {level: measured(cell, flags) for level, flags in LEVELS.items()}
        for level, one in found.items():
            parts = [one["seconds"][name] for name in PROGRAMS]
            cells = [" + ".join(f"{part:.2f}" for part in each) for each in parts]
            same = "yes" if one["losses"] == found["default"]["losses"] else "no"
            lines.append(f"| {cell} | {level} | {' | '.join(cells)} | {sum(map(sum, parts)):.1f} | {same} |")
            say(lines[-1])
    heading = machine.heading("python -m bench.compiling")
    text = [
        "# What a run compiles",
        "",
        *(f"- {name}: {value}" for name, value in heading.items()),
        "",
        "Processor seconds to trace + lower + compile each program of `gradlab run adding --len 200 --cell CELL`,",
        "with nothing compiled before; those that measure curves are not among them (bench-measuring.md).",
        "",
        f"| cell | XLA's optimisation | {' | '.join(PROGRAMS)} | all | bits of the losses as by default |",
        f"|---|---|{'--:|' * len(PROGRAMS)}--:|---|",
        *lines,
        "",
    ]
    path = ROOT / "results" / "bench-compiling.md"
    path.write_text("\n".join(text))
    say(f"written: {path}")
    return 0


def measured(cell: str, flags: str) -> dict[str, Any]:
    """What one process says of a cell."""
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "0"}
    command = [sys.executable, "-c", WORKER, cell]
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(out)
    return found


if __name__ == "__main__":
    sys.exit(main())
