"""What was aimed at, as one literal table: ratio of medians, peer / gradlab measuring every training step."""

from typing import NamedTuple

PLAIN, LOOP, AUGMENTED, JAX = "torch nn.*", "torch loop", "torch augmented", "best of flax, equinox, naive JAX"

GROUPS: dict[str, tuple[str, ...]] = {
    PLAIN: ("torch nn.*, 1 thread", "torch nn.*, 2 threads"),
    LOOP: ("torch loop + retain_grad",),
    AUGMENTED: ("torch augmented input",),
    JAX: ("naive JAX scan + taps", "flax nnx.RNN", "equinox scan"),
}
"""The columns of the table: of several contenders the fastest counts."""

SIZES = ((200, 32, 20), (200, 64, 32), (200, 128, 20), (200, 128, 128), (1000, 128, 20))
"""T, H, B."""

SPEED: dict[str, dict[str, tuple[float, ...]]] = {
    "lstm": {
        PLAIN: (3.0, 1.6, 1.3, 1.8, 2.0),
        LOOP: (20.0, 7.0, 5.0, 2.0, 4.0),
        AUGMENTED: (4.0, 2.2, 2.0, 2.4, 2.7),
        JAX: (3.0, 2.6, 2.3, 2.3, 2.6),
    },
    "gru": {
        PLAIN: (14.0, 6.5, 4.8, 1.8, 3.2),
        LOOP: (18.0, 7.0, 5.0, 1.45, 3.6),
        JAX: (2.0, 2.1, 2.6, 1.65, 2.2),
    },
    "rnn": {
        PLAIN: (14.0, 7.0, 5.5, 2.2, 7.0),
        LOOP: (22.0, 16.0, 8.0, 2.3, 10.0),
        AUGMENTED: (14.0, 12.0, 6.5, 3.2, 9.0),
        JAX: (2.8, 2.6, 2.8, 2.9, 3.4),
    },
}
"""By cell and column, one for each of `SIZES`."""

REMARKS = {("gru", 200, 128, 128): "1.45 against the better of torch nn.* and torch loop"}


class Target(NamedTuple):
    """A number that should be reached (`>=`) or not be passed (`<=`)."""

    sense: str
    value: float

    def met(self, value: float) -> bool:
        """Whether a measured value is on the right side."""
        return value >= self.value if self.sense == ">=" else value <= self.value

    def __str__(self) -> str:
        return f"{self.sense.replace('>=', '≥').replace('<=', '≤')} {self.value:g}"


def speed(cell: str, size: tuple[int, int, int], column: str) -> Target | None:
    """The target of a column at a size; None where there is none, as for a cell that a peer does not have."""
    row = SPEED.get(cell, {}).get(column)
    return Target(">=", row[SIZES.index(size)]) if row and size in SIZES else None


def floor_share(cell: str, hidden: int) -> Target | None:
    """The share of the matrix-product floor that a training step should reach."""
    return Target(">=", {128: 0.65, 32: 0.40}[hidden]) if cell == "lstm" and hidden in (32, 128) else None


MEASURING = Target("<=", 1.10)
"""Training that measures every training step, against training alone."""
SWEEP = Target(">=", 1.9)
"""Throughput of one process on each of two cores, against one process."""
SWEEP_TORCH = {
    (200, 32, 20): Target(">=", 1.6),
    (200, 64, 32): Target(">=", 1.35),
    (200, 128, 20): Target(">=", 1.2),
    (200, 128, 128): Target(">=", 1.6),
}
"""The same throughput against two single-threaded processes of torch nn.LSTM."""
MEMORY_MB = Target("<=", 100.0)
MEMORY_TIME = Target("<=", 1.1)
"""T = 5000, H = B = 128: memory beyond parameters and data, and time against stored residuals."""
LENGTH_TIME = Target("<=", 1.3)
"""Time per timestep of a probe at 100,000 timesteps, against the cheapest shorter one."""
STARTUP_SECONDS = {"help": Target("<=", 0.4), "probe": Target("<=", 3.0), "first loss": Target("<=", 4.0)}
SOLVED_SECONDS = Target("<=", 30.0)
CHECKPOINT_SHARE = Target("<=", 0.05)
"""Of a default run's wall clock, the time that measuring at checkpoints takes."""
ENGINE = Target(">=", 1.8)
"""`gradlab sweep` with two workers against one process on one core."""
OVERHEAD_MS = Target("<=", 50.0)
"""Of a run in a sweep: everything but training and measuring."""
