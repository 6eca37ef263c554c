"""What is computed: a cell and a size, and the initial weights that all contenders share."""

from dataclasses import dataclass
from typing import Any

import numpy as np

BLOCKS = {"lstm": 4, "gru": 3, "rnn": 1}
"""G, the gate blocks of a cell: LSTM i, f, g, o; GRU r, z, n."""
LEAVES = {"lstm": ("c", "h"), "gru": ("h",), "rnn": ("h",)}
INPUT = 2
LEARNING_RATE = 1e-2
CLIP_NORM = 1.0
LARGEST_CALL = 50
LEAST_CALL = 10
CALL_FLOPS = 2e10

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """The adding problem of `length` timesteps, on `batch` examples, with a state of `hidden` units."""

    cell: str
    length: int
    hidden: int
    batch: int

    @property
    def size(self) -> tuple[int, int, int]:
        """T, H, B."""
        return self.length, self.hidden, self.batch

    def __str__(self) -> str:
        return f"{self.cell} {self.length},{self.hidden},{self.batch}"


def product_flops(case: Case) -> float:
    """The three recurrent matrix products of a training step: forward, backward and weight gradient.

    Each is a (B, H) @ (H, G·H), or as much work, for every timestep.
    """
    return 3 * 2.0 * case.length * case.batch * case.hidden * BLOCKS[case.cell] * case.hidden


def steps_per_call(case: Case) -> int:
    """Training steps in one compiled call, for every contender that compiles: 10 to 50, about a second at most."""
    return int(min(LARGEST_CALL, max(LEAST_CALL, CALL_FLOPS / product_flops(case))))


def initial_weights(case: Case) -> Weights:
    """`w_x` (I, G·H), `w_h` (H, G·H), `b` (G·H,), and a readout `out_w` (H, 1), `out_b` (1,), in float32.

    As gradlab starts: Glorot inputs, orthogonal recurrent blocks, forget bias 1. The biases are not zero, so that
    a block in the wrong place is seen. The bias inside a GRU's reset gate is zero, since flax has none.
    """
    blocks, hidden = BLOCKS[case.cell], case.hidden
    rng = np.random.default_rng([blocks, *case.size])
    bound = np.sqrt(6.0 / (INPUT + hidden))
    bias = 0.1 * rng.standard_normal((blocks, hidden))
    if case.cell == "lstm":
        bias[1] += 1.0
    weights: dict[str, Any] = {
        "w_x": rng.uniform(-bound, bound, (INPUT, blocks * hidden)),
        "w_h": np.concatenate([np.linalg.qr(rng.standard_normal((hidden, hidden)))[0] for _ in range(blocks)], 1),
        "b": bias.reshape(-1),
        "out_w": rng.uniform(-1, 1, (hidden, 1)) * np.sqrt(6.0 / (hidden + 1)),
        "out_b": np.zeros(1),
    }
    return {name: value.astype(np.float32) for name, value in weights.items()}
