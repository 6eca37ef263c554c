"""How much is done: the real sizes, and toy ones to try the whole without a GPU."""

from dataclasses import dataclass

from bench.case import Case


@dataclass(frozen=True)
class Scale:
    """Args:
    cases: that are trained.
    runs: trained at once.
    rounds: turns of each contender, each about `seconds` long.
    probes: lengths that are measured without training, with the size of `probe`.
    slope: lengths from whose times the time of a timestep is taken.
    run_steps, sweep_steps: training steps of the commands, over sequences of `length`.
    seeds: of the sweep.
    tests: files of the science tests at most; all where None.
    variants: of flags, and of programs, that are tried to see what they give.
    jobs: processes that the tests are spread over.
    patience: a part may take so many times what it takes on a GPU machine.
    """

    cases: tuple[Case, ...]
    runs: int
    rounds: int
    seconds: float
    probes: tuple[int, ...]
    probe: Case
    slope: tuple[int, ...]
    run_steps: int
    sweep_steps: int
    length: int
    seeds: int
    tests: int | None
    variants: int
    jobs: int
    patience: float = 1.0


FULL = Scale(
    cases=(Case("lstm", 200, 128, 32), Case("gru", 200, 128, 32)),
    runs=64,
    rounds=5,
    seconds=0.25,
    probes=(1_000, 100_000),
    probe=Case("lstm", 1_000, 128, 32),
    slope=(100, 200, 400),
    run_steps=100,
    sweep_steps=100,
    length=200,
    seeds=16,
    tests=None,
    variants=99,
    jobs=12,
)
SMALL = Scale(
    cases=(Case("lstm", 20, 8, 4), Case("gru", 20, 8, 4)),
    runs=3,
    rounds=2,
    seconds=0.02,
    probes=(50, 500),
    probe=Case("lstm", 50, 8, 4),
    slope=(10, 20, 40),
    run_steps=10,
    sweep_steps=5,
    length=20,
    seeds=3,
    tests=2,
    variants=2,
    jobs=2,
    patience=6.0,
)
